//! Extended attributes (attributes.rst): in the tail of an inode, and in a block that inodes may share.

use crate::bytes::{crc, crc_without, le16, le32, wide};
use crate::report::{Code, Report};
use crate::superblock::Superblock;

const MAGIC: u32 = 0xea02_0000;
const HEADER: usize = 32;
const ENTRY: usize = 16;
/// Prefixes of names, from `user.` to `system.richacl`.
const NAME_INDEX_MAX: u8 = 8;

/// An attribute whose value is in an inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueRef {
    pub(crate) inode: u32,
    pub(crate) size: u32,
    /// The hash of the entry.
    hash: u32,
    /// The hash of its name, with letters unsigned and signed.
    names: (u32, u32),
}

impl ValueRef {
    /// Whether the hash is that of the name and of a value with such a hash.
    pub(crate) fn is_hash_of(&self, value_hash: u32) -> bool {
        let whole = |name: u32| name.rotate_left(16) ^ value_hash;
        self.hash == whole(self.names.0) || self.hash == whole(self.names.1)
    }
}

/// The attributes whose values are in inodes.
pub(crate) type ValueRefs = Vec<ValueRef>;

/// Checks the tail of an inode; what has no magic number holds none.
pub(crate) fn check_tail(inode: u32, tail: &[u8], report: &mut Report) -> ValueRefs {
    if tail.len() < 4 || le32(tail, 0) != MAGIC {
        return Vec::new();
    }
    match entries(&tail[4..], 0, false) {
        Ok(values) => values,
        Err(message) => {
            report.add(Code::Xattrs, Some(inode), None, format!("its attributes: {message}"));
            Vec::new()
        }
    }
}

/// Checks a block of attributes: how many inodes it says have it, and what its entries name.
pub(crate) fn check_block(
    superblock: &Superblock,
    inode: u32,
    at: u64,
    bytes: &[u8],
    report: &mut Report,
) -> (u32, ValueRefs) {
    let mut wrong = |message: String| report.add(Code::Xattrs, Some(inode), Some(at), message);
    if le32(bytes, 0) != MAGIC || le32(bytes, 8) != 1 {
        wrong("the block of its attributes is none".to_owned());
        return (1, Vec::new());
    }
    let values = entries(bytes, HEADER, true).unwrap_or_else(|message| {
        wrong(format!("the block of its attributes: {message}"));
        Vec::new()
    });
    if superblock.has_checksums() {
        let seed = crc(superblock.seed, &at.to_le_bytes());
        if !report.checksum(le32(bytes, 16), crc_without(seed, bytes, &[(16, 20)])) {
            report.add(Code::Xattrs, Some(inode), Some(at), "the checksum of the block of its attributes is wrong");
        }
    }
    (le32(bytes, 4), values)
}

/// Checks entries from `start` on; offsets of values count from the beginning of `area`.
fn entries(area: &[u8], start: usize, sorted: bool) -> Result<ValueRefs, &'static str> {
    let (mut at, mut values, mut inodes) = (start, Vec::new(), Vec::new());
    let mut before: Option<(u8, u8, &[u8])> = None;
    let mut block_hash = 0_u32;
    while at + 4 <= area.len() && le32(area, at) != 0 {
        let header = area.get(at..at + ENTRY).ok_or("an entry is cut off")?;
        let (name_len, name_index) = (header[0], header[1]);
        let name = area.get(at + ENTRY..at + ENTRY + usize::from(name_len)).ok_or("a name is cut off")?;
        if name_index == 0 || name_index > NAME_INDEX_MAX || name_len == 0 && !matches!(name_index, 2 | 3 | 8) {
            return Err("a name has a prefix that there is not");
        }
        let key = (name_index, name_len, name);
        if sorted && before.is_some_and(|before| before >= key) {
            return Err("names are out of order");
        }
        before = Some(key);
        let (offset, value_inode, size) = (usize::from(le16(header, 2)), le32(header, 4), le32(header, 8));
        let len = usize::try_from(size).map_err(|_| "a value is too long")?;
        if value_inode != 0 {
            inodes.push(ValueRef { inode: value_inode, size, hash: le32(header, 12), names: hashes(name, &[]) });
        } else {
            let padded = len.checked_next_multiple_of(4).ok_or("a value is too long")?;
            let end = offset.checked_add(padded).filter(|&end| end <= area.len()).ok_or("a value is outside")?;
            let (hash, legacy) = hashes(name, &area[offset..end]);
            let stored = le32(header, 12);
            // In an inode some writers leave the hash out.
            let is_left_out = !sorted && stored == 0;
            if !is_left_out && stored != hash && stored != legacy {
                return Err("the hash of an entry is wrong");
            }
            if len > 0 {
                values.push(offset..end);
            }
        }
        block_hash = block_hash.rotate_left(16) ^ le32(header, 12);
        at += (ENTRY + usize::from(name_len)).next_multiple_of(4);
    }
    if at + 4 > area.len() {
        return Err("its entries have no end");
    }
    values.sort_by_key(|value| value.start);
    if values.first().is_some_and(|first| first.start < at + 4)
        || values.windows(2).any(|pair| pair[0].end > pair[1].start)
    {
        return Err("values overlap each other or the entries");
    }
    if sorted && le32(area, 12) != 0 && le32(area, 12) != block_hash && wide(inodes.len()) == 0 {
        return Err("the hash of the block is wrong");
    }
    Ok(inodes)
}

/// The hash of a name and its value, with letters unsigned and as old kernels had them, signed.
fn hashes(name: &[u8], value: &[u8]) -> (u32, u32) {
    let rest = |hash: u32| value.chunks_exact(4).fold(hash, |hash, word| hash.rotate_left(16) ^ le32(word, 0));
    let unsigned = name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    let signed =
        name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ i32::from(byte.cast_signed()).cast_unsigned());
    (rest(unsigned), rest(signed))
}
