//! The extents of an inode and the shape of the tree that holds them.

use super::demand::Run;
use super::geometry::Geometry;
use crate::block_size::BlockSize;
use crate::disk::extent::{EXTENT_BLOCKS_MAX, Extent, ROOT_MAX, node_max};
use crate::units::{low_u16, low_u32, u64_of};

/// The extents of blocks that were handed out from the `at`-th free block on.
pub(crate) fn extents(geometry: &Geometry, runs: &[Run], at: u64) -> impl Iterator<Item = Extent> {
    runs.iter().flat_map(move |run| {
        let mut done = 0;
        std::iter::from_fn(move || {
            let left = u64::from(run.blocks) - done;
            if left == 0 {
                return None;
            }
            let (ee_start, contiguous) = geometry.place(at + u64::from(run.offset) + done);
            let blocks = left.min(contiguous).min(EXTENT_BLOCKS_MAX);
            let ee_block = run.logical + low_u32(done);
            done += blocks;
            Some(Extent { ee_block, ee_len: low_u16(blocks), ee_start })
        })
    })
}

/// Blocks of the tree beside its root in the inode.
pub(crate) fn tree_blocks(extents: usize, block_size: BlockSize) -> u64 {
    levels(extents, block_size).iter().map(|&nodes| u64_of(nodes)).sum()
}

/// Nodes of each level, leaves first, without the root. Empty when the extents fit into the root.
pub(crate) fn levels(extents: usize, block_size: BlockSize) -> Vec<usize> {
    let mut levels = Vec::new();
    let mut entries = extents;
    while entries > ROOT_MAX {
        entries = entries.div_ceil(node_max(block_size.len()));
        levels.push(entries);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn levels_grow_where_the_root_and_the_level_above_are_full() {
        for (extents, expected) in [
            (0, &[][..]),
            (4, &[]),
            (5, &[1]),
            (340, &[1]),
            (341, &[2]),
            (1360, &[4]),
            (1361, &[5, 1]),
            (4 * 340 * 340, &[1360, 4]),
            (4 * 340 * 340 + 1, &[1361, 5, 1]),
        ] {
            assert_eq!(levels(extents, BlockSize::Kib4), expected, "{extents}");
        }
        assert_eq!(levels(4 * 84 * 84 + 1, BlockSize::Kib1), [337, 5, 1]);
    }

    #[test]
    fn extents_end_at_32768_blocks_and_at_structures() {
        let geometry = Geometry::new(1 << 20, 11, &Options::default()).unwrap();
        let run = Run { logical: 7, blocks: 200_000, offset: 0 };
        let extents: Vec<_> = extents(&geometry, &[run], 3).collect();
        assert_eq!(extents.iter().map(|extent| u64::from(extent.ee_len)).sum::<u64>(), 200_000);
        assert_eq!(extents[0].ee_block, 7);
        for extent in &extents {
            let (start, end) = (extent.ee_start.get(), extent.ee_start.get() + u64::from(extent.ee_len));
            assert!(extent.ee_len <= 32_768);
            assert!(geometry.fixed.iter().all(|range| range.end <= start || end <= range.start));
        }
    }
}
