//! Where the structures of the file system itself are: groups, backups, bitmaps, inode tables; and what they leave free.
//!
//! ```text
//! group 0            group 1            group 2         group 3
//! ┌──┬───┬────┬─────┬──┬───┬────┬──────┬───────────────┬──┬───┬────┬─────
//! │sb│gdt│grow│bb ib inode tables of 16 groups │ free  │sb│gdt│grow│ free
//! └──┴───┴────┴─────┴──┴───┴────┴──────┴───────────────┴──┴───┴────┴─────
//!     superblock and descriptors again in groups 1, 3^n, 5^n, 7^n (sparse_super)
//! ```
//!
//! Without `flex_bg` each group has its own bitmaps and inode table, without `sparse_super` each group has a copy.

use crate::block_size::BlockSize;
use crate::disk::group_desc::desc_len;
use crate::disk::inode::INODE_LEN;
use crate::features::Features;
use crate::options::{Inodes, Options, Placement};
use crate::units::{BlockNr, Ino, index, low_u32, u64_of};

/// Inodes of a group are a multiple of this: they fill whole blocks of every size and whole bytes of a bitmap, and the first
/// group has all that are reserved.
const INODES_STEP: u64 = 16;
/// `s_log_groups_per_flex`.
pub(crate) const LOG_GROUPS_PER_FLEX: u8 = 4;
const GROUPS_PER_FLEX: u64 = 1 << LOG_GROUPS_PER_FLEX;
/// With [`Placement::Stable`] the n-th place is as far from a multiple of so many bytes in the image as n blocks are, so that what lies
/// together lies in the same pieces of a power of two up to that size, wherever the structures of an image of that size are.
const ALIGN_BYTES: u64 = 256 << 10;

/// Where one group keeps its own structures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) block_bitmap: BlockNr,
    pub(crate) inode_bitmap: BlockNr,
    pub(crate) inode_table: BlockNr,
}

/// A run of blocks that are not used by the file system itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) start: BlockNr,
    pub(crate) blocks: u64,
    /// Free blocks before it.
    pub(crate) before: u64,
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The file system without its content.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub(crate) block_size: BlockSize,
    pub(crate) features: Features,
    /// Blocks of the file system.
    pub(crate) blocks: u64,
    /// Blocks of group descriptors.
    pub(crate) desc_blocks: u64,
    /// Blocks set aside for more descriptors.
    pub(crate) reserved_desc_blocks: u64,
    pub(crate) inodes_per_group: u64,
    pub(crate) groups: Vec<Group>,
    /// Blocks in use by the file system itself, in order.
    pub(crate) fixed: Vec<Range>,
    /// What is left to be handed out, in order.
    pub(crate) free: Vec<Free>,
    /// How many blocks that is.
    pub(crate) places: u64,
    /// What is left out between, in order, so that places keep their distance from multiples of [`ALIGN_BYTES`].
    pub(crate) skipped: Vec<Range>,
    /// Blocks that are not used by the file system itself.
    pub(crate) free_blocks: u64,
}

/// An image is too small: nothing below that many blocks can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSmall {
    pub(crate) blocks_min: u64,
}

/// The numbers that come before any placing.
#[derive(Clone, Copy, Debug)]
struct Counts {
    block_size: BlockSize,
    features: Features,
    blocks: u64,
    groups: u64,
    desc_blocks: u64,
    reserved_desc_blocks: u64,
    inodes_per_group: u64,
}

impl Geometry {
    /// The geometry of an image of `blocks` blocks that has room for `inodes_needed` inodes.
    pub(crate) fn new(blocks: u64, inodes_needed: u64, options: &Options) -> Result<Self, TooSmall> {
        let counts = Counts::new(blocks, inodes_needed, options)?;
        counts.check_overhead(blocks)?;
        let mut groups = Vec::with_capacity(index(counts.groups));
        let mut fixed = counts.backups();
        for flex in counts.flexes() {
            // Only a group that is nearly nothing but its own backup cannot take them, where the image ends.
            let placed = counts.place_flex(flex, &mut groups, &mut fixed);
            placed.ok_or(TooSmall { blocks_min: blocks + 1 })?;
        }
        fixed.sort_unstable();
        let fixed = merge(fixed);
        let free = complement(&fixed, counts.blocks);
        let end = |free: &[Free]| free.last().map_or(0, |last| last.before + last.blocks);
        let free_blocks = end(&free);
        let (free, skipped) = match options.placement {
            Placement::Compact => (free, Vec::new()),
            Placement::Stable => aligned(&free, align_blocks(options.block_size)),
        };
        let places = end(&free);
        let Counts { block_size, features, blocks, desc_blocks, reserved_desc_blocks, inodes_per_group, .. } = counts;
        Ok(Self {
            block_size,
            features,
            blocks,
            desc_blocks,
            reserved_desc_blocks,
            inodes_per_group,
            groups,
            fixed,
            free,
            places,
            skipped,
            free_blocks,
        })
    }

    /// How many groups there are.
    pub(crate) fn group_count(&self) -> u64 {
        u64_of(self.groups.len())
    }

    pub(crate) fn inode_count(&self) -> u64 {
        self.group_count() * self.inodes_per_group
    }

    /// The place of a free block, counted from the first, and how many follow it without a gap, itself included.
    pub(crate) fn place(&self, at: u64) -> (BlockNr, u64) {
        let free = self.free[self.free.partition_point(|free| free.before <= at) - 1];
        let inside = at - free.before;
        (free.start.plus(inside), free.blocks - inside)
    }

    /// The groups other than the first that hold a copy of superblock and descriptors.
    pub(crate) fn backup_groups(&self) -> impl Iterator<Item = u64> {
        (1..self.group_count()).filter(|&group| has_backup(group, self.features))
    }

    /// Blocks of superblock, descriptors and the room for more at the start of a group.
    pub(crate) fn backup_blocks(&self, group: u64) -> u64 {
        if has_backup(group, self.features) { 1 + self.desc_blocks + self.reserved_desc_blocks } else { 0 }
    }

    /// The blocks of a group.
    pub(crate) fn group_range(&self, group: u64) -> Range {
        let start = group_start(self.block_size, group);
        Range { start, end: (start + self.block_size.blocks_per_group()).min(self.blocks) }
    }
}

impl Counts {
    fn new(blocks: u64, inodes_needed: u64, options: &Options) -> Result<Self, TooSmall> {
        let mut counts = Self::of_blocks(blocks, inodes_needed, options)?;
        let last = group_start(options.block_size, counts.groups - 1);
        // A last group that would not even hold its own structures is left out.
        if counts.groups > 1 && counts.blocks - last <= counts.own_blocks(counts.groups - 1) {
            counts = Self::of_blocks(last, inodes_needed, options)?;
        }
        Ok(counts)
    }

    fn of_blocks(blocks: u64, inodes_needed: u64, options: &Options) -> Result<Self, TooSmall> {
        let block_size = options.block_size;
        let (first, per_group) = (block_size.first_data_block(), block_size.blocks_per_group());
        let groups = blocks.saturating_sub(first).div_ceil(per_group).max(1);
        let inodes_per_group_max = per_group.min(u64::from(u32::MAX) / groups / INODES_STEP * INODES_STEP);
        let needed = match options.inodes {
            Inodes::BytesPerInode(_) => inodes_needed + inodes_needed / 16 + INODES_STEP,
            Inodes::Exact(inodes) => u64::from(inodes).max(inodes_needed),
        };
        let groups_needed = needed.div_ceil(inodes_per_group_max);
        if groups_needed > groups {
            return Err(TooSmall { blocks_min: group_start(block_size, groups_needed - 1) + 1 });
        }
        let wanted = match options.inodes {
            Inodes::BytesPerInode(bytes) => {
                let by_size = blocks * block_size.bytes() / u64::from(bytes.get());
                match options.placement {
                    Placement::Compact => by_size.max(needed),
                    // Some more files are no reason to move all that comes after the tables.
                    Placement::Stable if needed > by_size => needed.next_multiple_of((by_size / 2).max(INODES_STEP)),
                    Placement::Stable => by_size,
                }
            }
            Inodes::Exact(_) => needed,
        };
        let inodes_per_group = wanted.div_ceil(groups).next_multiple_of(INODES_STEP).min(inodes_per_group_max);
        let descs_per_block = block_size.holds(desc_len(options.features));
        let desc_blocks = groups.div_ceil(descs_per_block);
        let grown = blocks.saturating_mul(u64::from(options.grow_factor)).min(block_size.blocks_max());
        let grown_desc_blocks = grown.saturating_sub(first).div_ceil(per_group).div_ceil(descs_per_block);
        let reserved_desc_blocks = grown_desc_blocks.saturating_sub(desc_blocks).min(block_size.addresses_per_block());
        let features = options.features;
        Ok(Self { block_size, features, blocks, groups, desc_blocks, reserved_desc_blocks, inodes_per_group })
    }

    fn inode_table_blocks(&self) -> u64 {
        self.inodes_per_group / self.block_size.holds(INODE_LEN)
    }

    fn backup_blocks(&self, group: u64) -> u64 {
        if has_backup(group, self.features) { 1 + self.desc_blocks + self.reserved_desc_blocks } else { 0 }
    }

    /// Blocks that have to be in a group itself.
    fn own_blocks(&self, group: u64) -> u64 {
        let own = if self.is_flexible() { 0 } else { 2 + self.inode_table_blocks() };
        own + self.backup_blocks(group)
    }

    fn is_flexible(&self) -> bool {
        self.features.contains(Features::FLEX_BG)
    }

    /// Spares the placing where the structures alone are larger than the image.
    fn check_overhead(&self, asked: u64) -> Result<(), TooSmall> {
        let backups: u64 = (0..self.groups).map(|group| self.backup_blocks(group)).sum();
        let overhead = self.block_size.first_data_block() + backups + self.groups * (2 + self.inode_table_blocks());
        if overhead < self.blocks {
            Ok(())
        } else {
            Err(TooSmall { blocks_min: self.lower_bound(asked, overhead - self.blocks) })
        }
    }

    fn lower_bound(&self, asked: u64, missing_blocks: u64) -> u64 {
        lower_bound(asked, missing_blocks, self.groups, self.block_size)
    }

    fn backups(&self) -> Vec<Range> {
        let with = (0..self.groups).filter(|&group| has_backup(group, self.features));
        let boot = Range { start: 0, end: self.block_size.first_data_block() };
        std::iter::once(boot).filter(|boot| boot.end > 0).chain(with.map(|group| self.backup_range(group))).collect()
    }

    fn backup_range(&self, group: u64) -> Range {
        let start = group_start(self.block_size, group);
        Range { start, end: start + self.backup_blocks(group) }
    }

    /// The groups that keep their structures together. A last few that have no room for that go with those before them.
    fn flexes(&self) -> Vec<std::ops::Range<u64>> {
        if !self.is_flexible() {
            return (0..self.groups).map(|group| group..group + 1).collect();
        }
        let mut starts: Vec<u64> = (0..self.groups).step_by(index(GROUPS_PER_FLEX)).collect();
        if let [_, .., last] = starts[..] {
            let left = self.blocks - group_start(self.block_size, last);
            let structures = (self.groups - last) * (2 + self.inode_table_blocks());
            if left < 2 * (structures + self.backup_blocks(last)) {
                starts.pop();
            }
        }
        let ends = starts.iter().skip(1).copied().chain([self.groups]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }

    fn place_flex(&self, flex: std::ops::Range<u64>, groups: &mut Vec<Group>, fixed: &mut Vec<Range>) -> Option<()> {
        let mut cursor = group_start(self.block_size, flex.start);
        let mut take = |blocks| {
            let start = self.fit(cursor, blocks)?;
            cursor = start + blocks;
            fixed.push(Range { start, end: cursor });
            Some(BlockNr::new(start))
        };
        let first = groups.len();
        for _ in flex.clone() {
            groups.push(Group { block_bitmap: take(1)?, ..Group::default() });
        }
        for group in &mut groups[first..] {
            group.inode_bitmap = take(1)?;
        }
        for group in &mut groups[first..] {
            group.inode_table = take(self.inode_table_blocks())?;
        }
        Some(())
    }

    /// The first place from `cursor` on where so many blocks are in one piece between the backups.
    fn fit(&self, mut cursor: u64, blocks: u64) -> Option<u64> {
        loop {
            let group = (cursor - self.block_size.first_data_block()) / self.block_size.blocks_per_group();
            cursor = cursor.max(self.backup_range(group).end);
            let next = group_start(self.block_size, group + 1);
            if cursor + blocks <= next || !has_backup(group + 1, self.features) {
                return (cursor + blocks <= self.blocks).then_some(cursor);
            }
            cursor = next;
        }
    }
}

/// A size below which nothing works, when an image of `asked` blocks in `groups` groups misses some blocks. What
/// another block adds is at most that block and what rounding the inode tables to whole blocks took before.
pub(crate) fn lower_bound(asked: u64, missing_blocks: u64, groups: u64, block_size: BlockSize) -> u64 {
    let rounded = INODES_STEP.div_ceil(block_size.holds(INODE_LEN));
    asked + missing_blocks.saturating_sub((1 + rounded) * groups + 16).max(1)
}

/// The first block of a group.
pub(crate) const fn group_start(block_size: BlockSize, group: u64) -> u64 {
    block_size.first_data_block() + group * block_size.blocks_per_group()
}

/// Whether a group holds a copy of superblock and descriptors: with `sparse_super` a few do, else all.
pub(crate) fn has_backup(group: u64, features: Features) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    !features.contains(Features::SPARSE_SUPER) || group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

fn merge(ranges: Vec<Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            last => {
                assert!(last.is_none_or(|last| last.end < range.start), "no block has two uses");
                merged.push(range);
            }
        }
    }
    merged
}

fn complement(fixed: &[Range], blocks: u64) -> Vec<Free> {
    let starts = std::iter::once(0).chain(fixed.iter().map(|range| range.end));
    let ends = fixed.iter().map(|range| range.start).chain([blocks]);
    let mut before = 0;
    let gaps = starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| {
        let free = Free { start: BlockNr::new(start), blocks: end - start, before };
        before += free.blocks;
        free
    });
    gaps.collect()
}

/// Blocks of [`ALIGN_BYTES`].
pub(crate) fn align_blocks(block_size: BlockSize) -> u64 {
    ALIGN_BYTES / block_size.bytes()
}

/// The runs without what is at their start until block and place are as far from a multiple of `align`; and what was left out.
fn aligned(free: &[Free], align: u64) -> (Vec<Free>, Vec<Range>) {
    let (mut kept, mut skipped) = (Vec::with_capacity(free.len()), Vec::new());
    let mut before = 0;
    for run in free {
        let start = run.start.get();
        let skip = ((before % align + align - start % align) % align).min(run.blocks);
        if skip > 0 {
            skipped.push(Range { start, end: start + skip });
        }
        let blocks = run.blocks - skip;
        if blocks > 0 {
            kept.push(Free { start: run.start.plus(skip), blocks, before });
            before += blocks;
        }
    }
    (kept, skipped)
}

/// Inodes of a group up to the last that is in use when that is `last`.
pub(crate) fn inodes_used(geometry: &Geometry, group: u64, last: Ino) -> u64 {
    u64::from(last.get()).saturating_sub(group * geometry.inodes_per_group).min(geometry.inodes_per_group)
}

/// The group of an inode and its index in the group's table.
pub(crate) fn inode_place(geometry: &Geometry, ino: Ino) -> (u64, u32) {
    let number = u64::from(ino.get() - 1);
    (number / geometry.inodes_per_group, low_u32(number % geometry.inodes_per_group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_in_powers_of_three_five_and_seven() {
        let groups: Vec<u64> = (0..400).filter(|&group| has_backup(group, Features::all())).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
        assert!((0..400).all(|group| has_backup(group, Features::all() - Features::SPARSE_SUPER)));
    }

    #[test]
    fn as_many_blocks_are_set_aside_for_growing_as_mke2fs_sets_aside() {
        // dumpe2fs of images that mke2fs 1.47 made with 64-byte descriptors.
        for (mib, reserved) in [(8, 0), (16, 1), (64, 7), (1024, 127), (4096, 511), (65_536, 1024)] {
            let counts = Counts::new(mib << 8, 11, &Options::default()).unwrap();
            assert_eq!(counts.reserved_desc_blocks, reserved, "{mib} MiB");
        }
    }

    #[test]
    fn every_block_is_fixed_or_free_for_all_kinds_of_sizes() {
        let sizes =
            [30, 256, 32_767, 32_768, 32_769, 32_900, 98_305, 524_288, 524_289, 524_300, 16 * 32_768 + 700, 1 << 22];
        for blocks in sizes {
            for inodes in [11, 5_000, 30_000] {
                let Ok(geometry) = Geometry::new(blocks, inodes, &Options::default()) else {
                    assert!(blocks < 3_000, "{blocks} blocks are enough for {inodes} inodes");
                    continue;
                };
                let fixed: u64 = geometry.fixed.iter().map(|range| range.end - range.start).sum();
                assert_eq!(fixed + geometry.free_blocks, geometry.blocks, "{blocks}");
                assert!(geometry.blocks <= blocks && geometry.inode_count() >= inodes);
                assert_eq!(geometry.group_count(), geometry.blocks.div_ceil(32_768));
            }
        }
    }

    #[test]
    fn a_last_group_smaller_than_its_backup_is_left_out() {
        let geometry = Geometry::new(32_768 + 10, 11, &Options::default()).unwrap();
        assert_eq!(geometry.blocks, 32_768);
        // Group 2 has no backup: one block is enough.
        let geometry = Geometry::new(2 * 32_768 + 1, 11, &Options::default()).unwrap();
        assert_eq!(geometry.blocks, 2 * 32_768 + 1);
    }
}
