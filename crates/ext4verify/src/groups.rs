//! Group descriptors (group_descr.rst): where each group keeps its bitmaps and inodes.

use std::io;

use fstree::ReadAt;

use crate::bytes::{crc, halves, index, le16, le32, wide};
use crate::report::{Code, Report};
use crate::superblock::{LEN, OFFSET, Superblock, compat, incompat};
use crate::usage::Usage;

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

/// One descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: u64,
    pub(crate) free_blocks: u64,
    pub(crate) free_inodes: u32,
    pub(crate) directories: u32,
    pub(crate) unused_inodes: u32,
    pub(crate) block_bitmap_checksum: u32,
    pub(crate) inode_bitmap_checksum: u32,
    flags: u16,
}

impl Group {
    fn parse(raw: &[u8]) -> Self {
        let high = |at: usize| if raw.len() >= 64 { le32(raw, at) } else { 0 };
        let high_16 = |at: usize| if raw.len() >= 64 { le16(raw, at) } else { 0 };
        let word = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        Self {
            block_bitmap: halves(le32(raw, 0x0), high(0x20)),
            inode_bitmap: halves(le32(raw, 0x4), high(0x24)),
            inode_table: halves(le32(raw, 0x8), high(0x28)),
            free_blocks: u64::from(word(le16(raw, 0xc), high_16(0x2c))),
            free_inodes: word(le16(raw, 0xe), high_16(0x2e)),
            directories: word(le16(raw, 0x10), high_16(0x30)),
            flags: le16(raw, 0x12),
            block_bitmap_checksum: word(le16(raw, 0x18), high_16(0x38)),
            inode_bitmap_checksum: word(le16(raw, 0x1a), high_16(0x3a)),
            unused_inodes: word(le16(raw, 0x1c), high_16(0x32)),
        }
    }

    /// Whether the inodes were never used, so that their bitmap is not looked at.
    pub(crate) fn is_inode_uninit(&self) -> bool {
        self.flags & INODE_UNINIT != 0
    }

    /// The same of the blocks.
    pub(crate) fn is_block_uninit(&self) -> bool {
        self.flags & BLOCK_UNINIT != 0
    }
}

/// Reads and checks the descriptors, their copies and the copies of the superblock; all that is fixed becomes used.
pub(crate) fn read(
    image: &dyn ReadAt,
    superblock: &Superblock,
    usage: &mut Usage,
    report: &mut Report,
) -> io::Result<Vec<Group>> {
    let desc_bytes = index(superblock.desc_bytes);
    let table = read_table(image, superblock, superblock.first_data_block + 1)?;
    let mut groups = Vec::with_capacity(index(superblock.groups));
    let mut raw = vec![0; LEN];
    for (number, desc) in (0..).zip(table.chunks_exact(desc_bytes).take(index(superblock.groups))) {
        if superblock.has_checksums()
            && !report.checksum(u32::from(le16(desc, 0x1e)), checksum(superblock, number, desc))
        {
            report.add(Code::Group, None, None, format!("the checksum of the descriptor of group {number} is wrong"));
        }
        groups.push(Group::parse(desc));
    }
    for number in (0..superblock.groups).filter(|&number| superblock.has_copy(number)) {
        let start = superblock.group_blocks(number).start;
        let at = if number == 0 { OFFSET } else { start * superblock.block_bytes };
        let blocks = superblock.group_blocks(number);
        if blocks.end - blocks.start < superblock.copy_blocks() {
            report.add(Code::Group, None, Some(start), format!("group {number} has no room for its copy"));
            continue;
        }
        image.read_exact_at(&mut raw, at)?;
        superblock.check_copy(&raw, number, start, report);
        if number > 0 && !same_places(&read_table(image, superblock, start + 1)?, &table, desc_bytes) {
            let message = format!("the copy of the descriptors in group {number} puts things elsewhere");
            report.add(Code::Group, None, Some(start + 1), message);
        }
        if let Err(conflict) = usage.take(start, superblock.copy_blocks()) {
            report.add(Code::Group, None, Some(start), format!("the copy in group {number}: {conflict:?}"));
        }
    }
    if superblock.first_data_block == 1 {
        // The boot block stands before the first group, and no bitmap has it.
        let _ = usage.take(0, 1);
    }
    place(superblock, &groups, usage, report);
    Ok(groups)
}

fn place(superblock: &Superblock, groups: &[Group], usage: &mut Usage, report: &mut Report) {
    for (number, group) in groups.iter().enumerate() {
        let parts = [
            ("block bitmap", group.block_bitmap, 1),
            ("inode bitmap", group.inode_bitmap, 1),
            ("inode table", group.inode_table, superblock.inode_table_blocks()),
        ];
        for (what, start, len) in parts {
            let own = superblock.group_blocks(wide(number));
            let is_flexible = superblock.incompat & incompat::FLEX_BG != 0;
            if !(is_flexible || own.contains(&start) && start.saturating_add(len) <= own.end) {
                let message =
                    format!("the {what} of group {number} is in another group, and there are no flexible groups");
                report.add(Code::Group, None, Some(start), message);
            }
            if start <= superblock.first_data_block {
                report.add(
                    Code::Group,
                    None,
                    Some(start),
                    format!("the {what} of group {number} is where the superblock is"),
                );
            } else if let Err(conflict) = usage.take(start, len) {
                report.add(Code::Group, None, Some(start), format!("the {what} of group {number}: {conflict:?}"));
            }
        }
    }
}

fn read_table(image: &dyn ReadAt, superblock: &Superblock, block: u64) -> io::Result<Vec<u8>> {
    let mut table = vec![0; index(superblock.desc_blocks() * superblock.block_bytes)];
    if block + superblock.desc_blocks() > superblock.blocks {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the group descriptors are outside the file system"));
    }
    image.read_exact_at(&mut table, block * superblock.block_bytes)?;
    Ok(table)
}

/// Counts and checksums are brought up to date in the first table alone.
fn same_places(copy: &[u8], first: &[u8], desc_bytes: usize) -> bool {
    let places = |desc: &[u8]| {
        let group = Group::parse(desc);
        (group.block_bitmap, group.inode_bitmap, group.inode_table)
    };
    copy.chunks_exact(desc_bytes).zip(first.chunks_exact(desc_bytes)).all(|(copy, first)| places(copy) == places(first))
}

fn checksum(superblock: &Superblock, number: u64, desc: &[u8]) -> u32 {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let seed = crc(superblock.seed, &number.to_le_bytes());
    crate::bytes::crc_without(seed, desc, &[(0x1e, 0x20)]) & 0xffff
}

/// The block of the resize inode and what it names: blocks that are set aside already.
pub(crate) fn resize_inode_blocks(
    image: &dyn ReadAt,
    superblock: &Superblock,
    double_indirect: u64,
    report: &mut Report,
) -> io::Result<()> {
    if superblock.compat & compat::RESIZE_INODE == 0 || double_indirect >= superblock.blocks {
        return Ok(());
    }
    let mut block = vec![0; index(superblock.block_bytes)];
    image.read_exact_at(&mut block, double_indirect * superblock.block_bytes)?;
    let first = superblock.first_data_block + 1 + superblock.desc_blocks();
    let reserved = first..first + superblock.reserved_desc_blocks;
    let mut named: Vec<u64> =
        block.chunks_exact(4).map(|word| u64::from(le32(word, 0))).filter(|&block| block != 0).collect();
    // Where all places are taken they begin in the middle.
    named.sort_unstable();
    if named != reserved.clone().collect::<Vec<_>>() {
        report.add(
            Code::Inode,
            Some(7),
            Some(double_indirect),
            "it does not name the blocks that are set aside to grow",
        );
        return Ok(());
    }
    // Each of them names the same block of every copy.
    for at in reserved {
        image.read_exact_at(&mut block, at * superblock.block_bytes)?;
        let in_group_0 = at - superblock.first_data_block;
        let copies = (1..superblock.groups).filter(|&group| superblock.has_copy(group));
        let expected = copies.map(|group| superblock.group_blocks(group).start + in_group_0);
        let named = block.chunks_exact(4).map(|word| u64::from(le32(word, 0))).filter(|&block| block != 0);
        if !named.eq(expected) {
            report.add(Code::Inode, Some(7), Some(at), "a block that is set aside to grow does not name its copies");
        }
    }
    Ok(())
}
