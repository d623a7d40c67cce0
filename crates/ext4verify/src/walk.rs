//! The check as a whole: inodes group by group, then directories, then what was counted against what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use fstree::ReadAt;

use crate::Error;
use crate::bytes::{crc, index, le32, wide};
use crate::directory::{Directory, Entry};
use crate::extents::{self, Blocks, Extent};
use crate::groups::{self, Group};
use crate::inode::{EA_INODE, INDEX, Inode, Kind};
use crate::journal;
use crate::orphans;
use crate::report::{Code, Report};
use crate::superblock::{Superblock, compat, incompat, ro_compat};
use crate::usage::{Usage, bit, rest_is_set};
use crate::values::{self, Value, Values};
use crate::xattrs;

const ROOT: u32 = 2;
const RESIZE: u32 = 7;
/// Names of an inode beyond which a directory says 1, "many" (`dir_nlink`).
const LINKS_MAX: u32 = 65_000;
/// Bytes of an inode table that are read at a time, and the longest directory that is read whole.
const PIECE: u64 = 1 << 20;
const DIRECTORY_MAX: u64 = 1 << 32;

/// What is kept of an inode.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// As in an entry of a directory; 0 for one that is not in use.
    file_type: u8,
    /// `i_links_count`.
    links: u16,
    /// Names that were found.
    names: u32,
    /// Of a directory: the inode of its parent, by the name found.
    parent: u32,
}

/// A block of attributes: how many inodes have it, how many it says, and the blocks of its values that are in inodes.
#[derive(Clone, Copy, Debug)]
struct AttributeBlock {
    found: u32,
    said: u32,
    value_blocks: u64,
}

struct FoundDirectory {
    inode: u32,
    seed: u32,
    size: u64,
    is_indexed: bool,
    extents: Vec<Extent>,
}

/// One check.
pub(crate) struct Walk<'a> {
    image: &'a dyn ReadAt,
    superblock: Arc<Superblock>,
    usage: Usage,
    report: Report,
    /// By number, from 0.
    inodes: Vec<Known>,
    directories: Vec<FoundDirectory>,
    /// Directories, and the parent that the '..' of each says.
    said_parents: Vec<(u32, u32)>,
    /// Blocks of attributes.
    attribute_blocks: BTreeMap<u64, AttributeBlock>,
    values: Values,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(image: &'a dyn ReadAt, superblock: Superblock) -> Self {
        let usage = Usage::new(superblock.blocks);
        let inodes = vec![Known::default(); index(u64::from(superblock.inodes)) + 1];
        Self {
            image,
            usage,
            report: Report::default(),
            inodes,
            directories: Vec::new(),
            said_parents: Vec::new(),
            attribute_blocks: BTreeMap::new(),
            values: Values::default(),
            superblock: Arc::new(superblock),
        }
    }

    pub(crate) fn run(mut self) -> Result<Report, Error> {
        self.superblock.check(&mut self.report);
        let groups = groups::read(self.image, &self.superblock, &mut self.usage, &mut self.report)?;
        for (number, group) in (0..).zip(&groups) {
            self.inodes_of(number, group)?;
        }
        self.directories.sort_by_key(|directory| directory.inode);
        for directory in std::mem::take(&mut self.directories) {
            self.directory(&directory)?;
        }
        self.names();
        self.reachable();
        self.values.check(&mut self.report);
        for (at, AttributeBlock { found, said, .. }) in std::mem::take(&mut self.attribute_blocks) {
            if found != said {
                let message = format!("a block of attributes says that {said} inodes have it, and {found} have");
                self.report.add(Code::Xattrs, None, Some(at), message);
            }
        }
        self.blocks(&groups)?;
        let counts = &mut self.report.counts;
        counts.block_bytes = self.superblock.block_bytes;
        counts.blocks = self.superblock.blocks;
        counts.used_blocks = self.usage.used();
        Ok(self.report)
    }

    fn read(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; index(len)];
        self.image.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn block(&self, block: u64) -> io::Result<Vec<u8>> {
        self.read(block * self.superblock.block_bytes, self.superblock.block_bytes)
    }

    /// The inodes of a group: the bitmap says which are in use, and is compared with the counts of the descriptor.
    fn inodes_of(&mut self, number: u64, group: &Group) -> io::Result<()> {
        let per_group = self.superblock.inodes_per_group;
        let first = u32::try_from(number).unwrap_or(u32::MAX).saturating_mul(per_group) + 1;
        if group.inode_bitmap >= self.superblock.blocks
            || group.inode_table.saturating_add(self.superblock.inode_table_blocks()) > self.superblock.blocks
        {
            return Ok(());
        }
        let mut free = per_group;
        let mut directories = 0;
        if !group.is_inode_uninit() {
            let bitmap = self.block(group.inode_bitmap)?;
            let covered = &bitmap[..index(u64::from(per_group) / 8)];
            self.bitmap_checksum("inode", number, group.inode_bitmap, group.inode_bitmap_checksum, covered);
            if !rest_is_set(&bitmap, u64::from(per_group)) {
                self.report.add(Code::Bitmap, None, Some(group.inode_bitmap), "bits past the last inode are not set");
            }
            let used = (0..per_group).filter(|&at| bit(&bitmap, u64::from(at))).count();
            free -= u32::try_from(used).unwrap_or(u32::MAX).min(free);
            directories = self.table(first, group, &bitmap)?;
        }
        self.report.counts.used_inodes += u64::from(per_group - free);
        let mut wrong = |what: &str, said: u32, found: u32| {
            if said != found {
                let message = format!("group {number} says that it has {said} {what}, and it has {found}");
                self.report.add(Code::Bitmap, None, None, message);
            }
        };
        wrong("free inodes", group.free_inodes, free);
        wrong("directories", group.directories, directories);
        Ok(())
    }

    fn bitmap_checksum(&mut self, what: &str, number: u64, at: u64, stored: u32, bytes: &[u8]) {
        if !self.superblock.has_checksums() {
            return;
        }
        let mask = if self.superblock.desc_bytes >= 64 { u32::MAX } else { 0xffff };
        if !self.report.checksum(stored & mask, crc(self.superblock.seed, bytes) & mask) {
            let message = format!("the checksum of the {what} bitmap of group {number} is wrong");
            self.report.add(Code::Bitmap, None, Some(at), message);
        }
    }

    /// The inodes in use of a table; how many are directories.
    fn table(&mut self, first: u32, group: &Group, bitmap: &[u8]) -> io::Result<u32> {
        let per_group = self.superblock.inodes_per_group;
        let inode_bytes = self.superblock.inode_bytes;
        let per_piece = u32::try_from(PIECE / inode_bytes).expect("a thousand or more");
        let mut directories = 0;
        for start in (0..per_group).step_by(index(u64::from(per_piece))) {
            let end = (start + per_piece).min(per_group);
            if !(start..end).any(|at| bit(bitmap, u64::from(at))) {
                continue;
            }
            let at = group.inode_table * self.superblock.block_bytes + u64::from(start) * inode_bytes;
            let piece = self.read(at, u64::from(end - start) * inode_bytes)?;
            for (number, raw) in (start..end).zip(piece.chunks_exact(index(inode_bytes))) {
                if !bit(bitmap, u64::from(number)) {
                    continue;
                }
                let inode = Inode::parse(&self.superblock, first + number, raw);
                if number >= per_group - group.unused_inodes.min(per_group) {
                    self.wrong(&inode, Code::Inode, "it is in use where its group says that none is");
                }
                directories += u32::from(inode.kind == Some(Kind::Directory));
                self.inode(&inode)?;
            }
        }
        Ok(directories)
    }

    fn wrong(&mut self, inode: &Inode, code: Code, message: impl Into<String>) {
        self.report.add(code, Some(inode.number), None, message);
    }

    fn inode(&mut self, inode: &Inode) -> io::Result<()> {
        if let Some(right) = inode.checksum {
            self.report.counts.checksums += 1;
            if !right {
                self.wrong(inode, Code::Inode, "its checksum is wrong");
            }
        }
        for message in &inode.wrong {
            self.wrong(inode, Code::Inode, *message);
        }
        let is_reserved = inode.number < self.superblock.first_inode && inode.number != ROOT;
        if is_reserved && (inode.is_zero || inode.kind.is_none()) {
            return Ok(());
        }
        let Some(kind) = inode.kind else {
            self.wrong(inode, Code::Inode, "it is in use and is no kind of file");
            return Ok(());
        };
        if inode.dtime != 0 {
            self.wrong(inode, Code::Inode, "it is in use and says when it was deleted");
        }
        let known = &mut self.inodes[index(u64::from(inode.number))];
        (known.file_type, known.links) = (kind.in_entry(), inode.links);
        let blocks = self.data(inode, kind)?;
        let attribute_blocks = self.attributes(inode)?;
        let own_blocks = if inode.number == RESIZE { self.superblock.resize_inode_blocks() } else { blocks.blocks };
        let sectors = (own_blocks + attribute_blocks) * (self.superblock.block_bytes / 512);
        if inode.sectors != sectors && !(inode.number == RESIZE && inode.sectors == 0) {
            let message = format!("it says that it has {} units of 512 bytes, and it has {sectors}", inode.sectors);
            self.wrong(inode, Code::Inode, message);
        }
        self.size(inode, kind, &blocks);
        if inode.number == le32(&self.superblock.raw, 0xe0) && self.superblock.compat & compat::HAS_JOURNAL != 0 {
            self.journal(inode, &blocks)?;
        }
        if inode.flags & EA_INODE != 0 {
            self.value(inode, kind, &blocks)?;
        }
        if self.superblock.orphan_inode() == Some(inode.number) {
            self.orphans(inode, &blocks)?;
        }
        if kind == Kind::Directory {
            self.directories.push(FoundDirectory {
                inode: inode.number,
                seed: inode.seed,
                size: inode.size,
                is_indexed: inode.flags & INDEX != 0,
                extents: blocks.extents,
            });
        }
        Ok(())
    }

    /// What holds the data of an inode.
    fn data(&mut self, inode: &Inode, kind: Kind) -> io::Result<Blocks> {
        if inode.number == RESIZE && !inode.has_extents() {
            let at = u64::from(inode.word(13));
            if self.superblock.compat & compat::RESIZE_INODE != 0 && at != 0 {
                if let Err(conflict) = self.usage.take(at, 1) {
                    extents::conflicted(&mut self.report, inode, conflict);
                }
                groups::resize_inode_blocks(self.image, &self.superblock, at, &mut self.report)?;
            }
            return Ok(Blocks::default());
        }
        match kind {
            Kind::File | Kind::Directory | Kind::Symlink if inode.has_extents() => {
                extents::read(self.image, &self.superblock, inode, &mut self.usage, &mut self.report)
            }
            Kind::File | Kind::Directory if inode.i_block.iter().any(|&byte| byte != 0) => {
                self.wrong(inode, Code::Extents, "its blocks are named by the map of ext3, which is not checked here");
                Ok(Blocks::default())
            }
            Kind::Symlink if !inode.is_fast_symlink() => {
                self.wrong(inode, Code::Extents, "a link too long for the inode has no extents");
                Ok(Blocks::default())
            }
            _ => Ok(Blocks::default()),
        }
    }

    /// Checks the attributes of an inode; how many blocks they take.
    fn attributes(&mut self, inode: &Inode) -> io::Result<u64> {
        let values = xattrs::check_tail(inode.number, &inode.tail, &mut self.report);
        // Values in inodes count as blocks of every inode that has such an attribute.
        let block_bytes = self.superblock.block_bytes;
        let blocks_of = |values: &[xattrs::ValueRef]| -> u64 {
            values.iter().map(|value| u64::from(value.size).div_ceil(block_bytes)).sum()
        };
        let own = blocks_of(&values);
        self.values.refer(values);
        if inode.file_acl == 0 {
            return Ok(own);
        }
        if let Some(known) = self.attribute_blocks.get_mut(&inode.file_acl) {
            known.found += 1;
            return Ok(own + 1 + known.value_blocks);
        }
        if let Err(conflict) = self.usage.take(inode.file_acl, 1) {
            extents::conflicted(&mut self.report, inode, conflict);
            return Ok(own + 1);
        }
        let bytes = self.block(inode.file_acl)?;
        let (said, values) =
            xattrs::check_block(&self.superblock, inode.number, inode.file_acl, &bytes, &mut self.report);
        let value_blocks = blocks_of(&values);
        self.values.refer(values);
        self.attribute_blocks.insert(inode.file_acl, AttributeBlock { found: 1, said, value_blocks });
        Ok(own + 1 + value_blocks)
    }

    fn size(&mut self, inode: &Inode, kind: Kind, blocks: &Blocks) {
        let block_bytes = self.superblock.block_bytes;
        let end = blocks.extents.last().map_or(0, |last| last.logical + last.len);
        match kind {
            Kind::Directory => {
                let whole: u64 = blocks.extents.iter().map(|extent| extent.len).sum();
                if inode.size == 0 || inode.size != end * block_bytes || whole != end {
                    self.wrong(inode, Code::Inode, "its size is not that of its blocks");
                }
            }
            Kind::File if inode.size.div_ceil(block_bytes) > 1 << 32 => {
                self.wrong(inode, Code::Inode, "it is larger than a file can be");
            }
            Kind::File if end > inode.size.div_ceil(block_bytes) && inode.number != RESIZE => {
                self.wrong(inode, Code::Inode, "it has blocks past its end");
            }
            Kind::Symlink if inode.is_fast_symlink() => {
                let len = index(inode.size);
                if len == 0 || inode.i_block[..len].contains(&0) || inode.i_block[len] != 0 {
                    self.wrong(inode, Code::Inode, "the length of the link's target is not what it says");
                }
            }
            Kind::Symlink if inode.size >= block_bytes || end != 1 => {
                self.wrong(inode, Code::Inode, "the target of the link is not in one block");
            }
            _ => {}
        }
        if inode.size > 0x7fff_ffff && kind == Kind::File && self.superblock.ro_compat & ro_compat::LARGE_FILE == 0 {
            self.wrong(inode, Code::Superblock, "it is a large file, and the file system has no such feature");
        }
    }

    fn journal(&mut self, inode: &Inode, blocks: &Blocks) -> io::Result<()> {
        let Some(first) = blocks.extents.first().filter(|first| first.logical == 0) else {
            self.wrong(inode, Code::Journal, "the journal has no blocks");
            return Ok(());
        };
        let bytes = self.block(first.start)?;
        let len = inode.size / self.superblock.block_bytes;
        journal::check(&self.superblock, inode.number, &bytes, len, &mut self.report);
        Ok(())
    }

    /// The value of an attribute, in an inode of its own.
    fn value(&mut self, inode: &Inode, kind: Kind, blocks: &Blocks) -> io::Result<()> {
        if self.superblock.incompat & incompat::EA_INODE == 0 || kind != Kind::File || inode.links != 1 {
            self.wrong(inode, Code::Inode, "it can't hold the value of an attribute, and says that it does");
            return Ok(());
        }
        let block_bytes = self.superblock.block_bytes;
        let whole = inode.size.div_ceil(block_bytes);
        let stored: u64 = blocks.extents.iter().map(|extent| extent.len).sum();
        let end = blocks.extents.last().map_or(0, |last| last.logical + last.len);
        if inode.size > values::LEN_MAX || stored < whole || end != stored {
            self.wrong(inode, Code::Inode, "the value of an attribute in it is too long, or has holes");
            return Ok(());
        }
        let mut bytes = Vec::new();
        for extent in &blocks.extents {
            bytes.extend(self.read(extent.start * block_bytes, extent.len.min(whole) * block_bytes)?);
        }
        bytes.truncate(index(inode.size));
        let hash = crc(self.superblock.seed, &bytes);
        if !self.report.checksum(inode.value_hash, hash) {
            self.wrong(inode, Code::Xattrs, "the hash of the value in it is wrong");
        }
        self.values.add(inode.number, Value { size: inode.size, hash, users: inode.value_users });
        Ok(())
    }

    fn orphans(&mut self, inode: &Inode, blocks: &Blocks) -> io::Result<()> {
        let block_bytes = self.superblock.block_bytes;
        let stored: u64 = blocks.extents.iter().map(|extent| extent.len).sum();
        if stored == 0 || inode.size != stored * block_bytes {
            self.wrong(inode, Code::Inode, "the orphan file is empty or has holes");
        }
        for at in blocks.extents.iter().flat_map(|extent| extent.start..extent.start + extent.len) {
            let bytes = self.block(at)?;
            orphans::check(&self.superblock, inode.number, inode.seed, at, &bytes, &mut self.report);
        }
        Ok(())
    }

    /// The names of a directory: to what they lead, and whether that is what they say.
    fn directory(&mut self, found: &FoundDirectory) -> io::Result<()> {
        self.report.counts.directories += 1;
        let mut bytes = Vec::new();
        if found.size > DIRECTORY_MAX {
            self.report.add(Code::Directory, Some(found.inode), None, "it is larger than any that is checked here");
            return Ok(());
        }
        for extent in &found.extents {
            bytes.extend(
                self.read(extent.start * self.superblock.block_bytes, extent.len * self.superblock.block_bytes)?,
            );
        }
        if wide(bytes.len()) < self.superblock.block_bytes {
            return Ok(());
        }
        let superblock = Arc::clone(&self.superblock);
        let directory = Directory {
            superblock: &superblock,
            inode: found.inode,
            seed: found.seed,
            bytes: &bytes,
            is_indexed: found.is_indexed,
        };
        let entries = directory.entries(&mut self.report);
        let mut names = BTreeSet::new();
        for (at, entry) in entries.iter().enumerate() {
            self.entry(found.inode, at, entry);
            if !names.insert(entry.name) {
                self.report.add(
                    Code::Directory,
                    Some(found.inode),
                    None,
                    format!("it has the name '{}' twice", fstree::shown(entry.name)),
                );
            }
        }
        if !(entries.first().is_some_and(|first| first.name == b".")
            && entries.get(1).is_some_and(|second| second.name == b".."))
        {
            self.report.add(Code::Directory, Some(found.inode), None, "it does not begin with '.' and '..'");
        }
        Ok(())
    }

    fn entry(&mut self, directory: u32, at: usize, entry: &Entry<'_>) {
        self.report.counts.entries += 1;
        let shown = || fstree::shown(entry.name);
        let mut wrong = |message: String| self.report.add(Code::Directory, Some(directory), None, message);
        let number = index(u64::from(entry.inode));
        let Some(known) = self.inodes.get_mut(number).filter(|known| known.file_type != 0) else {
            return wrong(format!("its name '{}' leads to inode {}, which is not in use", shown(), entry.inode));
        };
        let file_type = if self.superblock.has_file_types() { known.file_type } else { 0 };
        if entry.file_type != file_type {
            wrong(format!("its name '{}' says another kind of file than inode {} is", shown(), entry.inode));
        }
        known.names = known.names.saturating_add(1);
        match (entry.name, at) {
            (b".", _) if entry.inode != directory => wrong("its '.' leads elsewhere".to_owned()),
            (b"." | b"..", 2..) => wrong("'.' or '..' is not where it belongs".to_owned()),
            (b"." | b"..", _) => {}
            _ if known.file_type == Kind::Directory.in_entry() => {
                if known.parent != 0 || entry.inode == ROOT {
                    wrong(format!("its name '{}' is a second one of directory {}", shown(), entry.inode));
                }
                known.parent = directory;
            }
            _ => {}
        }
        // Of the two dots of each directory the second says who the parent is: compared once all names are known.
        if entry.name == b".." && at == 1 {
            self.said_parents.push((directory, entry.inode));
        }
    }

    /// Counts names against links.
    fn names(&mut self) {
        for number in 1..self.inodes.len() {
            let known = self.inodes[number];
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let is_reserved = number < self.superblock.first_inode && number != ROOT;
            let needs_none = self.values.holds(number) || self.superblock.orphan_inode() == Some(number);
            if known.file_type == 0 || is_reserved || needs_none {
                continue;
            }
            let is_directory = known.file_type == Kind::Directory.in_entry();
            if known.names == 0 || is_directory && known.parent == 0 && number != ROOT {
                self.report.add(Code::Links, Some(number), None, "it is in use and has no name");
            } else if u32::from(known.links) != known.names
                && !(is_directory && known.links == 1 && known.names > LINKS_MAX)
            {
                let message = format!("it says that it has {} names, and it has {}", known.links, known.names);
                self.report.add(Code::Links, Some(number), None, message);
            }
        }
    }

    /// Whether every directory leads to the root, by what names it; and whether its '..' says the same.
    fn reachable(&mut self) {
        if self.inodes.get(index(u64::from(ROOT))).is_none_or(|root| root.file_type != Kind::Directory.in_entry()) {
            self.report.add(Code::Directory, Some(ROOT), None, "the root is no directory");
        }
        for (directory, said) in std::mem::take(&mut self.said_parents) {
            let parent = if directory == ROOT { ROOT } else { self.inodes[index(u64::from(directory))].parent };
            if parent != 0 && said != parent {
                let message = format!("its '..' leads to inode {said}, and inode {parent} names it");
                self.report.add(Code::Directory, Some(directory), None, message);
            }
        }
        // 0 for not known yet, else the number of the walk up that came by; the root has been reached.
        let mut seen = vec![0_u32; self.inodes.len()];
        let reached = u32::MAX;
        seen[index(u64::from(ROOT))] = reached;
        for start in 1..u32::try_from(self.inodes.len()).unwrap_or(u32::MAX) {
            let mut way = Vec::new();
            let mut at = start;
            while at != 0 && seen[index(u64::from(at))] == 0 && self.inodes[index(u64::from(at))].parent != 0 {
                seen[index(u64::from(at))] = start;
                way.push(at);
                at = self.inodes[index(u64::from(at))].parent;
            }
            if !way.is_empty() && seen[index(u64::from(at))] == start {
                self.report.add(Code::Directory, Some(at), None, "it is its own ancestor");
            }
        }
    }

    /// Block bitmaps and counts against what was found.
    fn blocks(&mut self, groups: &[Group]) -> io::Result<()> {
        let mut free_blocks = 0;
        for (number, group) in (0..).zip(groups) {
            let range = self.superblock.group_blocks(number);
            let len = range.end - range.start;
            let used = if group.is_block_uninit() || group.block_bitmap >= self.superblock.blocks {
                self.usage.compare(range.clone(), &[]).1
            } else {
                let bitmap = self.block(group.block_bitmap)?;
                let covered = &bitmap[..index(self.superblock.blocks_per_group / 8)];
                self.bitmap_checksum("block", number, group.block_bitmap, group.block_bitmap_checksum, covered);
                if !rest_is_set(&bitmap, len) {
                    self.report.add(
                        Code::Bitmap,
                        None,
                        Some(group.block_bitmap),
                        "bits past the last block are not set",
                    );
                }
                let (first, used) = self.usage.compare(range.clone(), &bitmap);
                if let Some(block) = first {
                    let says =
                        if self.usage.is_used(block) { "free, and it is used" } else { "used, and nobody has it" };
                    self.report.add(
                        Code::Bitmap,
                        None,
                        Some(block),
                        format!("the bitmap of group {number} says {says}"),
                    );
                }
                used
            };
            free_blocks += len - used;
            if group.free_blocks != len - used {
                let message =
                    format!("group {number} says that {} blocks are free, and {} are", group.free_blocks, len - used);
                self.report.add(Code::Bitmap, None, None, message);
            }
        }
        let (said_blocks, said_inodes, reserved) = self.superblock.free();
        let free_inodes = u64::from(self.superblock.inodes).saturating_sub(self.report.counts.used_inodes);
        let mut wrong = |what: &str, said: u64, found: u64| {
            if said != found {
                let message = format!("it says that {said} {what} are free, and {found} are");
                self.report.add(Code::Bitmap, None, None, message);
            }
        };
        wrong("blocks", said_blocks, free_blocks);
        wrong("inodes", u64::from(said_inodes), free_inodes);
        if reserved > self.superblock.blocks {
            self.report.add(Code::Superblock, None, None, "more blocks are reserved than there are");
        }
        Ok(())
    }
}
