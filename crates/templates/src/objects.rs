//! What the hosts of one service share beside the database: a directory that all of them mount. An object appears under its name
//! completely or not at all, and never changes.
//!
//! ```text
//!   images/<sha256>/<id>.<attempt>      an image, by the attempt that made it
//!   logs/<id>/<attempt>.ndjson          the log of an attempt, once its template has ended
//!   tmp/<node>.<number>                 what a host has not finished
//! ```
//!
//! The name of an image holds the attempt, so that a host which lost its attempt takes nothing from the one that has it now: whoever
//! collects asks the database whether that attempt may still end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::artifact::remove_file;
use crate::error::Error;
use crate::template::TemplateId;

/// How often a directory that others remove is made again.
const LINK_TRIES: u32 = 10;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Objects {
    dir: PathBuf,
    node: String,
    number: AtomicU64,
}

/// An image among the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageObject {
    pub(crate) digest: String,
    pub(crate) id: TemplateId,
    pub(crate) attempt: u32,
}

impl Objects {
    /// Makes the directories, and removes what a former life of this host left unfinished.
    pub(crate) fn open(dir: &Path, node: &str) -> Result<Self, Error> {
        for part in ["images", "logs", "tmp"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(Error::file(&part))?;
        }
        for name in names(&dir.join("tmp"))? {
            if name.split_once('.').is_some_and(|(of, _)| of == node) {
                remove_file(&dir.join("tmp").join(name))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), node: node.to_owned(), number: AtomicU64::new(0) })
    }

    /// Where the logs of ended templates are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Puts an image, durably.
    pub(crate) fn put_image(&self, object: &ImageObject, image: &Path) -> Result<(), Error> {
        self.put(&self.image(object), |out| {
            File::open(image).and_then(|image| copy(&image, out)).map_err(Error::file(image))
        })
    }

    /// Puts the log of an attempt, durably; `write` writes it. Nothing happens if it is there.
    pub(crate) fn put_log(
        &self,
        id: &TemplateId,
        attempt: u32,
        write: impl FnOnce(&mut File) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.put(&self.log(id, attempt), write)
    }

    /// Copies an image of that digest to the file `to`, durably, and makes sure that it is one. `false` when there is none.
    pub(crate) fn fetch_image(&self, digest: &str, to: &Path) -> Result<bool, Error> {
        for object in self.images_of(digest)? {
            let from = self.image(&object);
            let source = match File::open(&from) {
                Ok(source) => source,
                // It was collected since; another host may have made it again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::file(&from)(error)),
            };
            let file = File::options().read(true).write(true).create_new(true).open(to).map_err(Error::file(to))?;
            copy(&source, &file).and_then(|()| file.sync_all()).map_err(Error::file(to))?;
            if sha256(&file).map_err(Error::file(to))? == digest {
                return Ok(true);
            }
            tracing::error!(object = %from.display(), "an image has other content than its name says; it is not used");
            remove_file(to)?;
        }
        Ok(false)
    }

    /// The images that are there.
    pub(crate) fn images(&self) -> Result<Vec<ImageObject>, Error> {
        let mut images = Vec::new();
        for digest in names(&self.dir.join("images"))? {
            images.extend(self.images_of(&digest)?);
        }
        Ok(images)
    }

    /// Removes an image, which may be gone already.
    pub(crate) fn remove_image(&self, object: &ImageObject) -> Result<(), Error> {
        remove_file(&self.image(object))?;
        // The directory stays as long as there are others of that digest.
        drop(fs::remove_dir(self.dir.join("images").join(&object.digest)));
        Ok(())
    }

    /// The templates that have logs here.
    pub(crate) fn logged(&self) -> Result<Vec<TemplateId>, Error> {
        Ok(names(&self.logs())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn images_of(&self, digest: &str) -> Result<Vec<ImageObject>, Error> {
        let read = |name: &String| {
            let (id, attempt) = name.split_once('.')?;
            Some(ImageObject { digest: digest.to_owned(), id: id.parse().ok()?, attempt: attempt.parse().ok()? })
        };
        Ok(names(&self.dir.join("images").join(digest))?.iter().filter_map(read).collect())
    }

    fn image(&self, object: &ImageObject) -> PathBuf {
        self.dir.join("images").join(&object.digest).join(format!("{}.{}", object.id, object.attempt))
    }

    fn log(&self, id: &TemplateId, attempt: u32) -> PathBuf {
        self.logs().join(id.as_str()).join(format!("{attempt}.ndjson"))
    }

    /// Writes a temporary file and gives it its name, unless that is taken.
    fn put(&self, path: &Path, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join("tmp").join(format!("{}.{number}", self.node));
        let file = File::create_new(&temporary).map_err(Error::file(&temporary));
        let put = file.and_then(|mut file| {
            write(&mut file)?;
            file.sync_all().map_err(Error::file(&temporary))?;
            link(&temporary, path).map_err(Error::file(path))
        });
        remove_file(&temporary)?;
        put
    }
}

/// Gives a file a name that nobody has, durably; if somebody has it, the object is there already.
fn link(temporary: &Path, path: &Path) -> io::Result<()> {
    let dir = path.parent().expect("an object is in a directory");
    for attempt in 1.. {
        fs::create_dir_all(dir)?;
        match fs::hard_link(temporary, path) {
            // Somebody removed the directory as empty in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < LINK_TRIES => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            linked => {
                linked?;
                File::open(dir)?.sync_all()?;
                return File::open(dir.parent().expect("which is in another"))?.sync_all();
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// The names in a directory, sorted; none if it is not there.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Error::file(dir))?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Copies content and leaves holes out.
fn copy(from: &File, to: &File) -> io::Result<()> {
    let len = from.metadata()?.len();
    to.set_len(len)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut end = 0;
    loop {
        let mut at = match seek(from, SeekFrom::Data(end)) {
            Ok(at) => at,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        end = seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let piece = usize::try_from((end - at).min(COPY_BYTES.try_into().expect("usize fits in u64")))
                .expect("it is small");
            from.read_exact_at(&mut buffer[..piece], at)?;
            to.write_all_at(&buffer[..piece], at)?;
            at += u64::try_from(piece).expect("usize fits in u64");
        }
    }
}

fn sha256(mut file: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    seek(file, SeekFrom::Start(0))?;
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

    use super::*;

    fn object(digest: &str, attempt: u32) -> ImageObject {
        ImageObject { digest: digest.to_owned(), id: TemplateId::new(ulid::Ulid::from_parts(1, 2)), attempt }
    }

    fn digest(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_image_comes_back_as_it_went_with_its_holes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(&dir.path().join("objects"), "node").unwrap();
        let image = dir.path().join("image");
        let file = File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"in the middle", 10 << 20).unwrap();
        let mut content = vec![0; 64 << 20];
        content[10 << 20..][..13].copy_from_slice(b"in the middle");
        let digest = digest(&content);
        objects.put_image(&object(&digest, 1), &image).unwrap();
        let back = dir.path().join("back");
        assert!(objects.fetch_image(&digest, &back).unwrap());
        assert_eq!(fs::read(&back).unwrap(), content);
        assert!(fs::metadata(&back).unwrap().blocks() < 1_000);
        assert_eq!(objects.images().unwrap(), [object(&digest, 1)]);
        objects.remove_image(&object(&digest, 1)).unwrap();
        assert_eq!(objects.images().unwrap(), []);
        assert!(!objects.fetch_image(&digest, &dir.path().join("none")).unwrap());
        assert_eq!(names(&dir.path().join("objects/tmp")).unwrap(), [""; 0]);
    }

    #[test]
    fn an_image_with_other_content_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(&dir.path().join("objects"), "node").unwrap();
        let image = dir.path().join("image");
        let digest = digest(b"right");
        for (attempt, content) in [(1, "wrong"), (2, "right")] {
            fs::write(&image, content).unwrap();
            objects.put_image(&object(&digest, attempt), &image).unwrap();
        }
        let back = dir.path().join("back");
        assert!(objects.fetch_image(&digest, &back).unwrap());
        assert_eq!(fs::read(&back).unwrap(), b"right");
        objects.remove_image(&object(&digest, 2)).unwrap();
        let none = dir.path().join("none");
        assert!(!objects.fetch_image(&digest, &none).unwrap());
        assert!(!none.exists());
    }

    #[test]
    fn a_log_is_put_once_and_a_former_life_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(dir.path(), "node").unwrap();
        let id = TemplateId::new(ulid::Ulid::from_parts(1, 2));
        for text in ["first", "second"] {
            objects.put_log(&id, 1, |out| out.write_all(text.as_bytes()).map_err(Error::file("log"))).unwrap();
        }
        let refused = objects.put_log(&id, 2, |_| Err(Error::NotFound));
        assert!(matches!(refused, Err(Error::NotFound)));
        assert_eq!(fs::read(objects.logs().join(id.as_str()).join("1.ndjson")).unwrap(), b"first");
        assert_eq!(objects.logged().unwrap(), [id]);
        for name in ["node.7", "other.7"] {
            fs::write(dir.path().join("tmp").join(name), "half").unwrap();
        }
        Objects::open(dir.path(), "node").unwrap();
        assert_eq!(names(&dir.path().join("tmp")).unwrap(), ["other.7"]);
    }
}
