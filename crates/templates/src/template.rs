//! What a template is, and how it is called.

use std::fmt;
use std::str::FromStr;

use drydock::Failure;

use crate::clock::Time;
use crate::lifecycle::Status;

/// A template, as its owner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Whose it is.
    pub owner: Owner,
    /// Its name; several may have the same.
    pub name: Name,
    /// The base as the operator named it.
    pub base: String,
    /// Its state.
    pub status: Status,
    /// Exact size of the image in bytes; 0 until it is ready.
    pub ext4_size_bytes: u64,
    /// The size that was asked for, in bytes.
    pub disk_size_bytes: Option<u64>,
    /// When it was submitted.
    pub created_at: Time,
    /// When it became ready.
    pub built_at: Option<Time>,
    /// Which ready version of its name it is, from 1.
    pub version: Option<u64>,
    /// How often a build of it was begun.
    pub attempt: u32,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// SHA-256 of the image, 64 hexadecimal digits.
    pub image_digest: Option<String>,
}

/// Why something is not what it should be; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// `tpl_` and a ULID: 26 digits of Crockford's base 32, upper case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(String);

impl TemplateId {
    const PREFIX: &str = "tpl_";

    pub(crate) fn new(ulid: ulid::Ulid) -> Self {
        Self(format!("{}{ulid}", Self::PREFIX))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TemplateId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = Invalid("an id is `tpl_` and 26 digits and upper-case letters");
        let ulid = text.strip_prefix(Self::PREFIX).ok_or(wrong.clone())?;
        match ulid::Ulid::from_string(ulid) {
            Ok(parsed) if parsed.to_string() == ulid => Ok(Self(text.to_owned())),
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A friendly name: 1 to 63 lower-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("a name is 1 to 63 lower-case letters, digits and dashes"))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who owns templates and keys: 1 to 64 letters, digits and `.`, `_`, `@`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Owner {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("an owner is 1 to 64 letters, digits and `.`, `_`, `@`, `-`"))
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a template is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `tpl_...`: that one.
    Id(TemplateId),
    /// `name`: of the ready ones of that name, the one submitted last.
    Name(Name),
    /// `name@N`: the N-th that became ready under that name.
    Version(Name, u64),
}

impl FromStr for Selector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        match text.split_once('@') {
            None => Ok(Self::Name(text.parse()?)),
            Some((name, version)) => match version.parse::<u64>() {
                // One way to write it: no `+`, no leading zero.
                Ok(number @ 1..) if number.to_string() == version => Ok(Self::Version(name.parse()?, number)),
                _ => Err(Invalid("a version is a number from 1, as in name@3")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_specification_says() {
        for good in ["a", "my-python-env", "0", "-", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "a.b", "a b", "ä", "a\n", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn selectors() {
        let id = TemplateId::new(ulid::Ulid::from_parts(1, 29));
        assert_eq!(id.as_str().parse(), Ok(Selector::Id(id.clone())));
        assert_eq!("env".parse(), Ok(Selector::Name(Name("env".to_owned()))));
        assert_eq!("env@12".parse(), Ok(Selector::Version(Name("env".to_owned()), 12)));
        for bad in
            ["env@0", "env@-1", "env@+1", "env@01", "env@", "env@x", "@1", "tpl_", "tpl_x", &id.as_str().to_lowercase()]
        {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
