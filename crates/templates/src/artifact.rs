//! Finished images: `images/<sha256>.ext4`, each there completely or not at all. Unfinished ones are below `images/tmp`. Where images are
//! copies of what is among the objects, the time of a file is that of its last use.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::template::TemplateId;

#[derive(Debug)]
pub(crate) struct Images {
    dir: PathBuf,
    /// Held where a copy is used or goes because there are too many.
    uses: Mutex<()>,
}

impl Images {
    /// Makes the directories, and removes what a killed build left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let tmp = dir.join("tmp");
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file(tmp)(error)),
            _ => {}
        }
        fs::create_dir_all(&tmp).map_err(Error::file(&tmp))?;
        Ok(Self { dir: dir.to_owned(), uses: Mutex::default() })
    }

    /// Where a build writes its image.
    pub(crate) fn temporary(&self, id: &TemplateId, attempt: u32) -> PathBuf {
        self.dir.join("tmp").join(format!("{id}-{attempt}.ext4"))
    }

    /// Where an image is put while it is fetched.
    pub(crate) fn fetching(&self, digest: &str) -> PathBuf {
        self.dir.join("tmp").join(format!("{digest}-{}.ext4", ulid::Ulid::generate()))
    }

    /// Where the image of that digest is.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.ext4"))
    }

    /// Gives a finished, durable file its name, durably. Gives the bytes that it takes of the disk.
    pub(crate) fn keep(&self, temporary: &Path, digest: &str) -> Result<u64, Error> {
        let path = self.path(digest);
        fs::rename(temporary, &path).map_err(Error::file(&path))?;
        sync_directory(&self.dir)?;
        Ok(fs::metadata(&path).map_err(Error::file(&path))?.blocks() * 512)
    }

    /// Removes the image of that digest.
    pub(crate) fn remove(&self, digest: &str) -> Result<(), Error> {
        remove_file(&self.path(digest))
    }

    /// Marks a copy as used now, and says whether it is there.
    pub(crate) fn mark_used(&self, digest: &str) -> Result<bool, Error> {
        let _uses = self.uses.lock().expect("no panic while it is held");
        let path = self.path(digest);
        match File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            marked => marked.map(|()| true).map_err(Error::file(path)),
        }
    }

    /// Removes copies, those first that were used least recently, until all take at most `bytes_max` of the disk. One that was used less
    /// than `kept` ago stays: somebody may be about to open it.
    pub(crate) fn evict(&self, bytes_max: u64, kept: Duration) -> Result<(), Error> {
        let _uses = self.uses.lock().expect("no panic while it is held");
        let mut copies = Vec::new();
        for digest in self.digests()? {
            let path = self.path(&digest);
            match fs::metadata(&path) {
                // The collector may have been there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => {
                    let found = found.map_err(Error::file(&path))?;
                    copies.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), found.blocks() * 512, path));
                }
            }
        }
        copies.sort();
        let mut bytes: u64 = copies.iter().map(|(_, bytes, _)| bytes).sum();
        let now = SystemTime::now();
        for (used, copy_bytes, path) in copies {
            // A time that is still to come is that of a clock which was put back.
            if bytes <= bytes_max || now.duration_since(used).map_or(true, |ago| ago < kept) {
                break;
            }
            remove_file(&path)?;
            bytes -= copy_bytes;
        }
        Ok(())
    }

    /// The digests of the images that are there.
    pub(crate) fn digests(&self) -> Result<Vec<String>, Error> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::file(&self.dir))? {
            let name = entry.map_err(Error::file(&self.dir))?.file_name();
            digests.extend(name.to_str().and_then(|name| name.strip_suffix(".ext4")).map(str::to_owned));
        }
        Ok(digests)
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::file(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_were_used_least_recently_go_first_and_none_that_was_used_just_now() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        let hour = Duration::from_secs(3_600);
        let (there, mib) =
            (|| images.digests().unwrap().into_iter().collect::<std::collections::BTreeSet<_>>(), 1 << 20);
        for (name, hours) in [("a", 3), ("b", 5), ("c", 4), ("d", 2)] {
            fs::write(images.path(name), vec![1; 1 << 20]).unwrap();
            let file = File::options().append(true).open(images.path(name)).unwrap();
            file.set_modified(SystemTime::now() - hour * hours).unwrap();
        }
        images.evict(4 * mib, hour).unwrap();
        assert_eq!(there().len(), 4);
        assert!(images.mark_used("b").unwrap() && !images.mark_used("e").unwrap());
        images.evict(3 * mib - 1, hour).unwrap();
        assert_eq!(there(), ["b".to_owned(), "d".to_owned()].into());
        images.evict(0, hour).unwrap();
        assert_eq!(there(), ["b".to_owned()].into(), "it was used just now");
        let file = File::options().append(true).open(images.path("b")).unwrap();
        file.set_modified(SystemTime::now() + hour).unwrap();
        images.evict(0, hour).unwrap();
        assert_eq!(there(), ["b".to_owned()].into(), "the clock was put back");
        images.mark_used("b").unwrap();
        images.evict(0, Duration::ZERO).unwrap();
        assert_eq!(there(), [].into());
    }
}
