//! Writing OCI image layouts (OCI image specification, image-layout.md).

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{
    Descriptor, ImageIndex, ImageManifestBuilder, MediaType, Platform, SCHEMA_VERSION, Sha256Digest,
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::limits::Limits;
use crate::select::REF_NAME;
use crate::store::Layer;

/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the config, which is the image's id.
    pub config: Digest,
}

/// Writes an image into the layout `dir` under `tag`; the layout is made if needed, and an image of that tag is replaced.
///
/// `config` is an OCI image config; its `rootfs.diff_ids` are set to those of `layers`. Layers are compressed with gzip,
/// which every tool reads. The same image gives the same bytes. Blobs come first and the index last, each under its name
/// only when complete: whoever reads meanwhile sees the image of before or the one of after.
///
/// # Errors
/// A layer can't be read, or the layout not written; an index that is there and can't be read is left as it is.
pub fn write(dir: &Path, tag: &str, mut config: Value, layers: &[Layer], limits: &Limits) -> Result<Written, Error> {
    let layout = Layout { dir: dir.to_owned() };
    layout.prepare()?;
    // An index that can't be read is found before the work is done.
    layout.index(limits)?;
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id().to_string()).collect();
    config["rootfs"] = serde_json::json!({ "type": "layers", "diff_ids": diff_ids });

    let blobs: Vec<Descriptor> =
        layers.par_iter().with_max_len(1).map(|layer| layout.layer(layer)).collect::<Result<_, _>>()?;
    let (config_digest, config) = layout.document(&config, MediaType::ImageConfig)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(blobs)
        .build()
        .expect("all that a manifest needs is set");
    let (manifest_digest, mut manifest) = layout.document(&manifest, MediaType::ImageManifest)?;

    manifest.set_platform(Some(Platform::default()));
    manifest.set_annotations(Some([(REF_NAME.to_owned(), tag.to_owned())].into()));
    let _only_writer = layout.lock()?;
    let mut index = layout.index(limits)?;
    let mut manifests = index.manifests().clone();
    let is_tagged = |descriptor: &Descriptor| {
        descriptor.annotations().as_ref().and_then(|all| all.get(REF_NAME)).is_some_and(|own| own == tag)
    };
    manifests.retain(|descriptor| !is_tagged(descriptor));
    manifests.push(manifest);
    index.set_manifests(manifests);
    layout.put("index.json", &json(&index))?;
    Ok(Written { manifest: manifest_digest, config: config_digest })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Through a value: its objects are ordered, the maps of annotations are not.
    let value = serde_json::to_value(value).expect("documents have string keys");
    serde_json::to_vec(&value).expect("documents have string keys")
}

/// A layout being written.
struct Layout {
    dir: PathBuf,
}

impl Layout {
    fn prepare(&self) -> Result<(), Error> {
        let blobs = self.dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file(&blobs))?;
        self.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Held from reading the index to writing it: of two writers at once neither may lose the image of the other. The lock is
    /// on the directory itself, which leaves no file.
    fn lock(&self) -> Result<File, Error> {
        let dir = File::open(&self.dir).map_err(Error::file(&self.dir))?;
        rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .map_err(Error::file(&self.dir))?;
        Ok(dir)
    }

    /// The index that is there, or an empty one.
    fn index(&self, limits: &Limits) -> Result<ImageIndex, Error> {
        let path = self.dir.join("index.json");
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(limits.json_bytes + 1).read_to_end(&mut bytes).map_err(Error::file(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut index = ImageIndex::default();
                index.set_schema_version(SCHEMA_VERSION);
                index.set_media_type(Some(MediaType::ImageIndex));
                return Ok(index);
            }
            Err(source) => return Err(Error::File { path, source }),
        };
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limits.json_bytes) {
            return Err(Error::Limit { what: format!("the size of {}", path.display()), max: limits.json_bytes });
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Document { what: path.display().to_string(), why: error.to_string() })
    }

    fn document(&self, value: &impl Serialize, media_type: MediaType) -> Result<(Digest, Descriptor), Error> {
        let bytes = json(value);
        let digest = Digest::of(&bytes);
        self.put(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
        let size = u64::try_from(bytes.len()).expect("usize fits in u64");
        Ok((digest, descriptor(media_type, &digest, size)))
    }

    /// Compresses a layer into a blob. No name and no time go into the gzip header: the same layer gives the same blob.
    fn layer(&self, layer: &Layer) -> Result<Descriptor, Error> {
        let blobs = self.dir.join("blobs/sha256");
        let failed = || Error::file(blobs.clone());
        let file = unfinished(&blobs).map_err(failed())?;
        let mut out = GzEncoder::new(Hashing::new(file), Compression::default());
        let mut reader = layer.reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let len = reader.read(&mut buffer).map_err(failed())?;
            if len == 0 {
                break;
            }
            out.write_all(&buffer[..len]).map_err(failed())?;
        }
        let (file, digest, size) = out.finish().map_err(failed())?.finish();
        persist(file, &blobs.join(digest.hex()))?;
        Ok(descriptor(MediaType::ImageLayerGzip, &digest, size))
    }

    /// Writes a small file; it appears whole.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        let dir = path.parent().expect("a file is in a directory");
        let mut file = unfinished(dir).map_err(Error::file(&path))?;
        file.write_all(bytes).map_err(Error::file(&path))?;
        persist(file, &path)
    }
}

/// A file that has no name that counts yet. Others read layouts too, where the umask lets them; a temporary file is its owner's alone.
fn unfinished(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(dir)
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    let save = || {
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(path.parent().expect("a file is in a directory"))?.sync_all()
    };
    save().map_err(Error::file(path))
}

fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Descriptor {
    let digest: Sha256Digest = digest.hex().parse().expect("64 hexadecimal digits");
    Descriptor::new(media_type, size, digest)
}
