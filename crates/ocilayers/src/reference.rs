//! References to images, written as other tools of the field write them (containers-transports(5)).

use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::registry::RegistryName;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageRef {
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// The tag; needed when the layout holds several images.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: a tar of a layout.
    LayoutArchive {
        /// The tar.
        file: PathBuf,
        /// The tag.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:NAME]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// The name with its tag.
        name: Option<String>,
    },
    /// `docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]`: an image of a registry.
    Registry(RegistryName),
    /// A path: the tar of a root file system, an image of one layer.
    Tar {
        /// The tar; `-` is standard input.
        file: PathBuf,
    },
}

/// Why a text is no reference that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{text}' can't be read as an image: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |why| ReferenceError { text: text.to_owned(), why };
        let (transport, rest) = text.split_once(':').unwrap_or(("", text));
        let split = || match rest.split_once(':') {
            Some((path, tag)) => (PathBuf::from(path), Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
            None => (PathBuf::from(rest), None),
        };
        let known = matches!(transport, "oci" | "oci-archive" | "docker-archive");
        if text.is_empty() || (known && split().0.as_os_str().is_empty()) {
            return Err(refuse("it names no place"));
        }
        Ok(match transport {
            "oci" => {
                let (dir, tag) = split();
                Self::Layout { dir, tag }
            }
            "oci-archive" => {
                let (file, tag) = split();
                Self::LayoutArchive { file, tag }
            }
            "docker-archive" => {
                let (file, name) = split();
                Self::DockerArchive { file, name }
            }
            "docker" => {
                let name = rest.strip_prefix("//").and_then(RegistryName::parse);
                Self::Registry(name.ok_or_else(|| {
                    refuse("write docker://HOST/NAME:TAG or docker://HOST/NAME@sha256:..., names in lower case")
                })?)
            }
            "containers-storage" | "dir" | "docker-daemon" | "ostree" | "sif" | "tarball" => {
                return Err(refuse(
                    "this transport is not read; use docker://, oci:, oci-archive:, docker-archive: or a tar",
                ));
            }
            _ => Self::Tar { file: text.into() },
        })
    }
}

impl Display for ImageRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (transport, path, tag) = match self {
            Self::Layout { dir, tag } => ("oci:", dir, tag.as_ref()),
            Self::LayoutArchive { file, tag } => ("oci-archive:", file, tag.as_ref()),
            Self::DockerArchive { file, name } => ("docker-archive:", file, name.as_ref()),
            Self::Tar { file } => ("", file, None),
            Self::Registry(name) => return write!(f, "docker://{name}"),
        };
        write!(f, "{transport}{}", path.display())?;
        tag.map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("oci:/a/b:debian", ImageRef::Layout { dir: "/a/b".into(), tag: some("debian") }),
            ("oci:a", ImageRef::Layout { dir: "a".into(), tag: None }),
            ("oci-archive:a.tar:x:y", ImageRef::LayoutArchive { file: "a.tar".into(), tag: some("x:y") }),
            ("docker-archive:a.tar:n:1", ImageRef::DockerArchive { file: "a.tar".into(), name: some("n:1") }),
            ("./rootfs.tar", ImageRef::Tar { file: "./rootfs.tar".into() }),
            ("-", ImageRef::Tar { file: "-".into() }),
        ] {
            let read: ImageRef = text.parse().unwrap();
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "oci:", "oci::tag", "docker:debian", "docker://", "docker://a/B", "dir:/x"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }
}
