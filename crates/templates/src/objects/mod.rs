//! What the hosts of one service share beside the database: a directory that all of them mount, or a bucket of an object store. An
//! object appears under its name completely or not at all, and never changes.
//!
//! ```text
//!   images/<sha256>/<id>.<attempt>      an image, by the attempt that made it
//!   logs/<id>/<attempt>.ndjson          the log of an attempt, once its template has ended
//! ```
//!
//! The name of an image holds the attempt, so that a host which lost its attempt takes nothing from the one that has it now: whoever
//! collects asks the database whether that attempt may still end.

mod directory;
mod s3;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::artifact::remove_file;
use crate::error::Error;
use crate::template::TemplateId;

use directory::Directory;
use s3::S3;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The most bytes of a log: that of one attempt is bounded, with room for its last words.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// Where objects are. Names are parts with `/` between them.
trait Place: Send + Sync + fmt::Debug {
    /// Puts a file, durably, under a name that nobody has. Nothing happens if somebody has it.
    fn put(&self, name: &str, file: &File) -> Result<(), Error>;

    /// Writes an object of at most so many bytes to a new file; `false` when there is none.
    fn get(&self, name: &str, to: &File, bytes_max: u64) -> Result<bool, Error>;

    /// Removes an object, which may be gone already.
    fn remove(&self, name: &str) -> Result<(), Error>;

    /// The names that begin with this one and a `/`, sorted.
    fn list(&self, below: &str) -> Result<Vec<String>, Error>;

    /// The directory where objects can be read in place, if there is one.
    fn local(&self) -> Option<&Path>;
}

#[derive(Debug)]
pub(crate) struct Objects {
    place: Box<dyn Place>,
    /// Where this host writes what it is about to put.
    scratch: PathBuf,
}

/// An image among the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageObject {
    pub(crate) digest: String,
    pub(crate) id: TemplateId,
    pub(crate) attempt: u32,
}

impl ImageObject {
    fn name(&self) -> String {
        format!("images/{}/{}.{}", self.digest, self.id, self.attempt)
    }

    fn named(name: &str) -> Option<Self> {
        let (digest, of) = name.strip_prefix("images/")?.split_once('/')?;
        let (id, attempt) = of.split_once('.')?;
        Some(Self { digest: digest.to_owned(), id: id.parse().ok()?, attempt: attempt.parse().ok()? })
    }
}

/// The logs of a template as files: where all hosts have them, or copies that go with this.
#[derive(Debug)]
pub(crate) enum Logs {
    InPlace(PathBuf),
    Copies(PathBuf),
}

impl Logs {
    /// The directory that has a directory for the template.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::InPlace(path) | Self::Copies(path) => path,
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Self::Copies(path) = self {
            // What stays is swept with the next start.
            drop(fs::remove_dir_all(path));
        }
    }
}

impl Objects {
    /// For `s3://BUCKET/PREFIX` or a directory. `scratch` is a directory of this host alone, swept when it starts; `node` is its name.
    pub(crate) fn open(place: &str, node: &str, scratch: &Path) -> Result<Self, Error> {
        let place: Box<dyn Place> = match place.strip_prefix("s3://") {
            Some(bucket) => Box::new(S3::open(bucket)?),
            None => Box::new(Directory::open(Path::new(place), node)?),
        };
        Ok(Self { place, scratch: scratch.to_owned() })
    }

    /// Puts an image, durably.
    pub(crate) fn put_image(&self, object: &ImageObject, image: &Path) -> Result<(), Error> {
        self.place.put(&object.name(), &File::open(image).map_err(Error::file(image))?)
    }

    /// Puts the log of an attempt, durably; `write` writes it. Nothing happens if it is there.
    pub(crate) fn put_log(
        &self,
        id: &TemplateId,
        attempt: u32,
        write: impl FnOnce(&mut File) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let put = write(&mut file).and_then(|()| self.place.put(&log(id, attempt), &file));
        remove_file(&temporary)?;
        put
    }

    /// Writes an image of that digest and at most so many bytes to the file `to`, durably, and makes sure that it is one. `false` when
    /// there is none.
    pub(crate) fn fetch_image(&self, digest: &str, bytes_max: u64, to: &Path) -> Result<bool, Error> {
        for object in self.images_below(&format!("images/{digest}"))? {
            let file = create(to)?;
            // It may have been collected since; another host may have made it again.
            if self.place.get(&object.name(), &file, bytes_max)? {
                file.sync_all().map_err(Error::file(to))?;
                if sha256(&file).map_err(Error::file(to))? == digest {
                    return Ok(true);
                }
                tracing::error!(name = object.name(), "an image has other content than its name says; it is not used");
            }
            remove_file(to)?;
        }
        Ok(false)
    }

    /// The logs of the first `attempts` of a template that has ended.
    pub(crate) fn fetch_logs(&self, id: &TemplateId, attempts: u32) -> Result<Logs, Error> {
        if let Some(place) = self.place.local() {
            return Ok(Logs::InPlace(place.join("logs")));
        }
        let logs = Logs::Copies(self.temporary());
        let dir = crate::log::directory(logs.path(), id);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        for attempt in 1..=attempts {
            let path = crate::log::file_of(&dir, attempt);
            if !self.place.get(&log(id, attempt), &create(&path)?, LOG_BYTES_MAX)? {
                remove_file(&path)?;
            }
        }
        Ok(logs)
    }

    /// The images that are there.
    pub(crate) fn images(&self) -> Result<Vec<ImageObject>, Error> {
        self.images_below("images")
    }

    /// Removes an image, which may be gone already.
    pub(crate) fn remove_image(&self, object: &ImageObject) -> Result<(), Error> {
        self.place.remove(&object.name())
    }

    /// The templates that have logs here.
    pub(crate) fn logged(&self) -> Result<Vec<TemplateId>, Error> {
        let names = self.place.list("logs")?;
        let ids = names.iter().filter_map(|name| name.split('/').nth(1)?.parse().ok());
        Ok(ids.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Removes the logs of a template.
    pub(crate) fn remove_logs(&self, id: &TemplateId) -> Result<(), Error> {
        self.place.list(&format!("logs/{id}"))?.iter().try_for_each(|name| self.place.remove(name))
    }

    fn images_below(&self, below: &str) -> Result<Vec<ImageObject>, Error> {
        Ok(self.place.list(below)?.iter().filter_map(|name| ImageObject::named(name)).collect())
    }

    fn temporary(&self) -> PathBuf {
        self.scratch.join(format!("log-{}", ulid::Ulid::generate()))
    }
}

fn log(id: &TemplateId, attempt: u32) -> String {
    format!("logs/{id}/{attempt}.ndjson")
}

fn create(path: &Path) -> Result<File, Error> {
    File::options().read(true).write(true).create_new(true).open(path).map_err(Error::file(path))
}

fn sha256(mut file: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            len => hash.update(&buffer[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn object(digest: &str, attempt: u32) -> ImageObject {
        ImageObject { digest: digest.to_owned(), id: TemplateId::new(ulid::Ulid::from_parts(1, 2)), attempt }
    }

    fn digest(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn open(dir: &Path) -> Objects {
        Objects::open(dir.join("objects").to_str().unwrap(), "node", dir).unwrap()
    }

    #[test]
    fn an_image_comes_back_as_it_went_with_its_holes() {
        let dir = tempfile::tempdir().unwrap();
        let objects = open(dir.path());
        let image = dir.path().join("image");
        let file = File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"in the middle", 10 << 20).unwrap();
        let mut content = vec![0; 64 << 20];
        content[10 << 20..][..13].copy_from_slice(b"in the middle");
        let digest = digest(&content);
        objects.put_image(&object(&digest, 1), &image).unwrap();
        let back = dir.path().join("back");
        assert!(objects.fetch_image(&digest, 64 << 20, &back).unwrap());
        assert_eq!(fs::read(&back).unwrap(), content);
        assert!(fs::metadata(&back).unwrap().blocks() < 1_000);
        assert!(objects.fetch_image(&digest, (64 << 20) - 1, &dir.path().join("large")).is_err());
        assert_eq!(objects.images().unwrap(), [object(&digest, 1)]);
        objects.remove_image(&object(&digest, 1)).unwrap();
        assert_eq!(objects.images().unwrap(), []);
        assert!(!objects.fetch_image(&digest, 64 << 20, &dir.path().join("none")).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("objects/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn an_image_with_other_content_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let objects = open(dir.path());
        let image = dir.path().join("image");
        let digest = digest(b"right");
        for (attempt, content) in [(1, "wrong"), (2, "right")] {
            fs::write(&image, content).unwrap();
            objects.put_image(&object(&digest, attempt), &image).unwrap();
        }
        let back = dir.path().join("back");
        assert!(objects.fetch_image(&digest, 100, &back).unwrap());
        assert_eq!(fs::read(&back).unwrap(), b"right");
        objects.remove_image(&object(&digest, 2)).unwrap();
        let none = dir.path().join("none");
        assert!(!objects.fetch_image(&digest, 100, &none).unwrap());
        assert!(!none.exists());
    }

    #[test]
    fn a_log_is_put_once_and_a_former_life_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let objects = open(dir.path());
        let id = object("", 1).id;
        for text in ["first", "second"] {
            objects.put_log(&id, 1, |out| out.write_all(text.as_bytes()).map_err(Error::file("log"))).unwrap();
        }
        let refused = objects.put_log(&id, 2, |_| Err(Error::NotFound));
        assert!(matches!(refused, Err(Error::NotFound)));
        let logs = objects.fetch_logs(&id, 2).unwrap();
        assert_eq!(fs::read(logs.path().join(id.as_str()).join("1.ndjson")).unwrap(), b"first");
        assert_eq!(objects.logged().unwrap(), std::slice::from_ref(&id));
        objects.remove_logs(&id).unwrap();
        assert_eq!(objects.logged().unwrap(), []);
        let tmp = dir.path().join("objects/tmp");
        for name in ["node.7", "other.7"] {
            fs::write(tmp.join(name), "half").unwrap();
        }
        open(dir.path());
        assert!(!tmp.join("node.7").exists() && tmp.join("other.7").exists());
    }
}
