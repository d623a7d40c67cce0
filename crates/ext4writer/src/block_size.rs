//! How large the blocks of a file system are: the value that every number of the geometry follows from.

use crate::units::{BlockNr, u64_of};

/// Bytes of a block (`s_log_block_size`).
///
/// A small block wastes less at the end of each file, a large one needs fewer groups, bitmaps and levels of trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockSize {
    /// 1,024 bytes.
    Kib1,
    /// 2,048 bytes.
    Kib2,
    /// 4,096 bytes: a page of memory, and the default.
    #[default]
    Kib4,
}

/// Bytes of a group descriptor with the feature `64bit`.
const DESC_BYTES: u64 = u64_of(crate::disk::group_desc::DESC_LEN);

impl BlockSize {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Kib1, Self::Kib2, Self::Kib4];

    /// The block size of so many bytes, where there is one.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1024 << self.log()
    }

    /// `s_log_block_size`: the power of two above 1 KiB.
    pub(crate) const fn log(self) -> u32 {
        match self {
            Self::Kib1 => 0,
            Self::Kib2 => 1,
            Self::Kib4 => 2,
        }
    }

    /// Bytes of a block as a length in memory.
    pub(crate) const fn len(self) -> usize {
        1024 << self.log()
    }

    /// How many structures of `len` bytes a block holds.
    pub(crate) const fn holds(self, len: usize) -> u64 {
        self.bytes() / u64_of(len)
    }

    /// How many whole blocks hold that many bytes.
    pub(crate) const fn blocks_for(self, len_bytes: u64) -> u64 {
        len_bytes.div_ceil(self.bytes())
    }

    /// Where a block begins in the image.
    pub(crate) const fn offset(self, block: BlockNr) -> u64 {
        block.get() * self.bytes()
    }

    /// Blocks of a block group: as many as one bitmap block has bits.
    pub(crate) const fn blocks_per_group(self) -> u64 {
        8 * self.bytes()
    }

    /// The block of the superblock, where the first group begins: the first 1,024 bytes are for a boot loader.
    pub(crate) const fn first_data_block(self) -> u64 {
        match self {
            Self::Kib1 => 1,
            Self::Kib2 | Self::Kib4 => 0,
        }
    }

    /// Block numbers that an indirect block holds.
    pub(crate) const fn addresses_per_block(self) -> u64 {
        self.bytes() / 4
    }

    /// The most blocks of an image: their numbers have 32 bits, as the resize inode and the checkers want them, and the
    /// descriptors of all groups have to leave room in the groups that hold a copy of them.
    pub(crate) fn blocks_max(self) -> u64 {
        let groups = self.blocks_per_group() / 2 * (self.bytes() / DESC_BYTES);
        (groups * self.blocks_per_group()).min(0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_the_size() {
        let rows = BlockSize::ALL.map(|size| (size.bytes(), size.blocks_per_group(), size.blocks_max() * size.bytes()));
        assert_eq!(rows, [(1024, 8192, 1 << 39), (2048, 16_384, (1 << 43) - 2048), (4096, 32_768, (1 << 44) - 4096)]);
        assert_eq!(BlockSize::of_bytes(2048), Some(BlockSize::Kib2));
        assert_eq!(BlockSize::of_bytes(8192), None);
        assert_eq!(BlockSize::Kib1.blocks_for(1025), 2);
    }
}
