//! Which entry of a directory goes to which of its blocks.

use fstree::NodeId;

use crate::block_size::BlockSize;
use crate::disk::dir_entry::{capacity, entry_len};
use crate::disk::htree::{node_max, root_max};
use crate::name_hash::hash;
use crate::units::{index, low_u32, u64_of};

/// `.` and `..`.
const DOTS_LEN: usize = 24;

/// How full a leaf gets: the rest is room for names that are added later, as `e2fsck -D` leaves it.
const fn leaf_fill(block_size: BlockSize) -> usize {
    capacity(block_size.len()) * 4 / 5
}

/// The blocks of a directory.
#[derive(Debug)]
pub(crate) enum DirectoryPlan<'t> {
    /// Every entry in the first block. Further blocks are empty.
    Linear {
        /// Blocks in all.
        blocks: u32,
    },
    /// A hash tree.
    Indexed(Indexed<'t>),
}

/// A directory with a hash tree: its root, then other index blocks, then leaves.
#[derive(Debug)]
pub(crate) struct Indexed<'t> {
    /// Every entry in the order of the hashes.
    entries: Vec<Hashed<'t>>,
    /// The first entry of each leaf.
    leaves: Vec<u32>,
    /// Index blocks between root and leaves; 0 with one level.
    nodes: u32,
    /// Leaves that one of them lists.
    leaves_per_node: u32,
}

/// An entry and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hashed<'t> {
    pub(crate) hash: u32,
    pub(crate) name: &'t [u8],
    /// `None` for a `lost+found` that the tree does not have.
    pub(crate) id: Option<NodeId>,
}

impl DirectoryPlan<'_> {
    pub(crate) fn blocks(&self) -> u32 {
        match self {
            Self::Linear { blocks } => *blocks,
            Self::Indexed(indexed) => indexed.first_leaf() + indexed.leaf_count(),
        }
    }
}

/// Plans a directory; `None` when it has more entries than two levels of index hold.
pub(crate) fn plan<'t>(
    entries: impl Iterator<Item = (&'t [u8], Option<NodeId>)> + Clone,
    seed: [u8; 16],
    block_size: BlockSize,
) -> Option<DirectoryPlan<'t>> {
    let len = entries.clone().fold(DOTS_LEN, |len, (name, _)| len.saturating_add(entry_len(name)));
    if len <= capacity(block_size.len()) {
        return Some(DirectoryPlan::Linear { blocks: 1 });
    }
    let mut entries: Vec<_> = entries.map(|(name, id)| Hashed { hash: hash(name, seed), name, id }).collect();
    entries.sort_unstable();
    let leaves = split(&entries, leaf_fill(block_size));
    let (root_max, node_max) = (root_max(block_size.len()), node_max(block_size.len()));
    let nodes = if leaves.len() <= root_max { 0 } else { leaves.len().div_ceil(node_max) };
    if nodes > root_max {
        return None;
    }
    let [nodes, leaves_per_node] = [nodes, node_max].map(|number| low_u32(u64_of(number)));
    Some(DirectoryPlan::Indexed(Indexed { entries, leaves, nodes, leaves_per_node }))
}

fn split(entries: &[Hashed<'_>], leaf_fill: usize) -> Vec<u32> {
    let mut leaves = vec![0];
    let mut filled = 0;
    for (number, entry) in (0..).zip(entries) {
        let len = entry_len(entry.name);
        if filled + len > leaf_fill {
            leaves.push(number);
            filled = 0;
        }
        filled += len;
    }
    leaves
}

impl<'t> Indexed<'t> {
    /// Index blocks between root and leaves.
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The leaves that an index block below the root lists.
    pub(crate) fn leaves_of(&self, node: u32) -> std::ops::Range<u32> {
        let first = node * self.leaves_per_node;
        first..(first + self.leaves_per_node).min(self.leaf_count())
    }

    /// The block of the directory that is its first leaf.
    pub(crate) fn first_leaf(&self) -> u32 {
        1 + self.nodes
    }

    pub(crate) fn leaf_count(&self) -> u32 {
        low_u32(u64_of(self.leaves.len()))
    }

    /// The entries of a leaf.
    pub(crate) fn leaf(&self, leaf: u32) -> &[Hashed<'t>] {
        let start = |leaf: u32| self.leaves.get(index(u64::from(leaf))).map(|&start| index(u64::from(start)));
        &self.entries[start(leaf).unwrap_or(self.entries.len())..start(leaf + 1).unwrap_or(self.entries.len())]
    }

    /// The hash that stands for a leaf in the index: its lowest, odd when the leaf before ends with the same.
    pub(crate) fn leaf_hash(&self, leaf: u32) -> u32 {
        let Some(first) = self.leaf(leaf).first() else { return 0 };
        let before = leaf.checked_sub(1).and_then(|before| self.leaf(before).last());
        first.hash | u32::from(before.is_some_and(|before| before.hash == first.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(names: &[Vec<u8>]) -> DirectoryPlan<'_> {
        plan(names.iter().map(|name| (name.as_slice(), None)), [1; 16], BlockSize::Kib4).unwrap()
    }

    #[test]
    fn linear_until_the_block_is_full() {
        // 13 entries of 264 bytes and one that fills what is left to the byte, then one byte more than a word.
        let mut names: Vec<Vec<u8>> = (0..15).map(|i| vec![b'a' + i; 255]).collect();
        names.push(vec![b'z'; capacity(4096) - DOTS_LEN - 15 * 264 - 8]);
        assert!(matches!(plan_of(&names), DirectoryPlan::Linear { blocks: 1 }));
        names.last_mut().unwrap().push(b'z');
        assert!(matches!(plan_of(&names), DirectoryPlan::Indexed(_)));
    }

    #[test]
    fn every_entry_is_in_one_leaf_and_hashes_ascend() {
        let names: Vec<Vec<u8>> = (0..20_000).map(|i| format!("file-{i}").into_bytes()).collect();
        let DirectoryPlan::Indexed(indexed) = plan_of(&names) else {
            panic!("20,000 entries need an index");
        };
        let leaves: Vec<_> = (0..indexed.leaf_count()).map(|leaf| indexed.leaf(leaf)).collect();
        assert_eq!(leaves.iter().map(|leaf| leaf.len()).sum::<usize>(), names.len());
        assert!(leaves.concat().is_sorted());
        assert!((1..indexed.leaf_count()).all(|leaf| indexed.leaf_hash(leaf) >= indexed.leaf_hash(leaf - 1)));
    }

    #[test]
    fn two_levels_begin_where_the_root_is_full() {
        let names: Vec<Vec<u8>> = (0..20_000).map(|i| format!("{i:0255}").into_bytes()).collect();
        let DirectoryPlan::Indexed(indexed) = plan_of(&names) else {
            panic!("20,000 entries need an index");
        };
        // 12 names of 255 bytes fill a leaf to four fifths: 1,667 leaves, 4 index blocks.
        assert_eq!((indexed.leaf_count(), indexed.nodes()), (1667, 4));
    }
}
