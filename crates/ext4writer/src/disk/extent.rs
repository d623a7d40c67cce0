//! The extent tree of an inode (Documentation/filesystems/ext4/ifork.rst, "Extent Tree").

use crate::checksum::Checksum;
use crate::units::{BLOCK_LEN, BlockNr, low_u16, u64_of};

/// Extents or index entries in `i_block`.
pub(crate) const ROOT_MAX: usize = 4;
/// Extents or index entries in a block.
pub(crate) const NODE_MAX: usize = 340;
/// The longest initialised extent in blocks; a larger `ee_len` means an unwritten one.
pub(crate) const EXTENT_BLOCKS_MAX: u64 = 32_768;

const MAGIC: u16 = 0xF30A;
const HEADER_LEN: usize = 12;
const ENTRY_LEN: usize = 12;
/// Where the checksum of a block begins: right after the last entry that fits.
const TAIL: usize = HEADER_LEN + NODE_MAX * ENTRY_LEN;

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
        slot[0..4].copy_from_slice(&extent.ee_block.to_le_bytes());
        slot[4..6].copy_from_slice(&extent.ee_len.to_le_bytes());
        slot[6..8].copy_from_slice(&low_u16(u64::from(extent.ee_start.high())).to_le_bytes());
        slot[8..12].copy_from_slice(&extent.ee_start.low().to_le_bytes());
    }
}

/// Fills a node `depth` levels above the leaves.
pub(crate) fn put_index(node: &mut [u8], depth: u16, children: &[Index]) {
    put_header(node, children.len(), depth);
    for (slot, child) in entries(node).zip(children) {
        slot[0..4].copy_from_slice(&child.ei_block.to_le_bytes());
        slot[4..8].copy_from_slice(&child.ei_leaf.low().to_le_bytes());
        slot[8..10].copy_from_slice(&low_u16(u64::from(child.ei_leaf.high())).to_le_bytes());
    }
}

/// Sets the checksum at the end of a block; `seed` is the inode's.
pub(crate) fn seal(block: &mut [u8], seed: Checksum) {
    let checksum = seed.add(&block[..TAIL]).get();
    block[TAIL..TAIL + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn put_header(node: &mut [u8], entries: usize, depth: u16) {
    let max = if node.len() == BLOCK_LEN { NODE_MAX } else { ROOT_MAX };
    assert!(entries <= max, "a node is planned with no more entries than it holds");
    node[0..2].copy_from_slice(&MAGIC.to_le_bytes());
    node[2..4].copy_from_slice(&low_u16(u64_of(entries)).to_le_bytes());
    node[4..6].copy_from_slice(&low_u16(u64_of(max)).to_le_bytes());
    node[6..8].copy_from_slice(&depth.to_le_bytes());
    node[8..12].fill(0);
}

fn entries(node: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    node[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN)
}
