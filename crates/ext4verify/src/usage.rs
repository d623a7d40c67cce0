//! Who owns each block: one bit a block, and a word when a second owner comes.

use crate::bytes::{index, wide};

/// The blocks that somebody owns.
#[derive(Debug)]
pub(crate) struct Usage {
    words: Vec<u64>,
    blocks: u64,
    used: u64,
}

/// Why a block can't be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    Outside(u64),
    Owned(u64),
}

impl Usage {
    pub(crate) fn new(blocks: u64) -> Self {
        Self { words: vec![0; index(blocks.div_ceil(64))], blocks, used: 0 }
    }

    /// Gives blocks an owner; the first that can't have one is the answer.
    pub(crate) fn take(&mut self, start: u64, len: u64) -> Result<(), Conflict> {
        let mut conflict = Ok(());
        if len > 0 && start >= self.blocks {
            return Err(Conflict::Outside(start));
        }
        for block in start..start.saturating_add(len) {
            if block >= self.blocks {
                return conflict.and(Err(Conflict::Outside(block)));
            }
            let (word, bit) = (&mut self.words[index(block / 64)], 1 << (block % 64));
            if *word & bit != 0 && conflict.is_ok() {
                conflict = Err(Conflict::Owned(block));
            }
            self.used += u64::from(*word & bit == 0);
            *word |= bit;
        }
        conflict
    }

    pub(crate) fn is_used(&self, block: u64) -> bool {
        self.words.get(index(block / 64)).is_some_and(|word| word & 1 << (block % 64) != 0)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// The first block of a range in which a bitmap says something else, and how many blocks of the range are used.
    pub(crate) fn compare(&self, range: std::ops::Range<u64>, bitmap: &[u8]) -> (Option<u64>, u64) {
        let (mut first, mut used) = (None, 0);
        for block in range.clone() {
            let owned = self.is_used(block);
            used += u64::from(owned);
            if first.is_none() && bit(bitmap, block - range.start) != owned {
                first = Some(block);
            }
        }
        (first, used)
    }
}

/// A bit of a bitmap; one that is not there is set.
pub(crate) fn bit(bitmap: &[u8], at: u64) -> bool {
    bitmap.get(index(at / 8)).is_none_or(|byte| byte & 1 << (at % 8) != 0)
}

/// Whether all bits from `at` on are set.
pub(crate) fn rest_is_set(bitmap: &[u8], at: u64) -> bool {
    (at..wide(bitmap.len()) * 8).all(|at| bit(bitmap, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_owner() {
        let mut usage = Usage::new(100);
        assert_eq!(usage.take(60, 10), Ok(()));
        assert_eq!(usage.take(69, 2), Err(Conflict::Owned(69)));
        assert_eq!(usage.take(98, 5), Err(Conflict::Outside(100)));
        assert_eq!(usage.take(u64::MAX, 5), Err(Conflict::Outside(u64::MAX)));
        assert_eq!(usage.used(), 13);
        let mut bitmap = vec![0; 13];
        for block in (60..71).chain([98, 99]) {
            bitmap[block / 8] |= 1 << (block % 8);
        }
        assert_eq!(usage.compare(0..100, &bitmap), (None, 13));
        bitmap[0] = 4;
        assert_eq!(usage.compare(0..100, &bitmap), (Some(2), 13));
        assert!(!rest_is_set(&bitmap, 99) && rest_is_set(&[0xf0], 4));
    }
}
