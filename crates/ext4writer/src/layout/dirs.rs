//! Which entry of a directory goes to which of its blocks.

use fstree::NodeId;

use crate::block_size::BlockSize;
use crate::disk::dir_entry::{capacity, entry_len};
use crate::disk::htree::{DxEntry, node_max, root_max};
use crate::features::Features;
use crate::name_hash::hash;
use crate::units::{index, low_u32, u64_of};

/// `.` and `..`.
const DOTS_LEN: usize = 24;

/// An entry of the longest name.
const ENTRY_LEN_MAX: u64 = 264;

/// What blocks of directories look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    block_len: usize,
    has_checksum: bool,
    has_index: bool,
    levels_max: usize,
}

impl Form {
    pub(crate) fn new(block_size: BlockSize, features: Features) -> Self {
        let [has_checksum, has_index] =
            [Features::METADATA_CSUM, Features::DIR_INDEX].map(|feature| features.contains(feature));
        let is_large = features.contains(Features::LARGE_DIR);
        let levels_max = if is_large { LEVELS_MAX_LARGE } else { LEVELS_MAX };
        Self { block_len: block_size.len(), has_checksum, has_index, levels_max }
    }

    fn capacity(self) -> usize {
        capacity(self.block_len, self.has_checksum)
    }

    /// Blocks that are enough for entries of so many bytes in all, whatever their names; just enough where one block is.
    pub(crate) fn blocks_for(self, entry_bytes: u64) -> u64 {
        let filled = u64_of(if self.has_index { self.leaf_fill() } else { self.capacity() });
        if entry_bytes.saturating_add(u64_of(DOTS_LEN)) <= u64_of(self.capacity()) {
            return 1;
        }
        // A block that is closed lacks less than the longest entry.
        let leaves = 1 + (entry_bytes + u64_of(DOTS_LEN)) / (filled + 1 - ENTRY_LEN_MAX);
        let mut blocks = leaves;
        if self.has_index {
            let [root_max, node_max] = [root_max, node_max].map(|max| u64_of(max(self.block_len, self.has_checksum)));
            let mut below = leaves;
            while below > root_max {
                below = below.div_ceil(node_max);
                blocks += below;
            }
            blocks += 1;
        }
        blocks
    }

    /// How full a leaf gets: the rest is room for names that are added later, as `e2fsck -D` leaves it.
    fn leaf_fill(self) -> usize {
        self.capacity() * 4 / 5
    }
}

/// The blocks of a directory.
#[derive(Debug)]
pub(crate) enum DirectoryPlan<'t> {
    /// Every entry in the first block. Further blocks are empty.
    Linear {
        /// Blocks in all.
        blocks: u32,
    },
    /// Entries one after the other, without an index.
    Listed(Listed<'t>),
    /// A hash tree.
    Indexed(Indexed<'t>),
}

/// A directory of several blocks without an index.
#[derive(Debug)]
pub(crate) struct Listed<'t> {
    entries: Vec<(&'t [u8], Option<NodeId>)>,
    /// The first entry of each block.
    blocks: Vec<u32>,
}

impl<'t> Listed<'t> {
    /// The entries of a block; those of the first have `.` and `..` before them.
    pub(crate) fn block(&self, block: u32) -> &[(&'t [u8], Option<NodeId>)] {
        part(&self.entries, &self.blocks, block)
    }
}

/// A directory with a hash tree: its root, then other index blocks, then leaves.
#[derive(Debug)]
pub(crate) struct Indexed<'t> {
    /// Every entry in the order of the hashes.
    entries: Vec<Hashed<'t>>,
    /// The first entry of each leaf.
    leaves: Vec<u32>,
    /// Index blocks of each level between root and leaves, from the root down.
    levels: Vec<u32>,
    /// Blocks that one of them lists.
    per_node: u32,
}

/// Levels of index blocks between root and leaves; two with the feature `large_dir`.
const LEVELS_MAX: usize = 1;
const LEVELS_MAX_LARGE: usize = 2;

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
            Self::Listed(listed) => low_u32(u64_of(listed.blocks.len())),
            Self::Indexed(indexed) => indexed.first_leaf() + indexed.leaf_count(),
        }
    }
}

/// Plans a directory; `None` when it has more entries than the levels of an index hold.
pub(crate) fn plan<'t>(
    entries: impl Iterator<Item = (&'t [u8], Option<NodeId>)> + Clone,
    seed: [u8; 16],
    form: Form,
) -> Option<DirectoryPlan<'t>> {
    let len = entries.clone().fold(DOTS_LEN, |len, (name, _)| len.saturating_add(entry_len(name)));
    if len <= form.capacity() {
        return Some(DirectoryPlan::Linear { blocks: 1 });
    }
    if !form.has_index {
        let entries: Vec<_> = entries.collect();
        let blocks = split(entries.iter().map(|(name, _)| *name), form.capacity(), DOTS_LEN);
        return Some(DirectoryPlan::Listed(Listed { entries, blocks }));
    }
    let mut entries: Vec<_> = entries.map(|(name, id)| Hashed { hash: hash(name, seed), name, id }).collect();
    entries.sort_unstable();
    let leaves = split(entries.iter().map(|entry| entry.name), form.leaf_fill(), 0);
    let [root_max, node_max] = [root_max, node_max].map(|max| max(form.block_len, form.has_checksum));
    let mut levels = Vec::new();
    let mut below = leaves.len();
    while below > root_max {
        below = below.div_ceil(node_max);
        levels.insert(0, low_u32(u64_of(below)));
    }
    let per_node = low_u32(u64_of(node_max));
    (levels.len() <= form.levels_max).then_some(DirectoryPlan::Indexed(Indexed { entries, leaves, levels, per_node }))
}

/// The first entry of each block, when a block holds `fill` bytes of them and `filled` are taken in the first.
fn split<'t>(names: impl Iterator<Item = &'t [u8]>, fill: usize, mut filled: usize) -> Vec<u32> {
    let mut blocks = vec![0];
    for (number, name) in (0..).zip(names) {
        let len = entry_len(name);
        if filled + len > fill {
            blocks.push(number);
            filled = 0;
        }
        filled += len;
    }
    blocks
}

/// The entries of a block, of which the first are known of every block.
fn part<'e, E>(entries: &'e [E], firsts: &[u32], block: u32) -> &'e [E] {
    let start = |block: u32| firsts.get(index(u64::from(block))).map(|&start| index(u64::from(start)));
    &entries[start(block).unwrap_or(entries.len())..start(block + 1).unwrap_or(entries.len())]
}

impl<'t> Indexed<'t> {
    /// Levels of index blocks between root and leaves.
    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// What an index block lists, the root being block 0: the lowest hash and the block of each that is below it.
    pub(crate) fn index_entries(&self, block: u32) -> Vec<DxEntry> {
        let (level, node) = self.place(block);
        let first_below = 1 + self.levels[..level].iter().sum::<u32>();
        let below = self.levels.get(level).copied().unwrap_or(self.leaf_count());
        let children = match level {
            0 => 0..below,
            _ => node * self.per_node..((node + 1) * self.per_node).min(below),
        };
        // So many leaves stand below a child, wherever all are full.
        let leaves = (level..self.levels.len()).fold(1, |leaves, _| leaves * self.per_node);
        children.map(|child| DxEntry { hash: self.leaf_hash(child * leaves), block: first_below + child }).collect()
    }

    /// The level of an index block, 0 being that of the root, and which block of its level it is.
    fn place(&self, block: u32) -> (usize, u32) {
        let mut first = 1;
        for (level, &nodes) in (1..).zip(&self.levels) {
            if block >= first && block < first + nodes {
                return (level, block - first);
            }
            first += nodes;
        }
        (0, 0)
    }

    /// The block of the directory that is its first leaf.
    pub(crate) fn first_leaf(&self) -> u32 {
        1 + self.levels.iter().sum::<u32>()
    }

    pub(crate) fn leaf_count(&self) -> u32 {
        low_u32(u64_of(self.leaves.len()))
    }

    /// The entries of a leaf.
    pub(crate) fn leaf(&self, leaf: u32) -> &[Hashed<'t>] {
        part(&self.entries, &self.leaves, leaf)
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

    fn plan_with(names: &[Vec<u8>], features: Features) -> DirectoryPlan<'_> {
        let form = Form::new(BlockSize::Kib4, features);
        plan(names.iter().map(|name| (name.as_slice(), None)), [1; 16], form).unwrap()
    }

    fn plan_of(names: &[Vec<u8>]) -> DirectoryPlan<'_> {
        plan_with(names, Features::default())
    }

    #[test]
    fn linear_until_the_block_is_full() {
        // 13 entries of 264 bytes and one that fills what is left to the byte, then one byte more than a word.
        let mut names: Vec<Vec<u8>> = (0..15).map(|i| vec![b'a' + i; 255]).collect();
        names.push(vec![b'z'; capacity(4096, true) - DOTS_LEN - 15 * 264 - 8]);
        assert!(matches!(plan_of(&names), DirectoryPlan::Linear { blocks: 1 }));
        names.last_mut().unwrap().push(b'z');
        assert!(matches!(plan_of(&names), DirectoryPlan::Indexed(_)));
        // A block without a checksum holds twelve bytes more, and then comes another block.
        let plain = Features::default() - Features::METADATA_CSUM;
        names.last_mut().unwrap().extend([b'z'; 11]);
        assert!(matches!(plan_with(&names, plain), DirectoryPlan::Linear { blocks: 1 }));
        names.last_mut().unwrap().push(b'z');
        let DirectoryPlan::Listed(listed) = plan_with(&names, plain - Features::DIR_INDEX) else {
            panic!("one block is not enough");
        };
        assert_eq!((listed.block(0).len(), listed.block(1).len()), (15, 1));
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
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
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn two_levels_begin_where_the_root_is_full() {
        let names: Vec<Vec<u8>> = (0..20_000).map(|i| format!("{i:0255}").into_bytes()).collect();
        let DirectoryPlan::Indexed(indexed) = plan_of(&names) else {
            panic!("20,000 entries need an index");
        };
        // 12 names of 255 bytes fill a leaf to four fifths: 1,667 leaves, 4 index blocks.
        assert_eq!((indexed.leaf_count(), indexed.levels.as_slice()), (1667, &[4][..]));
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn three_levels_where_two_do_not_hold_the_leaves() {
        // Three such names are a leaf of 1 KiB at four fifths: 20,000 leaves, and a root and its blocks list 123 times 126.
        let names: Vec<Vec<u8>> = (0..60_000).map(|i| format!("{i:0250}").into_bytes()).collect();
        let entries = || names.iter().map(|name| (name.as_slice(), None));
        let without = Form::new(BlockSize::Kib1, Features::default() - Features::LARGE_DIR);
        assert!(plan(entries(), [1; 16], without).is_none());
        let form = Form::new(BlockSize::Kib1, Features::default());
        let Some(DirectoryPlan::Indexed(indexed)) = plan(entries(), [1; 16], form) else {
            panic!("three levels hold them");
        };
        assert_eq!(indexed.levels, [2, 159]);
        // Every block but the root is listed once, and hashes ascend all the way.
        let lists: Vec<Vec<DxEntry>> = (0..indexed.first_leaf()).map(|block| indexed.index_entries(block)).collect();
        let blocks: Vec<u32> = lists.iter().flatten().map(|entry| entry.block).collect();
        assert_eq!(blocks, (1..indexed.first_leaf() + indexed.leaf_count()).collect::<Vec<_>>());
        let bottom: Vec<u32> = lists[3..].iter().flatten().map(|entry| entry.hash).collect();
        assert!(bottom.is_sorted() && lists.iter().all(|list| list.len() <= 126));
        assert_eq!(lists[0][1].hash, lists[1 + 1][0].hash);
    }
}
