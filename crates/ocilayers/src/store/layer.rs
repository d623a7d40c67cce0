//! A layer that is open: its tar as bytes, and as a change of a tree.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use fstree::tar::{Reader, TarError};
use fstree::{Addition, Diff, Kind};

use super::index::{FileReader, Index, Run, Skeleton};
use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::whiteout;

/// How hard zstd tries: about as fast as a disk writes.
const BLOB_LEVEL: i32 = 3;

/// A layer: an uncompressed tar, verified, open. As long as it, or a tree made of it, is there, no store evicts it.
#[derive(Clone, Debug)]
pub struct Layer {
    diff_id: Digest,
    size: u64,
    bytes: Bytes,
}

/// Where the tar is.
#[derive(Clone, Debug)]
enum Bytes {
    /// In a file of its own.
    Tar(Arc<File>),
    /// In a store.
    Kept(Arc<Kept>),
}

/// A layer in a store.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) index: Index,
    /// Holds the lock that keeps the layer from being evicted.
    pub(super) content: Arc<File>,
}

impl Layer {
    /// A tar that was hashed just now and is not part of a store.
    pub(crate) fn of_file(diff_id: Digest, size: u64, file: File) -> Self {
        Self { diff_id, size, bytes: Bytes::Tar(Arc::new(file)) }
    }

    pub(super) fn of_kept(diff_id: Digest, kept: Kept) -> Self {
        Self { diff_id, size: kept.index.tar_bytes, bytes: Bytes::Kept(Arc::new(kept)) }
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

    /// Writes the tar compressed with zstd, as [`crate::Store::insert`] takes it.
    ///
    /// # Errors
    /// It can't be read, or `out` not written.
    pub fn write_blob(&self, out: impl io::Write) -> io::Result<()> {
        zstd::stream::copy_encode(self.reader(), out, BLOB_LEVEL)
    }

    /// A reader of the tar from its start.
    pub(crate) fn reader(&self) -> Box<dyn Read> {
        match &self.bytes {
            Bytes::Tar(file) => Box::new(FileReader::new(file, 0)),
            Bytes::Kept(kept) => Box::new(TarReader::new(kept)),
        }
    }

    /// What the layer does to the tree below it.
    pub(crate) fn diff(&self, limits: &Limits) -> Result<Diff, Error> {
        let diff = match &self.bytes {
            Bytes::Tar(file) => fstree::tar::read(Arc::<File>::clone(file), self.size, &limits.tree),
            Bytes::Kept(kept) => kept.diff(&limits.tree),
        };
        let diff = diff.map_err(|source| Error::Archive { layer: self.diff_id.to_string(), source })?;
        whiteout::split(diff, &self.diff_id.to_string())
    }
}

impl Kept {
    /// The entries, their contents in the content file.
    fn diff(&self, limits: &fstree::Limits) -> Result<Diff, TarError> {
        let mut diff = Diff::default();
        let id = diff.sources.add(Arc::<File>::clone(&self.content));
        let mut reader = Reader::new(self.index.headers(), id, limits);
        while let Some(mut addition) = reader.next_addition()? {
            if let Addition::Entry { node, .. } = &mut addition
                && let Kind::File(content) = &mut node.kind
            {
                content.relocate(|run| self.place(run.source_offset))?;
            }
            diff.additions.push(addition);
        }
        Ok(diff)
    }

    fn place(&self, offset: u64) -> Result<u64, TarError> {
        let lost = || io::Error::new(io::ErrorKind::InvalidData, "the index of the layer does not say where it is");
        self.index.place(offset).ok_or_else(|| TarError::Read { offset, source: lost() })
    }
}

/// The tar of a kept layer, put together again.
struct TarReader {
    kept: Arc<Kept>,
    pieces: Box<dyn Iterator<Item = (u64, Option<Run>)>>,
    /// As much of the skeleton as comes next.
    skeleton: io::Take<Skeleton>,
    /// The run behind that.
    content: io::Take<FileReader>,
}

impl TarReader {
    fn new(kept: &Arc<Kept>) -> Self {
        Self {
            kept: Arc::clone(kept),
            pieces: Box::new(kept.index.pieces()),
            skeleton: kept.index.skeleton().take(0),
            content: FileReader::new(&kept.content, 0).take(0),
        }
    }
}

impl Read for TarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let in_skeleton = self.skeleton.limit() > 0;
            let len = if in_skeleton { self.skeleton.read(buffer) } else { self.content.read(buffer) }?;
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
            if in_skeleton || self.content.limit() > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((skeleton, run)) = self.pieces.next() else { return Ok(0) };
            self.skeleton.set_limit(skeleton);
            let Run { content_offset, len, .. } = run.unwrap_or_default();
            self.content = FileReader::new(&self.kept.content, content_offset).take(len);
        }
    }
}
