//! The extent tree of one inode as bytes.

use crate::checksum::Checksum;
use crate::disk::extent::{self, Extent, Index, ROOT_MAX, node_max};
use crate::disk::inode::I_BLOCK_LEN;
use crate::layout::Layout;
use crate::layout::demand::Run;
use crate::layout::extents::extents;
use crate::units::Ino;

/// A tree: its root for the inode, and all nodes below it, leaves first, level by level.
#[derive(Debug)]
pub(super) struct ExtentTreeBytes {
    pub(super) root: [u8; I_BLOCK_LEN],
    pub(super) blocks: Vec<u8>,
}

/// The tree of an inode whose blocks are `runs`, handed out from the `at`-th free block on; `seed` is the inode's.
pub(super) fn build(layout: &Layout<'_>, ino: Ino, runs: &[Run], at: u64, seed: Checksum) -> ExtentTreeBytes {
    let extents: Vec<Extent> = extents(&layout.plan.geometry, runs, at).collect();
    let mut tree = ExtentTreeBytes { root: [0; I_BLOCK_LEN], blocks: Vec::new() };
    if extents.len() <= ROOT_MAX {
        extent::put_leaf(&mut tree.root, &extents);
        return tree;
    }
    let mut next = layout.plan.extent_tree(ino).expect("a tree of more than four extents has blocks").at;
    let block_len = layout.demand.block_size.len();
    let mut block = vec![0; block_len];
    let mut add = |first: u32, fill: &dyn Fn(&mut [u8])| {
        block.fill(0);
        fill(&mut block);
        extent::seal(&mut block, seed);
        tree.blocks.extend_from_slice(&block);
        next += 1;
        Index { ei_block: first, ei_leaf: layout.plan.geometry.place(next - 1).0 }
    };
    let leaves = extents.chunks(node_max(block_len));
    let mut level: Vec<Index> =
        leaves.map(|leaf| add(leaf[0].ee_block, &|block| extent::put_leaf(block, leaf))).collect();
    let mut depth = 1;
    while level.len() > ROOT_MAX {
        let nodes = level.chunks(node_max(block_len));
        level = nodes.map(|node| add(node[0].ei_block, &|block| extent::put_index(block, depth, node))).collect();
        depth += 1;
    }
    extent::put_index(&mut tree.root, depth, &level);
    tree
}

/// The runs of an inode and where they were handed out.
pub(super) fn runs_of<'a>(layout: &'a Layout<'_>, ino: Ino) -> (&'a [Run], u64) {
    let (plan, demand) = (&layout.plan, &layout.demand);
    let value = demand.value(ino).map(|value| (value.runs.as_slice(), plan.content_at + value.data_at));
    let node = demand.planned_of(ino).map(|planned| (planned.runs.as_slice(), plan.content_at + planned.data_at));
    let journal = (ino == Ino::JOURNAL).then(|| (plan.journal.as_slice(), 0));
    let orphans = plan.orphans.as_ref().filter(|_| layout.orphan_ino() == Some(ino));
    let orphans = orphans.map(|(at, runs)| (runs.as_slice(), *at));
    node.or(value).or(journal).or(orphans).unwrap_or((&[], 0))
}
