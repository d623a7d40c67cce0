//! Where the files of an image are: one trait for directories, archives and registries. All reads are bounded.

use std::fmt::{Debug, Formatter};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fstree::{Kind, SourceId, Sources, Tree};

use crate::digest::Digest;
use crate::error::Error;
use crate::flatten::tree_of_tar;
use crate::limits::Limits;

/// A place that holds the files of an image.
pub(crate) trait Source: Debug + Send + Sync {
    /// Opens one of them. `size` is what was announced for it.
    fn open(&self, what: What<'_>, size: Option<u64>) -> Result<Blob, Error>;
}

/// How a file of an image is named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    /// By its path in a layout or an archive.
    File(&'a str),
    /// A manifest or an index.
    Manifest(&'a Digest),
    /// A config or a layer.
    Blob(&'a Digest),
}

impl What<'_> {
    /// The path in a layout (OCI image specification, image-layout.md).
    fn path(self) -> String {
        match self {
            Self::File(path) => path.to_owned(),
            Self::Manifest(digest) | Self::Blob(digest) => format!("blobs/sha256/{}", digest.hex()),
        }
    }
}

/// One file on its way, and its size.
pub(crate) struct Blob {
    reader: Box<dyn Read + Send>,
    /// Bytes left.
    len: u64,
}

/// The files below a directory.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Source for Directory {
    fn open(&self, what: What<'_>, _size: Option<u64>) -> Result<Blob, Error> {
        let name = what.path();
        let path = self.0.join(&name);
        // Asked before it is opened: opening a pipe waits for who writes it.
        if !fs::metadata(&path).map_err(Error::file(&path))?.is_file() {
            return Err(Error::Missing { what: "file", name });
        }
        let file = File::open(&path).map_err(Error::file(&path))?;
        let len = file.metadata().map_err(Error::file(&path))?.len();
        Ok(Blob::new(file, len))
    }
}

/// The members of an uncompressed tar, as a tree: archives of `docker save` name layers through symbolic links.
#[derive(Debug)]
pub(crate) struct Archive(Tree);

impl Archive {
    pub(crate) fn open(file: &Path, limits: &Limits) -> Result<Self, Error> {
        Ok(Self(tree_of_tar(file, limits, 1)?))
    }
}

impl Source for Archive {
    fn open(&self, what: What<'_>, _size: Option<u64>) -> Result<Blob, Error> {
        let (tree, name) = (&self.0, what.path());
        let missing = || Error::Missing { what: "member", name: name.clone() };
        let node = tree.resolve(name.as_bytes()).ok().and_then(|found| found.node).ok_or_else(missing)?;
        let Kind::File(content) = &tree.node(node).kind else { return Err(missing()) };
        // A member is one run of the archive, or nothing.
        match content.segments() {
            [] if content.size_bytes() == 0 => Ok(Blob::new(io::empty(), 0)),
            [run] if run.len_bytes == content.size_bytes() => {
                let part = Part { sources: tree.sources.clone(), source: run.source, offset: run.source_offset };
                Ok(Blob::new(part, run.len_bytes))
            }
            _ => Err(missing()),
        }
    }
}

/// A source from an offset on.
struct Part {
    sources: Sources,
    source: SourceId,
    offset: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.sources.get(self.source).read_exact_at(buffer, self.offset)?;
        self.offset += u64::try_from(buffer.len()).expect("usize fits in u64");
        Ok(buffer.len())
    }
}

/// Reads a small file whole.
pub(crate) fn document(source: &dyn Source, name: &str, limits: &Limits) -> Result<Vec<u8>, Error> {
    read_document(source.open(What::File(name), None)?, name, limits)
}

/// Reads a small blob whole and checks size and digest.
pub(crate) fn verified(source: &dyn Source, what: What<'_>, size: u64, limits: &Limits) -> Result<Vec<u8>, Error> {
    let (What::Manifest(digest) | What::Blob(digest)) = what else { unreachable!("what has a digest is verified") };
    if size > limits.json_bytes {
        return Err(Error::Limit { what: format!("the size of {digest}"), max: limits.json_bytes });
    }
    let blob = source.open(what, Some(size))?;
    check_size(&digest.to_string(), size, blob.len())?;
    let bytes = read_document(blob, &digest.to_string(), limits)?;
    check_digest("the digest of a document", digest, &Digest::of(&bytes))?;
    Ok(bytes)
}

/// Announced and real digest have to be the same.
pub(crate) fn check_digest(what: &str, expected: &Digest, found: &Digest) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch { what: what.to_owned(), expected: expected.to_string(), found: found.to_string() })
}

/// Announced and real size have to be the same before anything is read.
pub(crate) fn check_size(what: &str, expected: u64, found: u64) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    let bytes = |number| format!("{number} bytes");
    Err(Error::Mismatch { what: format!("the size of {what}"), expected: bytes(expected), found: bytes(found) })
}

fn read_document(mut blob: Blob, name: &str, limits: &Limits) -> Result<Vec<u8>, Error> {
    if blob.len() > limits.json_bytes {
        return Err(Error::Limit { what: format!("the size of {name}"), max: limits.json_bytes });
    }
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).map_err(|source| Error::reading(source, Error::file(name)))?;
    Ok(bytes)
}

impl Blob {
    /// The first `len` bytes that `reader` gives.
    pub(crate) fn new(reader: impl Read + Send + 'static, len: u64) -> Self {
        Self { reader: Box::new(reader), len }
    }

    /// Bytes left to read.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl Debug for Blob {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.len).unwrap_or(usize::MAX).min(buffer.len());
        if max == 0 {
            return Ok(0);
        }
        let len = self.reader.read(&mut buffer[..max])?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.len -= u64::try_from(len).expect("usize fits in u64");
        Ok(len)
    }
}
