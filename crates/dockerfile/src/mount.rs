//! The values of `RUN --mount=...`.
//!
//! BuildKit reads them twice. When the instruction is parsed only the CSV and `from` are looked at
//! ([`check_at_parse`]); everything else waits until the variables are known ([`Mount::evaluate`]). Fields are evaluated
//! from left to right, and order matters: `size` and `required` want their `type` before them.

use crate::csv::{CsvError, fields};
use crate::diagnostic::suggest;
use crate::expand::ExpandError;
use crate::goformat::{parse_bool, parse_u32, quote, to_lower};
use serde::Serialize;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    /// A directory of the build context, of another stage or of an image.
    #[default]
    Bind,
    /// A directory that lasts from build to build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret as a file or a variable.
    Secret,
    /// A socket of an SSH agent.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Everyone.
    Shared,
    /// Everyone gets their own.
    Private,
    /// One after another.
    Locked,
}

/// One mount, every value expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What is mounted.
    pub mount_type: MountType,
    /// Stage or image a bind or cache takes its content from.
    pub from: String,
    /// Path in the source.
    pub source: String,
    /// Path in the container; relative ones are relative to the working directory.
    pub target: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Size of a tmpfs in bytes; 0 is no limit.
    pub size_bytes: i64,
    /// Name of the cache, secret or agent.
    pub id: String,
    /// Sharing of a cache.
    pub sharing: Option<Sharing>,
    /// The build fails without the secret or agent.
    pub required: bool,
    /// The variable that holds the secret.
    pub env: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Why a mount is refused. `Display` is BuildKit's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// Not comma-separated values.
    #[error("failed to parse csv mounts: {0}")]
    Csv(CsvError),
    /// A variable where none can be.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// A value could not be expanded.
    #[error("{0}")]
    Expand(ExpandError),
    /// A key without the value it needs.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A key that this type does not have.
    #[error("unexpected key '{key}' for mount type '{mount_type}'")]
    KeyForType {
        /// The key.
        key: String,
        /// The mount's type.
        mount_type: &'static str,
    },
    /// A key that does not exist.
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.suggestion))]
    UnknownKey {
        /// The key, in small letters.
        key: String,
        /// The whole field.
        field: String,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {}{}", quote(value), did_you_mean(.suggestion))]
    UnknownType {
        /// The value.
        value: String,
        /// The type that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A way of sharing that does not exist.
    #[error("unsupported sharing value {}{}", quote(value), did_you_mean(.suggestion))]
    UnknownSharing {
        /// The value.
        value: String,
        /// The way that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// Not a boolean or a size.
    #[error("invalid value for {key}: {value}")]
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Not a number.
    #[error("invalid value {value} for {key}")]
    BadNumber {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// Permissions or owners of something that has none.
    #[error("{key} not allowed for \"{mount_type}\" type mounts")]
    OwnerNotAllowed {
        /// `mode`, `uid` or `gid`.
        key: &'static str,
        /// The mount's type.
        mount_type: &'static str,
    },
    /// A secret from an image.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A shared secret.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretUnnamed,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// Sharing of something that is not a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingNotAllowed(&'static str),
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

/// The first evaluation: is it CSV, and is `from` free of variables?
///
/// Returns the value of the last `from`, which names the stages a build needs before any variable is known.
///
/// # Errors
/// [`MountError::Csv`] and [`MountError::VariableInFrom`].
pub fn check_at_parse(value: &str) -> Result<String, MountError> {
    let mut from = String::new();
    for field in fields(value).map_err(MountError::Csv)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        if to_lower(key) != "from" {
            continue;
        }
        // A dollar at the very end cannot begin a variable.
        if value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err(MountError::VariableInFrom);
        }
        value.clone_into(&mut from);
    }
    Ok(from)
}

impl MountType {
    /// The type as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MountType::Bind => "bind",
            MountType::Cache => "cache",
            MountType::Tmpfs => "tmpfs",
            MountType::Secret => "secret",
            MountType::Ssh => "ssh",
        }
    }

    fn parse(value: &str) -> Result<Self, MountError> {
        match to_lower(value).as_str() {
            "bind" => Ok(MountType::Bind),
            "cache" => Ok(MountType::Cache),
            "tmpfs" => Ok(MountType::Tmpfs),
            "secret" => Ok(MountType::Secret),
            "ssh" => Ok(MountType::Ssh),
            _ => Err(MountError::UnknownType { value: value.to_owned(), suggestion: suggest(value, &TYPES) }),
        }
    }
}

impl Sharing {
    fn parse(value: &str) -> Result<Self, MountError> {
        match to_lower(value).as_str() {
            "shared" => Ok(Sharing::Shared),
            "private" => Ok(Sharing::Private),
            "locked" => Ok(Sharing::Locked),
            _ => Err(MountError::UnknownSharing { value: value.to_owned(), suggestion: suggest(value, &SHARINGS) }),
        }
    }
}

impl Mount {
    /// The second evaluation: `expand` is given each value and returns it without quotes, escapes and variables.
    ///
    /// # Errors
    /// [`MountError`] for the first fault from left to right, then for keys that do not go together.
    pub fn evaluate(
        value: &str,
        mut expand: impl FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<Self, MountError> {
        let mut mount = Mount::default();
        let mut read_only = None;
        for field in fields(value).map_err(MountError::Csv)? {
            match field.split_once('=') {
                None => mount.bare(&field, &mut read_only)?,
                Some((key, value)) => {
                    let value = expand(value).map_err(MountError::Expand)?;
                    mount.pair(&field, &to_lower(key), value, &mut read_only)?;
                }
            }
        }
        mount.check_owner()?;
        let writable = matches!(mount.mount_type, MountType::Cache | MountType::Tmpfs);
        mount.read_only = read_only.unwrap_or(!writable);
        mount.check_secret()?;
        match mount.sharing {
            Some(_) if mount.mount_type != MountType::Cache => {
                Err(MountError::SharingNotAllowed(mount.mount_type.name()))
            }
            _ => Ok(mount),
        }
    }

    /// A key on its own.
    fn bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), MountError> {
        match to_lower(field).as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            key @ "required" => {
                self.wants(key, &[MountType::Secret, MountType::Ssh])?;
                self.required = true;
            }
            _ => return Err(MountError::NoValue(field.to_owned())),
        }
        Ok(())
    }

    fn pair(&mut self, field: &str, key: &str, value: String, read_only: &mut Option<bool>) -> Result<(), MountError> {
        let bad = |value: &str| MountError::BadValue { key: key.to_owned(), value: value.to_owned() };
        match key {
            "type" => self.mount_type = MountType::parse(&value)?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(parse_bool(&value).ok_or_else(|| bad(&value))?),
            "readwrite" | "rw" => *read_only = Some(!parse_bool(&value).ok_or_else(|| bad(&value))?),
            "required" => {
                self.wants(key, &[MountType::Secret, MountType::Ssh])?;
                self.required = parse_bool(&value).ok_or_else(|| bad(&value))?;
            }
            "size" => {
                self.wants(key, &[MountType::Tmpfs])?;
                self.size_bytes = parse_size(&value).ok_or_else(|| bad(&value))?;
            }
            "id" => self.id = value,
            "sharing" => self.sharing = Some(Sharing::parse(&value)?),
            "mode" => self.mode = Some(number("mode", &value, 8)?),
            "uid" => self.uid = Some(number("uid", &value, 10)?),
            "gid" => self.gid = Some(number("gid", &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let suggestion = suggest(key, &KEYS);
                return Err(MountError::UnknownKey { key: key.to_owned(), field: field.to_owned(), suggestion });
            }
        }
        Ok(())
    }

    fn wants(&self, key: &str, types: &[MountType]) -> Result<(), MountError> {
        match types.contains(&self.mount_type) {
            true => Ok(()),
            false => Err(MountError::KeyForType { key: key.to_owned(), mount_type: self.mount_type.name() }),
        }
    }

    /// Whether permissions or owners were given.
    #[must_use]
    pub fn has_owner(&self) -> bool {
        self.mode.is_some() || self.uid.is_some() || self.gid.is_some()
    }

    fn check_owner(&self) -> Result<(), MountError> {
        if !matches!(self.mount_type, MountType::Bind | MountType::Tmpfs) {
            return Ok(());
        }
        let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(MountError::OwnerNotAllowed { key, mount_type: self.mount_type.name() }),
            None => Ok(()),
        }
    }

    fn check_secret(&self) -> Result<(), MountError> {
        match self.mount_type {
            MountType::Secret if !self.from.is_empty() => Err(MountError::SecretFrom),
            MountType::Secret if self.sharing.is_some() => Err(MountError::SecretSharing),
            MountType::Secret if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() => {
                Err(MountError::SecretUnnamed)
            }
            MountType::Secret if !self.source.is_empty() && !self.id.is_empty() => Err(MountError::SecretTwoNames),
            _ => Ok(()),
        }
    }
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, MountError> {
    parse_u32(value, radix).ok_or_else(|| MountError::BadNumber { key, value: value.to_owned() })
}

/// A size as Docker writes it: a decimal number and `b`, or `k`, `m`, `g`, `t`, `p` with or without `b` or `iB`, powers
/// of 1024 all of them.
fn parse_size(text: &str) -> Option<i64> {
    let split = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) = text.split_at(split + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let size = parse_float(number)?;
    let suffix = to_lower(suffix);
    let scale = match suffix.trim_end_matches("ib").trim_end_matches('b') {
        "" if suffix.is_empty() || suffix == "b" => 1.0,
        "k" => 1024.0,
        "m" => 1_048_576.0,
        "g" => 1_073_741_824.0,
        "t" => 1_099_511_627_776.0,
        "p" => 1_125_899_906_842_624.0,
        _ => return None,
    };
    (suffix.len() <= 3).then(|| whole_bytes(size * scale)).flatten()
}

/// A decimal number, with an exponent if need be; Go's hexadecimal ones are in no one's sizes.
fn parse_float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E'));
    if !plain { None } else { text.parse().ok() }
}

fn whole_bytes(size: f64) -> Option<i64> {
    // Every whole number this large is exact in a float; beyond it no memory goes.
    const MAX: f64 = 9_007_199_254_740_992.0;
    if !(0.0..=MAX).contains(&size) {
        return None;
    }
    format!("{:.0}", size.trunc()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(value: &str) -> Result<Mount, String> {
        Mount::evaluate(value, |value| Ok(value.to_owned())).map_err(|e| e.to_string())
    }

    #[test]
    fn mounts() {
        let mount = evaluate("type=cache,target=/c,id=x,sharing=locked,mode=0755,uid=1,gid=2").unwrap();
        assert_eq!(
            (mount.mount_type, mount.sharing, mount.mode),
            (MountType::Cache, Some(Sharing::Locked), Some(0o755))
        );
        assert!(!mount.read_only);
        assert!(evaluate("target=/m").unwrap().read_only);
        assert!(!evaluate("RW,target=/m").unwrap().read_only);
        assert_eq!(evaluate("type=tmpfs,size=64m").unwrap().size_bytes, 64 << 20);
        assert_eq!(evaluate("type=tmpfs,size=1.5GiB").unwrap().size_bytes, 3 << 29);
        assert_eq!(evaluate("type=tmpfs,size=10").unwrap().size_bytes, 10);
        assert_eq!(evaluate("type=tmpfs,size=1e3 k").unwrap().size_bytes, 1_024_000);
    }

    #[test]
    fn faults_in_the_words_of_the_reference() {
        for (value, message) in [
            ("", "failed to parse csv mounts: EOF"),
            ("required,type=secret,id=a", "unexpected key 'required' for mount type 'bind'"),
            ("type=tmpfs,size=64q", "invalid value for size: 64q"),
            ("type=cach", "unsupported mount type \"cach\" (did you mean cache?)"),
            ("tagret=/t", "unexpected key 'tagret' in 'tagret=/t' (did you mean target?)"),
            ("type=cache,sharing=foo", "unsupported sharing value \"foo\""),
            ("type=cache,mode=999", "invalid value 999 for mode"),
            ("mode=0755", "mode not allowed for \"bind\" type mounts"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("sharing=shared", "invalid cache sharing set for bind mount"),
            ("type=cache,b", "invalid field 'b' must be a key=value pair"),
        ] {
            assert_eq!(evaluate(value), Err(message.to_owned()), "{value}");
        }
        assert_eq!(check_at_parse("from=$x"), Err(MountError::VariableInFrom));
        assert_eq!(check_at_parse("from=x$,type=bad").as_deref(), Ok("x$"));
    }
}
