//! Finished images: `images/<sha256>.ext4`, each there completely or not at all. Unfinished ones are below `images/tmp`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::template::TemplateId;

#[derive(Debug)]
pub(crate) struct Images {
    dir: PathBuf,
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
        Ok(Self { dir: dir.to_owned() })
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
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(&path).map_err(Error::file(&path))?.blocks() * 512)
    }

    /// Removes the image of that digest.
    pub(crate) fn remove(&self, digest: &str) -> Result<(), Error> {
        remove_file(&self.path(digest))
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
