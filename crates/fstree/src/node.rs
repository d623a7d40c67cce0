//! What one inode is: metadata, extended attributes and a kind.

use std::collections::BTreeMap;

use crate::content::Content;
use crate::tree::NodeId;

/// Extended attributes: full name (`user.x`, `security.capability`, ...) to value, in byte order of the names.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The entries of a directory: name to node, in byte order of the names. `.` and `..` are not among them.
pub type Directory = BTreeMap<Box<[u8]>, NodeId>;

/// A point in time: seconds since 1970 (negative before) and nanoseconds that always count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What every kind of node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, set-id and sticky bits: the low 12 bits of `st_mode`, never the file type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// The number of a device, in the ranges of Linux: 12 bits of major, 20 bits of minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    /// A device number, or `None` when a part does not fit what Linux can hold.
    #[must_use]
    pub fn new(major: u32, minor: u32) -> Option<Self> {
        (major < 1 << 12 && minor < 1 << 20).then_some(Self { major, minor })
    }

    /// The major number, below 4,096.
    #[must_use]
    pub fn major(self) -> u32 {
        self.major
    }

    /// The minor number, below 1,048,576.
    #[must_use]
    pub fn minor(self) -> u32 {
        self.minor
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory and its entries.
    Directory(Directory),
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, not empty, without NUL, at most 4,095 bytes.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket (never in a tar; an overlay's upper directory can hold one).
    Socket,
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Mode, owner, time, extended attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: Kind,
}

impl Node {
    /// A directory without entries.
    #[must_use]
    pub fn directory(metadata: Metadata) -> Self {
        Self { metadata, kind: Kind::Directory(Directory::new()) }
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }
}
