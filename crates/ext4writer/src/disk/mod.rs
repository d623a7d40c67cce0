//! Bytes only: one structure of the format a file, under the kernel's names (Documentation/filesystems/ext4).
//!
//! Nothing here decides anything and nothing here knows of trees, layouts and files.

pub(crate) mod dir_entry;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod group_desc;
pub(crate) mod htree;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod superblock;
pub(crate) mod xattr;

/// Little-endian numbers without alignment, as all of ext4 but its journal has them.
pub(crate) mod le {
    pub(crate) type U16 = zerocopy::U16<zerocopy::LE>;
    pub(crate) type U32 = zerocopy::U32<zerocopy::LE>;
    pub(crate) type U64 = zerocopy::U64<zerocopy::LE>;
}
