//! The runtime that works here, looked for when the first command needs one: a build whose steps are all known needs
//! none, and no root.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::{Job, OciRuntime, Outcome, Sandbox};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::output::Output;
use crate::scratch::Scratch;

/// A runtime at a path, or the first that works; it is tried once, when first used.
#[derive(Debug)]
pub struct FoundRuntime {
    path: Option<PathBuf>,
    scratch_root: PathBuf,
    found: OnceCell<OciRuntime>,
}

impl FoundRuntime {
    /// The runtime at `path`, or any. `scratch_root` is where it is tried.
    #[must_use]
    pub fn new(path: Option<&Path>, scratch_root: &Path) -> Self {
        Self { path: path.map(Path::to_owned), scratch_root: scratch_root.to_owned(), found: OnceCell::new() }
    }

    /// The runtime itself.
    ///
    /// # Errors
    /// None is there, or none works.
    pub fn get(&self) -> Result<&OciRuntime, Error> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = match &self.path {
            Some(path) => OciRuntime::at(path, &self.scratch_root)?,
            None => OciRuntime::find(&self.scratch_root)?,
        };
        Ok(self.found.get_or_init(|| found))
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
    ) -> Result<Outcome, Error> {
        self.get()?.run(id, job, scratch, cancel, output)
    }

    fn sweep(&self, scratch: &Path) -> Result<(), Error> {
        self.get()?.sweep(scratch)
    }
}
