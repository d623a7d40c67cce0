//! What was found.

use std::fmt::{Display, Formatter};

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A field of the superblock, or a copy of it.
    Superblock,
    /// A group descriptor, or a copy of it.
    Group,
    /// A bitmap, or a count of free blocks or inodes.
    Bitmap,
    /// A field of an inode.
    Inode,
    /// The extents of an inode.
    Extents,
    /// A block with two owners, or outside the file system.
    Block,
    /// An entry of a directory.
    Directory,
    /// The index of a directory.
    Index,
    /// Extended attributes.
    Xattrs,
    /// How many names an inode has.
    Links,
    /// The journal.
    Journal,
}

impl Code {
    /// The code as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Group => "group",
            Self::Bitmap => "bitmap",
            Self::Inode => "inode",
            Self::Extents => "extents",
            Self::Block => "block",
            Self::Directory => "directory",
            Self::Index => "index",
            Self::Xattrs => "xattrs",
            Self::Links => "links",
            Self::Journal => "journal",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The inode it is about.
    pub inode: Option<u32>,
    /// The block it is in.
    pub block: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code.as_str())?;
        if let Some(inode) = self.inode {
            write!(f, ", inode {inode}")?;
        }
        if let Some(block) = self.block {
            write!(f, ", block {block}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Blocks in use.
    pub used_blocks: u64,
    /// Inodes in use, reserved ones included.
    pub used_inodes: u64,
    /// Directories.
    pub directories: u64,
    /// Entries of directories.
    pub entries: u64,
    /// Values of attributes that are in inodes of their own.
    pub values: u64,
    /// Checksums that were computed and compared.
    pub checksums: u64,
}

/// What was found in an image.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong, in the order in which it was found; at most [`Report::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
    /// How much was looked at.
    pub counts: Counts,
}

impl Report {
    /// Findings that are kept.
    pub const FINDINGS_MAX: usize = 1_000;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn add(&mut self, code: Code, inode: Option<u32>, block: Option<u64>, message: impl Into<String>) {
        if self.findings.len() < Self::FINDINGS_MAX {
            self.findings.push(Finding { code, inode, block, message: message.into() });
        } else {
            self.more += 1;
        }
    }

    /// Counts a checksum; `false` when it is wrong.
    pub(crate) fn checksum(&mut self, stored: u32, computed: u32) -> bool {
        self.counts.checksums += 1;
        stored == computed
    }
}
