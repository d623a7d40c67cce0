//! The orphan file (orphan.rst): inodes that wait to be deleted. A file system that was unmounted has none.

use crate::bytes::{crc, le32};
use crate::report::{Code, Report};
use crate::superblock::Superblock;

const MAGIC: u32 = 0x0b10_ca04;
const TAIL: usize = 8;

/// Checks a block of the file; `seed` is that of its inode.
pub(crate) fn check(superblock: &Superblock, inode: u32, seed: u32, at: u64, bytes: &[u8], report: &mut Report) {
    let mut wrong = |message: &str| report.add(Code::Inode, Some(inode), Some(at), message);
    let (numbers, tail) = bytes.split_at(bytes.len() - TAIL);
    if le32(tail, 0) != MAGIC {
        return wrong("a block of the orphan file is none");
    }
    if numbers.iter().any(|&byte| byte != 0) {
        wrong("the orphan file has orphans");
    }
    if superblock.has_checksums() && !report.checksum(le32(tail, 4), crc(crc(seed, &at.to_le_bytes()), numbers)) {
        report.add(Code::Inode, Some(inode), Some(at), "the checksum of a block of the orphan file is wrong");
    }
}
