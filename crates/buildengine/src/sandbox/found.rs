//! The runtime that works here, looked for when the first command needs one: a build whose steps are all known needs
//! none, and no root.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::missing::Missing;
use super::{Ended, Job, OciRuntime, Sandbox, probe, remembered};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::output::Output;
use crate::scratch::Scratch;

/// A runtime at a path, or the first that works. It is tried once, when first used, and remembered among the scratch
/// directories.
#[derive(Debug)]
pub struct FoundRuntime {
    path: Option<PathBuf>,
    scratch_root: PathBuf,
    allowed: Vec<Missing>,
    found: OnceCell<OciRuntime>,
}

impl FoundRuntime {
    /// The runtime at `path`, or any. `scratch_root` is where it is tried, `allowed` what may be missing.
    #[must_use]
    pub fn new(path: Option<&Path>, scratch_root: &Path, allowed: &[Missing]) -> Self {
        Self {
            path: path.map(Path::to_owned),
            scratch_root: scratch_root.to_owned(),
            allowed: allowed.to_vec(),
            found: OnceCell::new(),
        }
    }

    /// The runtime itself, tried now or remembered.
    ///
    /// # Errors
    /// None is there, or none works.
    pub fn get(&self) -> Result<&OciRuntime, Error> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = match remembered::read(&self.scratch_root, &self.key()) {
            Some(found) => found,
            None => self.try_now()?,
        };
        found.warn_of_what_is_missing();
        Ok(self.found.get_or_init(|| found))
    }

    /// The runtime itself, tried now.
    ///
    /// # Errors
    /// None is there, or none works.
    pub fn try_now(&self) -> Result<OciRuntime, Error> {
        let found = match &self.path {
            Some(path) => OciRuntime::at(path, &self.scratch_root, &self.allowed),
            None => OciRuntime::find(&self.scratch_root, &self.allowed),
        };
        match &found {
            Ok(runtime) => {
                tracing::info!(runtime = %runtime.path().display(), "a command ran in it, so it runs the RUN steps");
                if let Err(error) = remembered::write(&self.scratch_root, &self.key(), runtime) {
                    tracing::warn!(%error, "the runtime that works can't be remembered");
                }
            }
            Err(_) => remembered::forget(&self.scratch_root),
        }
        found
    }

    fn key(&self) -> String {
        remembered::key(&probe::places(self.path.as_deref()), &self.allowed)
    }
}

impl Sandbox for FoundRuntime {
    fn run(
        &self,
        id: &str,
        job: &Job,
        scratch: &Scratch,
        cancel: &Cancel,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Ended, Error> {
        let ended = self.get()?.run(id, job, scratch, cancel, output);
        if matches!(ended, Err(Error::Runtime { .. } | Error::Start { .. })) {
            remembered::forget(&self.scratch_root);
        }
        ended
    }

    fn sweep(&self, scratch: &Path) -> Result<(), Error> {
        self.get()?.sweep(scratch)
    }
}
