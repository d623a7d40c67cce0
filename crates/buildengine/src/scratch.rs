//! The working directory of one build: locked while the build lives, swept by the next build when it died.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;
use crate::sandbox::Sandbox;
use crate::sandbox::overlay;

/// Prefix of the directories that this module makes and removes; it touches no others.
const PREFIX: &str = "build-";

/// A directory of one build's own. Dropping it removes it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    /// Held open: the lock says that the build is alive, also to other processes.
    _lock: File,
}

impl Scratch {
    /// Makes a fresh directory below `root`, after removing what dead builds left there.
    ///
    /// # Errors
    /// The directory can't be made, or the remains of a dead build can't be removed.
    pub fn create(root: &Path, sandbox: &dyn Sandbox) -> Result<Self, Error> {
        let context = |source| Error::Scratch { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(context)?;
        let root = root.canonicalize().map_err(context)?;
        overlay::check_path(&root)?;
        sweep(&root, sandbox)?;
        loop {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&root).map_err(context)?.keep();
            // Between the two lines above and below another build may take this for a dead one and remove it.
            match lock(&dir.join("lock"), true) {
                Ok(Some(lock)) if dir.exists() => return Ok(Self { dir, _lock: lock }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(context(error)),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes the subdirectory `name`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        fs::create_dir(&path).map_err(|source| Error::Scratch { path: path.clone(), source })?;
        Ok(path)
    }

    /// Removes it, saying what went wrong; dropping it does the same in silence.
    ///
    /// # Errors
    /// A mount below it can't be ended or a file not removed.
    pub fn remove(self) -> Result<(), Error> {
        remove(&self.dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.dir.exists()
            && let Err(error) = remove(&self.dir)
        {
            tracing::warn!(path = %self.dir.display(), error = %error, "a scratch directory could not be removed");
        }
    }
}

/// Opens and locks a file; `None` when somebody else holds it.
fn lock(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).create(create).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes the directories of builds that are no more: those whose lock is free.
fn sweep(root: &Path, sandbox: &dyn Sandbox) -> Result<(), Error> {
    let context = |source| Error::Scratch { path: root.to_owned(), source };
    for entry in fs::read_dir(root).map_err(context)? {
        let dir = entry.map_err(context)?.path();
        if !dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
            continue;
        }
        // A directory without a lock file is one that is just being made, or that died in that instant.
        let Ok(Some(_held)) = lock(&dir.join("lock"), true) else { continue };
        tracing::info!(path = %dir.display(), "removing what a dead build left");
        sandbox.sweep(&dir)?;
        remove(&dir)?;
    }
    Ok(())
}

/// Ends the mounts below `dir`, then removes it. Nothing is removed while something is still mounted there: what is
/// mounted may be somebody else's.
fn remove(dir: &Path) -> Result<(), Error> {
    overlay::unmount_below(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Scratch { path: dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
