//! A path inside a tree: bytes, relative, without `.`, `..`, empty components and NUL.

use thiserror::Error;

/// The longest component that Linux file systems hold, in bytes.
pub(crate) const NAME_MAX: usize = 255;

/// A path from the root of a tree: components joined by `/`, none of them empty, `.` or `..`. The empty path is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<[u8]>);

/// Why a name is not a [`TreePath`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// A NUL byte.
    #[error("the path holds a NUL byte at byte {at}")]
    Nul {
        /// Where it stands.
        at: usize,
    },
    /// A `..` component.
    #[error("the path has a '..' component at byte {at}")]
    ParentComponent {
        /// Where it stands.
        at: usize,
    },
    /// A component longer than 255 bytes.
    #[error("a component of the path is {len_bytes} bytes long; at most 255 are possible")]
    ComponentTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// More components than allowed.
    #[error("the path has more than {max} components")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// More bytes than allowed.
    #[error("the path is {len_bytes} bytes long; at most {max} are allowed")]
    TooLong {
        /// Its length.
        len_bytes: usize,
        /// The limit.
        max: usize,
    },
}

impl TreePath {
    /// The longest path taken, in bytes.
    pub const LEN_MAX: usize = 65_536;
    /// The deepest path taken, in components.
    pub const DEPTH_MAX: usize = 1_024;

    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a name as archives write it: leading slashes, `.` components and repeated or trailing slashes are dropped.
    ///
    /// # Errors
    /// `..`, NUL, a component over 255 bytes, over [`Self::DEPTH_MAX`] components or over [`Self::LEN_MAX`] bytes.
    pub fn parse(name: &[u8]) -> Result<Self, PathError> {
        if name.len() > Self::LEN_MAX {
            return Err(PathError::TooLong { len_bytes: name.len(), max: Self::LEN_MAX });
        }
        if let Some(at) = name.iter().position(|&byte| byte == 0) {
            return Err(PathError::Nul { at });
        }
        // What is left of most names once `./` is dropped: no more memory than that.
        let dropped = if name.starts_with(b"./") { 2 } else { 0 } + usize::from(name.ends_with(b"/"));
        let mut path = Vec::with_capacity(name.len().saturating_sub(dropped));
        let mut depth = 0;
        let mut at = 0;
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::ParentComponent { at }),
                _ if component.len() > NAME_MAX => {
                    return Err(PathError::ComponentTooLong { len_bytes: component.len() });
                }
                _ if depth == Self::DEPTH_MAX => return Err(PathError::TooDeep { max: Self::DEPTH_MAX }),
                _ => {
                    if depth > 0 {
                        path.push(b'/');
                    }
                    path.extend_from_slice(component);
                    depth += 1;
                }
            }
            at += component.len() + 1;
        }
        Ok(Self(path.into_boxed_slice()))
    }

    /// The bytes: components joined by `/`, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// The path of the parent directory as bytes, and the last component; `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        })
    }
}

/// A name for a message: bytes outside printable ASCII escaped, the middle of a long one left out.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    const ENDS: usize = 100;
    if name.len() <= 2 * ENDS + 5 {
        return name.escape_ascii().to_string();
    }
    let (start, end) = (&name[..ENDS], &name[name.len() - ENDS..]);
    format!("{} ... {} ({} bytes)", start.escape_ascii(), end.escape_ascii(), name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives() {
        for (name, path) in [
            ("./etc/x", "etc/x"),
            ("/etc//x/", "etc/x"),
            ("./", ""),
            ("///", ""),
            ("a/./b", "a/b"),
            ("...", "..."),
            ("a..b", "a..b"),
        ] {
            assert_eq!(TreePath::parse(name.as_bytes()).unwrap().as_bytes(), path.as_bytes(), "{name}");
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(TreePath::parse(b"a/../b"), Err(PathError::ParentComponent { at: 2 }));
        assert_eq!(TreePath::parse(b"a\0b"), Err(PathError::Nul { at: 1 }));
        assert!(matches!(TreePath::parse(&[b'x'; 256]), Err(PathError::ComponentTooLong { len_bytes: 256 })));
        assert!(matches!(TreePath::parse(&b"a/".repeat(1_025)), Err(PathError::TooDeep { .. })));
        assert!(matches!(TreePath::parse(&b"/".repeat(65_537)), Err(PathError::TooLong { .. })));
    }

    #[test]
    fn parent_and_name() {
        assert_eq!(TreePath::parse(b"a/b/c").unwrap().split_last(), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!(TreePath::parse(b"a").unwrap().split_last(), Some((&b""[..], &b"a"[..])));
        assert_eq!(TreePath::root().split_last(), None);
    }
}
