//! From a tree to the place of every block. Pure: no file is read, nothing is written.
//!
//! ```text
//! Tree ──Demand::of──▶ Demand (inodes, blocks in order) ──Geometry::new──▶ Geometry (what is free) ──▶ Layout
//! ```
//!
//! Free blocks are handed out from the first to the last without a gap: journal, resize inode, orphan file, directories, attributes and
//! link targets, files, then the extent trees of the few files that need them. So "the n-th free block" is a place, and
//! which blocks are in use is a matter of one comparison; with [`Placement::Stable`] there are gaps, which are known apart.

mod acl;
pub(crate) mod demand;
pub(crate) mod dirs;
pub(crate) mod extents;
pub(crate) mod geometry;
pub(crate) mod identity;
mod stable;
pub(crate) mod xattrs;

use fstree::Tree;

use crate::block_size::BlockSize;
use crate::disk::extent::ROOT_MAX;
use crate::error::Error;
use crate::features::Features;
use crate::options::{ImageSize, Inodes, Journal, Options, Placement};
use crate::units::{Ino, low_u32, u64_of};
use demand::{Demand, Run, Runs};
use geometry::{Geometry, Range, TooSmall, align_blocks, lower_bound};
use identity::Identity;

/// The place of every block of an image of one tree.
#[derive(Debug)]
pub struct Layout<'t> {
    pub(crate) identity: Identity,
    pub(crate) demand: Demand<'t>,
    pub(crate) plan: Plan,
    pub(crate) size_bytes: u64,
}

/// The part of a layout that depends on the size of the image. Places are counted in free blocks.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) geometry: Geometry,
    /// Blocks of the journal, which has the first free blocks; 0 without one.
    pub(crate) journal: Runs,
    /// The block of the resize inode, where there is room to grow.
    pub(crate) resize_at: Option<u64>,
    /// Where the orphan file is, and its blocks; none without a journal.
    pub(crate) orphans: Option<(u64, Runs)>,
    /// The first block of the tree's own.
    pub(crate) content_at: u64,
    /// Extent trees that do not fit into their inodes, in order of the inodes.
    pub(crate) extent_trees: Vec<ExtentTree>,
    /// How many free blocks there are up to the last one in use.
    pub(crate) end: u64,
    /// How many of them are in use.
    pub(crate) used: u64,
    /// Blocks of the image before that end that are not in use, in order.
    pub(crate) holes: Vec<Range>,
}

/// The blocks of an extent tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtentTree {
    pub(crate) ino: Ino,
    pub(crate) at: u64,
    pub(crate) blocks: u64,
}

/// Places every block of an image of `tree`. Reads no content, writes nothing.
///
/// # Errors
/// The tree does not fit ([`Error::NoSpace`] says how much it needs), holds what ext4 cannot
/// ([`Error::Unrepresentable`]), or the options contradict themselves.
pub fn layout<'t>(tree: &'t Tree, options: &Options) -> Result<Layout<'t>, Error> {
    match options.placement {
        Placement::Compact => compact(tree, options),
        Placement::Stable => stable(tree, options),
    }
}

/// With gaps if they fit into an image that holds the tree without.
fn stable<'t>(tree: &'t Tree, options: &Options) -> Result<Layout<'t>, Error> {
    let without = Options { placement: Placement::Compact, ..options.clone() };
    let (size_bytes, headroom) = match options.size {
        ImageSize::Exact(size_bytes) => (size_bytes, 0),
        ImageSize::Auto { headroom_bytes } => {
            (Layout::minimum_size(tree, &without)?, options.block_size.blocks_for(headroom_bytes))
        }
    };
    let identity = Identity::of(tree, options);
    let blocks = size_bytes / options.block_size.bytes();
    if let Ok(demand) = checked_demand(tree, &identity, options)
        && blocks <= options.block_size.blocks_max()
        && let Ok(plan) = Plan::new(&demand, options, blocks, headroom)
    {
        return Ok(Layout { identity, demand, plan, size_bytes });
    }
    options.check_cancel()?;
    compact(tree, &without)
}

fn compact<'t>(tree: &'t Tree, options: &Options) -> Result<Layout<'t>, Error> {
    let identity = Identity::of(tree, options);
    let demand = checked_demand(tree, &identity, options)?;
    let block_size = options.block_size;
    let (plan, size_bytes) = match options.size {
        ImageSize::Exact(size_bytes) => (exact(&demand, options, size_bytes)?, size_bytes),
        ImageSize::Auto { headroom_bytes } => {
            let plan = smallest(&demand, options, 1, block_size.blocks_for(headroom_bytes))?;
            let size_bytes = plan.geometry.blocks * block_size.bytes();
            (plan, size_bytes)
        }
    };
    Ok(Layout { identity, demand, plan, size_bytes })
}

fn checked_demand<'t>(tree: &'t Tree, identity: &Identity, options: &Options) -> Result<Demand<'t>, Error> {
    options.check()?;
    let demand = Demand::of(tree, identity, options)?;
    match options.inodes {
        Inodes::Exact(asked) if u64::from(asked) < demand.inode_count() => {
            Err(Error::NotEnoughInodes { asked, needed: demand.inode_count() })
        }
        _ => Ok(demand),
    }
}

fn exact(demand: &Demand<'_>, options: &Options, size_bytes: u64) -> Result<Plan, Error> {
    let block_bytes = options.block_size.bytes();
    let blocks = size_bytes / block_bytes;
    if blocks > options.block_size.blocks_max() {
        return Err(too_large(options.block_size));
    }
    if let Ok(plan) = Plan::new(demand, options, blocks, 0) {
        return Ok(plan);
    }
    let larger = smallest(demand, options, blocks + 1, 0)?;
    let (blocks, inodes) = (larger.used, demand.inode_count());
    Err(Error::NoSpace { size_bytes, needed_bytes: larger.geometry.blocks * block_bytes, blocks, block_bytes, inodes })
}

/// The plan of the smallest image of at least `blocks` blocks that has `headroom` blocks left. What the file system needs for
/// itself does not only grow with its size, so the sizes that may do are tried one by one.
fn smallest(demand: &Demand<'_>, options: &Options, mut blocks: u64, headroom: u64) -> Result<Plan, Error> {
    while blocks <= options.block_size.blocks_max() {
        options.check_cancel()?;
        match Plan::new(demand, options, blocks, headroom) {
            Ok(plan) => return Ok(plan),
            // Without its last group an image may be told what it already has.
            Err(TooSmall { blocks_min }) => blocks = blocks_min.max(blocks + 1),
        }
    }
    Err(too_large(options.block_size))
}

fn too_large(block_size: BlockSize) -> Error {
    Error::TooLarge { max_bytes: block_size.blocks_max() * block_size.bytes() }
}

impl Plan {
    fn new(demand: &Demand<'_>, options: &Options, blocks: u64, headroom: u64) -> Result<Self, TooSmall> {
        let has_orphans = options.features.contains(Features::ORPHAN_FILE);
        let geometry = Geometry::new(blocks, demand.inode_count() + u64::from(has_orphans), options)?;
        let journal = Runs::whole(journal_blocks(geometry.blocks, options.journal));
        let resize_at = (geometry.reserved_desc_blocks > 0).then(|| journal.blocks());
        let orphans_at = journal.blocks() + u64::from(resize_at.is_some());
        let orphans = (has_orphans && journal.blocks() > 0)
            .then(|| (orphans_at, Runs::whole(orphan_file_blocks(geometry.blocks))));
        let own_end = orphans_at + orphans.as_ref().map_or(0, |(_, runs)| runs.blocks());
        let content_at = match options.placement {
            Placement::Compact => own_end,
            Placement::Stable => own_end.next_multiple_of(align_blocks(options.block_size)),
        };
        let trees_at = content_at + demand.blocks;
        let unused = content_at - own_end + demand.gaps.iter().map(|gap| gap.blocks).sum::<u64>();
        let missing = |end: u64| {
            let room = (end - unused + headroom).saturating_sub(geometry.free_blocks);
            let missing = end.saturating_sub(geometry.places).max(room);
            if missing == 0 {
                Ok(())
            } else {
                Err(lower_bound(blocks, missing, geometry.group_count(), options.block_size))
            }
        };
        let missing = |used| missing(used).map_err(|blocks_min| TooSmall { blocks_min });
        missing(trees_at)?;
        if journal.blocks() > geometry.blocks / 2 {
            return Err(TooSmall { blocks_min: 2 * journal.blocks() });
        }
        if options.reserved_blocks > geometry.blocks / 2 {
            return Err(TooSmall {
                blocks_min: blocks.max(options.reserved_blocks.saturating_mul(2).saturating_sub(1)) + 1,
            });
        }
        let extent_trees = extent_trees(demand, &geometry, &journal, orphans.as_ref(), content_at);
        let end = extent_trees.last().map_or(trees_at, |tree| tree.at + tree.blocks);
        missing(end)?;
        let holes = match options.placement {
            Placement::Compact => Vec::new(),
            Placement::Stable => holes(demand, &geometry, own_end, content_at, end),
        };
        Ok(Self { geometry, journal, resize_at, orphans, content_at, extent_trees, end, used: end - unused, holes })
    }

    /// The extent tree of an inode beyond what fits into the inode.
    pub(crate) fn extent_tree(&self, ino: Ino) -> Option<ExtentTree> {
        let found = self.extent_trees.binary_search_by_key(&ino, |tree| tree.ino).ok()?;
        Some(self.extent_trees[found])
    }

    /// Blocks of the file system that are not in use.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.geometry.free_blocks - self.used
    }
}

/// The sizes that `mke2fs` chooses (lib/ext2fs, `ext2fs_default_journal_size`).
fn journal_blocks(blocks: u64, journal: Journal) -> u32 {
    let tiers = [
        (2048, 0),
        (32_768, 1024),
        (256 << 10, 4096),
        (512 << 10, 8192),
        (4096 << 10, 16_384),
        (8192 << 10, 32_768),
        (16_384 << 10, 65_536),
        (32_768 << 10, 131_072),
    ];
    match journal {
        Journal::None => 0,
        Journal::Blocks(blocks) => blocks,
        Journal::Auto => tiers.iter().find(|&&(below, _)| blocks < below).map_or(262_144, |&(_, size)| size),
    }
}

/// The sizes that `mke2fs` chooses (lib/ext2fs, `ext2fs_default_orphan_file_blocks`).
fn orphan_file_blocks(blocks: u64) -> u32 {
    low_u32((blocks / 4_096).clamp(32, 512))
}

/// Blocks before the `end`-th free one that are not in use, in order.
fn holes(demand: &Demand<'_>, geometry: &Geometry, own_end: u64, content_at: u64, end: u64) -> Vec<Range> {
    let mut holes: Vec<Range> = geometry.skipped.clone();
    let gaps = demand.gaps.iter().map(|gap| (content_at + gap.at, gap.blocks));
    for (mut at, mut blocks) in std::iter::once((own_end, content_at - own_end)).chain(gaps) {
        while blocks > 0 {
            let (start, contiguous) = geometry.place(at);
            let piece = contiguous.min(blocks);
            holes.push(Range { start: start.get(), end: start.get() + piece });
            (at, blocks) = (at + piece, blocks - piece);
        }
    }
    let last = end.checked_sub(1).map_or(0, |last| geometry.place(last).0.get());
    holes.retain(|hole| hole.start <= last);
    holes.sort_unstable();
    holes
}

fn extent_trees(
    demand: &Demand<'_>,
    geometry: &Geometry,
    journal: &Runs,
    orphans: Option<&(u64, Runs)>,
    content_at: u64,
) -> Vec<ExtentTree> {
    let mut at = content_at + demand.blocks;
    let mut trees = Vec::new();
    let mut add = |ino, runs: &[Run], data_at| {
        let blocks = extents::tree_blocks(extents::extents(geometry, runs, data_at).count(), geometry.block_size);
        if blocks > 0 {
            trees.push(ExtentTree { ino, at, blocks });
            at += blocks;
        }
    };
    add(Ino::JOURNAL, journal.as_slice(), 0);
    for (owner, planned) in demand.inodes.iter().enumerate() {
        // As many blocks have at most as many extents.
        if planned.runs.blocks() > u64_of(ROOT_MAX) {
            add(Demand::ino(owner), planned.runs.as_slice(), content_at + planned.data_at);
        }
    }
    for (number, value) in demand.values.iter().enumerate() {
        add(demand.value_ino(number), value.runs.as_slice(), content_at + value.data_at);
    }
    if let Some((at, runs)) = orphans {
        add(demand.last_ino().next(), runs.as_slice(), *at);
    }
    trees
}

impl Layout<'_> {
    /// The size in bytes of the smallest image that holds `tree`, with the other options as they are: one block less is refused.
    /// `options.size` is not looked at, unless it asks for headroom.
    ///
    /// # Errors
    /// As [`layout`]; never [`Error::NoSpace`].
    pub fn minimum_size(tree: &Tree, options: &Options) -> Result<u64, Error> {
        // What has gaps can do without.
        let options = &Options { placement: Placement::Compact, ..options.clone() };
        // Hashes decide in which leaf of an index a name is, so the size depends on the seed too.
        let demand = checked_demand(tree, &Identity::of(tree, options), options)?;
        let headroom_bytes = match options.size {
            ImageSize::Exact(_) => 0,
            ImageSize::Auto { headroom_bytes } => headroom_bytes,
        };
        let plan = smallest(&demand, options, 1, options.block_size.blocks_for(headroom_bytes))?;
        Ok(plan.geometry.blocks * options.block_size.bytes())
    }

    /// Bytes of the image.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Blocks of the file system.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.plan.geometry.blocks
    }

    /// Blocks that are not in use.
    #[must_use]
    pub fn free_blocks(&self) -> u64 {
        self.plan.free_blocks()
    }

    /// Inodes, in use or not.
    #[must_use]
    pub fn inodes(&self) -> u32 {
        low_u32(self.plan.geometry.inode_count())
    }

    /// Inodes that are not in use.
    #[must_use]
    pub fn free_inodes(&self) -> u32 {
        self.inodes() - self.last_ino().get() + low_u32(u64_of(self.demand.free_inodes.len()))
    }

    /// The highest inode in use; all below it are reserved, in use, or in [`Demand::free_inodes`].
    pub(crate) fn last_ino(&self) -> Ino {
        self.orphan_ino().unwrap_or(self.demand.last_ino())
    }

    /// The inode of the orphan file.
    pub(crate) fn orphan_ino(&self) -> Option<Ino> {
        self.plan.orphans.as_ref().map(|_| self.demand.last_ino().next())
    }

    /// Blocks of the journal, 0 without one.
    #[must_use]
    pub fn journal_blocks(&self) -> u64 {
        self.plan.journal.blocks()
    }

    /// Bytes of file content that are stored; holes do not count.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.demand.content_bytes
    }

    /// Nodes whose modification time is outside what an inode holds (1901 to 2446): it is moved to the nearest end.
    #[must_use]
    pub fn times_clamped(&self) -> u64 {
        self.demand.times_clamped
    }

    /// Extended attributes left out because Linux has no such name on ext4 (`com.apple.*`, `system.nfs4_acl`, ...).
    #[must_use]
    pub fn xattrs_skipped(&self) -> u64 {
        self.demand.xattrs_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_sizes_are_those_of_mke2fs() {
        // dumpe2fs of images that mke2fs 1.47 made.
        for (mib, expected) in
            [(7, 0), (8, 1024), (127, 1024), (128, 4096), (1024, 8192), (4096, 16_384), (65_536, 131_072)]
        {
            assert_eq!(journal_blocks(mib << 8, Journal::Auto), expected, "{mib} MiB");
        }
        assert_eq!(journal_blocks(1 << 20, Journal::None), 0);
    }
}
