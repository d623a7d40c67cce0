//! The name of an image in a registry (distribution specification, "Pulling manifests").

use std::fmt::{Display, Formatter};

use crate::digest::Digest;

/// The registry that names without a host are of.
const DEFAULT_HOST: &str = "docker.io";
const REPOSITORY_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// `[HOST[:PORT]/]NAME[:TAG|@DIGEST]`, written as after `docker://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryName {
    host: String,
    repository: String,
    tag: String,
    digest: Option<Digest>,
}

impl RegistryName {
    /// Reads a name; a digest counts for more than a tag beside it. A name without a host is of Docker Hub, without tag and
    /// digest it is tagged `latest`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest.parse().ok()?)),
            None => (text, None),
        };
        let (host, rest) = match text.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (DEFAULT_HOST, text),
        };
        let (repository, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
        let repository = match repository.contains('/') {
            false if host == DEFAULT_HOST => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        let good = is_host(host) && is_repository(&repository) && is_tag(tag);
        good.then(|| Self { host: host.to_owned(), repository, tag: tag.to_owned(), digest })
    }

    /// The registry, with its port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest of the manifest, where the name says it.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// How the registry is asked for the manifest: by digest or by tag.
    pub(super) fn manifest(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag.clone(), Digest::to_string)
    }
}

impl Display for RegistryName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag),
        }
    }
}

/// A host name or address, with a port or without.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let bytes = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).bytes();
    !name.is_empty()
        && bytes.into_iter().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_repository(text: &str) -> bool {
    let is_word = |word: &str| {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = word.as_bytes();
        ends(bytes.first().copied())
            && ends(bytes.last().copied())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte))
            && !word.contains("..")
    };
    text.len() <= REPOSITORY_MAX && text.split('/').all(is_word)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_other_tools_write_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            ("debian:12", "docker.io/library/debian:12".to_owned()),
            ("me/app", "docker.io/me/app:latest".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("localhost:5000/a/b:1.2", "localhost:5000/a/b:1.2".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (&format!("quay.io/a/b:tag@{digest}"), format!("quay.io/a/b@{digest}")),
        ] {
            assert_eq!(RegistryName::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "a:",
            "a/",
            "/a",
            "A",
            "a/../b",
            "a//b",
            "host.example/../x",
            "a@sha256:00",
            "a:b:c",
            "a b",
            "a:-x",
            "host.example:99999/a",
            "-a",
            "user@host.example/a",
            "host.example/a?x=y",
            "host.example/a#b",
        ] {
            assert_eq!(RegistryName::parse(text), None, "{text}");
        }
    }
}
