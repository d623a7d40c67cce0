//! What the hosts of one service share beside the database: a directory that all of them mount, or a bucket of an object store. An
//! object appears under its name completely or not at all, and never changes.
//!
//! ```text
//!   manifests/<sha256>/<id>.<attempt>   which chunks an image has and where they are, by the attempt that made it
//!   packs/<id>.<attempt>.<ulid>         chunks that this attempt was the first to have
//!   layers/<sha256>                     a layer that a step made, compressed, by its diff_id
//!   images/<sha256>/<id>.<attempt>      a whole image, as versions before chunks put them
//!   logs/<id>/<attempt>.ndjson          the log of an attempt, once its template has ended
//! ```
//!
//! Names hold the attempt, so that a host which lost its attempt takes nothing from the one that has it now: whoever collects asks the
//! database whether that attempt may still end.

mod directory;
mod s3;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::artifact::remove_file;
use crate::error::Error;
use crate::template::{Template, TemplateId};

use directory::Directory;
use s3::S3;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Where objects are. Names are parts with `/` between them.
trait Place: Send + Sync + fmt::Debug {
    /// Puts a file, durably, under a name that nobody has. Nothing happens if somebody has it.
    fn put(&self, name: &str, file: &File) -> Result<(), Error>;

    /// Writes an object of at most so many bytes to a new file; `false` when there is none.
    fn get(&self, name: &str, to: &File, bytes_max: u64) -> Result<bool, Error>;

    /// The `len` bytes of an object from `at` on, or those up to its end; nothing when there is no object.
    fn read(&self, name: &str, at: u64, len: usize) -> Result<Option<Vec<u8>>, Error>;

    /// Removes an object, which may be gone already.
    fn remove(&self, name: &str) -> Result<(), Error>;

    /// The names that begin with this one and a `/`, sorted.
    fn list(&self, below: &str) -> Result<Vec<String>, Error>;
}

#[derive(Debug)]
pub(crate) struct Objects {
    place: Box<dyn Place>,
    /// Where this host writes what it is about to put.
    scratch: PathBuf,
}

/// The attempt that made something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) id: TemplateId,
    pub(crate) attempt: u32,
}

impl Origin {
    /// The attempt that a template is at.
    pub(crate) fn of(template: &Template) -> Self {
        Self { id: template.id.clone(), attempt: template.attempt }
    }

    /// Reads `ID.ATTEMPT`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (id, attempt) = name.split_once('.')?;
        let origin = Self { id: id.parse().ok()?, attempt: attempt.parse().ok()? };
        // One way to write it: a `+` or a leading zero is none of ours.
        (origin.to_string() == name).then_some(origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.attempt)
    }
}

/// A pack of chunks: who made it, and a name that no other try of the same attempt gives, for its chunks may be others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackObject {
    pub(crate) origin: Origin,
    /// The whole name.
    pub(crate) name: String,
}

impl PackObject {
    /// A new one.
    pub(crate) fn of(origin: &Origin) -> Self {
        Self { origin: origin.clone(), name: format!("{origin}.{}", ulid::Ulid::generate()) }
    }

    fn named(name: &str) -> Option<Self> {
        Some(Self { origin: Origin::named(name.rsplit_once('.')?.0)?, name: name.to_owned() })
    }
}

/// An image among the objects: its digest, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageObject {
    pub(crate) digest: String,
    pub(crate) origin: Origin,
}

impl ImageObject {
    fn name(&self, kind: &str) -> String {
        format!("{kind}/{}/{}", self.digest, self.origin)
    }

    fn named(kind: &str, name: &str) -> Option<Self> {
        let (digest, origin) = name.strip_prefix(kind)?.strip_prefix('/')?.split_once('/')?;
        Some(Self { digest: digest.to_owned(), origin: Origin::named(origin)? })
    }
}

/// Whole images, and what is put instead of them now.
const WHOLE: &str = "images";
const MANIFESTS: &str = "manifests";
const PACKS: &str = "packs";
const LAYERS: &str = "layers";

impl Objects {
    /// For `s3://BUCKET/PREFIX` or a directory. `scratch` is a directory of this host alone, swept when it starts; `node` is its name.
    pub(crate) fn open(place: &str, node: &str, scratch: &Path) -> Result<Self, Error> {
        let place: Box<dyn Place> = match place.strip_prefix("s3://") {
            Some(bucket) => Box::new(S3::open(bucket)?),
            None => Box::new(Directory::open(Path::new(place), node)?),
        };
        Ok(Self { place, scratch: scratch.to_owned() })
    }

    /// Puts a manifest, durably.
    pub(crate) fn put_manifest(&self, object: &ImageObject, manifest: &[u8]) -> Result<(), Error> {
        self.put_written(&object.name(MANIFESTS), |file| file.write_all(manifest).map_err(Error::file("a manifest")))
    }

    /// Puts a pack, durably.
    pub(crate) fn put_pack(&self, object: &PackObject, pack: &File) -> Result<(), Error> {
        self.place.put(&pack_name(&object.name), pack)
    }

    /// A manifest of at most so many bytes; nothing when there is none.
    pub(crate) fn manifest(&self, object: &ImageObject, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let temporary = self.temporary();
        let file = create(&temporary)?;
        let got = self.place.get(&object.name(MANIFESTS), &file, bytes_max).and_then(|there| {
            let mut bytes = Vec::new();
            let mut read = || {
                (&file).rewind()?;
                (&file).read_to_end(&mut bytes)
            };
            read().map_err(Error::file(&temporary))?;
            Ok(there.then_some(bytes))
        });
        remove_file(&temporary)?;
        got
    }

    /// These bytes of a pack; nothing when there is none.
    pub(crate) fn read_pack(&self, pack: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let (name, wanted) = (pack_name(pack), len(&range));
        let bytes = self.place.read(&name, range.start, wanted)?;
        match bytes.as_ref().map(Vec::len) {
            Some(found) if found != wanted => {
                let end = range.start + u64::try_from(found).expect("usize fits in u64");
                Err(Error::Object { name, why: format!("it ends before byte {}, at {end} at the latest", range.end) })
            }
            _ => Ok(bytes),
        }
    }

    /// The manifests that are there.
    pub(crate) fn manifests(&self) -> Result<Vec<ImageObject>, Error> {
        Ok(self.place.list(MANIFESTS)?.iter().filter_map(|name| ImageObject::named(MANIFESTS, name)).collect())
    }

    /// Removes a manifest, which may be gone already.
    pub(crate) fn remove_manifest(&self, object: &ImageObject) -> Result<(), Error> {
        self.place.remove(&object.name(MANIFESTS))
    }

    /// The packs that are there.
    pub(crate) fn packs(&self) -> Result<Vec<PackObject>, Error> {
        let names = self.place.list(PACKS)?;
        Ok(names.iter().filter_map(|name| PackObject::named(name.strip_prefix(PACKS)?.strip_prefix('/')?)).collect())
    }

    /// Removes a pack, which may be gone already.
    pub(crate) fn remove_pack(&self, pack: &str) -> Result<(), Error> {
        self.place.remove(&pack_name(pack))
    }

    /// Puts a layer, durably.
    pub(crate) fn put_layer(&self, name: &str, layer: &File) -> Result<(), Error> {
        self.place.put(&layer_name(name), layer)
    }

    /// A layer of at most so many bytes in a file without a name; nothing when there is none.
    pub(crate) fn layer(&self, name: &str, bytes_max: u64) -> Result<Option<File>, Error> {
        let temporary = self.temporary();
        let file = create(&temporary)?;
        let got = self.place.get(&layer_name(name), &file, bytes_max);
        remove_file(&temporary)?;
        if !got? {
            return Ok(None);
        }
        (&file).rewind().map_err(Error::file(temporary))?;
        Ok(Some(file))
    }

    /// The layers that are there.
    pub(crate) fn layers(&self) -> Result<Vec<String>, Error> {
        let names = self.place.list(LAYERS)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(LAYERS)?.strip_prefix('/')).map(str::to_owned).collect())
    }

    /// Removes a layer, which may be gone already.
    pub(crate) fn remove_layer(&self, name: &str) -> Result<(), Error> {
        self.place.remove(&layer_name(name))
    }

    fn put_written(&self, name: &str, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let put = write(&mut file).and_then(|()| self.place.put(name, &file));
        remove_file(&temporary)?;
        put
    }

    /// Puts the log of an attempt, durably; `write` writes it. Nothing happens if it is there.
    pub(crate) fn put_log(
        &self,
        id: &TemplateId,
        attempt: u32,
        write: impl FnOnce(&mut File) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.put_written(&log(id, attempt), write)
    }

    /// Writes a whole image of that digest and at most so many bytes to the file `to`, durably, and makes sure that it is one. `false` when
    /// there is none.
    pub(crate) fn fetch_image(&self, digest: &str, bytes_max: u64, to: &Path) -> Result<bool, Error> {
        for object in self.images_below(&format!("{WHOLE}/{digest}"))? {
            let file = create(to)?;
            // It may have been collected since; another host may have made it again.
            if self.place.get(&object.name(WHOLE), &file, bytes_max)? {
                file.sync_all().map_err(Error::file(to))?;
                if sha256(&file).map_err(Error::file(to))? == digest {
                    return Ok(true);
                }
                tracing::error!(
                    name = object.name(WHOLE),
                    "an image has other content than its name says; it is not used"
                );
            }
            remove_file(to)?;
        }
        Ok(false)
    }

    /// The bytes of the log of an attempt from `at` on, `len` of them or those up to its end; nothing when there is none.
    pub(crate) fn read_log(
        &self,
        id: &TemplateId,
        attempt: u32,
        at: u64,
        len: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.place.read(&log(id, attempt), at, len)
    }

    /// The whole images that are there.
    pub(crate) fn images(&self) -> Result<Vec<ImageObject>, Error> {
        self.images_below(WHOLE)
    }

    /// Removes a whole image, which may be gone already.
    pub(crate) fn remove_image(&self, object: &ImageObject) -> Result<(), Error> {
        self.place.remove(&object.name(WHOLE))
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
        Ok(self.place.list(below)?.iter().filter_map(|name| ImageObject::named(WHOLE, name)).collect())
    }

    /// A name of this host's own for what is about to be put, or was got.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.scratch.join(format!("object-{}", ulid::Ulid::generate()))
    }
}

fn layer_name(name: &str) -> String {
    format!("{LAYERS}/{name}")
}

fn pack_name(pack: &str) -> String {
    format!("{PACKS}/{pack}")
}

fn log(id: &TemplateId, attempt: u32) -> String {
    format!("logs/{id}/{attempt}.ndjson")
}

pub(crate) fn create(path: &Path) -> Result<File, Error> {
    File::options().read(true).write(true).create_new(true).open(path).map_err(Error::file(path))
}

/// How many bytes a range has. Whoever asks bounds it.
fn len(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).expect("a range is read into memory")
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
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn object(digest: &str, attempt: u32) -> ImageObject {
        let origin = Origin { id: TemplateId::new(ulid::Ulid::from_parts(1, 2)), attempt };
        ImageObject { digest: digest.to_owned(), origin }
    }

    fn digest(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As versions before chunks did.
    fn put_image(objects: &Objects, object: &ImageObject, image: &Path) {
        objects.place.put(&object.name(WHOLE), &File::open(image).unwrap()).unwrap();
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
        put_image(&objects, &object(&digest, 1), &image);
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
            put_image(&objects, &object(&digest, attempt), &image);
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
    fn packs_are_read_by_range_and_manifests_whole() {
        let dir = tempfile::tempdir().unwrap();
        let objects = open(dir.path());
        let object = object("00", 3);
        assert_eq!(objects.manifest(&object, 10).unwrap(), None);
        objects.put_manifest(&object, b"manifest").unwrap();
        assert_eq!(objects.manifest(&object, 8).unwrap().as_deref(), Some(&b"manifest"[..]));
        assert!(objects.manifest(&object, 7).is_err());
        assert_eq!(objects.manifests().unwrap(), std::slice::from_ref(&object));
        let pack = dir.path().join("pack");
        fs::write(&pack, "0123456789").unwrap();
        let packed = PackObject::of(&object.origin);
        let name = packed.name.clone();
        assert_ne!(PackObject::of(&object.origin), packed, "no name comes again");
        assert_eq!(objects.read_pack(&name, 0..1).unwrap(), None);
        objects.put_pack(&packed, &File::open(&pack).unwrap()).unwrap();
        assert_eq!(objects.read_pack(&name, 3..6).unwrap().as_deref(), Some(&b"345"[..]));
        assert!(objects.read_pack(&name, 8..11).is_err(), "it has no more than ten bytes");
        assert_eq!(objects.packs().unwrap(), std::slice::from_ref(&packed));
        objects.remove_pack(&name).unwrap();
        objects.remove_manifest(&object).unwrap();
        assert_eq!((objects.packs().unwrap(), objects.manifests().unwrap()), (vec![], vec![]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the objects and the pack alone");
    }

    #[test]
    fn an_attempt_is_written_one_way() {
        let origin = object("", 12).origin;
        assert_eq!(Origin::named(&origin.to_string()), Some(origin.clone()));
        for other in
            [format!("{}.012", origin.id), format!("{}.+12", origin.id), origin.id.to_string(), ".1".to_owned()]
        {
            assert_eq!(Origin::named(&other), None, "{other}");
        }
    }

    #[test]
    fn a_log_is_put_once_and_a_former_life_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let objects = open(dir.path());
        let id = object("", 1).origin.id;
        for text in ["first", "second"] {
            objects.put_log(&id, 1, |out| out.write_all(text.as_bytes()).map_err(Error::file("log"))).unwrap();
        }
        let refused = objects.put_log(&id, 2, |_| Err(Error::NotFound));
        assert!(matches!(refused, Err(Error::NotFound)));
        let read = |attempt, at, len| objects.read_log(&id, attempt, at, len).unwrap();
        assert_eq!(read(1, 0, 100).as_deref(), Some(&b"first"[..]));
        assert_eq!(read(1, 1, 3).as_deref(), Some(&b"irs"[..]));
        assert_eq!((read(1, 5, 100), read(1, 6, 100)), (Some(vec![]), Some(vec![])));
        assert_eq!(read(2, 0, 100), None);
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
