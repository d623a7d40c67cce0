//! The working directory of one build: locked while the build lives, swept by the next build when it died.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::private;
use crate::sandbox::{Sandbox, cgroup, network, overlay, place};

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
        private::make(root).map_err(context)?;
        let root = root.canonicalize().map_err(context)?;
        overlay::check_path(&root)?;
        let (scratch, dead) = {
            let _gate = gate(&root).map_err(context)?;
            let dead = dead(&root).map_err(context)?;
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&root).map_err(context)?.keep();
            let lock = lock(&dir.join(LOCK)).map_err(context)?.expect("nobody looks at it before the gate is open");
            (Self { dir, _lock: lock }, dead)
        };
        bury(dead, sandbox)?;
        Ok(scratch)
    }

    /// Removes what dead builds left below `root`, which need not be there.
    ///
    /// # Errors
    /// The remains of a dead build can't be removed.
    pub fn sweep(root: &Path, sandbox: &dyn Sandbox) -> Result<(), Error> {
        let context = |source| Error::Scratch { path: root.to_owned(), source };
        if !root.exists() {
            return Ok(());
        }
        let root = root.canonicalize().map_err(context)?;
        if directories(&root).map_err(context)?.is_empty() {
            return Ok(());
        }
        let dead = {
            let _gate = gate(&root).map_err(context)?;
            dead(&root).map_err(context)?
        };
        bury(dead, sandbox)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The directory that holds this one and its like.
    pub(crate) fn root(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
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

/// What names of the host carry that belong to one scratch root: twelve hexadecimal digits of the SHA-256 of its path.
pub(crate) fn root_id(root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = Sha256::digest(root.as_os_str().as_bytes());
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the lock file in each directory, and of the gate beside them.
const LOCK: &str = "lock";

/// Held while directories appear, are taken for dead, or disappear: in between, one without a lock is neither.
pub(crate) fn gate(root: &Path) -> io::Result<File> {
    let file = open(&root.join(LOCK))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Opens and locks a file; `None` when somebody else holds it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Ends and removes what the builds left that had these directories.
fn bury(dead: Vec<(PathBuf, File)>, sandbox: &dyn Sandbox) -> Result<(), Error> {
    for (dir, _held) in dead {
        tracing::info!(path = %dir.display(), "removing what a dead build left");
        sandbox.sweep(&dir)?;
        remove(&dir)?;
    }
    Ok(())
}

/// The directories of builds that are no more, with their locks. The gate must be held.
fn dead(root: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut dead = Vec::new();
    for dir in directories(root)? {
        if let Some(held) = lock(&dir.join(LOCK))? {
            dead.push((dir, held));
        }
    }
    Ok(dead)
}

/// The directories of builds, alive or dead.
fn directories(root: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(root)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    Ok(paths.into_iter().filter(ours).collect())
}

/// Ends the mounts below `dir`, then removes it; its lock must be held. Nothing is removed while something is still mounted
/// there: what is mounted may be somebody else's.
fn remove(dir: &Path) -> Result<(), Error> {
    let context = |source| Error::Scratch { path: dir.to_owned(), source };
    network::tear_down(dir)?;
    overlay::unmount_below(dir)?;
    place::remove(dir)?;
    for entry in fs::read_dir(dir).map_err(context)? {
        let entry = entry.map_err(context)?;
        if entry.file_name() == LOCK {
            // It goes last: as long as it is there and locked, the directory is somebody's.
            continue;
        }
        let is_directory = entry.file_type().map_err(context)?.is_dir();
        let removed = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.map_err(context)?;
    }
    let root = dir.parent().unwrap_or(dir);
    let _gate = gate(root).map_err(context)?;
    fs::remove_dir_all(dir).map_err(context)?;
    if directories(root).map_err(context)?.is_empty() {
        // Behind the gate nobody begins, and whoever has begun has a directory.
        cgroup::remove_parent(root);
        place::remove_parent(root);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::output::Output;
    use crate::sandbox::{Ended, Job};

    #[derive(Debug)]
    struct Nothing;

    impl Sandbox for Nothing {
        fn run(
            &self,
            _: &str,
            _: &Job,
            _: &Scratch,
            _: &Cancel,
            _: &mut dyn FnMut(Output<'_>),
        ) -> Result<Ended, Error> {
            unreachable!("nothing runs here")
        }

        fn sweep(&self, _: &Path) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn builds_that_come_and_go_do_not_take_each_other_for_dead() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let scratch = Scratch::create(root.path(), &Nothing).unwrap();
                        let mine = scratch.subdirectory("mine").unwrap();
                        std::thread::yield_now();
                        assert!(mine.exists());
                        scratch.remove().unwrap();
                    }
                });
            }
        });
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [LOCK]);
    }

    #[test]
    fn what_a_dead_build_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("build-dead/upper")).unwrap();
        fs::create_dir(root.path().join("other")).unwrap();
        let alive = Scratch::create(root.path(), &Nothing).unwrap();
        let next = Scratch::create(root.path(), &Nothing).unwrap();
        assert!(alive.path().exists() && next.path().exists());
        assert!(!root.path().join("build-dead").exists());
        assert!(root.path().join("other").exists(), "not ours");
        fs::create_dir(root.path().join("build-dead-too")).unwrap();
        Scratch::sweep(root.path(), &Nothing).unwrap();
        assert!(alive.path().exists() && !root.path().join("build-dead-too").exists());
    }
}
