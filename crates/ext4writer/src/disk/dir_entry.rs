//! Linear directory blocks: `struct ext4_dir_entry_2` and its checksum tail
//! (Documentation/filesystems/ext4/directory.rst, "Linear (Classic) Directories").

use fstree::Kind;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::{U16, U32};
use super::put;
use crate::checksum::Checksum;
use crate::units::{Ino, low_u8, low_u16, u64_of};

/// `struct ext4_dir_entry_2` before its name.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DirEntry {
    inode: U32,
    /// Bytes to the next entry.
    rec_len: U16,
    name_len: u8,
    file_type: u8,
}

assert_offsets!(DirEntry, 8, { 0x0: inode, 0x4: rec_len, 0x6: name_len, 0x7: file_type });

/// `struct ext4_dir_entry_tail`: the checksum at the end of a block, dressed as an unused entry.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DirEntryTail {
    det_reserved_zero1: U32,
    det_rec_len: U16,
    det_reserved_zero2: u8,
    det_reserved_ft: u8,
    det_checksum: U32,
}

assert_offsets!(DirEntryTail, 12, { 0x0: det_reserved_zero1, 0x4: det_rec_len, 0x7: det_reserved_ft, 0x8: det_checksum });

const HEADER_LEN: usize = size_of::<DirEntry>();
const TAIL_LEN: usize = size_of::<DirEntryTail>();
/// `det_reserved_ft` of every tail.
const TAIL_FILE_TYPE: u8 = 0xDE;

/// `file_type` of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileType(u8);

impl FileType {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const DIRECTORY: Self = Self(2);

    pub(crate) fn of(kind: &Kind) -> Self {
        Self(match kind {
            Kind::File(_) => 1,
            Kind::Directory(_) => 2,
            Kind::CharDevice(_) => 3,
            Kind::BlockDevice(_) => 4,
            Kind::Fifo => 5,
            Kind::Socket => 6,
            Kind::Symlink(_) => 7,
        })
    }
}

/// Bytes that entries may fill of a block of `block_len` bytes, with or without a checksum behind them.
pub(crate) const fn capacity(block_len: usize, has_checksum: bool) -> usize {
    if has_checksum { block_len - TAIL_LEN } else { block_len }
}

/// The bytes that an entry of that name takes at least.
pub(crate) fn entry_len(name: &[u8]) -> usize {
    (HEADER_LEN + name.len()).next_multiple_of(4)
}

/// Writes one entry at the start of `slot` and lets it reach over the whole of `slot`.
pub(crate) fn put_entry(slot: &mut [u8], ino: Ino, name: &[u8], file_type: FileType) {
    let rec_len = U16::new(low_u16(u64_of(slot.len())));
    let (inode, name_len) = (U32::new(ino.get()), low_u8(u64_of(name.len())));
    put(slot, &DirEntry { inode, rec_len, name_len, file_type: file_type.0 });
    slot[HEADER_LEN..HEADER_LEN + name.len()].copy_from_slice(name);
}

/// Fills a zeroed block with entries, the last of which reaches to the tail or the end, and seals it where there are checksums. No entries: one unused one.
pub(crate) fn fill<'a>(block: &mut [u8], entries: impl Iterator<Item = (Ino, &'a [u8], FileType)>, seed: Checksum) {
    let capacity = capacity(block.len(), seed.is_kept());
    let (body, tail) = block.split_at_mut(capacity);
    let mut at = 0;
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        put_entry(body, Ino::new(0), b"", FileType::NONE);
    }
    while let Some((ino, name, file_type)) = entries.next() {
        let end = if entries.peek().is_some() { at + entry_len(name) } else { capacity };
        put_entry(&mut body[at..end], ino, name, file_type);
        at = end;
    }
    if !seed.is_kept() {
        return;
    }
    let mut sealed = DirEntryTail::new_zeroed();
    sealed.det_rec_len.set(low_u16(u64_of(TAIL_LEN)));
    sealed.det_reserved_ft = TAIL_FILE_TYPE;
    sealed.det_checksum.set(seed.add(body).get());
    put(tail, &sealed);
}
