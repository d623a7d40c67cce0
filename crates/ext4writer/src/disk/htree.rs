//! Index blocks of a directory (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories").

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::dir_entry::{FileType, put_entry};
use super::le::{U16, U32};
use super::put;
use super::superblock::HASH_HALF_MD4;
use crate::checksum::Checksum;
use crate::units::{Ino, low_u8, low_u16, u64_of};

/// `struct dx_root_info`, after `.` and `..` in the first block.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DxRootInfo {
    reserved_zero: U32,
    hash_version: u8,
    info_length: u8,
    indirect_levels: u8,
    unused_flags: u8,
}

assert_offsets!(DxRootInfo, 8, { 0x0: reserved_zero, 0x4: hash_version, 0x5: info_length, 0x6: indirect_levels, 0x7: unused_flags });

/// `struct dx_countlimit`: stands where the first entry would have its hash.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DxCountLimit {
    limit: U16,
    count: U16,
}

assert_offsets!(DxCountLimit, 4, { 0x0: limit, 0x2: count });

/// `struct dx_entry`.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DiskDxEntry {
    hash: U32,
    block: U32,
}

assert_offsets!(DiskDxEntry, 8, { 0x0: hash, 0x4: block });

/// `struct dx_tail`, after as many entries as fit.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DxTail {
    dt_reserved: U32,
    dt_checksum: U32,
}

assert_offsets!(DxTail, 8, { 0x0: dt_reserved, 0x4: dt_checksum });

const ENTRY_LEN: usize = size_of::<DiskDxEntry>();
const TAIL_LEN: usize = size_of::<DxTail>();
/// Bytes of the entry `.`, after which that of `..` reaches over all the rest.
const DOT_LEN: usize = 12;
/// Where the root has its own header: after the two names.
const ROOT_INFO: usize = 24;
const ROOT_ENTRIES: usize = ROOT_INFO + size_of::<DxRootInfo>();
/// Where other blocks have their entries: after one entry of a directory that hides them.
const NODE_ENTRIES: usize = 8;

const _: () = {
    assert!(root_max(4096, true) == 507 && node_max(4096, true) == 510 && root_max(1024, true) == 123);
    assert!(node_max(1024, true) == 126 && root_max(4096, false) == 508 && node_max(4096, false) == 511);
};

/// Entries of a root block of `block_len` bytes, with or without a checksum behind them.
pub(crate) const fn root_max(block_len: usize, has_checksum: bool) -> usize {
    entries_max(block_len - ROOT_ENTRIES, has_checksum)
}

/// Entries of an index block of `block_len` bytes below the root.
pub(crate) const fn node_max(block_len: usize, has_checksum: bool) -> usize {
    entries_max(block_len - NODE_ENTRIES, has_checksum)
}

const fn entries_max(len: usize, has_checksum: bool) -> usize {
    let tail_len = if has_checksum { TAIL_LEN } else { 0 };
    (len - tail_len) / ENTRY_LEN
}

/// A block below: the lowest hash in it, and which block of the directory it is. Bit 0 of the hash says that the block
/// before it ends with the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DxEntry {
    pub(crate) hash: u32,
    pub(crate) block: u32,
}

/// Fills the zeroed first block of an indexed directory, with `levels` levels of index blocks below it. `dots` are the inodes of
/// `.` and `..`, and of which kind they say that they are.
pub(crate) fn put_root(block: &mut [u8], dots: ([Ino; 2], FileType), levels: u8, entries: &[DxEntry], seed: Checksum) {
    let ([ino, parent], file_type) = dots;
    put_entry(&mut block[..DOT_LEN], ino, b".", file_type);
    put_entry(&mut block[DOT_LEN..], parent, b"..", file_type);
    let mut info = DxRootInfo::new_zeroed();
    info.hash_version = HASH_HALF_MD4;
    info.info_length = low_u8(u64_of(size_of::<DxRootInfo>()));
    info.indirect_levels = levels;
    put(&mut block[ROOT_INFO..], &info);
    put_entries(block, ROOT_ENTRIES, entries, seed);
}

/// Fills a zeroed index block below the root: one unused entry that hides it from who reads linearly.
pub(crate) fn put_node(block: &mut [u8], entries: &[DxEntry], seed: Checksum) {
    put_entry(block, Ino::new(0), b"", FileType::NONE);
    put_entries(block, NODE_ENTRIES, entries, seed);
}

/// The first entry has no hash: count and limit stand in its place.
fn put_entries(block: &mut [u8], start: usize, entries: &[DxEntry], seed: Checksum) {
    let limit = entries_max(block.len() - start, seed.is_kept());
    assert!(!entries.is_empty() && entries.len() <= limit, "an index block is planned with what it holds");
    for (slot, entry) in block[start..].chunks_exact_mut(ENTRY_LEN).zip(entries) {
        put(slot, &DiskDxEntry { hash: U32::new(entry.hash), block: U32::new(entry.block) });
    }
    let number = |number: usize| U16::new(low_u16(u64_of(number)));
    put(&mut block[start..], &DxCountLimit { limit: number(limit), count: number(entries.len()) });
    if !seed.is_kept() {
        return;
    }
    // The checksum covers the entries in use and the tail itself with a zero in its own place.
    let mut tail = DxTail::new_zeroed();
    let covered = start + entries.len() * ENTRY_LEN;
    let checksum = seed.add(&block[..covered]).add(tail.as_bytes()).get();
    tail.dt_checksum.set(checksum);
    put(&mut block[start + limit * ENTRY_LEN..], &tail);
}
