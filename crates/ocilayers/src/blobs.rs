//! Where the blobs of an image are: the files of a directory, or members of an archive. All reads are bounded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fstree::{Content, Kind, ReadAt, Tree};

use crate::digest::Digest;
use crate::error::Error;
use crate::flatten::tree_of_tar;
use crate::limits::Limits;

/// A place that holds files by name.
#[derive(Debug)]
pub(crate) enum Blobs {
    /// A directory.
    Directory(PathBuf),
    /// An archive, as the tree of its members: archives of `docker save` name layers through symbolic links.
    Archive { file: PathBuf, tree: Box<Tree> },
}

/// One file, and its size.
#[derive(Debug)]
pub(crate) struct Blob {
    source: Arc<dyn ReadAt>,
    offset: u64,
    /// Bytes left.
    len: u64,
}

impl Blobs {
    /// The files below a directory.
    pub(crate) fn directory(dir: &Path) -> Self {
        Self::Directory(dir.to_owned())
    }

    /// The members of an uncompressed tar.
    pub(crate) fn archive(file: &Path, limits: &Limits) -> Result<Self, Error> {
        Ok(Self::Archive { file: file.to_owned(), tree: Box::new(tree_of_tar(file, limits)?) })
    }

    /// Opens a blob by its digest.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Blob, Error> {
        self.open(&format!("blobs/sha256/{}", digest.hex()))
    }

    /// Opens a file by its name.
    pub(crate) fn open(&self, name: &str) -> Result<Blob, Error> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(name);
                // Asked before it is opened: opening a pipe waits for who writes it.
                if !fs::metadata(&path).map_err(Error::file(&path))?.is_file() {
                    return Err(Error::Missing { what: "file", name: name.to_owned() });
                }
                let file = File::open(&path).map_err(Error::file(&path))?;
                let len = file.metadata().map_err(Error::file(&path))?.len();
                Ok(Blob { source: Arc::new(file), offset: 0, len })
            }
            Self::Archive { file, tree } => {
                let missing = || Error::Missing { what: "member", name: name.to_owned() };
                let node = tree.resolve(name.as_bytes()).ok().and_then(|found| found.node).ok_or_else(missing)?;
                let Kind::File(content) = &tree.node(node).kind else { return Err(missing()) };
                let (offset, len) = place(content).ok_or_else(missing)?;
                let file = File::open(file).map_err(Error::file(file))?;
                Ok(Blob { source: Arc::new(file), offset, len })
            }
        }
    }

    /// Reads a small file whole.
    pub(crate) fn document(&self, name: &str, limits: &Limits) -> Result<Vec<u8>, Error> {
        read_document(self.open(name)?, name, limits)
    }

    /// Reads a small blob whole and checks size and digest.
    pub(crate) fn document_blob(&self, digest: &Digest, size: u64, limits: &Limits) -> Result<Vec<u8>, Error> {
        let blob = self.blob(digest)?;
        check_size(&digest.to_string(), size, blob.len())?;
        let bytes = read_document(blob, &digest.to_string(), limits)?;
        check_digest("the digest of a document", digest, &Digest::of(&bytes))?;
        Ok(bytes)
    }
}

/// Announced and real digest have to be the same.
pub(crate) fn check_digest(what: &str, expected: &Digest, found: &Digest) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch { what: what.to_owned(), expected: expected.to_string(), found: found.to_string() })
}

/// A member of an archive is one run of it, or nothing.
fn place(content: &Content) -> Option<(u64, u64)> {
    match content.segments() {
        [] => Some((0, content.size_bytes())).filter(|(_, len)| *len == 0),
        [segment] if segment.len_bytes == content.size_bytes() => Some((segment.source_offset, segment.len_bytes)),
        _ => None,
    }
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
    blob.read_to_end(&mut bytes).map_err(Error::file(name))?;
    Ok(bytes)
}

impl Blob {
    /// Bytes left to read.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX).min(buffer.len());
        self.source.read_exact_at(&mut buffer[..len], self.offset)?;
        let passed = u64::try_from(len).expect("usize fits in u64");
        self.offset += passed;
        self.len -= passed;
        Ok(len)
    }
}
