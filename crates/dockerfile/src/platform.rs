//! Platforms such as `linux/amd64` and `linux/arm/v7`.

use std::borrow::Cow;
use std::fmt;

use crate::goformat::{quote, to_lower};
use serde::Serialize;

/// An operating system and a processor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: Cow<'static, str>,
    /// Such as `amd64`.
    pub architecture: Cow<'static, str>,
    /// Such as `v7`; usually empty.
    pub variant: Cow<'static, str>,
    /// Of Windows; usually empty.
    pub os_version: Cow<'static, str>,
}

impl Default for Platform {
    fn default() -> Self {
        Platform::new("linux", "amd64")
    }
}

/// Why a text is not a platform. `Display` is containerd's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// A `*`.
    #[error("{}: wildcards not yet supported: invalid argument", quote(.0))]
    Wildcard(String),
    /// A first part that no system is called.
    #[error(
        "{} is an invalid OS component of {}: OSAndVersion specifier component must match {}: invalid argument",
        quote(part),
        quote(text),
        quote(OS_PATTERN)
    )]
    Os {
        /// The part.
        part: String,
        /// The whole text.
        text: String,
    },
    /// Another part with characters that are not allowed, or empty.
    #[error(
        "{} is an invalid component of {}: platform specifier component must match {}: invalid argument",
        quote(part),
        quote(text),
        quote(PART_PATTERN)
    )]
    Part {
        /// The part.
        part: String,
        /// The whole text.
        text: String,
    },
    /// One word that is neither a system nor a processor.
    #[error("{}: unknown operating system or architecture: invalid argument", quote(.0))]
    Unknown(String),
    /// More than three parts.
    #[error("{}: cannot parse platform specifier: invalid argument", quote(.0))]
    TooManyParts(String),
}

const OS_PATTERN: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$";
const PART_PATTERN: &str = "^[A-Za-z0-9_.-]+$";

const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const PROCESSORS: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// A platform without variant and version.
    #[must_use]
    pub fn new(os: &'static str, architecture: &'static str) -> Self {
        Platform { os: os.into(), architecture: architecture.into(), variant: "".into(), os_version: "".into() }
    }

    /// Reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is missing is taken from `host`.
    ///
    /// # Errors
    /// [`PlatformError`] for anything else.
    pub fn parse(text: &str, host: &Platform) -> Result<Self, PlatformError> {
        if text.contains('*') {
            return Err(PlatformError::Wildcard(text.to_owned()));
        }
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let (first, rest) = parts.split_first().unwrap_or((&"", &[]));
        let (os, os_version) = split_version(first)
            .ok_or_else(|| PlatformError::Os { part: (*first).to_owned(), text: text.to_owned() })?;
        if let Some(part) = rest.iter().find(|part| !is_part(part)) {
            return Err(PlatformError::Part { part: (*part).to_owned(), text: text.to_owned() });
        }
        let os = normal_os(os);
        let (architecture, variant) = match rest {
            [] if SYSTEMS.contains(&os.as_ref()) => (host.architecture.clone(), host.variant.clone()),
            [] => return Platform::of_processor(first, text, host),
            [architecture] => normal_processor(architecture, ""),
            [architecture, variant] => normal_processor(architecture, variant),
            _ => return Err(PlatformError::TooManyParts(text.to_owned())),
        };
        let variant = match (architecture.as_ref(), variant.as_ref(), rest.len()) {
            ("arm", "v7", 1) => "".into(),
            ("arm64", "", 2) => "v8".into(),
            _ => variant,
        };
        Ok(Platform { os, architecture, variant, os_version: os_version.to_owned().into() })
    }

    fn of_processor(word: &str, text: &str, host: &Platform) -> Result<Self, PlatformError> {
        let (architecture, variant) = normal_processor(word, "");
        if !PROCESSORS.contains(&architecture.as_ref()) {
            return Err(PlatformError::Unknown(text.to_owned()));
        }
        let variant = if architecture == "arm" && variant == "v7" { "".into() } else { variant };
        Ok(Platform { os: host.os.clone(), architecture, variant, os_version: "".into() })
    }

    /// The normal spelling: `x86_64` is `amd64`, `aarch64/v8` is `arm64`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normal_processor(&self.architecture, &self.variant);
        Platform { os: normal_os(&self.os), architecture, variant, os_version: self.os_version.clone() }
    }

    /// Whether this is Windows, which has its own shell and paths.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// `os/architecture/variant` without the version.
    #[must_use]
    pub fn without_version(&self) -> String {
        crate::goformat::join_path(&[&self.os, &self.architecture, &self.variant])
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.os_version.as_ref() {
            "" => f.write_str(&self.without_version()),
            version => {
                let os = format!("{}({version})", self.os);
                f.write_str(&crate::goformat::join_path(&[&os, &self.architecture, &self.variant]))
            }
        }
    }
}

/// `windows(10.0.17763)`; features after a `+` are read and dropped.
fn split_version(part: &str) -> Option<(&str, &str)> {
    let (os, version) = match part.split_once('(') {
        Some((os, rest)) => (os, rest.strip_suffix(')')?.split('+').next().unwrap_or_default()),
        None => (part, ""),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_version = |c: char| is_name(c) || matches!(c, '.' | '%');
    (!os.is_empty() && os.chars().all(is_name) && version.chars().all(is_version)).then_some((os, version))
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn normal_os(os: &str) -> Cow<'static, str> {
    match to_lower(os).as_str() {
        "macos" => "darwin".into(),
        os => os.to_owned().into(),
    }
}

fn normal_processor(architecture: &str, variant: &str) -> (Cow<'static, str>, Cow<'static, str>) {
    let (architecture, variant) = (to_lower(architecture), to_lower(variant));
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned().into(), variant.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        let host = Platform::default();
        for (text, printed) in [
            ("linux", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm/7", "linux/arm/v7"),
            ("Linux/ARM64/v8", "linux/arm64/v8"),
            ("windows(10.0)/amd64", "windows(10.0)/amd64"),
        ] {
            assert_eq!(Platform::parse(text, &host).map(|p| p.to_string()).as_deref(), Ok(printed), "{text}");
        }
        assert!(matches!(Platform::parse("linux/", &host), Err(PlatformError::Part { .. })));
        assert!(matches!(Platform::parse("foo", &host), Err(PlatformError::Unknown(_))));
        assert!(matches!(Platform::parse("a/b/c/d", &host), Err(PlatformError::TooManyParts(_))));
    }
}
