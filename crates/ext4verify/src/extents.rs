//! Extent trees (ifork.rst, "Extent Tree").

use std::io;

use fstree::ReadAt;

use crate::bytes::{crc, halves, index, le16, le32};
use crate::inode::Inode;
use crate::report::{Code, Report};
use crate::superblock::Superblock;
use crate::usage::{Conflict, Usage};

const MAGIC: u16 = 0xf30a;
const DEPTH_MAX: u16 = 5;
const ENTRY: usize = 12;
/// Lengths above this one are of blocks that hold nothing yet.
const LEN_MAX: u16 = 32_768;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) logical: u64,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// What an inode has.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// In order.
    pub(crate) extents: Vec<Extent>,
    /// Blocks of data and of the tree itself.
    pub(crate) blocks: u64,
}

/// A node that is still to be read: its block, the depth it must have, and the first logical block it must begin with.
struct Pending {
    block: u64,
    depth: u16,
    logical: u64,
}

/// Reads the tree of an inode; its blocks become used. Nodes are visited in order, without recursion, each block once.
pub(crate) fn read(
    image: &dyn ReadAt,
    superblock: &Superblock,
    inode: &Inode,
    usage: &mut Usage,
    report: &mut Report,
) -> io::Result<Blocks> {
    let mut all = Blocks::default();
    let mut pending = Vec::new();
    let wrong = |report: &mut Report, block: Option<u64>, message: &str| {
        report.add(Code::Extents, Some(inode.number), block, message);
    };
    if let Err(message) = node(&inode.i_block, None, 0, superblock, &mut all, &mut pending) {
        wrong(report, None, message);
    }
    let mut bytes = vec![0; index(superblock.block_bytes)];
    while let Some(next) = pending.pop() {
        if let Err(conflict) = usage.take(next.block, 1) {
            conflicted(report, inode, conflict);
            continue;
        }
        all.blocks += 1;
        image.read_exact_at(&mut bytes, next.block * superblock.block_bytes)?;
        let tail = ENTRY + ENTRY * usize::from(le16(&bytes, 4));
        if superblock.has_checksums() {
            let right = tail + 4 <= bytes.len() && report.checksum(le32(&bytes, tail), crc(inode.seed, &bytes[..tail]));
            if !right {
                wrong(report, Some(next.block), "the checksum of a node of its extent tree is wrong");
            }
        }
        if let Err(message) = node(&bytes, Some(next.depth), next.logical, superblock, &mut all, &mut pending) {
            wrong(report, Some(next.block), message);
        }
    }
    let mut end = 0;
    for extent in &all.extents {
        if extent.logical < end {
            wrong(report, Some(extent.start), "its extents overlap or are out of order");
        }
        end = extent.logical + extent.len;
        all.blocks += extent.len;
        if let Err(conflict) = usage.take(extent.start, extent.len) {
            conflicted(report, inode, conflict);
        }
    }
    Ok(all)
}

pub(crate) fn conflicted(report: &mut Report, inode: &Inode, conflict: Conflict) {
    match conflict {
        Conflict::Outside(block) => {
            report.add(Code::Block, Some(inode.number), Some(block), "it has a block outside the file system");
        }
        Conflict::Owned(block) => {
            report.add(Code::Block, Some(inode.number), Some(block), "it has a block that something else has too");
        }
    }
}

/// Checks one node: its extents are added, its children pushed so that the first comes out first.
fn node(
    bytes: &[u8],
    depth: Option<u16>,
    logical: u64,
    superblock: &Superblock,
    all: &mut Blocks,
    pending: &mut Vec<Pending>,
) -> Result<(), &'static str> {
    if le16(bytes, 0) != MAGIC {
        return Err("a node of its extent tree has no magic number");
    }
    let (entries, max, own) = (le16(bytes, 2), le16(bytes, 4), le16(bytes, 6));
    let capacity = (bytes.len() - ENTRY) / ENTRY;
    // A writer may leave room for the checksum where none is needed.
    if entries > max || !(capacity.saturating_sub(2)..=capacity).contains(&usize::from(max)) {
        return Err("a node of its extent tree has more entries than it can hold, or says another number");
    }
    if depth.is_some_and(|depth| depth != own) || own > DEPTH_MAX {
        return Err("a node of its extent tree is at another depth than it says");
    }
    if entries == 0 && depth.is_some() {
        return Err("a node of its extent tree is empty");
    }
    let entries: Vec<&[u8]> = bytes[ENTRY..].chunks_exact(ENTRY).take(usize::from(entries)).collect();
    if depth.is_some() && u64::from(le32(entries[0], 0)) != logical {
        return Err("a node of its extent tree begins with another block than its parent says");
    }
    if entries.windows(2).any(|pair| le32(pair[0], 0) >= le32(pair[1], 0)) {
        return Err("the entries of a node of its extent tree are out of order");
    }
    if own > 0 {
        pending.extend(entries.iter().rev().map(|entry| Pending {
            block: halves(le32(entry, 4), u32::from(le16(entry, 8))),
            depth: own - 1,
            logical: u64::from(le32(entry, 0)),
        }));
        return Ok(());
    }
    for entry in entries {
        let len = le16(entry, 4);
        let len = if len > LEN_MAX { len - LEN_MAX } else { len };
        let extent = Extent {
            logical: u64::from(le32(entry, 0)),
            start: halves(le32(entry, 8), u32::from(le16(entry, 6))),
            len: u64::from(len),
        };
        if len == 0 || extent.start <= superblock.first_data_block || extent.start + extent.len > superblock.blocks {
            return Err("an extent is empty or outside the file system");
        }
        all.extents.push(extent);
    }
    Ok(())
}
