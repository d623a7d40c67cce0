//! Where an image is cut into chunks: by what is in it, so that contents which moved are cut as they were before.
//!
//! The unit is a block. A chunk begins with a block that is not all zeros, has at least a quarter of the mean length, and ends with the first
//! block whose checksum is among the marked ones, before the first block of zeros, or when it has four times the mean. Whether a block is
//! marked depends on its bytes alone: behind whatever was added, removed or changed, the cuts are soon those of before.

use std::ops::Range;

use crate::error::Error;

/// Bytes of a block, as log2: contents begin with the blocks of a file system, and those have 4 KiB.
pub(crate) const BLOCK_LOG2: u32 = 12;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 1 << BLOCK_LOG2;
/// The most blocks of a chunk of any rule: 16 MiB.
pub(crate) const BLOCKS_MAX: usize = 4096;
/// The longest chunks are so many times as long as the mean.
const MAX_OF_MEAN: usize = 4;

/// How long chunks are, in blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    min: usize,
    max: usize,
    /// Checksums up to it are marked.
    marked: u32,
}

/// What there is to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing but zeros.
    Zeros,
    Inside,
    /// A chunk may end with it.
    End,
}

impl Rule {
    /// Chunks of so many bytes in the mean, where contents have no zeros.
    pub(crate) fn new(mean_bytes: u32) -> Result<Self, Error> {
        let bytes = usize::try_from(mean_bytes).expect("u32 fits in usize");
        let mean = bytes / BLOCK_BYTES;
        if !bytes.is_multiple_of(BLOCK_BYTES) || !(1..=BLOCKS_MAX / MAX_OF_MEAN).contains(&mean) {
            return Err(Error::ChunkBytes(mean_bytes));
        }
        let min = (mean / 4).max(1);
        // The first block that may be the last is the one numbered min; from there on, one in so many is marked.
        let one_in = u32::try_from(mean - min + 1).expect("few blocks");
        Ok(Self { min, max: mean * MAX_OF_MEAN, marked: u32::MAX / one_in })
    }

    pub(crate) fn max_bytes(self) -> usize {
        self.max * BLOCK_BYTES
    }

    /// What a block is; the last one of an image may be shorter.
    pub(crate) fn mark(self, block: &[u8]) -> Mark {
        if block.iter().all(|&byte| byte == 0) {
            Mark::Zeros
        } else if crc32c::crc32c(block) <= self.marked {
            Mark::End
        } else {
            Mark::Inside
        }
    }

    /// The chunks among neighbouring blocks, the first of which begins no chunk that began before, and how many blocks are done with:
    /// the rest has no end yet. `last` says that no block follows.
    pub(crate) fn cut(self, marks: &[Mark], last: bool) -> (Vec<Range<usize>>, usize) {
        let (mut chunks, mut at) = (Vec::new(), 0);
        while at < marks.len() {
            if marks[at] == Mark::Zeros {
                at += 1;
                continue;
            }
            let Some(len) = self.len(&marks[at..], last) else { break };
            chunks.push(at..at + len);
            at += len;
        }
        (chunks, at)
    }

    /// The length of the chunk that begins with the first of these blocks, if its end is among them.
    fn len(self, marks: &[Mark], last: bool) -> Option<usize> {
        let ends = |len: &usize| {
            *len == self.max || marks[len - 1] == Mark::End || marks.get(*len).is_some_and(|next| *next == Mark::Zeros)
        };
        (self.min..=self.max.min(marks.len())).find(ends).or_else(|| last.then_some(marks.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> Vec<Mark> {
        let mark = |letter| match letter {
            '0' => Mark::Zeros,
            '|' => Mark::End,
            _ => Mark::Inside,
        };
        text.chars().map(mark).collect()
    }

    #[test]
    fn chunks_end_at_marks_before_zeros_and_where_they_are_too_long() {
        let rule = Rule { min: 2, max: 5, marked: 0 };
        // The chunks, and what has no end.
        let cut = |text: &'static str, last| {
            let (chunks, done) = rule.cut(&marks(text), last);
            (chunks.into_iter().map(|chunk| &text[chunk]).collect::<Vec<_>>().join(" "), &text[done..])
        };
        let cases = [
            ("", "", ""),
            ("000", "", ""),
            ("..|..|", "..| ..|", ""),
            // Too short to end there.
            ("|..|", "|..|", ""),
            ("00...00..", "...", ".."),
            // One block of content, and zeros to the least length.
            (".000", ".0", ""),
            (".0.0", ".0.", ""),
            ("......|", "..... .|", ""),
            ("...", "", "..."),
        ];
        for (text, chunks, rest) in cases {
            assert_eq!(cut(text, false), (chunks.to_owned(), rest), "{text}");
        }
        assert_eq!(cut("..|.", true), ("..| .".to_owned(), ""));
        assert_eq!(cut("..|00", true), ("..|".to_owned(), ""));
    }

    #[test]
    fn a_rule_makes_chunks_of_its_mean_length() {
        let mut state = 1_u64;
        let mut block = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()
        };
        for mean in [1, 2, 4, 16, 64] {
            let rule = Rule::new(u32::try_from(mean * BLOCK_BYTES).unwrap()).unwrap();
            let marks: Vec<Mark> = (0..100_000).map(|_| rule.mark(&block())).collect();
            let (chunks, _) = rule.cut(&marks, true);
            let found = marks.len() / chunks.len();
            assert!((mean * 9 / 10..=mean * 11 / 10).contains(&found), "{found}, not {mean}");
            assert!(chunks.iter().all(|chunk| chunk.len() <= rule.max));
        }
    }
}
