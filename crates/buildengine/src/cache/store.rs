//! Keys of steps to layers, on disk: one small file a key, complete or not there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::key::Key;
use crate::error::Error;

/// Longer than any diff_id; what is longer was not written here.
const ENTRY_MAX: u64 = 256;

/// The directory of the step cache.
#[derive(Debug)]
pub(crate) struct StepCache {
    dir: PathBuf,
}

impl StepCache {
    /// The cache in `dir`, which is made if needed.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::Scratch { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The diff_id of the layer that the step of that key made, if it is known.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<String>, Error> {
        let path = self.dir.join(key.as_str());
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(ENTRY_MAX).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Scratch { path, source }),
        }
    }

    /// Remembers what the step of that key made. The layer must be durable already.
    pub(crate) fn put(&self, key: &Key, diff_id: &str) -> Result<(), Error> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            file.write_all(diff_id.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(self.dir.join(key.as_str())).map_err(|error| error.error)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| Error::Scratch { path: self.dir.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key;
    use crate::plan::{Network, Run};

    #[test]
    fn what_was_put_is_got() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StepCache::open(&dir.path().join("steps")).unwrap();
        let run = Run {
            args: vec![],
            env: vec![],
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::None,
            mounts: vec![],
            files: vec![],
        };
        let key = key::of_run(&[], &run, None);
        assert_eq!(cache.get(&key).unwrap(), None);
        cache.put(&key, "sha256:aa").unwrap();
        cache.put(&key, "sha256:bb").unwrap();
        assert_eq!(cache.get(&key).unwrap().as_deref(), Some("sha256:bb"));
        assert_eq!(fs::read_dir(dir.path().join("steps")).unwrap().count(), 1, "no temporary file stays");
    }
}
