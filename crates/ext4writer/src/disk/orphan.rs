//! Blocks of the orphan file (Documentation/filesystems/ext4/orphan.rst).

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::U32;
use super::put;
use crate::checksum::Checksum;
use crate::units::BlockNr;

/// `struct ext4_orphan_block_tail`, after the numbers of inodes.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct OrphanBlockTail {
    ob_magic: U32,
    ob_checksum: U32,
}

assert_offsets!(OrphanBlockTail, 8, { 0x0: ob_magic, 0x4: ob_checksum });

const MAGIC: u32 = 0x0B10_CA04;

/// Fills a zeroed block that is at `at` and names no inode; `seed` is that of the file.
pub(crate) fn put_block(block: &mut [u8], at: BlockNr, seed: Checksum) {
    let (numbers, tail) = block.split_at_mut(block.len() - size_of::<OrphanBlockTail>());
    let checksum = seed.add(&at.get().to_le_bytes()).add(numbers).get();
    put(tail, &OrphanBlockTail { ob_magic: U32::new(MAGIC), ob_checksum: U32::new(checksum) });
}
