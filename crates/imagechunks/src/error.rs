//! The one error of chunks.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

use crate::digest::Digest;
use crate::manifest::MANIFEST_BYTES_MAX;

/// Why an image was not packed, fetched or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no digest.
    #[error("a SHA-256 is 64 lower-case hexadecimal digits")]
    Digest,
    /// Bytes that are no manifest.
    #[error("the manifest can't be used: {0}")]
    Manifest(String),
    /// A name that no pack can have.
    #[error("'{0}' can't be the name of a pack: 1 to 200 of A-Z a-z 0-9 . _ - that do not begin with a dot")]
    PackName(String),
    /// A size that chunks can not have in the mean.
    #[error("chunks can't have {0} bytes in the mean: a multiple of 4 KiB up to 4 MiB")]
    ChunkBytes(u32),
    /// An image that is too large for its manifest.
    #[error(
        "the image has too many chunks: a manifest of {bytes} bytes, and at most {MANIFEST_BYTES_MAX} are read; larger chunks are needed"
    )]
    TooManyChunks {
        /// Bytes of the manifest.
        bytes: usize,
    },
    /// The image that is packed.
    #[error("can't read the image")]
    Image(#[source] io::Error),
    /// The pack that is made.
    #[error("can't write the pack")]
    Pack(#[source] io::Error),
    /// A range of a pack could not be had.
    #[error("can't read the bytes {} to {} of the pack {pack}", range.start, range.end)]
    Source {
        /// Which pack.
        pack: String,
        /// Which bytes of it.
        range: Range<u64>,
        /// Why.
        source: io::Error,
    },
    /// A source gave another number of bytes than it was asked for.
    #[error("of the bytes {} to {} of the pack {pack} came {got}", range.start, range.end)]
    Short {
        /// Which pack.
        pack: String,
        /// Which bytes of it.
        range: Range<u64>,
        /// How many came.
        got: usize,
    },
    /// A chunk is not what the manifest says.
    #[error("the bytes at {offset} of the pack {pack} are not the chunk {digest}: the pack is damaged or another one")]
    Chunk {
        /// Which it should be.
        digest: Digest,
        /// Where it was read.
        pack: String,
        /// And from which byte on.
        offset: u64,
    },
    /// Every chunk is what the manifest says, but the whole is not.
    #[error("the chunks make the image {found} and not {expected}: the manifest is wrong")]
    Whole {
        /// What the manifest says.
        expected: Digest,
        /// What came out.
        found: Digest,
    },
    /// A file.
    #[error("can't work on {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pool of threads.
    #[error("can't start threads")]
    Threads(#[source] io::Error),
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    pub(crate) fn manifest(why: impl Into<String>) -> Self {
        Self::Manifest(why.into())
    }
}
