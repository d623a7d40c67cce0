//! Blocks of directories (directory.rst): entries, their checksum, and the tree of hashes over them.

use crate::bytes::{crc, index, le16, le32};
use crate::half_md4;
use crate::report::{Code, Report};
use crate::superblock::Superblock;

const TAIL: usize = 12;
const HASH_HALF_MD4: u8 = 1;
const HASH_HALF_MD4_UNSIGNED: u8 = 4;
/// The lowest bit of a hash in an index says that the leaf before ends with the same.
const CONTINUED: u32 = 1;

/// One name.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) inode: u32,
    pub(crate) file_type: u8,
    pub(crate) name: &'a [u8],
}

/// A directory in one piece, and what its checks need.
pub(crate) struct Directory<'a> {
    pub(crate) superblock: &'a Superblock,
    pub(crate) inode: u32,
    /// The seed of its checksums.
    pub(crate) seed: u32,
    pub(crate) bytes: &'a [u8],
    pub(crate) is_indexed: bool,
}

/// What a block of an indexed directory is, and the hashes that its names may have.
#[derive(Clone, Copy, Debug)]
enum Role {
    Unknown,
    Index,
    Leaf { from: u32, to: u32 },
}

impl<'a> Directory<'a> {
    /// All names, and what is wrong.
    pub(crate) fn entries(&self, report: &mut Report) -> Vec<Entry<'a>> {
        let block_bytes = index(self.superblock.block_bytes);
        let roles = if self.is_indexed { self.roles(report) } else { Vec::new() };
        let mut all = Vec::new();
        for (number, block) in self.bytes.chunks_exact(block_bytes).enumerate() {
            let role = roles.get(number).copied().unwrap_or(Role::Unknown);
            let is_index = matches!(role, Role::Index);
            if self.superblock.has_checksums() && !is_index && !self.tail_is_right(block, report) {
                self.wrong(report, Code::Directory, number, "the checksum of a block of it is wrong");
            }
            let end = if self.superblock.has_checksums() && !is_index { block_bytes - TAIL } else { block_bytes };
            let from = all.len();
            if let Err(message) = parse(&block[..end], is_index && number == 0, is_index && number > 0, &mut all) {
                self.wrong(report, Code::Directory, number, message);
            }
            if let Role::Leaf { from: lowest, to } = role {
                self.check_hashes(&all[from..], lowest, to, number, report);
            } else if self.is_indexed && !is_index {
                self.wrong(report, Code::Index, number, "a block of it is not in its index");
            }
        }
        all
    }

    fn wrong(&self, report: &mut Report, code: Code, number: usize, message: &str) {
        report.add(code, Some(self.inode), None, format!("{message} (block {number} of it)"));
    }

    fn tail_is_right(&self, block: &[u8], report: &mut Report) -> bool {
        let tail = &block[block.len() - TAIL..];
        let is_tail = le32(tail, 0) == 0 && le16(tail, 4) == 12 && tail[6] == 0 && tail[7] == 0xde;
        is_tail && report.checksum(le32(tail, 8), crc(self.seed, &block[..block.len() - TAIL]))
    }

    fn check_hashes(&self, entries: &[Entry<'_>], from: u32, to: u32, number: usize, report: &mut Report) {
        let version = self.bytes[0x1c];
        let ((seed, signed), version) = (self.superblock.hash(), version);
        let signed = match version {
            HASH_HALF_MD4 => signed,
            HASH_HALF_MD4_UNSIGNED => false,
            // The index is checked, its order is not.
            _ => return,
        };
        let outside = |entry: &&Entry<'_>| {
            let hash = half_md4::major(entry.name, seed, signed);
            hash < from & !CONTINUED || hash > to
        };
        if entries.iter().any(|entry| outside(&entry)) {
            self.wrong(report, Code::Index, number, "a name is not where its hash says");
        }
    }

    /// What each block is, by the index, which is walked from its root; each of its blocks is visited once.
    fn roles(&self, report: &mut Report) -> Vec<Role> {
        let block_bytes = index(self.superblock.block_bytes);
        let blocks = self.bytes.len() / block_bytes;
        let mut roles = vec![Role::Unknown; blocks];
        let root = &self.bytes[..block_bytes];
        roles[0] = Role::Index;
        let (levels, info_len) = (root[0x1e], root[0x1d]);
        if info_len != 8
            || le32(root, 0x18) != 0
            || root[0x1c] > 5
            || levels > self.superblock.index_levels_max()
            || root[0x1f] & 1 != 0
        {
            self.wrong(report, Code::Index, 0, "the root of its index is malformed");
            return roles;
        }
        let mut pending = vec![(0_usize, levels, 0_u32, u32::MAX)];
        while let Some((number, level, from, to)) = pending.pop() {
            let block = &self.bytes[number * block_bytes..(number + 1) * block_bytes];
            let start = if number == 0 { 0x20 } else { 0x8 };
            let children = match self.index_entries(block, start, report) {
                Ok(children) => children,
                Err(message) => {
                    self.wrong(report, Code::Index, number, message);
                    continue;
                }
            };
            for (at, &(hash, child)) in children.iter().enumerate() {
                // The first has no hash of its own.
                let lowest = if at == 0 { from } else { hash };
                let next = children.get(at + 1).map(|&(next, _)| next);
                // A name may have the hash of the next leaf where that one continues it.
                let highest = next
                    .map_or(to, |next| if next & CONTINUED != 0 { next & !CONTINUED } else { next.saturating_sub(1) });
                let child = index(u64::from(child & 0x0fff_ffff));
                if lowest & !CONTINUED < from & !CONTINUED || at > 1 && hash <= children[at - 1].0 || highest > to {
                    self.wrong(report, Code::Index, number, "the hashes of its index are out of order");
                }
                match roles.get(child) {
                    Some(Role::Unknown) if level > 0 => {
                        roles[child] = Role::Index;
                        pending.push((child, level - 1, lowest, highest));
                    }
                    Some(Role::Unknown) => roles[child] = Role::Leaf { from: lowest, to: highest },
                    Some(_) => self.wrong(report, Code::Index, number, "a block is in its index twice"),
                    None => self.wrong(report, Code::Index, number, "its index names a block that it has not"),
                }
            }
        }
        roles
    }

    /// Hash and block of each entry of a block of the index.
    fn index_entries(&self, block: &[u8], start: usize, report: &mut Report) -> Result<Vec<(u32, u32)>, &'static str> {
        let (limit, count) = (usize::from(le16(block, start)), usize::from(le16(block, start + 2)));
        let tail = if self.superblock.has_checksums() { 8 } else { 0 };
        if limit != (block.len() - start - tail) / 8 || count == 0 || count > limit {
            return Err("a block of its index has a count or limit that can't be");
        }
        if tail > 0 {
            let at = start + 8 * limit;
            // The entries in use, then the tail itself with zeros for the checksum.
            let seed = crc(self.seed, &block[..start + 8 * count]);
            let seed = crc(crc(seed, &block[at..at + 4]), &[0; 4]);
            if !report.checksum(le32(block, at + 4), seed) {
                return Err("the checksum of a block of its index is wrong");
            }
        }
        let entries = block[start..].chunks_exact(8).take(count);
        Ok(entries.map(|entry| (le32(entry, 0), le32(entry, 4))).collect())
    }
}

/// Reads the entries of a block. The root of an index has its first two alone, its other blocks one that hides them.
fn parse<'a>(block: &'a [u8], is_root: bool, is_node: bool, all: &mut Vec<Entry<'a>>) -> Result<(), &'static str> {
    if is_node {
        let hidden = le32(block, 0) == 0 && (usize::from(le16(block, 4)) == block.len() || le16(block, 4) == 0);
        return if hidden { Ok(()) } else { Err("a block of its index does not look empty to who reads linearly") };
    }
    let mut at = 0;
    while at < block.len() {
        let entry = block.get(at..at + 8).ok_or("an entry is cut off")?;
        let (inode, len, name_len) = (le32(entry, 0), usize::from(le16(entry, 4)), usize::from(entry[6]));
        // A block of 64 KiB can't say how long it is.
        let len = if len == 0 && block.len() > 65_000 { block.len() - at } else { len };
        let fits = len >= 12 && len.is_multiple_of(4) && name_len + 8 <= len && at + len <= block.len();
        let is_second_of_root = is_root && at == 12;
        if !fits && !is_second_of_root {
            return Err("the length of an entry is none that can be");
        }
        let name = block.get(at + 8..at + 8 + name_len).ok_or("a name is cut off")?;
        if inode != 0 {
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                return Err("a name is empty or holds a slash or a NUL byte");
            }
            all.push(Entry { inode, file_type: entry[7], name });
        }
        if is_second_of_root {
            return Ok(());
        }
        at += len;
    }
    Ok(())
}
