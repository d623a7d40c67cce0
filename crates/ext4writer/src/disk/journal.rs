//! The superblock of an empty journal, all big-endian (Documentation/filesystems/ext4/journal.rst, "Super Block").

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::put;
use crate::units::{low_u32, u64_of};

type U32 = zerocopy::U32<zerocopy::BE>;

const MAGIC: u32 = 0xC03B_3998;
const SUPERBLOCK_V2: u32 = 4;

/// `struct journal_superblock_s` with its header. A field that is not set stays zero.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct JournalSuperblock {
    h_magic: U32,
    h_blocktype: U32,
    h_sequence: U32,
    s_blocksize: U32,

    /// Blocks of the journal.
    s_maxlen: U32,
    /// First block of the log.
    s_first: U32,
    /// First commit that the log expects.
    s_sequence: U32,
    /// Where the log begins; 0 when there is nothing in it.
    s_start: U32,

    s_errno: U32,
    s_feature_compat: U32,
    s_feature_incompat: U32,
    s_feature_ro_compat: U32,

    s_uuid: [u8; 16],

    s_nr_users: U32,
    s_dynsuper: U32,
    s_max_transaction: U32,
    s_max_trans_data: U32,

    s_checksum_type: u8,
    s_padding2: [u8; 3],
    s_num_fc_blks: U32,
    s_head: U32,
    s_padding: [U32; 40],
    s_checksum: U32,
    s_users: [u8; 768],
}

assert_offsets!(JournalSuperblock, 1024, {
    0x0: h_magic, 0x4: h_blocktype, 0x8: h_sequence, 0xC: s_blocksize, 0x10: s_maxlen, 0x14: s_first, 0x18: s_sequence,
    0x1C: s_start, 0x20: s_errno, 0x24: s_feature_compat, 0x28: s_feature_incompat, 0x2C: s_feature_ro_compat,
    0x30: s_uuid, 0x40: s_nr_users, 0x44: s_dynsuper, 0x48: s_max_transaction, 0x4C: s_max_trans_data,
    0x50: s_checksum_type, 0x54: s_num_fc_blks, 0x58: s_head, 0xFC: s_checksum, 0x100: s_users,
});

/// Fills the zeroed first block of a journal of `blocks` blocks that holds no transaction.
///
/// It has no feature bits: the kernel sets those it wants at the first mount.
pub(crate) fn put_superblock(block: &mut [u8], blocks: u32) {
    let mut superblock = JournalSuperblock::new_zeroed();
    superblock.h_magic.set(MAGIC);
    superblock.h_blocktype.set(SUPERBLOCK_V2);
    superblock.s_blocksize.set(low_u32(u64_of(block.len())));
    superblock.s_maxlen.set(blocks);
    superblock.s_first.set(1);
    superblock.s_sequence.set(1);
    // This file system.
    superblock.s_nr_users.set(1);
    put(block, &superblock);
}
