//! Index blocks of a directory (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories").

use super::dir_entry::{self, FileType};
use super::superblock::HASH_HALF_MD4;
use crate::checksum::Checksum;
use crate::units::{BLOCK_LEN, Ino, low_u16, u64_of};

/// Entries of the root block, after `.`, `..` and its own header.
pub(crate) const ROOT_MAX: usize = (BLOCK_LEN - ROOT_ENTRIES - TAIL_LEN) / ENTRY_LEN;
/// Entries of a block below the root.
pub(crate) const NODE_MAX: usize = (BLOCK_LEN - NODE_ENTRIES - TAIL_LEN) / ENTRY_LEN;

const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
const ENTRY_LEN: usize = 8;
const TAIL_LEN: usize = 8;
const DOT_LEN: usize = 12;
const ROOT_INFO: usize = 24;
const ROOT_INFO_LEN: u8 = 8;

const _: () = assert!(ROOT_MAX == 507 && NODE_MAX == 510);

/// A block below: the lowest hash in it, and which block of the directory it is. Bit 0 of the hash says that the block
/// before it ends with the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DxEntry {
    pub(crate) hash: u32,
    pub(crate) block: u32,
}

/// Fills the zeroed first block of an indexed directory, with `levels` levels of index blocks below it.
pub(crate) fn put_root(block: &mut [u8], ino: Ino, parent: Ino, levels: u8, entries: &[DxEntry], seed: Checksum) {
    dir_entry::put(&mut block[..DOT_LEN], ino, b".", FileType::DIRECTORY);
    dir_entry::put(&mut block[DOT_LEN..], parent, b"..", FileType::DIRECTORY);
    block[ROOT_INFO + 4] = HASH_HALF_MD4;
    block[ROOT_INFO + 5] = ROOT_INFO_LEN;
    block[ROOT_INFO + 6] = levels;
    put_entries(block, ROOT_ENTRIES, entries, seed);
}

/// Fills a zeroed index block below the root: one unused entry that hides it from who reads linearly.
pub(crate) fn put_node(block: &mut [u8], entries: &[DxEntry], seed: Checksum) {
    let len = low_u16(u64_of(BLOCK_LEN));
    block[4..6].copy_from_slice(&len.to_le_bytes());
    put_entries(block, NODE_ENTRIES, entries, seed);
}

/// The first entry has no hash: count and limit stand in its place.
fn put_entries(block: &mut [u8], start: usize, entries: &[DxEntry], seed: Checksum) {
    let limit = (BLOCK_LEN - start - TAIL_LEN) / ENTRY_LEN;
    assert!(!entries.is_empty() && entries.len() <= limit, "an index block is planned with what it holds");
    for (slot, entry) in block[start..].chunks_exact_mut(ENTRY_LEN).zip(entries) {
        slot[..4].copy_from_slice(&entry.hash.to_le_bytes());
        slot[4..].copy_from_slice(&entry.block.to_le_bytes());
    }
    block[start..start + 2].copy_from_slice(&low_u16(u64_of(limit)).to_le_bytes());
    block[start + 2..start + 4].copy_from_slice(&low_u16(u64_of(entries.len())).to_le_bytes());
    let covered = start + entries.len() * ENTRY_LEN;
    // The checksum covers the entries in use and the tail itself with a zero in its own place.
    let checksum = seed.add(&block[..covered]).add(&[0; TAIL_LEN]).get();
    let tail = start + limit * ENTRY_LEN;
    block[tail + 4..tail + 8].copy_from_slice(&checksum.to_le_bytes());
}
