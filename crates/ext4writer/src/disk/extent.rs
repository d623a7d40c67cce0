//! The extent tree of an inode (Documentation/filesystems/ext4/ifork.rst, "Extent Tree").

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::{U16, U32};
use super::put;
use crate::checksum::Checksum;
use crate::units::{BlockNr, low_u16, u64_of};

/// `struct ext4_extent_header`, at the start of every node.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct ExtentHeader {
    eh_magic: U16,
    eh_entries: U16,
    eh_max: U16,
    eh_depth: U16,
    eh_generation: U32,
}

assert_offsets!(ExtentHeader, 12, { 0x0: eh_magic, 0x2: eh_entries, 0x4: eh_max, 0x6: eh_depth, 0x8: eh_generation });

/// `struct ext4_extent`: an entry of a leaf.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DiskExtent {
    ee_block: U32,
    ee_len: U16,
    ee_start_hi: U16,
    ee_start_lo: U32,
}

assert_offsets!(DiskExtent, 12, { 0x0: ee_block, 0x4: ee_len, 0x6: ee_start_hi, 0x8: ee_start_lo });

/// `struct ext4_extent_idx`: an entry of a node above the leaves.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct ExtentIdx {
    ei_block: U32,
    ei_leaf_lo: U32,
    ei_leaf_hi: U16,
    ei_unused: U16,
}

assert_offsets!(ExtentIdx, 12, { 0x0: ei_block, 0x4: ei_leaf_lo, 0x8: ei_leaf_hi, 0xA: ei_unused });

/// `struct ext4_extent_tail`, right after the last entry that fits into a block.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct ExtentTail {
    eb_checksum: U32,
}

assert_offsets!(ExtentTail, 4, { 0x0: eb_checksum });

const MAGIC: u16 = 0xF30A;
const HEADER_LEN: usize = size_of::<ExtentHeader>();
const ENTRY_LEN: usize = size_of::<DiskExtent>();

/// Extents or index entries in `i_block`.
pub(crate) const ROOT_MAX: usize = node_max(super::inode::I_BLOCK_LEN);
/// The longest initialised extent in blocks; a larger `ee_len` means an unwritten one.
pub(crate) const EXTENT_BLOCKS_MAX: u64 = 32_768;

const _: () = assert!(ROOT_MAX == 4 && node_max(1024) == 84 && node_max(2048) == 169 && node_max(4096) == 340);

/// Extents or index entries in a node of `len` bytes. At no size of a block they leave less than a tail.
pub(crate) const fn node_max(len: usize) -> usize {
    (len - HEADER_LEN) / ENTRY_LEN
}

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First block of the run, counted from the start of the file.
    pub(crate) ee_block: u32,
    /// Blocks, 1 to [`EXTENT_BLOCKS_MAX`].
    pub(crate) ee_len: u16,
    /// Where the run is.
    pub(crate) ee_start: BlockNr,
}

/// A node below: the first file block that it covers, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) ei_block: u32,
    pub(crate) ei_leaf: BlockNr,
}

/// Fills a node with extents. `node` is `i_block`, or a whole block.
pub(crate) fn put_leaf(node: &mut [u8], extents: &[Extent]) {
    put_header(node, extents.len(), 0);
    for (slot, extent) in entries(node).zip(extents) {
        put(
            slot,
            &DiskExtent {
                ee_block: U32::new(extent.ee_block),
                ee_len: U16::new(extent.ee_len),
                ee_start_hi: U16::new(low_u16(u64::from(extent.ee_start.high()))),
                ee_start_lo: U32::new(extent.ee_start.low()),
            },
        );
    }
}

/// Fills a node `depth` levels above the leaves.
pub(crate) fn put_index(node: &mut [u8], depth: u16, children: &[Index]) {
    put_header(node, children.len(), depth);
    for (slot, child) in entries(node).zip(children) {
        let mut entry = ExtentIdx::new_zeroed();
        entry.ei_block.set(child.ei_block);
        entry.ei_leaf_lo.set(child.ei_leaf.low());
        entry.ei_leaf_hi.set(low_u16(u64::from(child.ei_leaf.high())));
        put(slot, &entry);
    }
}

/// Sets the checksum at the end of a block; `seed` is the inode's.
pub(crate) fn seal(block: &mut [u8], seed: Checksum) {
    let covered = HEADER_LEN + node_max(block.len()) * ENTRY_LEN;
    let eb_checksum = U32::new(seed.add(&block[..covered]).get());
    put(&mut block[covered..], &ExtentTail { eb_checksum });
}

fn put_header(node: &mut [u8], entries: usize, depth: u16) {
    let max = node_max(node.len());
    assert!(entries <= max, "a node is planned with no more entries than it holds");
    let count = |number: usize| U16::new(low_u16(u64_of(number)));
    let mut header = ExtentHeader::new_zeroed();
    (header.eh_magic, header.eh_entries, header.eh_max) = (U16::new(MAGIC), count(entries), count(max));
    header.eh_depth.set(depth);
    put(node, &header);
}

fn entries(node: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    node[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN)
}
