//! The one error of the service.

use std::io;
use std::path::PathBuf;

use drydock::JsonAnswer;
use thiserror::Error;

use crate::store::StoreError;
use crate::template::{Invalid, TemplateId};

/// Why something was not done. The first group is the caller's to mend, the second the operator's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none, or it is another owner's.
    #[error("there is no such template of yours; a name is found once a build of it is ready, until then use the id")]
    NotFound,
    /// There is no such attempt of it.
    #[error("attempt {attempt} was not made; there are {made}")]
    NoAttempt {
        /// Which was asked for.
        attempt: u32,
        /// How many there are.
        made: u32,
    },
    /// The name is not one.
    #[error("'{given}' is not a template name: {why}")]
    Name {
        /// What was given, cut to what a name may have.
        given: String,
        /// What a name is.
        why: Invalid,
    },
    /// The Dockerfile was refused.
    #[error("the Dockerfile was refused")]
    Refused {
        /// Every problem of it.
        answer: Box<JsonAnswer>,
    },
    /// The base that was asked for is not that of the Dockerfile.
    #[error("the field `base` says '{asked}', but FROM names '{from}'; leave the field out")]
    BaseMismatch {
        /// In the request.
        asked: String,
        /// In the Dockerfile.
        from: String,
    },
    /// The size that was asked for.
    #[error("`disk_size_bytes` is {asked}; from {min} to {max} can be asked for")]
    DiskSize {
        /// What was asked for.
        asked: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Too many builds of one owner.
    #[error("{} of your builds are queued or running, and at most {limit} may be; wait for one or cancel it", active.len())]
    TooManyActive {
        /// How many may be.
        limit: u32,
        /// Those that are.
        active: Vec<TemplateId>,
    },
    /// An idempotency key came again with another request.
    #[error("this Idempotency-Key came before with another request; use a new key")]
    KeyReused,
    /// The owner's images take all they may.
    #[error(
        "your images take {used} bytes and this one would add {asked}; at most {max} are allowed: delete templates"
    )]
    OverQuota {
        /// What they take.
        used: u64,
        /// What this one would add.
        asked: u64,
        /// The most.
        max: u64,
    },
    /// It has ended already.
    #[error("the build has ended already, and there is nothing to cancel")]
    NotActive,

    /// All images together take all they may.
    #[error("the service has no room for more images; delete templates that are not used, or try again later")]
    StorageFull,
    /// The base image can't be opened.
    #[error("{0}")]
    Preview(String),
    /// The service can't build now.
    #[error("{0}")]
    NotReady(String),
    /// The store.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// A file.
    #[error("can't work on {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Objects without a database.
    #[error("`objects` is for hosts that share a database of PostgreSQL: set `database` too")]
    ObjectsAlone,
    /// An object, or the place of all.
    #[error("{name} among the objects: {why}")]
    Object {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An image that a template has.
    #[error(
        "the image {digest} is not among the objects, or none of that name has its content; its templates can't be used"
    )]
    ImageGone {
        /// Which.
        digest: String,
    },
    /// The image was fetched by who asked for it before, and could not be.
    #[error("the image {digest} could not be fetched: {why}")]
    NotFetched {
        /// Which.
        digest: String,
        /// Why.
        why: String,
    },
    /// An image of before there were chunks.
    #[error(
        "this image is kept whole, as versions before chunks did; build the template again with `no_cache` to have it in chunks"
    )]
    NoManifest,
    /// A range of a pack that is none, or too large.
    #[error("this is no range of a pack that can be had: at most {max} bytes at a time")]
    PackRange {
        /// The most bytes.
        max: u64,
    },
    /// Images and chunks.
    #[error("the chunks of an image")]
    Chunks(#[from] imagechunks::Error),
    /// Chunks without objects.
    #[error("images are kept in chunks where `objects` is set, and it is not")]
    ChunksAlone,
    /// Another process serves the same data.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
}

impl Error {
    /// Makes an error of a failed access to `path`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
