//! Bytes only: one structure of the format a file, under the kernel's names (Documentation/filesystems/ext4).
//!
//! Nothing here decides anything and nothing here knows of trees, layouts and files. Where a field is is asserted beside each
//! structure, in the numbers of the kernel's documentation, so that both can be read side by side. How large a block is shows in
//! the length of the memory that a function is given.

/// Asserts when compiling how long a structure is and where its fields are.
macro_rules! assert_offsets {
    ($structure:ty, $len:expr, { $($offset:literal: $field:ident),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$structure>() == $len);
            $(assert!(std::mem::offset_of!($structure, $field) == $offset);)+
        };
    };
}

pub(crate) mod dir_entry;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod group_desc;
pub(crate) mod htree;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod orphan;
pub(crate) mod superblock;
pub(crate) mod xattr;

/// Little-endian numbers without alignment, as all of ext4 but its journal has them.
pub(crate) mod le {
    pub(crate) type U16 = zerocopy::U16<zerocopy::LE>;
    pub(crate) type U32 = zerocopy::U32<zerocopy::LE>;
    pub(crate) type U64 = zerocopy::U64<zerocopy::LE>;
}

/// Copies a structure to the start of `bytes`.
pub(crate) fn put(bytes: &mut [u8], structure: &(impl zerocopy::IntoBytes + zerocopy::Immutable)) {
    let structure = structure.as_bytes();
    bytes[..structure.len()].copy_from_slice(structure);
}
