//! Extended attributes in the tail of an inode and in a block of their own
//! (Documentation/filesystems/ext4/attributes.rst).

use super::inode::TAIL_LEN;
use crate::checksum::Checksum;
use crate::units::{BLOCK_LEN, BlockNr, low_u8, low_u16, low_u32, u64_of};

const MAGIC: u32 = 0xEA02_0000;
/// Bytes before the entries of an inode's tail.
const TAIL_HEADER_LEN: usize = 4;
/// Bytes before the entries of a block.
const BLOCK_HEADER_LEN: usize = 32;
/// Four zero bytes end the entries.
const END_LEN: usize = 4;
const ENTRY_HEADER_LEN: usize = 16;

/// Bytes of entries and values that the tail of an inode holds.
pub(crate) const TAIL_CAPACITY: usize = TAIL_LEN - TAIL_HEADER_LEN - END_LEN;
/// Bytes of entries and values that a block holds.
pub(crate) const BLOCK_CAPACITY: usize = BLOCK_LEN - BLOCK_HEADER_LEN - END_LEN;

/// One attribute in the form of the disk. The order is that of a block: prefix, then length, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attribute<'a> {
    /// Which prefix the name had.
    pub(crate) e_name_index: u8,
    /// Length of the rest of the name; here so that the derived order is the right one.
    pub(crate) e_name_len: u8,
    /// The rest of the name.
    pub(crate) name: &'a [u8],
    /// The value.
    pub(crate) value: std::borrow::Cow<'a, [u8]>,
}

impl Attribute<'_> {
    /// Bytes that entry and value take.
    pub(crate) fn len(&self) -> usize {
        self.entry_len() + self.value.len().next_multiple_of(4)
    }

    fn entry_len(&self) -> usize {
        (ENTRY_HEADER_LEN + self.name.len()).next_multiple_of(4)
    }

    /// `e_hash`: the name byte by byte, then the value word by word.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(name, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Fills the zeroed tail of an inode.
pub(crate) fn put_tail(tail: &mut [u8], attributes: &[Attribute<'_>]) {
    tail[..TAIL_HEADER_LEN].copy_from_slice(&MAGIC.to_le_bytes());
    // Offsets count from the first entry here, from the block's start there.
    put_entries(&mut tail[TAIL_HEADER_LEN..], 0, attributes);
}

/// Fills a zeroed block that `users` inodes have and `file_system` seeds, and seals it.
pub(crate) fn put_block(
    block: &mut [u8],
    at: BlockNr,
    attributes: &[Attribute<'_>],
    users: u32,
    file_system: Checksum,
) {
    let hash = attributes.iter().fold(0_u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash());
    for (slot, field) in block.chunks_exact_mut(4).zip([MAGIC, users, 1, hash]) {
        slot.copy_from_slice(&field.to_le_bytes());
    }
    put_entries(block, BLOCK_HEADER_LEN, attributes);
    let checksum = file_system.add(&at.get().to_le_bytes()).add(block).get();
    block[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// Entries from `start` on, values from the end down.
fn put_entries(area: &mut [u8], start: usize, attributes: &[Attribute<'_>]) {
    let mut at = start;
    let mut value_at = area.len();
    for attribute in attributes {
        value_at -= attribute.value.len().next_multiple_of(4);
        area[value_at..value_at + attribute.value.len()].copy_from_slice(&attribute.value);
        let offset = if attribute.value.is_empty() { 0 } else { low_u16(u64_of(value_at)) };
        let entry = &mut area[at..at + attribute.entry_len()];
        entry[0] = low_u8(u64_of(attribute.name.len()));
        entry[1] = attribute.e_name_index;
        entry[2..4].copy_from_slice(&offset.to_le_bytes());
        entry[8..12].copy_from_slice(&low_u32(u64_of(attribute.value.len())).to_le_bytes());
        entry[12..16].copy_from_slice(&attribute.hash().to_le_bytes());
        entry[ENTRY_HEADER_LEN..ENTRY_HEADER_LEN + attribute.name.len()].copy_from_slice(attribute.name);
        at += attribute.entry_len();
    }
    assert!(at + END_LEN <= value_at, "attributes are planned to where they fit");
}
