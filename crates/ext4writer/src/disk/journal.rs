//! The superblock of an empty journal, all big-endian (Documentation/filesystems/ext4/journal.rst).

use crate::units::{BLOCK_LEN, low_u32, u64_of};

const MAGIC: u32 = 0xC03B_3998;
const SUPERBLOCK_V2: u32 = 4;

/// Fills the first block of a journal of `blocks` blocks that holds no transaction.
///
/// It has no feature bits: the kernel sets those it wants at the first mount.
pub(crate) fn put_superblock(block: &mut [u8], blocks: u32) {
    let block_len = low_u32(u64_of(BLOCK_LEN));
    // h_magic, h_blocktype, h_sequence, s_blocksize, s_maxlen, s_first, s_sequence, s_start
    let fields = [MAGIC, SUPERBLOCK_V2, 0, block_len, blocks, 1, 1, 0];
    for (slot, field) in block.chunks_exact_mut(4).zip(fields) {
        slot.copy_from_slice(&field.to_be_bytes());
    }
    // s_nr_users, at 0x40: this file system.
    block[0x40..0x44].copy_from_slice(&1_u32.to_be_bytes());
}
