//! Image references: `alpine` is `docker.io/library/alpine:latest`.
//!
//! The grammar and its messages are those of the distribution project's `reference` package, which Docker and BuildKit
//! share: a familiar name gets the default domain and the `library/` prefix, a name with neither tag nor digest gets
//! `latest`. Allowlists compare [`Reference::normalized`] forms.

use std::fmt;

use crate::goformat::to_lower;

/// A valid image reference, in its normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not an image reference. `Display` is the wording of the `reference` package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// 64 hexadecimal digits, which would be taken for an image's id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// Capitals in the repository's name.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Capitals elsewhere in the name.
    #[error("repository name must be lowercase")]
    UppercaseName,
    /// Not of the form `domain/path:tag@digest`.
    #[error("invalid reference format")]
    Format,
    /// A path of more than 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// A digest of an algorithm that nobody can check.
    #[error("unsupported digest algorithm")]
    UnsupportedDigest,
    /// A digest of the wrong length for its algorithm.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// A digest with characters its algorithm does not have, such as capital hexadecimal digits.
    #[error("invalid checksum digest format")]
    DigestFormat,
}

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

impl Reference {
    /// Parses `text` as people write it.
    ///
    /// # Errors
    /// [`ReferenceError`] says which rule of the grammar is broken.
    ///
    /// ```
    /// use dockerfile::reference::Reference;
    /// let reference = Reference::parse("alpine")?;
    /// assert_eq!(reference.normalized(), "docker.io/library/alpine:latest");
    /// assert_eq!(Reference::parse("index.docker.io/library/alpine:latest")?.normalized(), reference.normalized());
    /// assert_eq!(reference.familiar(), "alpine");
    /// # Ok::<(), dockerfile::reference::ReferenceError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parts(text).map(Parts::to_reference)
    }

    /// Whether [`Reference::parse`] takes the text; does not allocate for one that it takes.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        Self::parts(text).is_ok()
    }

    fn parts(text: &str) -> Result<Parts<'_>, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (domain, prefix, rest) = split_domain(text);
        let remote = rest.split(':').next().unwrap_or_default();
        if has_capital(remote) {
            return Err(ReferenceError::Uppercase([prefix, remote].concat()));
        }
        let parts = Parts::new(domain, prefix, rest);
        match parts.check() {
            Some(checked) => checked.map(|()| parts),
            None => match Parts::new(&to_lower(domain), prefix, &to_lower(rest)).check() {
                Some(_) => Err(ReferenceError::UppercaseName),
                None => Err(ReferenceError::Format),
            },
        }
    }

    /// The registry's host and port, such as `docker.io` or `localhost:5000`; empty if the text had none and could not
    /// have had the default one.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, such as `library/alpine`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag as written, if any.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as written, if any: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The full form, with `:latest` where there is neither tag nor digest.
    #[must_use]
    pub fn normalized(&self) -> String {
        let tag = match (&self.tag, &self.digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag.as_deref(),
        };
        let slash = if self.domain.is_empty() { "" } else { "/" };
        let (colon, at) = (tag.map_or("", |_| ":"), self.digest.as_ref().map_or("", |_| "@"));
        let (tag, digest) = (tag.unwrap_or_default(), self.digest.as_deref().unwrap_or_default());
        [&self.domain, slash, &self.path, colon, tag, at, digest].concat()
    }

    /// The short form that Docker shows: without the default domain and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let name = match self.domain.as_str() {
            DEFAULT_DOMAIN => self.path.strip_prefix(OFFICIAL_PREFIX).unwrap_or(&self.path).to_owned(),
            "" => self.path.clone(),
            domain => format!("{domain}/{}", self.path),
        };
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{name}{tag}{digest}")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain.as_str() {
            "" => f.write_str(&self.path)?,
            domain => write!(f, "{domain}/{}", self.path)?,
        }
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// The first part is a domain if it is `localhost`, has a dot, a colon or a capital; else the default domain is meant.
/// Domain, prefix of the path, and the rest of the text.
fn split_domain(text: &str) -> (&str, &'static str, &str) {
    let (domain, rest) = match text.split_once('/') {
        None => (DEFAULT_DOMAIN, text),
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) || has_capital(first) => {
            (first, rest)
        }
        Some(_) => (DEFAULT_DOMAIN, text),
    };
    let prefix = if domain == DEFAULT_DOMAIN && !rest.contains('/') { OFFICIAL_PREFIX } else { "" };
    (domain, prefix, rest)
}

fn has_capital(text: &str) -> bool {
    if text.is_ascii() { text.bytes().any(|b| b.is_ascii_uppercase()) } else { to_lower(text) != text }
}

/// A reference taken apart; the whole path is `prefix` and `path`.
#[derive(Clone, Copy)]
struct Parts<'t> {
    /// What was taken for a domain may be none, such as `a_b.c`: then it is the first part of the path.
    domain: &'t str,
    is_domain: bool,
    prefix: &'static str,
    path: &'t str,
    tag: Option<&'t str>,
    digest: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn new(domain: &'t str, prefix: &'static str, rest: &'t str) -> Self {
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        Parts { domain, is_domain: domain == DEFAULT_DOMAIN || is_domain(domain), prefix, path, tag, digest }
    }

    /// `None` when the text does not have the form at all; faults within a well-formed one are errors.
    fn check(&self) -> Option<Result<(), ReferenceError>> {
        let well_formed = (self.is_domain || is_path_component(self.domain))
            && self.path.split('/').all(is_path_component)
            && self.tag.is_none_or(is_tag)
            && self.digest.is_none_or(is_digest);
        if !well_formed {
            return None;
        }
        let in_path = if self.is_domain { 0 } else { self.domain.len() + 1 };
        if in_path + self.prefix.len() + self.path.len() > NAME_BYTES_MAX {
            return Some(Err(ReferenceError::TooLong));
        }
        Some(self.digest.map_or(Ok(()), check_digest))
    }

    fn to_reference(self) -> Reference {
        let (domain, path) = match self.is_domain {
            true => (self.domain, [self.prefix, self.path].concat()),
            false => ("", [self.domain, "/", self.prefix, self.path].concat()),
        };
        let owned = |part: Option<&str>| part.map(str::to_owned);
        Reference { domain: domain.to_owned(), path, tag: owned(self.tag), digest: owned(self.digest) }
    }
}

/// `host` or `host:port`, the host being dotted names or an IPv6 address in brackets.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if !address.is_empty() => {
            if !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            ("", port)
        }
        _ => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let is_host = host.is_empty() && text.starts_with('[') || host.split('.').all(is_domain_component);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
    is_host && is_port
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Small letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|b| is_alphanumeric(b)).count();
        let (separator, after) = match rest[word..].iter().position(is_alphanumeric) {
            Some(end) => rest[word..].split_at(end),
            None => return word > 0 && word == rest.len(),
        };
        let is_separator = matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-');
        if word == 0 || !is_separator {
            return false;
        }
        rest = after;
    }
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.bytes().next().is_some_and(|b| b != b'.' && b != b'-')
}

/// `algorithm:hex`, the algorithm being words that begin with a letter, the rest at least 32 hexadecimal digits.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_word = |word: &str| {
        word.bytes().all(|b| b.is_ascii_alphanumeric()) && word.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_word) && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Checks a digest for the algorithms that are in use.
///
/// # Errors
/// [`ReferenceError`] for one that is not of a known algorithm, or not as long or as spelt as it must be.
pub(crate) fn check_digest(text: &str) -> Result<(), ReferenceError> {
    let (algorithm, hex) = text
        .split_once(':')
        .filter(|(algorithm, hex)| !algorithm.is_empty() && !hex.is_empty())
        .ok_or(ReferenceError::DigestFormat)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ if !is_any_digest(algorithm, hex) => return Err(ReferenceError::DigestFormat),
        _ => return Err(ReferenceError::UnsupportedDigest),
    };
    match hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        _ if hex.len() != length => Err(ReferenceError::DigestLength),
        true => Ok(()),
        false => Err(ReferenceError::DigestFormat),
    }
}

/// The looser digest grammar of the OCI image specification, for algorithms that are not known.
fn is_any_digest(algorithm: &str, encoded: &str) -> bool {
    let words_good = algorithm
        .split(['-', '_', '+', '.'])
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    words_good && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_names_are_completed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, normal) in [
            ("alpine".to_owned(), "docker.io/library/alpine:latest".to_owned()),
            ("alpine:3".to_owned(), "docker.io/library/alpine:3".to_owned()),
            ("docker.io/alpine".to_owned(), "docker.io/library/alpine:latest".to_owned()),
            ("index.docker.io/a/b".to_owned(), "docker.io/a/b:latest".to_owned()),
            ("nodeops/sandbox:debian".to_owned(), "docker.io/nodeops/sandbox:debian".to_owned()),
            ("localhost/a".to_owned(), "localhost/a:latest".to_owned()),
            ("localhost:5000/a__b/c--d.e".to_owned(), "localhost:5000/a__b/c--d.e:latest".to_owned()),
            ("EXAMPLE/a".to_owned(), "EXAMPLE/a:latest".to_owned()),
            ("a_b.c/x".to_owned(), "a_b.c/x:latest".to_owned()),
            ("[::1]:80/a".to_owned(), "[::1]:80/a:latest".to_owned()),
            (format!("a@{digest}"), format!("docker.io/library/a@{digest}")),
            (format!("a:b@{digest}"), format!("docker.io/library/a:b@{digest}")),
        ] {
            assert_eq!(Reference::parse(&text).map(|r| r.normalized()), Ok(normal), "{text}");
        }
    }

    #[test]
    fn malformed_names_are_refused_in_the_usual_words() {
        let long = format!("a/{}", "a".repeat(255));
        for (text, message) in [
            ("Alpine", "invalid reference format: repository name (library/Alpine) must be lowercase"),
            ("a//b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a:-b", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("", "invalid reference format"),
            ("a$b", "invalid reference format"),
            (&long, "repository name must not be more than 255 characters"),
            ("a@sha256:0123456789abcdef0123456789abcdef", "invalid checksum digest length"),
            ("a@md5:0123456789abcdef0123456789abcdef", "unsupported digest algorithm"),
        ] {
            assert_eq!(Reference::parse(text).map_err(|e| e.to_string()).unwrap_err(), message, "{text}");
        }
        assert!(matches!(Reference::parse(&"a".repeat(64)), Err(ReferenceError::LooksLikeId(_))));
    }
}
