//! Superblocks, group descriptors, bitmaps, journal and resize inode: what belongs to the file system, not to a file.

use zerocopy::{FromZeros, IntoBytes};

use super::Image;
use super::buffer::Buffer;
use super::inodes::InodeTable;
use super::jobs::span_blocks;
use crate::disk::features::{Compat, Incompat, RoCompat};
use crate::disk::group_desc::{GroupDesc, GroupFlags, desc_len};
use crate::disk::inode::{EXTRA_ISIZE, INODE_LEN};
use crate::disk::superblock::Superblock;
use crate::disk::{journal, orphan, superblock};
use crate::error::Error;
use crate::features::Features;
use crate::layout::Layout;
use crate::layout::demand::Demand;
use crate::layout::geometry::{Geometry, LOG_GROUPS_PER_FLEX, group_start, inode_place, inodes_used};
use crate::options::{InodeTables, Options};
use crate::units::{BlockNr, Ino, index, low_u8, low_u16, low_u32, u64_of};

/// What is the same in every copy.
#[derive(Debug)]
pub(super) struct Metadata {
    superblock: Superblock,
    /// Group descriptors, one after the other.
    descriptors: Vec<u8>,
}

impl Metadata {
    pub(super) fn new(image: &Image<'_, '_>) -> Self {
        Self { superblock: superblock(image), descriptors: descriptors(image) }
    }
}

fn superblock(image: &Image<'_, '_>) -> Superblock {
    let (layout, options) = (image.layout, image.options);
    let (plan, geometry) = (&layout.plan, &layout.plan.geometry);
    let mut sb = Superblock::new_zeroed();
    sb.s_inodes_count.set(layout.inodes());
    sb.s_free_inodes_count.set(layout.free_inodes());
    let [blocks, free, reserved] = [geometry.blocks, plan.free_blocks(), options.reserved_blocks];
    sb.s_blocks_count_lo.set(low_u32(blocks));
    sb.s_blocks_count_hi.set(low_u32(blocks >> 32));
    sb.s_free_blocks_count_lo.set(low_u32(free));
    sb.s_free_blocks_count_hi.set(low_u32(free >> 32));
    sb.s_r_blocks_count_lo.set(low_u32(reserved));
    sb.s_r_blocks_count_hi.set(low_u32(reserved >> 32));
    let block_size = geometry.block_size;
    sb.s_first_data_block.set(low_u32(block_size.first_data_block()));
    sb.s_log_block_size.set(block_size.log());
    sb.s_log_cluster_size.set(block_size.log());
    sb.s_blocks_per_group.set(low_u32(block_size.blocks_per_group()));
    sb.s_clusters_per_group.set(low_u32(block_size.blocks_per_group()));
    sb.s_inodes_per_group.set(low_u32(geometry.inodes_per_group));
    // No check after some number of mounts.
    sb.s_max_mnt_count.set(u16::MAX);
    sb.s_magic.set(superblock::MAGIC);
    sb.s_state.set(superblock::STATE_CLEAN);
    sb.s_errors.set(superblock::ERRORS_CONTINUE);
    sb.s_rev_level.set(superblock::REV_DYNAMIC);
    sb.s_first_ino.set(Ino::FIRST.get());
    sb.s_inode_size.set(low_u16(u64_of(INODE_LEN)));
    sb.s_min_extra_isize.set(EXTRA_ISIZE);
    sb.s_want_extra_isize.set(EXTRA_ISIZE);
    sb.s_uuid = layout.identity.uuid;
    sb.s_volume_name[..options.label.len()].copy_from_slice(options.label.as_bytes());
    sb.s_reserved_gdt_blocks.set(low_u16(geometry.reserved_desc_blocks));
    sb.s_hash_seed = layout.identity.hash_seed;
    sb.s_def_hash_version = superblock::HASH_HALF_MD4;
    sb.s_flags.set(superblock::FLAG_SIGNED_HASH);
    sb.s_default_mount_opts.set(superblock::MOUNT_XATTR_ACL);
    let fixed: u64 = geometry.fixed.iter().map(|range| range.end - range.start).sum();
    sb.s_overhead_clusters.set(low_u32(fixed + layout.journal_blocks()));
    sb.s_lpf_ino.set(Ino::FIRST.get());
    set_times(&mut sb, options.time().seconds.cast_unsigned());
    set_features(&mut sb, layout, options);
    sb
}

fn set_times(sb: &mut Superblock, seconds: u64) {
    for field in [&mut sb.s_mkfs_time, &mut sb.s_wtime, &mut sb.s_lastcheck] {
        field.set(low_u32(seconds));
    }
    for field in [&mut sb.s_mkfs_time_hi, &mut sb.s_wtime_hi, &mut sb.s_lastcheck_hi] {
        *field = low_u8(seconds >> 32);
    }
}

/// The features and the fields that go with them.
fn set_features(sb: &mut Superblock, layout: &Layout<'_>, options: &Options) {
    let has = |feature| options.features.contains(feature);
    let mut compat = Compat::empty();
    compat.set(Compat::EXT_ATTR, has(Features::EXT_ATTR));
    compat.set(Compat::DIR_INDEX, has(Features::DIR_INDEX));
    if let Some(ino) = layout.orphan_ino() {
        compat |= Compat::ORPHAN_FILE;
        sb.s_orphan_file_inum.set(ino.get());
    }
    compat.set(Compat::RESIZE_INODE, layout.plan.resize_at.is_some());
    if layout.journal_blocks() > 0 {
        compat |= Compat::HAS_JOURNAL;
        sb.s_journal_inum.set(Ino::JOURNAL.get());
        sb.s_jnl_backup_type = superblock::JNL_BACKUP_BLOCKS;
        let inode = InodeTable::new(layout).journal_block_map();
        let size = layout.journal_blocks() * layout.demand.block_size.bytes();
        let (words, _) = inode.as_chunks::<4>();
        let map = words.iter().map(|&word| u32::from_le_bytes(word));
        for (field, value) in sb.s_jnl_blocks.iter_mut().zip(map.chain([low_u32(size >> 32), low_u32(size)])) {
            field.set(value);
        }
    }
    sb.s_feature_compat.set(compat.bits());
    let mut incompat = Incompat::EXTENTS;
    incompat.set(Incompat::FILETYPE, has(Features::FILETYPE));
    incompat.set(Incompat::BIT64, has(Features::BIT64));
    incompat.set(Incompat::FLEX_BG, has(Features::FLEX_BG));
    incompat.set(Incompat::CSUM_SEED, has(Features::METADATA_CSUM_SEED));
    incompat.set(Incompat::EA_INODE, !layout.demand.values.is_empty());
    incompat.set(Incompat::LARGEDIR, layout.demand.has_large_directory);
    sb.s_feature_incompat.set(incompat.bits());
    let mut ro_compat = RoCompat::empty();
    ro_compat.set(RoCompat::SPARSE_SUPER, has(Features::SPARSE_SUPER));
    ro_compat.set(RoCompat::LARGE_FILE, has(Features::LARGE_FILE));
    ro_compat.set(RoCompat::HUGE_FILE, has(Features::HUGE_FILE));
    ro_compat.set(RoCompat::DIR_NLINK, has(Features::DIR_NLINK));
    ro_compat.set(RoCompat::EXTRA_ISIZE, has(Features::EXTRA_ISIZE));
    ro_compat.set(RoCompat::METADATA_CSUM, has(Features::METADATA_CSUM));
    ro_compat.set(RoCompat::READONLY, options.read_only);
    sb.s_feature_ro_compat.set(ro_compat.bits());
    if has(Features::BIT64) {
        sb.s_desc_size.set(low_u16(u64_of(desc_len(options.features))));
    }
    if has(Features::FLEX_BG) {
        sb.s_log_groups_per_flex = LOG_GROUPS_PER_FLEX;
    }
    if has(Features::METADATA_CSUM) {
        sb.s_checksum_type = superblock::CHECKSUM_CRC32C;
    }
    if has(Features::METADATA_CSUM_SEED) {
        // Kept apart from the UUID, so that the UUID of a copy can be changed without another write to all metadata.
        sb.s_checksum_seed.set(layout.identity.checksums().get());
    }
}

fn descriptors(image: &Image<'_, '_>) -> Vec<u8> {
    let (layout, seed) = (image.layout, image.seed);
    let geometry = &layout.plan.geometry;
    let desc_len = desc_len(geometry.features);
    let directories = directories(&layout.demand, geometry);
    let mut bytes = Vec::with_capacity(geometry.groups.len() * desc_len);
    let mut bitmap = vec![0; geometry.block_size.len()];
    for (group, directories) in (0..).zip(directories) {
        let mut desc = descriptor(layout, group, directories, image.options.inode_tables);
        if let Some(()) = block_bitmap(layout, group, &mut bitmap) {
            desc.set_block_bitmap_csum(seed.add(&bitmap));
        }
        if let Some(()) = inode_bitmap(layout, group, &mut bitmap) {
            desc.set_inode_bitmap_csum(seed.add(&bitmap[..index(geometry.inodes_per_group / 8)]));
        }
        desc.seal(seed, group, desc_len);
        bytes.extend_from_slice(&desc.as_bytes()[..desc_len]);
    }
    bytes
}

fn descriptor(layout: &Layout<'_>, group: u64, directories: u32, inode_tables: InodeTables) -> GroupDesc {
    let geometry = &layout.plan.geometry;
    let place = geometry.groups[index(group)];
    let used_inodes = inodes_used(geometry, group, layout.last_ino());
    let unused_inodes = geometry.inodes_per_group - used_inodes;
    let free_inodes = unused_inodes + u64_of(free_inodes(layout, group).len());
    let range = geometry.group_range(group);
    let free_blocks = range.end - range.start - used_blocks(layout, group);
    // What was never used is known by the checksums of the descriptors alone.
    let has_checksums = geometry.features.contains(Features::METADATA_CSUM);
    let mut flags = GroupFlags::empty();
    flags.set(GroupFlags::INODE_ZEROED, has_checksums && inode_tables != InodeTables::Lazy);
    flags.set(GroupFlags::INODE_UNINIT, has_checksums && used_inodes == 0);
    flags.set(GroupFlags::BLOCK_UNINIT, is_untouched(layout, group));
    let mut desc = GroupDesc::new_zeroed();
    desc.bg_block_bitmap_lo.set(place.block_bitmap.low());
    desc.bg_block_bitmap_hi.set(place.block_bitmap.high());
    desc.bg_inode_bitmap_lo.set(place.inode_bitmap.low());
    desc.bg_inode_bitmap_hi.set(place.inode_bitmap.high());
    desc.bg_inode_table_lo.set(place.inode_table.low());
    desc.bg_inode_table_hi.set(place.inode_table.high());
    desc.bg_free_blocks_count_lo.set(low_u16(free_blocks));
    desc.bg_free_blocks_count_hi.set(low_u16(free_blocks >> 16));
    desc.bg_free_inodes_count_lo.set(low_u16(free_inodes));
    desc.bg_free_inodes_count_hi.set(low_u16(free_inodes >> 16));
    desc.bg_used_dirs_count_lo.set(low_u16(u64::from(directories)));
    desc.bg_used_dirs_count_hi.set(low_u16(u64::from(directories >> 16)));
    if has_checksums {
        // All inodes that are in use come first.
        desc.bg_itable_unused_lo.set(low_u16(unused_inodes));
        desc.bg_itable_unused_hi.set(low_u16(unused_inodes >> 16));
    }
    desc.bg_flags.set(flags.bits());
    desc
}

/// Directories whose inodes are in each group.
fn directories(demand: &Demand<'_>, geometry: &Geometry) -> Vec<u32> {
    let mut counts = vec![0; geometry.groups.len()];
    for (owner, _) in demand.inodes.iter().enumerate().filter(|(_, planned)| planned.directory.is_some()) {
        let (group, _) = inode_place(geometry, Demand::ino(owner));
        counts[index(group)] += 1;
    }
    counts
}

/// Whether a group holds nothing but its backup, and may say so. The last one counts as touched: its bitmap says where the image ends.
fn is_untouched(layout: &Layout<'_>, group: u64) -> bool {
    let geometry = &layout.plan.geometry;
    geometry.features.contains(Features::METADATA_CSUM)
        && group > 0
        && group + 1 < geometry.group_count()
        && used_blocks(layout, group) == geometry.backup_blocks(group)
}

fn used_blocks(layout: &Layout<'_>, group: u64) -> u64 {
    let holes: u64 = holes(layout, group).map(|hole| hole.end - hole.start).sum();
    used_ranges(layout, group).map(|range| range.end - range.start).sum::<u64>() - holes
}

/// The parts of a group that are not in use, before the end of the content.
fn holes(layout: &Layout<'_>, group: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let (holes, content_end) = (&layout.plan.holes, content_end(layout));
    let group = layout.plan.geometry.group_range(group);
    let first = holes.partition_point(|hole| hole.end <= group.start);
    let holes = holes[first..].iter().take_while(move |hole| hole.start < group.end);
    holes.map(move |hole| hole.start.max(group.start)..hole.end.min(group.end).min(content_end))
}

/// The block behind the last one of the content.
fn content_end(layout: &Layout<'_>) -> u64 {
    layout.plan.end.checked_sub(1).map_or(0, |last| layout.plan.geometry.place(last).0.get() + 1)
}

/// The inodes of a group that are not in use and have some behind them that are.
fn free_inodes<'l>(layout: &'l Layout<'_>, group: u64) -> &'l [Ino] {
    let (free, per_group) = (&layout.demand.free_inodes, layout.plan.geometry.inodes_per_group);
    let before = |group: u64| free.partition_point(|ino| u64::from(ino.get()) <= group * per_group);
    &free[before(group)..before(group + 1)]
}

/// The blocks of a group that are in use, in runs, and its holes: all up to the end of the content, then what is fixed.
fn used_ranges(layout: &Layout<'_>, group: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let geometry = &layout.plan.geometry;
    let content_end = content_end(layout);
    let group = geometry.group_range(group);
    let from = geometry.fixed.partition_point(|range| range.end <= group.start.max(content_end));
    let fixed = geometry.fixed[from..].iter().map(move |range| range.start.max(content_end)..range.end);
    let ranges = std::iter::once(0..content_end).chain(fixed.take_while(move |range| range.start < group.end));
    ranges
        .map(move |range| range.start.max(group.start)..range.end.min(group.end))
        .filter(|range| range.start < range.end)
}

/// Fills in the block bitmap of a group; `None` when the group has no use for one.
fn block_bitmap(layout: &Layout<'_>, group: u64, bitmap: &mut [u8]) -> Option<()> {
    if is_untouched(layout, group) {
        return None;
    }
    bitmap.fill(0);
    let range = layout.plan.geometry.group_range(group);
    for used in used_ranges(layout, group) {
        set_bits(bitmap, used.start - range.start..used.end - range.start);
    }
    for hole in holes(layout, group) {
        clear_bits(bitmap, hole.start - range.start..hole.end - range.start);
    }
    set_bits(bitmap, range.end - range.start..layout.plan.geometry.block_size.blocks_per_group());
    Some(())
}

/// Fills in the inode bitmap of a group; `None` when the group has no use for one.
fn inode_bitmap(layout: &Layout<'_>, group: u64, bitmap: &mut [u8]) -> Option<()> {
    let geometry = &layout.plan.geometry;
    let used = inodes_used(geometry, group, layout.last_ino());
    if used == 0 && geometry.features.contains(Features::METADATA_CSUM) {
        return None;
    }
    bitmap.fill(0);
    set_bits(bitmap, 0..used);
    for &free in free_inodes(layout, group) {
        let (_, bit) = inode_place(geometry, free);
        clear_bits(bitmap, u64::from(bit)..u64::from(bit) + 1);
    }
    // What no inode stands behind counts as taken.
    set_bits(bitmap, geometry.inodes_per_group..geometry.block_size.blocks_per_group());
    Some(())
}

fn set_bits(bitmap: &mut [u8], bits: std::ops::Range<u64>) {
    let (mut bit, end) = (bits.start, bits.end);
    while bit < end {
        let byte = &mut bitmap[index(bit / 8)];
        if bit % 8 == 0 && end - bit >= 8 {
            *byte = 0xFF;
            bit += 8;
        } else {
            *byte |= 1 << (bit % 8);
            bit += 1;
        }
    }
}

fn clear_bits(bitmap: &mut [u8], bits: std::ops::Range<u64>) {
    for bit in bits {
        bitmap[index(bit / 8)] &= !(1 << (bit % 8));
    }
}

/// Writes superblock and descriptors at the start of a group.
pub(super) fn write_backup(
    image: &Image<'_, '_>,
    metadata: &Metadata,
    group: u64,
    buffer: &mut Buffer,
) -> Result<(), Error> {
    let geometry = &image.layout.plan.geometry;
    let (block_size, blocks) = (geometry.block_size, 1 + geometry.desc_blocks);
    let at = BlockNr::new(group_start(block_size, group));
    image.send(buffer, at, blocks, |bytes| {
        bytes.fill(0);
        let mut superblock = metadata.superblock.clone();
        superblock.s_block_group_nr.set(low_u16(group));
        if geometry.features.contains(Features::METADATA_CSUM) {
            superblock.seal();
        }
        let offset = if group == 0 { index(superblock::PRIMARY_OFFSET - block_size.offset(at)) } else { 0 };
        bytes[offset..offset + size_of::<Superblock>()].copy_from_slice(superblock.as_bytes());
        bytes[block_size.len()..][..metadata.descriptors.len()].copy_from_slice(&metadata.descriptors);
        Ok(())
    })
}

/// Writes the bitmaps of all groups that have one, those next to each other together.
pub(super) fn write_bitmaps(image: &Image<'_, '_>) -> Result<(), Error> {
    let layout = image.layout;
    let mut gather = Gather { image, start: BlockNr::new(0), bytes: Vec::new() };
    let mut bitmap = vec![0; layout.demand.block_size.len()];
    for (group, place) in (0..).zip(&layout.plan.geometry.groups) {
        image.options.check_cancel()?;
        if let Some(()) = block_bitmap(layout, group, &mut bitmap) {
            gather.push(place.block_bitmap, &bitmap)?;
        }
    }
    for (group, place) in (0..).zip(&layout.plan.geometry.groups) {
        image.options.check_cancel()?;
        if let Some(()) = inode_bitmap(layout, group, &mut bitmap) {
            gather.push(place.inode_bitmap, &bitmap)?;
        }
    }
    gather.flush()
}

/// Collects blocks that follow each other and writes them at once.
struct Gather<'a, 'b, 't> {
    image: &'a Image<'b, 't>,
    start: BlockNr,
    bytes: Vec<u8>,
}

impl Gather<'_, '_, '_> {
    fn push(&mut self, at: BlockNr, block: &[u8]) -> Result<(), Error> {
        let block_size = self.image.layout.demand.block_size;
        if block_size.offset(self.start) + u64_of(self.bytes.len()) != block_size.offset(at) {
            self.flush()?;
            self.start = at;
        }
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.bytes.is_empty() {
            self.image.write(&self.bytes, self.start)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// Writes the first block of the journal.
pub(super) fn write_journal(image: &Image<'_, '_>, buffer: &mut Buffer) -> Result<(), Error> {
    image.send(buffer, image.layout.plan.geometry.place(0).0, 1, |block| {
        block.fill(0);
        journal::put_superblock(block, low_u32(image.layout.journal_blocks()));
        Ok(())
    })
}

/// Writes the orphan file, which names no inode.
pub(super) fn write_orphans(image: &Image<'_, '_>, at: u64, blocks: u64, buffer: &mut Buffer) -> Result<(), Error> {
    let geometry = &image.layout.plan.geometry;
    let seed = image.seed.of_inode(image.layout.orphan_ino().expect("what has blocks has an inode"));
    let mut done = 0;
    while done < blocks {
        let (start, contiguous) = geometry.place(at + done);
        let piece = contiguous.min(blocks - done).min(span_blocks(geometry.block_size));
        image.send(buffer, start, piece, |bytes| {
            bytes.fill(0);
            for (number, block) in (0..).zip(bytes.chunks_exact_mut(geometry.block_size.len())) {
                orphan::put_block(block, start.plus(number), seed);
            }
            Ok(())
        })?;
        done += piece;
    }
    Ok(())
}

/// Writes the block map of the resize inode: its own block lists the blocks set aside in group 0, and each of these lists its
/// copies in the groups with a backup (lib/ext2fs/res_gdt.c tells what the kernel expects).
pub(super) fn write_resize(image: &Image<'_, '_>, at: u64, buffer: &mut Buffer) -> Result<(), Error> {
    let geometry = &image.layout.plan.geometry;
    let block_size = geometry.block_size;
    let first = block_size.first_data_block() + 1 + geometry.desc_blocks;
    image.send(buffer, geometry.place(at).0, 1, |block| {
        block.fill(0);
        let (slots, _) = block.as_chunks_mut::<4>();
        let slot_count = u64_of(slots.len());
        for reserved in 0..geometry.reserved_desc_blocks {
            let slot = index((geometry.desc_blocks + reserved) % slot_count);
            slots[slot] = low_u32(first + reserved).to_le_bytes();
        }
        Ok(())
    })?;

    let backups: Vec<u64> = geometry.backup_groups().collect();
    if backups.is_empty() {
        return Ok(());
    }
    image.send(buffer, BlockNr::new(first), geometry.reserved_desc_blocks, |lists| {
        lists.fill(0);
        for (reserved, list) in (first..).zip(lists.chunks_exact_mut(block_size.len())) {
            for (slot, group) in list.chunks_exact_mut(4).zip(&backups) {
                slot.copy_from_slice(&low_u32(group * block_size.blocks_per_group() + reserved).to_le_bytes());
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_in_every_position() {
        for start in 0..20 {
            for end in start..40 {
                let mut bitmap = [0; 5];
                set_bits(&mut bitmap, start..end);
                let set: Vec<u64> = (0..40).filter(|&bit| bitmap[index(bit / 8)] >> (bit % 8) & 1 == 1).collect();
                assert_eq!(set, (start..end).collect::<Vec<_>>());
            }
        }
    }
}
