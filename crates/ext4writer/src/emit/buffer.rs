//! Memory for blocks on their way to the image.

use crate::units::{BLOCK_BYTES, BLOCK_LEN, index};

/// Blocks in memory, aligned as pages are.
///
/// The kernel copies between a file's pages and memory that is not aligned like them at less than half its speed.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// One block more than there is room for, since where it begins is up to the allocator.
    memory: Vec<u8>,
}

impl Buffer {
    /// So many blocks. What they held before is still there.
    pub(super) fn blocks(&mut self, blocks: u64) -> &mut [u8] {
        let needed = index((blocks + 1) * BLOCK_BYTES);
        if self.memory.len() < needed {
            self.memory = vec![0; needed];
        }
        // An offset that can't be told is no reason to fail: it is slower, not wrong.
        let start = Some(self.memory.as_ptr().align_offset(BLOCK_LEN)).filter(|&start| start < BLOCK_LEN).unwrap_or(0);
        &mut self.memory[start..start + index(blocks * BLOCK_BYTES)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_as_many_as_asked_for() {
        let mut buffer = Buffer::default();
        for blocks in [0, 1, 256, 3] {
            let bytes = buffer.blocks(blocks);
            assert_eq!(bytes.len(), index(blocks * BLOCK_BYTES));
            assert_eq!(bytes.as_ptr().align_offset(BLOCK_LEN), 0);
        }
    }
}
