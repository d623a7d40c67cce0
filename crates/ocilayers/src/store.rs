//! The layer store: uncompressed tars, each verified once and then named by its diff_id.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use fstree::Diff;
use rayon::prelude::*;

use crate::blobs::{check_digest, check_size};
use crate::decompress::{self, Bounded, Compression};
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::image::{Image, LayerBlob};
use crate::limits::Limits;
use crate::whiteout;

/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;
/// Buffers of that size on their way from one thread to another.
const BUFFERS: usize = 4;

/// A directory of layers. A layer is there whole or not at all; several processes may use one store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    limits: Limits,
}

/// A layer: an uncompressed tar, verified, open.
#[derive(Clone, Debug)]
pub struct Layer {
    diff_id: Digest,
    size: u64,
    file: Arc<File>,
}

impl Layer {
    /// A tar that was hashed just now and is not part of a store.
    pub(crate) fn of_file(diff_id: Digest, size: u64, file: File) -> Self {
        Self { diff_id, size, file: Arc::new(file) }
    }

    /// Digest of the tar.
    #[must_use]
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Length of the tar in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// A reader of the tar from its start.
    pub(crate) fn reader(&self) -> impl Read + use<> {
        FileReader { file: Arc::clone(&self.file), offset: 0 }
    }

    /// What the layer does to the tree below it.
    pub(crate) fn diff(&self, limits: &Limits) -> Result<Diff, Error> {
        let diff = fstree::tar::read(self.file.clone(), self.size, &limits.tree);
        let diff = diff.map_err(|source| Error::Archive { layer: self.diff_id.to_string(), source })?;
        whiteout::split(diff, &self.diff_id.to_string())
    }
}

/// Reads an open file by offset: clones of one file do not share a position.
struct FileReader {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let len = self.file.read_at(buffer, self.offset)?;
        self.offset += u64::try_from(len).expect("usize fits in u64");
        Ok(len)
    }
}

impl Store {
    /// The store in `dir`, made if needed. `limits` hold for all layers that come in.
    ///
    /// # Errors
    /// The directory can't be made.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        Ok(Self { dir: dir.to_owned(), limits })
    }

    /// The layer of that diff_id, if the store has it.
    ///
    /// # Errors
    /// It is there and can't be opened.
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, Error> {
        let path = self.path(diff_id);
        match File::open(&path) {
            Ok(file) => {
                let size = file.metadata().map_err(Error::file(&path))?.len();
                Ok(Some(Layer { diff_id: *diff_id, size, file: Arc::new(file) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// All layers of `image`, lowest first, those that are missing verified, uncompressed and kept; `threads` at a time.
    ///
    /// # Errors
    /// A layer that is not what its digests and size say, that can't be decompressed, or that passes a limit.
    pub fn layers(&self, image: &Image, threads: Option<usize>) -> Result<Vec<Layer>, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build().map_err(Error::Threads)?;
        let layers = image.layers();
        // The largest first: whoever begins with it at the end works alone.
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(layers[at].blob.map_or(0, |(_, size)| size)));
        let spool = if layers.len() < pool.current_num_threads() { spool_by_two } else { spool_by_one };
        let fetch = |at| Ok((at, self.fetch(image, &layers[at], spool)?));
        let fetched: Result<Vec<_>, Error> = pool.install(|| order.into_iter().par_bridge().map(fetch).collect());
        let mut fetched = fetched?;
        fetched.sort_by_key(|(at, _)| *at);
        Ok(fetched.into_iter().map(|(_, layer)| layer).collect())
    }

    fn fetch(&self, image: &Image, layer: &LayerBlob, spool: Spool) -> Result<Layer, Error> {
        if let Some(known) = self.get(&layer.diff_id)? {
            return Ok(known);
        }
        let blob = match (&layer.blob, &layer.member) {
            (Some((digest, _)), _) => image.blobs.blob(digest)?,
            (None, member) => image.blobs.open(member.as_deref().unwrap_or_default())?,
        };
        let digest = layer.blob.map_or(layer.diff_id, |(digest, _)| digest);
        if let Some((_, size)) = layer.blob {
            check_size(&format!("layer {digest}"), size, blob.len())?;
        }
        let wrong = |source| Error::Decompress { digest, source };
        let blob_bytes = blob.len();
        let mut blob = Hashing::new(blob);
        let spooled = {
            let (plain, compression) = decompress::reader(&mut blob).map_err(wrong)?;
            warn_of_media_type(layer, compression);
            let mut plain = Bounded::new(plain, blob_bytes, &self.limits);
            spool(&mut plain, Hashing::new(self.temporary()?)).map_err(|error| match error {
                SpoolError::Read(source) => wrong(source),
                SpoolError::Write(source) => Error::File { path: self.dir.clone(), source },
            })?
        };
        // What follows the archive in the blob is part of what was announced.
        io::copy(&mut blob, &mut io::sink()).map_err(wrong)?;
        let (_, found, _) = blob.finish();
        if layer.blob.is_some() {
            check_digest(&format!("the digest of layer {digest}"), &digest, &found)?;
        }
        check_digest(&format!("the diff_id of layer {digest}"), &layer.diff_id, &spooled.diff_id)?;
        self.keep(spooled)
    }

    /// Keeps a change as a layer.
    ///
    /// # Errors
    /// A content can't be read, or the store can't be written.
    pub fn commit(&self, diff: &Diff) -> Result<Layer, Error> {
        let layer = whiteout::join(diff)?;
        let file = self.temporary()?;
        let mut out = io::BufWriter::with_capacity(CHUNK, Hashing::new(file));
        let wrap = |source| Error::Archive { layer: "of the step".to_owned(), source };
        fstree::tar::write_diff(&layer, &mut out).map_err(wrap)?;
        let out =
            out.into_inner().map_err(|error| Error::File { path: self.dir.clone(), source: error.into_error() })?;
        let (file, diff_id, size) = out.finish();
        self.keep(Spooled { file, diff_id, size })
    }

    fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(format!("{}.tar", diff_id.hex()))
    }

    fn temporary(&self) -> Result<tempfile::NamedTempFile, Error> {
        tempfile::Builder::new().prefix(".partial-").tempfile_in(&self.dir).map_err(Error::file(&self.dir))
    }

    /// Gives a finished file its name: from then on it is a layer, also after a crash.
    fn keep(&self, spooled: Spooled) -> Result<Layer, Error> {
        let Spooled { file, diff_id, size } = spooled;
        let path = self.path(&diff_id);
        file.as_file().sync_data().map_err(Error::file(&path))?;
        let file = file.persist(&path).map_err(|error| Error::File { path: path.clone(), source: error.error })?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(Error::file(&self.dir))?;
        Ok(Layer { diff_id, size, file: Arc::new(file) })
    }
}

/// A layer on its way into the store.
struct Spooled {
    file: tempfile::NamedTempFile,
    diff_id: Digest,
    size: u64,
}

/// Moves plain bytes to where they are hashed and written.
type Spool = fn(&mut dyn Read, Hashing<tempfile::NamedTempFile>) -> Result<Spooled, SpoolError>;

/// Which side of a spool failed.
enum SpoolError {
    Read(io::Error),
    Write(io::Error),
}

impl Spooled {
    fn of(out: Hashing<tempfile::NamedTempFile>) -> Self {
        let (file, diff_id, size) = out.finish();
        Self { file, diff_id, size }
    }
}

fn spool_by_one(plain: &mut dyn Read, mut out: Hashing<tempfile::NamedTempFile>) -> Result<Spooled, SpoolError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let len = fill(plain, &mut buffer).map_err(SpoolError::Read)?;
        if len == 0 {
            return Ok(Spooled::of(out));
        }
        out.write_all(&buffer[..len]).map_err(SpoolError::Write)?;
    }
}

/// Decompresses on this thread, hashes and writes on another. A few buffers go round between them.
fn spool_by_two(plain: &mut dyn Read, mut out: Hashing<tempfile::NamedTempFile>) -> Result<Spooled, SpoolError> {
    let (full, to_write) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
    let (free, to_fill) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || -> io::Result<Spooled> {
            for buffer in to_write {
                out.write_all(&buffer)?;
                // The other side may have come to its end.
                let _ = free.try_send(buffer);
            }
            Ok(Spooled::of(out))
        });
        let read = loop {
            let mut buffer = to_fill.try_recv().unwrap_or_default();
            buffer.resize(CHUNK, 0);
            match fill(plain, &mut buffer) {
                Ok(0) => break Ok(()),
                Ok(len) => buffer.truncate(len),
                Err(error) => break Err(SpoolError::Read(error)),
            }
            // The writer has failed; it says why.
            if full.send(buffer).is_err() {
                break Ok(());
            }
        };
        drop(full);
        let written = writer.join().expect("writing does not panic");
        read.and(written.map_err(SpoolError::Write))
    })
}

/// Reads until the buffer is full or the end has come: hashing and writing like large pieces.
fn fill(plain: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match plain.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn warn_of_media_type(layer: &LayerBlob, found: Compression) {
    let said = layer.media_type.as_deref().and_then(Compression::of_media_type);
    if said.is_some_and(|said| said != found) {
        tracing::warn!(diff_id = %layer.diff_id, media_type = ?layer.media_type, ?found, "the media type of a layer is wrong; its bytes decide");
    }
}
