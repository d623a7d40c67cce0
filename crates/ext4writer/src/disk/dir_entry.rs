//! Linear directory blocks: `struct ext4_dir_entry_2` and its checksum tail
//! (Documentation/filesystems/ext4/directory.rst, "Linear (Classic) Directories").

use fstree::Kind;

use crate::checksum::Checksum;
use crate::units::{BLOCK_LEN, Ino, low_u8, low_u16, u64_of};

/// Bytes at the end of a block that hold its checksum, dressed as an unused entry.
const TAIL_LEN: usize = 12;
/// Bytes of a block that entries may fill.
pub(crate) const CAPACITY: usize = BLOCK_LEN - TAIL_LEN;
const HEADER_LEN: usize = 8;

/// `file_type` of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileType(u8);

impl FileType {
    pub(crate) const DIRECTORY: Self = Self(2);
    /// The mark of a checksum tail.
    const TAIL: Self = Self(0xDE);

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

/// The bytes that an entry of that name takes at least.
pub(crate) fn entry_len(name: &[u8]) -> usize {
    (HEADER_LEN + name.len()).next_multiple_of(4)
}

/// Writes one entry at the start of `slot` and lets it reach over the whole of `slot`.
pub(crate) fn put(slot: &mut [u8], ino: Ino, name: &[u8], file_type: FileType) {
    let reach = low_u16(u64_of(slot.len()));
    slot[0..4].copy_from_slice(&ino.get().to_le_bytes());
    slot[4..6].copy_from_slice(&reach.to_le_bytes());
    slot[6] = low_u8(u64_of(name.len()));
    slot[7] = file_type.0;
    slot[HEADER_LEN..HEADER_LEN + name.len()].copy_from_slice(name);
}

/// Fills a zeroed block with entries, the last of which reaches to the tail, and seals it. No entries: one unused one.
pub(crate) fn fill<'a>(block: &mut [u8], entries: impl Iterator<Item = (Ino, &'a [u8], FileType)>, seed: Checksum) {
    let (body, tail) = block.split_at_mut(CAPACITY);
    let mut at = 0;
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        put(body, Ino::new(0), b"", FileType(0));
    }
    while let Some((ino, name, file_type)) = entries.next() {
        let end = if entries.peek().is_some() { at + entry_len(name) } else { CAPACITY };
        put(&mut body[at..end], ino, name, file_type);
        at = end;
    }
    put(&mut tail[..TAIL_LEN], Ino::new(0), b"", FileType::TAIL);
    let checksum = seed.add(body).get();
    tail[8..].copy_from_slice(&checksum.to_le_bytes());
}
