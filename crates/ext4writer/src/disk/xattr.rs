//! Extended attributes in the tail of an inode and in a block of their own
//! (Documentation/filesystems/ext4/attributes.rst).

use std::borrow::Cow;

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::inode::TAIL_LEN;
use super::le::{U16, U32};
use super::put;
use crate::checksum::Checksum;
use crate::units::{BlockNr, Ino, low_u8, low_u16, low_u32, u64_of};

/// `struct ext4_xattr_ibody_header`, at the start of an inode's tail.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct XattrIbodyHeader {
    h_magic: U32,
}

assert_offsets!(XattrIbodyHeader, 4, { 0x0: h_magic });

/// `struct ext4_xattr_header`, at the start of a block.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct XattrHeader {
    h_magic: U32,
    h_refcount: U32,
    h_blocks: U32,
    h_hash: U32,
    h_checksum: U32,
    h_reserved: [U32; 3],
}

assert_offsets!(XattrHeader, 32, {
    0x0: h_magic, 0x4: h_refcount, 0x8: h_blocks, 0xC: h_hash, 0x10: h_checksum, 0x14: h_reserved,
});

/// `struct ext4_xattr_entry` before its name.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct XattrEntry {
    e_name_len: u8,
    e_name_index: u8,
    e_value_offs: U16,
    /// The inode that holds the value; 0 when it is here.
    e_value_inum: U32,
    e_value_size: U32,
    e_hash: U32,
}

assert_offsets!(XattrEntry, 16, {
    0x0: e_name_len, 0x1: e_name_index, 0x2: e_value_offs, 0x4: e_value_inum, 0x8: e_value_size, 0xC: e_hash,
});

const MAGIC: u32 = 0xEA02_0000;
const TAIL_HEADER_LEN: usize = size_of::<XattrIbodyHeader>();
const BLOCK_HEADER_LEN: usize = size_of::<XattrHeader>();
const ENTRY_HEADER_LEN: usize = size_of::<XattrEntry>();
/// Four zero bytes end the entries.
const END_LEN: usize = 4;

/// Bytes of entries and values that the tail of an inode holds.
pub(crate) const TAIL_CAPACITY: usize = TAIL_LEN - TAIL_HEADER_LEN - END_LEN;

/// Bytes of entries and values that a block of `block_len` bytes holds.
pub(crate) const fn block_capacity(block_len: usize) -> usize {
    block_len - BLOCK_HEADER_LEN - END_LEN
}

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
    pub(crate) value: Cow<'a, [u8]>,
    /// Where the value is, if not here (`ea_inode`).
    pub(crate) value_inode: Option<ValueInode>,
}

/// An inode that holds a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ValueInode {
    pub(crate) ino: Ino,
    /// The checksum of the value.
    pub(crate) hash: u32,
}

impl Attribute<'_> {
    /// Bytes that entry and value take.
    pub(crate) fn len(&self) -> usize {
        self.entry_len() + self.stored().len().next_multiple_of(4)
    }

    /// What of the value stands beside the entries.
    fn stored(&self) -> &[u8] {
        if self.value_inode.is_some() { &[] } else { &self.value }
    }

    fn entry_len(&self) -> usize {
        (ENTRY_HEADER_LEN + self.name.len()).next_multiple_of(4)
    }

    /// `e_hash`: the name byte by byte, then the value word by word, or the hash of one that is elsewhere as its only word.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        if let Some(elsewhere) = self.value_inode {
            return name.rotate_left(16) ^ elsewhere.hash;
        }
        self.value.chunks(4).fold(name, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Fills the zeroed tail of an inode.
pub(crate) fn put_tail(tail: &mut [u8], attributes: &[Attribute<'_>]) {
    put(tail, &XattrIbodyHeader { h_magic: U32::new(MAGIC) });
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
    let mut header = XattrHeader::new_zeroed();
    header.h_magic.set(MAGIC);
    header.h_refcount.set(users);
    header.h_blocks.set(1);
    header.h_hash.set(attributes.iter().fold(0_u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash()));
    put(block, &header);
    put_entries(block, BLOCK_HEADER_LEN, attributes);
    header.h_checksum.set(file_system.add(&at.get().to_le_bytes()).add(block).get());
    put(block, &header);
}

/// Entries from `start` on, values from the end down.
fn put_entries(area: &mut [u8], start: usize, attributes: &[Attribute<'_>]) {
    let mut at = start;
    let mut value_at = area.len();
    for attribute in attributes {
        let mut entry = XattrEntry::new_zeroed();
        entry.e_name_len = low_u8(u64_of(attribute.name.len()));
        entry.e_name_index = attribute.e_name_index;
        let stored = attribute.stored();
        value_at -= stored.len().next_multiple_of(4);
        area[value_at..value_at + stored.len()].copy_from_slice(stored);
        entry.e_value_offs.set(if stored.is_empty() { 0 } else { low_u16(u64_of(value_at)) });
        entry.e_value_inum.set(attribute.value_inode.map_or(0, |elsewhere| elsewhere.ino.get()));
        entry.e_value_size.set(low_u32(u64_of(attribute.value.len())));
        entry.e_hash.set(attribute.hash());
        put(&mut area[at..], &entry);
        area[at + ENTRY_HEADER_LEN..][..attribute.name.len()].copy_from_slice(attribute.name);
        at += attribute.entry_len();
    }
    assert!(at + END_LEN <= value_at, "attributes are planned to where they fit");
}
