//! One builder at a time for one result, in this process and in others: a lock on a file that is named by the key.
//!
//! The kernel frees the lock when its holder dies, however it dies; whoever waited then makes the result itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::cancel::Cancel;
use crate::error::Error;

/// How often a waiting build looks whether it is its turn, and whether it was cancelled.
const TICK: Duration = Duration::from_millis(50);

/// The right to make a result; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    /// Held open: the lock goes with it.
    _file: File,
}

impl Claim {
    /// Waits until nobody else has it; `on_wait` is called once if somebody has.
    ///
    /// # Errors
    /// The file can't be made, or the build was cancelled while it waited.
    pub(crate) fn take(path: &Path, cancel: &Cancel, on_wait: &mut dyn FnMut()) -> Result<Self, Error> {
        let mut waited = false;
        loop {
            match attempt(path).map_err(|source| Error::Scratch { path: path.to_owned(), source })? {
                Some(file) => return Ok(Self { path: path.to_owned(), _file: file }),
                None if cancel.is_cancelled() => return Err(Error::Cancelled),
                None => {
                    if !std::mem::replace(&mut waited, true) {
                        on_wait();
                    }
                    std::thread::sleep(TICK);
                }
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is locked: who opened it before finds that it is not the file of that name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// The locked file; `None` when somebody else has it.
fn attempt(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let own = file.metadata()?;
    // Its last holder may have removed it between our opening and locking it.
    let is_current = fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino()));
    Ok(is_current.then_some(file))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.lock");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let claim = Claim::take(&path, &Cancel::default(), &mut || ()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(claim);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_cancelled_build_waits_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.lock");
        let _held = Claim::take(&path, &Cancel::default(), &mut || ()).unwrap();
        let cancel = Cancel::default();
        let mut said = 0;
        let result = Claim::take(&path, &cancel, &mut || {
            said += 1;
            cancel.cancel();
        });
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!(said, 1);
    }
}
