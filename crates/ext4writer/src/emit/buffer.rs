//! Memory for blocks on their way to the image.

/// Bytes of a page, which the kernel copies fastest.
const PAGE: usize = 4096;

/// Memory aligned as pages are.
///
/// The kernel copies between a file's pages and memory that is not aligned like them at less than half its speed.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// One page more than there is room for, since where it begins is up to the allocator.
    memory: Vec<u8>,
}

impl Buffer {
    /// So many bytes. What they held before is still there.
    pub(super) fn bytes(&mut self, len: usize) -> &mut [u8] {
        let needed = len + PAGE;
        if self.memory.len() < needed {
            self.memory = vec![0; needed];
        }
        // An offset that can't be told is no reason to fail: it is slower, not wrong.
        let start = Some(self.memory.as_ptr().align_offset(PAGE)).filter(|&start| start < PAGE).unwrap_or(0);
        &mut self.memory[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_as_many_as_asked_for() {
        let mut buffer = Buffer::default();
        for len in [0, 1024, 1 << 20, 3 * PAGE] {
            let bytes = buffer.bytes(len);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(PAGE), 0);
        }
    }
}
