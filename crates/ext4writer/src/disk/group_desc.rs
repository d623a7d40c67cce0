//! `struct ext4_group_desc` in its 64-byte form (Documentation/filesystems/ext4/group_descr.rst).

use bitflags::bitflags;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::{U16, U32};
use crate::checksum::Checksum;
use crate::features::Features;
use crate::units::{low_u16, low_u32};

/// Bytes of a descriptor, of which file systems without the feature `64bit` have the first half.
pub(crate) const DESC_LEN: usize = 64;

/// Bytes of a descriptor of a file system with such features.
pub(crate) const fn desc_len(features: Features) -> usize {
    if features.contains(Features::BIT64) { DESC_LEN } else { DESC_LEN / 2 }
}

bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct GroupFlags: u16 {
        /// No inode of the group was ever used: its bitmap is not read.
        const INODE_UNINIT = 0x1;
        /// No block of the group is used beyond its own copies of superblock and descriptors: its bitmap is not read.
        const BLOCK_UNINIT = 0x2;
        /// The inode table is zeroed where it is not used.
        const INODE_ZEROED = 0x4;
    }
}

/// The descriptor of one block group.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct GroupDesc {
    pub(crate) bg_block_bitmap_lo: U32,
    pub(crate) bg_inode_bitmap_lo: U32,
    pub(crate) bg_inode_table_lo: U32,
    pub(crate) bg_free_blocks_count_lo: U16,
    pub(crate) bg_free_inodes_count_lo: U16,

    pub(crate) bg_used_dirs_count_lo: U16,
    pub(crate) bg_flags: U16,
    pub(crate) bg_exclude_bitmap_lo: U32,
    pub(crate) bg_block_bitmap_csum_lo: U16,
    pub(crate) bg_inode_bitmap_csum_lo: U16,
    pub(crate) bg_itable_unused_lo: U16,
    pub(crate) bg_checksum: U16,

    pub(crate) bg_block_bitmap_hi: U32,
    pub(crate) bg_inode_bitmap_hi: U32,
    pub(crate) bg_inode_table_hi: U32,
    pub(crate) bg_free_blocks_count_hi: U16,
    pub(crate) bg_free_inodes_count_hi: U16,

    pub(crate) bg_used_dirs_count_hi: U16,
    pub(crate) bg_itable_unused_hi: U16,
    pub(crate) bg_exclude_bitmap_hi: U32,
    pub(crate) bg_block_bitmap_csum_hi: U16,
    pub(crate) bg_inode_bitmap_csum_hi: U16,
    pub(crate) bg_reserved: U32,
}

assert_offsets!(GroupDesc, DESC_LEN, {
    0x0: bg_block_bitmap_lo, 0x4: bg_inode_bitmap_lo, 0x8: bg_inode_table_lo, 0xC: bg_free_blocks_count_lo,
    0xE: bg_free_inodes_count_lo, 0x10: bg_used_dirs_count_lo, 0x12: bg_flags, 0x14: bg_exclude_bitmap_lo,
    0x18: bg_block_bitmap_csum_lo, 0x1A: bg_inode_bitmap_csum_lo, 0x1C: bg_itable_unused_lo, 0x1E: bg_checksum,
    0x20: bg_block_bitmap_hi, 0x24: bg_inode_bitmap_hi, 0x28: bg_inode_table_hi, 0x2C: bg_free_blocks_count_hi,
    0x2E: bg_free_inodes_count_hi, 0x30: bg_used_dirs_count_hi, 0x32: bg_itable_unused_hi, 0x34: bg_exclude_bitmap_hi,
    0x38: bg_block_bitmap_csum_hi, 0x3A: bg_inode_bitmap_csum_hi, 0x3C: bg_reserved,
});

impl GroupDesc {
    /// Sets the checksum of the block bitmap.
    pub(crate) fn set_block_bitmap_csum(&mut self, checksum: Checksum) {
        let checksum = u64::from(checksum.get());
        self.bg_block_bitmap_csum_lo.set(low_u16(checksum));
        self.bg_block_bitmap_csum_hi.set(low_u16(checksum >> 16));
    }

    /// Sets the checksum of the inode bitmap.
    pub(crate) fn set_inode_bitmap_csum(&mut self, checksum: Checksum) {
        let checksum = u64::from(checksum.get());
        self.bg_inode_bitmap_csum_lo.set(low_u16(checksum));
        self.bg_inode_bitmap_csum_hi.set(low_u16(checksum >> 16));
    }

    /// Sets `bg_checksum`, which covers the group number and the descriptor, of which `len` bytes are stored.
    pub(crate) fn seal(&mut self, file_system: Checksum, group: u64, len: usize) {
        self.bg_checksum.set(0);
        let checksum = file_system.add(&low_u32(group).to_le_bytes()).add(&self.as_bytes()[..len]);
        self.bg_checksum.set(low_u16(u64::from(checksum.get())));
    }
}
