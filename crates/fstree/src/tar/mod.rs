//! Tar archives in and out: v7, ustar, GNU and PAX (POSIX.1-2001 pax interchange format; GNU tar manual, "Basic Tar").

mod acl;
mod base64;
mod header;
mod input;
mod parallel;
mod pax;
mod read;
mod sparse;
mod write;

use std::io;

use thiserror::Error;

use crate::diff::ApplyError;
use crate::path::{PathError, shown};

pub use input::Input;
pub use parallel::read_parallel;
pub use read::{Reader, read};
pub use write::{write, write_additions};

/// The unit of a tar archive, in bytes.
const BLOCK: u64 = 512;

/// Why an archive was refused or could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive breaks the rules of the format, or uses a part of it that no root file system needs.
    #[error("the entry at byte {offset}{}: {why}", named(name))]
    Entry {
        /// Where its header is in the archive.
        offset: u64,
        /// Its name, as far as it is known.
        name: Vec<u8>,
        /// What is wrong.
        why: Fault,
    },
    /// Reading the archive failed.
    #[error("reading the archive at byte {offset} failed")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Writing the archive failed, or reading a content for it.
    #[error("writing the archive failed")]
    Write(#[from] io::Error),
    /// An entry can't be put into a tree.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The header does not add up.
    #[error("the checksum of the header is wrong")]
    Checksum,
    /// A number that is none.
    #[error("the field '{field}' is not a number that fits")]
    Number {
        /// The field.
        field: &'static str,
    },
    /// The archive ends inside an entry.
    #[error("the archive ends in the middle of it")]
    Truncated,
    /// A name that can't be a path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An entry without a name.
    #[error("it has no name")]
    NoName,
    /// A kind of entry that a root file system has no use for.
    #[error("its type '{}' is not a kind of file", (*flag).escape_ascii())]
    Kind {
        /// The type flag.
        flag: u8,
    },
    /// Data where none can be.
    #[error("it has {size} bytes of data, which its kind can't have")]
    UnexpectedData {
        /// How many.
        size: u64,
    },
    /// Data after a hard link: its size is a note of the size of its target, and nothing is stored.
    #[error("the hard link before it states {size} bytes and seems to store them, which tools read in different ways")]
    DataOfLink {
        /// The size that it states.
        size: u64,
    },
    /// A PAX record that is malformed.
    #[error("its extended header is malformed: {what}")]
    Pax {
        /// What about it.
        what: &'static str,
    },
    /// A sparse map that is malformed.
    #[error("its sparse map is malformed: {what}")]
    Sparse {
        /// What about it.
        what: &'static str,
    },
    /// An ACL in text form that can't be read.
    #[error("its access control list can't be read: {what}")]
    Acl {
        /// What about it.
        what: &'static str,
    },
    /// A device number that Linux does not have.
    #[error("its device number {major}:{minor} is out of range")]
    Device {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A symbolic link to nothing or to something too long.
    #[error("the target of the symbolic link has {len_bytes} bytes; 1 to 4,095 are possible, without NUL")]
    SymlinkTarget {
        /// Its length.
        len_bytes: usize,
    },
    /// More than a limit allows.
    #[error("it has more {what} than the {max} that are allowed")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

fn named(name: &[u8]) -> String {
    if name.is_empty() { String::new() } else { format!(" ('{}')", shown(name)) }
}
