//! What a killed process may have left, put right when the next one opens the data: leases that nobody keeps alive, images
//! that no row has, logs that no template has. Only what is ours is touched.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::artifact::{Images, sync_directory};
use crate::error::Error;
use crate::store::Store;
use crate::template::TemplateId;

/// The lock that says which process serves a data directory; held until it is dropped.
#[derive(Debug)]
pub(crate) struct DataLock(File);

impl DataLock {
    pub(crate) fn take(data: &Path) -> Result<Self, Error> {
        let path = data.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::file(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { path: data.to_owned() }),
            Err(errno) => Err(Error::file(&path)(errno.into())),
        }
    }
}

impl Drop for DataLock {
    /// Closing the file is not enough: a process that another thread is starting has it open too, until it is the program that it is
    /// to be.
    fn drop(&mut self) {
        // What can't be unlocked is when the process ends.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The name of this data directory among the holders of leases, made once.
pub(crate) fn node(data: &Path) -> Result<String, Error> {
    let path = data.join("node");
    let mut name = String::new();
    if let Ok(file) = File::open(&path) {
        file.take(64).read_to_string(&mut name).map_err(Error::file(&path))?;
    }
    if name.len() != 26 {
        name = ulid::Ulid::from_parts(0, random()).to_string();
        let temporary = data.join("node.tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(name.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(Error::file(&path))?;
        sync_directory(data)?;
    }
    Ok(name)
}

/// 80 random bits are used of these.
fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    u128::from_le_bytes(bytes)
}

/// Puts everything right. The lock of the data directory must be held: it proves that the leases of `node` are dead. Where many hosts
/// are one service, images and logs here are but copies.
pub(crate) fn recover(store: &dyn Store, images: &Images, logs: &Path, node: &str, alone: bool) -> Result<(), Error> {
    for id in store.end_leases(node)? {
        tracing::warn!(%id, "its build was interrupted; it begins again");
    }
    let known = store.images()?;
    let there = images.digests()?;
    for orphan in there.iter().filter(|digest| !known.contains(digest)) {
        images.remove(orphan)?;
    }
    for lost in known.iter().filter(|digest| alone && !there.contains(digest)) {
        tracing::error!(digest = lost, "an image is gone from the data directory; its templates can't be used");
    }
    fs::create_dir_all(logs).map_err(Error::file(logs))?;
    for entry in fs::read_dir(logs).map_err(Error::file(logs))? {
        let entry = entry.map_err(Error::file(logs))?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<TemplateId>().ok());
        if let Some(id) = id
            && (!alone || store.by_id(&id)?.is_none())
        {
            remove_logs(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the logs of a template that is gone.
pub(crate) fn remove_logs(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file(dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_file_of_a_lock_open_does_not_keep_it() {
        let data = tempfile::tempdir().unwrap();
        let lock = DataLock::take(data.path()).unwrap();
        let _in_a_child = lock.0.try_clone().unwrap();
        assert!(matches!(DataLock::take(data.path()), Err(Error::InUse { .. })));
        drop(lock);
        DataLock::take(data.path()).unwrap();
    }
}
