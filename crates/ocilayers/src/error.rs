//! The one error of this crate.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::digest::Digest;

/// Why an image was refused, or could not be read, merged or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A reference that can't be one.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
    /// A file of the image or of the store.
    #[error("{}", file_text(path, source))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that the image names is not there.
    #[error("the image has no {what} '{name}'")]
    Missing {
        /// What it should be.
        what: &'static str,
        /// How it is named.
        name: String,
    },
    /// A document of the image is malformed or contradicts itself.
    #[error("the {what} is not valid: {why}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// No image of the wanted name or platform.
    #[error("{0}")]
    Selection(String),
    /// Something that is no container image, or a kind of layer that can't be read here.
    #[error("{what}: {why}")]
    Unsupported {
        /// What it is.
        what: String,
        /// Why it can't be taken, and what to do.
        why: String,
    },
    /// Bytes that are not those that were announced.
    #[error(
        "{what} does not match: {expected} was announced, {found} is there; the image is damaged or was tampered with"
    )]
    Mismatch {
        /// Digest or size of what.
        what: String,
        /// As announced.
        expected: String,
        /// As found.
        found: String,
    },
    /// A registry did not give what was asked for.
    #[error("{place}: {why}")]
    Registry {
        /// What was asked of which registry.
        place: String,
        /// Why, and what to do.
        why: String,
    },
    /// The caller asked to stop.
    #[error("reading the image was cancelled")]
    Cancelled,
    /// More than a limit allows.
    #[error("{what} is over the limit of {max}")]
    Limit {
        /// What.
        what: String,
        /// The limit.
        max: u64,
    },
    /// A layer can't be decompressed.
    #[error("layer {digest} can't be decompressed")]
    Decompress {
        /// The digest of the blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A layer is no archive that can be taken.
    #[error("layer {layer} can't be read as a tar")]
    Archive {
        /// Its diff_id, or the file.
        layer: String,
        /// Why.
        source: fstree::tar::TarError,
    },
    /// Two layers can't be put on each other.
    #[error("layer {layer} can't be applied")]
    Apply {
        /// Its diff_id, or the file.
        layer: String,
        /// Why.
        source: fstree::ApplyError,
    },
    /// A whiteout that names nothing.
    #[error("layer {layer}: '{}' is no whiteout of anything: {why}", fstree::shown(name))]
    Whiteout {
        /// Its diff_id, or the file.
        layer: String,
        /// The entry.
        name: Vec<u8>,
        /// What is wrong.
        why: &'static str,
    },
    /// The thread pool.
    #[error("threads can't be started")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

/// What could not be done with a file; for one that is not there, what may have been meant.
fn file_text(path: &Path, source: &io::Error) -> String {
    let shown = path.display();
    match (source.kind(), path.file_name().and_then(OsStr::to_str), path.parent()) {
        (io::ErrorKind::NotFound, Some("oci-layout"), Some(dir)) => {
            let dir = dir.display();
            format!(
                "there is no OCI layout in '{dir}': it has no file oci-layout; `drydock image import` makes one of a tar"
            )
        }
        (io::ErrorKind::NotFound, ..) => {
            format!(
                "there is no file '{shown}'; images are docker://NAME, oci:DIR:TAG, oci-archive:FILE, docker-archive:FILE or a tar"
            )
        }
        _ => format!("can't work on '{shown}'"),
    }
}

impl Error {
    /// A file error with its path.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// What stopped a reader. A download is read as a file is and has its own errors in those of reading: they stay what they
    /// are, since a registry that is gone is no damaged image. All else is what `wrap` makes of it.
    pub(crate) fn reading(source: io::Error, wrap: impl FnOnce(io::Error) -> Self) -> Self {
        source.downcast().unwrap_or_else(wrap)
    }
}
