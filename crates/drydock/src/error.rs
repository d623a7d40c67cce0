//! The one error of the facade.

use std::path::PathBuf;

use fstree::tar::{Fault, TarError};
use fstree::{ApplyError, ApplyFault, TreeError};
use thiserror::Error;

/// Why there is no image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile was refused; every problem of it is in the list.
    #[error("the Dockerfile was refused: {} {}", diagnostics.len(), if diagnostics.len() == 1 { "problem" } else { "problems" })]
    Refused {
        /// The problems in source order, warnings among them.
        diagnostics: Vec<dockerfile::diagnostic::Diagnostic>,
    },
    /// FROM names a base that was not given.
    #[error("the base image '{base}' was not given a place; there are: {known}")]
    UnknownBase {
        /// As FROM names it, normalised.
        base: String,
        /// Those that were given.
        known: String,
    },
    /// The config of the base image.
    #[error("the config of the base image '{base}' can't be read")]
    BaseConfig {
        /// Which base.
        base: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The host asked to stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// It took longer than it may.
    #[error("the build took longer than {seconds} seconds")]
    TimeOver {
        /// What it may take.
        seconds: u64,
    },
    /// The layers in the state directory.
    #[error("the state directory can't be used")]
    State(#[source] ocilayers::Error),
    /// Reading or merging images.
    #[error("the image can't be read")]
    Layers(#[source] ocilayers::Error),
    /// A step failed.
    #[error("the build failed")]
    Build(#[source] buildengine::Error),
    /// The image could not be written.
    #[error("the ext4 image can't be written")]
    Write(#[source] ext4writer::Error),
    /// A result could not be read back.
    #[error("can't read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What goes beside the image could not be written.
    #[error("can't write {}", path.display())]
    Rootfs {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An ext4 image can't be checked.
    #[error("the ext4 image can't be checked")]
    Verify(#[from] ext4verify::Error),
}

impl Error {
    /// Where a layer that is not one `of_base`, by its diff_id, passes a limit of trees: that a step left too much.
    pub(crate) fn of_step(self, of_base: &[String]) -> Self {
        use ocilayers::Error as Layers;
        let (Self::Layers(source) | Self::Build(buildengine::Error::Layers(source))) = &self else { return self };
        let (layer, path, why) = match source {
            Layers::Archive { layer, source: TarError::Entry { name, why: why @ Fault::Limit { .. }, .. } } => {
                (layer, name, why.to_string())
            }
            Layers::Apply { layer, source: ApplyError { path, why } } if is_limit(why) => {
                (layer, path, why.to_string())
            }
            _ => return self,
        };
        if of_base.contains(layer) {
            return self;
        }
        Self::Build(buildengine::Error::Unrepresentable { path: fstree::shown(path).to_string(), why })
    }
}

fn is_limit(why: &ApplyFault) -> bool {
    matches!(why, ApplyFault::TooManySteps | ApplyFault::Tree(TreeError::TooManyNodes { .. }))
}

impl From<ocilayers::Error> for Error {
    fn from(error: ocilayers::Error) -> Self {
        match error {
            ocilayers::Error::Cancelled => Self::Cancelled,
            error => Self::Layers(error),
        }
    }
}

impl From<buildengine::Error> for Error {
    fn from(error: buildengine::Error) -> Self {
        match error {
            buildengine::Error::Cancelled => Self::Cancelled,
            error => Self::Build(error),
        }
    }
}

impl From<ext4writer::Error> for Error {
    fn from(error: ext4writer::Error) -> Self {
        match error {
            ext4writer::Error::Cancelled => Self::Cancelled,
            error => Self::Write(error),
        }
    }
}
