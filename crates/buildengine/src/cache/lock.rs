//! A lock on a file that may be removed by whoever holds it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::cancel::Cancel;
use crate::error::Error;

/// How often a waiting build looks whether it is its turn, and whether it was cancelled.
const TICK: Duration = Duration::from_millis(50);

/// The locked file, made if needed; `None` when it is locked otherwise. `operation` does not wait.
pub(super) fn attempt(path: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, operation) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // Its last holder may have removed it between our opening and locking it.
    Ok(is_current(&file, path).then_some(file))
}

/// Whether `file` is still what `path` names.
pub(super) fn is_current(file: &File, path: &Path) -> bool {
    let same = |own: fs::Metadata, now: fs::Metadata| (now.dev(), now.ino()) == (own.dev(), own.ino());
    file.metadata().is_ok_and(|own| fs::metadata(path).is_ok_and(|now| same(own, now)))
}

/// The locked file, once it is free; `on_wait` is called once if it is not.
pub(super) fn wait(
    path: &Path,
    operation: FlockOperation,
    cancel: &Cancel,
    on_wait: &mut dyn FnMut(),
) -> Result<File, Error> {
    let mut waited = false;
    loop {
        match attempt(path, operation).map_err(|source| Error::Scratch { path: path.to_owned(), source })? {
            Some(file) => return Ok(file),
            None => {
                if !std::mem::replace(&mut waited, true) {
                    on_wait();
                }
                pause(cancel)?;
            }
        }
    }
}

/// Waits a little before another attempt, unless the build was cancelled.
pub(super) fn pause(cancel: &Cancel) -> Result<(), Error> {
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    std::thread::sleep(TICK);
    Ok(())
}
