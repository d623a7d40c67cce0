//! Sources of `ADD` that are not in the build context: URLs and Git repositories.
//!
//! BuildKit decides by the text: an `http(s)` URL whose path ends in `.git`, any `git` or `ssh` URL, and `user@host:path` are
//! repositories; other `http(s)` URLs are files; the rest are paths.

use super::error::ConvertError;
use crate::goformat::{join_path, parse_bool, quote};

/// What a source is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remote<'t> {
    /// A path in the build context or another stage.
    Local,
    /// A file to download.
    Http {
        /// The name it gets.
        filename: String,
    },
    /// A repository.
    Git(GitRepo<'t>),
}

/// A repository and what of it is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GitRepo<'t> {
    host: &'t str,
    path: String,
    reference: String,
    subdir: String,
    /// Commit that it must be.
    pub(super) checksum: String,
    /// Keep `.git`, if the URL says so.
    pub(super) keep_git_dir: Option<bool>,
}

impl GitRepo<'_> {
    /// The source's id, the same for every protocol.
    pub(super) fn id(&self) -> String {
        let path = join_path(&["/", &self.path]);
        let subdir = if self.subdir.is_empty() { String::new() } else { format!(":{}", self.subdir) };
        match self.reference.is_empty() && subdir.is_empty() {
            true => format!("git://{}{path}", self.host),
            false => format!("git://{}{path}#{}{subdir}", self.host, self.reference),
        }
    }
}

/// Decides what `source` is.
///
/// # Errors
/// [`ConvertError::GitQuery`] for a repository whose URL has a query that means nothing.
pub(super) fn classify(source: &str) -> Result<Remote<'_>, ConvertError> {
    // Both forms have a colon, most paths have none.
    if memchr::memchr(b':', source.as_bytes()).is_none() {
        return Ok(Remote::Local);
    }
    if let Some((scheme, rest)) = scheme_of(source) {
        return classify_url(source, &scheme, rest);
    }
    match scp_style(source) {
        Some((host, path, query, fragment)) => {
            let mut repo = GitRepo { host, path: path.to_owned(), ..GitRepo::default() };
            repo.set_fragment(fragment);
            repo.set_query(query)?;
            Ok(Remote::Git(repo))
        }
        None => Ok(Remote::Local),
    }
}

fn classify_url<'t>(source: &'t str, scheme: &str, rest: &'t str) -> Result<Remote<'t>, ConvertError> {
    // Only lower-case `http` begins a download; a repository's scheme may be spelt in any way.
    let download = || match source.starts_with("http://") || source.starts_with("https://") {
        true => Remote::Http { filename: file_name(rest) },
        false => Remote::Local,
    };
    if !matches!(scheme, "http" | "https" | "git" | "ssh") {
        return Ok(Remote::Local);
    }
    let Some(url) = Url::split(rest) else { return Ok(download()) };
    if scheme.starts_with("http") && !url.path.ends_with(".git") {
        return Ok(download());
    }
    let mut repo = GitRepo { host: url.host, path: url.path, ..GitRepo::default() };
    repo.set_fragment(&url.fragment);
    repo.set_query(url.query)?;
    Ok(Remote::Git(repo))
}

/// The scheme in small letters and what follows `://`.
fn scheme_of(source: &str) -> Option<(String, &str)> {
    let (scheme, rest) = source.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// The parts of a URL after its scheme.
struct Url<'t> {
    host: &'t str,
    path: String,
    query: &'t str,
    fragment: String,
}

impl<'t> Url<'t> {
    /// `None` for what Go's `net/url` refuses: bad percent signs, blanks and control characters in the host.
    fn split(rest: &'t str) -> Option<Self> {
        if rest.chars().any(|c| c.is_ascii_control()) {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host_good =
            host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]!$&'()*+,;=%\"<>".contains(&b) || b >= 0x80);
        let port_good = host
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()) || host.ends_with(']'));
        (host_good && port_good).then_some(())?;
        Some(Url { host, path: unescape(path)?, query, fragment: unescape(fragment)? })
    }
}

/// Percent signs resolved; `None` for a bad one.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                let hex = std::str::from_utf8(&pair).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
                out.push(u8::from_str_radix(hex, 16).ok()?);
            }
            byte => out.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The last part of the path, or a stand-in.
fn file_name(rest: &str) -> String {
    let unnamed = || "__unnamed__".to_owned();
    let Some(url) = Url::split(rest) else { return unnamed() };
    match crate::goformat::base_name(&url.path) {
        "." | "/" => unnamed(),
        name => name.to_owned(),
    }
}

/// `user@host:path?query#fragment`.
fn scp_style(source: &str) -> Option<(&str, &str, &str, &str)> {
    let (user, rest) = source.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let is_user = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !is_user || !is_host || rest.contains('\n') {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some((host, path, query, fragment))
}

impl GitRepo<'_> {
    /// `#ref:subdir`.
    fn set_fragment(&mut self, fragment: &str) {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        reference.clone_into(&mut self.reference);
        self.subdir = join_path(&["/", subdir]).trim_start_matches('/').to_owned();
    }

    fn set_query(&mut self, query: &str) -> Result<(), ConvertError> {
        let fault = |message: String| Err(ConvertError::GitQuery(message));
        let (mut tag, mut branch) = (String::new(), String::new());
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plus = |text: &str| unescape(&text.replace('+', " "));
            let (Some(key), Some(value)) = (plus(key), plus(value)) else { continue };
            if seen.contains(&key) {
                return fault(format!("query {} has multiple values", quote(&key)));
            }
            let flag = || match value.as_str() {
                "" => Ok(true),
                value => parse_bool(value)
                    .ok_or_else(|| ConvertError::GitQuery(format!("invalid {key} value: {}", quote(value)))),
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" | "fetch-by-commit" => {
                    flag()?;
                }
                _ if value.is_empty() => return fault(format!("query {} has no value", quote(&key))),
                "ref" => merge(&mut self.reference, "ref", &value)?,
                "tag" => tag = with_prefix("refs/tags/", &value),
                "branch" => branch = with_prefix("refs/heads/", &value),
                "subdir" => merge(&mut self.subdir, "subdir", &value)?,
                "checksum" | "commit" => self.checksum.clone_from(&value),
                "mtime" if value == "checkout" || value == "commit" => {}
                "mtime" => {
                    let message =
                        format!("invalid mtime value: {} (must be \"checkout\" or \"commit\")", quote(&value));
                    return fault(message);
                }
                _ => return fault(format!("unexpected query {}", quote(&key))),
            }
            seen.push(key);
        }
        if !tag.is_empty() {
            merge(&mut self.reference, "ref", &tag)?;
        }
        match (branch.is_empty(), tag.is_empty()) {
            (true, _) => Ok(()),
            (false, false) => fault("branch conflicts with tag".to_owned()),
            (false, true) => merge(&mut self.reference, "ref", &branch),
        }
    }
}

fn with_prefix(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn merge(slot: &mut String, name: &str, value: &str) -> Result<(), ConvertError> {
    if !slot.is_empty() && slot != value {
        let message = format!("{name} conflicts: {} vs {}", quote(slot), quote(value));
        return Err(ConvertError::GitQuery(message));
    }
    value.clone_into(slot);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        for (source, id) in [
            ("https://github.com/a/b.git#v1:sub", Some("git://github.com/a/b.git#v1:sub")),
            ("https://github.com/a/b.git?tag=v1", Some("git://github.com/a/b.git#refs/tags/v1")),
            ("git@github.com:a/b.git", Some("git://github.com/a/b.git")),
            ("ssh://git@host:22/a", Some("git://host:22/a")),
            ("a/b", None),
            ("github.com/a/b", None),
            ("ftp://x/y", None),
        ] {
            let found = match classify(source).unwrap() {
                Remote::Git(repo) => Some(repo.id()),
                _ => None,
            };
            assert_eq!(found.as_deref(), id, "{source}");
        }
        assert_eq!(classify("https://x/y/z.tgz?a=b").unwrap(), Remote::Http { filename: "z.tgz".to_owned() });
        assert_eq!(classify("https://x").unwrap(), Remote::Http { filename: "__unnamed__".to_owned() });
        assert!(classify("https://x/y.git?foo=1").is_err());
    }
}
