//! For which machine an image is (OCI image specification, image-index.md, "platform").

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use oci_spec::image::{Arch, Platform as Offered};
use thiserror::Error;

/// An operating system, an architecture and its variant, written `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no platform; write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as in linux/amd64 or linux/arm/v7")]
pub struct PlatformError(String);

/// Linux on this machine's architecture.
impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: Arch::default().to_string(), variant: None }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |word: &&str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let words: Vec<&str> = text.split('/').filter(is_word).collect();
        let (os, architecture, variant) = match words[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if text.split('/').count() != words.len() {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl From<&Offered> for Platform {
    fn from(offered: &Offered) -> Self {
        let (os, architecture) = (offered.os().to_string(), offered.architecture().to_string());
        Self { os, architecture, variant: offered.variant().clone() }
    }
}

impl Display for Platform {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl Platform {
    /// How far an offered platform is from this one, which is wanted; `None` when it does not run there. A machine runs
    /// what was made for its own variant and, less well, for older ones.
    pub(crate) fn distance_to(&self, offered: &Offered) -> Option<u32> {
        let offered = Self::from(offered);
        if (&self.os, &self.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        match (self.version(), offered.version()) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (self.variant == offered.variant).then_some(0),
        }
    }

    /// The number of the variant, that of the plain architecture where none is said.
    fn version(&self) -> Option<u32> {
        match &self.variant {
            Some(variant) => variant.strip_prefix('v')?.parse().ok(),
            None => match self.architecture.as_str() {
                "arm64" => Some(8),
                "arm" => Some(7),
                "amd64" => Some(1),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(wanted: &str, offered: &str) -> Option<u32> {
        let offered: Platform = offered.parse().unwrap();
        let mut descriptor = Offered::default();
        descriptor.set_os(offered.os.as_str().into());
        descriptor.set_architecture(offered.architecture.as_str().into());
        descriptor.set_variant(offered.variant);
        wanted.parse::<Platform>().unwrap().distance_to(&descriptor)
    }

    #[test]
    fn texts() {
        for text in ["linux/amd64", "linux/arm/v7", "linux/arm64/v8"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux//v7", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn older_variants_run_and_newer_ones_do_not() {
        for (wanted, offered, expected) in [
            ("linux/arm64", "linux/arm64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64", "linux/arm64/v9", None),
            ("linux/arm64/v9", "linux/arm64/v8", Some(1)),
            ("linux/arm", "linux/arm/v7", Some(0)),
            ("linux/arm", "linux/arm/v5", Some(2)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/riscv64", "linux/riscv64", Some(0)),
            ("linux/amd64", "windows/amd64", None),
            ("linux/amd64", "linux/arm64", None),
        ] {
            assert_eq!(distance(wanted, offered), expected, "{wanted} {offered}");
        }
    }
}
