//! The superblock of the journal (journal.rst), all big-endian.

use crate::report::{Code, Report};
use crate::superblock::Superblock;

const MAGIC: u32 = 0xc03b_3998;

/// Checks the first block of the journal of `blocks` blocks.
pub(crate) fn check(superblock: &Superblock, inode: u32, bytes: &[u8], blocks: u64, report: &mut Report) {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut wrong = |message: &str| report.add(Code::Journal, Some(inode), None, message);
    if word(0) != MAGIC || !matches!(word(4), 3 | 4) {
        return wrong("the journal has no superblock");
    }
    if u64::from(word(12)) != superblock.block_bytes {
        wrong("the journal has blocks of another size");
    }
    if u64::from(word(16)) > blocks || word(16) < 1_024 {
        wrong("the journal says that it is longer than its inode, or too short to be used");
    }
    if word(20) == 0 || u64::from(word(20)) >= blocks {
        wrong("the first block of the log is outside the journal");
    }
    if word(28) != 0 {
        wrong("the journal has to be replayed");
    }
    if word(32) != 0 {
        wrong("the journal was stopped by an error");
    }
}
