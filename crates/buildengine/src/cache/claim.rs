//! One builder at a time for one result, in this process and in others: a lock on a file that is named by the key.
//!
//! The kernel frees the lock when its holder dies, however it dies; whoever waited then makes the result itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::lock;
use crate::cancel::Cancel;
use crate::error::Error;

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
        let file = lock::wait(path, FlockOperation::NonBlockingLockExclusive, cancel, on_wait)?;
        Ok(Self { path: path.to_owned(), _file: file })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is locked: who opened it before finds that it is not the file of that name any more.
        let _ = fs::remove_file(&self.path);
    }
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
