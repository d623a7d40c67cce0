//! An inode (inodes.rst).

use crate::bytes::{crc, crc_without, halves, le16, le32, wide};
use crate::superblock::{Superblock, ro_compat};

pub(crate) const INDEX: u32 = 0x1000;
pub(crate) const HUGE_FILE: u32 = 0x4_0000;
pub(crate) const EXTENTS: u32 = 0x8_0000;
pub(crate) const EA_INODE: u32 = 0x20_0000;
const INLINE_DATA: u32 = 0x1000_0000;

/// What an inode is, from the upper bits of its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fifo,
    CharDevice,
    Directory,
    BlockDevice,
    File,
    Symlink,
    Socket,
}

impl Kind {
    fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            0x1 => Self::Fifo,
            0x2 => Self::CharDevice,
            0x4 => Self::Directory,
            0x6 => Self::BlockDevice,
            0x8 => Self::File,
            0xa => Self::Symlink,
            0xc => Self::Socket,
            _ => return None,
        })
    }

    /// The number of an entry of a directory (directory.rst, "file_type").
    pub(crate) fn in_entry(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// One inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) number: u32,
    pub(crate) kind: Option<Kind>,
    pub(crate) size: u64,
    pub(crate) links: u16,
    /// In units of 512 bytes.
    pub(crate) sectors: u64,
    pub(crate) flags: u32,
    pub(crate) i_block: [u8; 60],
    pub(crate) file_acl: u64,
    /// The seed of the checksums of what the inode owns.
    pub(crate) seed: u32,
    /// What is behind the fields: attributes.
    pub(crate) tail: Vec<u8>,
    /// What is wrong with the fields.
    pub(crate) wrong: Vec<&'static str>,
    /// Whether the checksum was compared, and whether it is right.
    pub(crate) checksum: Option<bool>,
    pub(crate) is_zero: bool,
    pub(crate) dtime: u32,
    /// Of one that holds the value of an attribute: its hash, and how many attributes have it.
    pub(crate) value_hash: u32,
    pub(crate) value_users: u64,
}

impl Inode {
    pub(crate) fn parse(superblock: &Superblock, number: u32, raw: &[u8]) -> Self {
        let mut wrong = Vec::new();
        let huge = superblock.ro_compat & ro_compat::HUGE_FILE != 0;
        let (mode, flags) = (le16(raw, 0x0), le32(raw, 0x20));
        let sectors = halves(le32(raw, 0x1c), if huge { u32::from(le16(raw, 0x74)) } else { 0 });
        let unit = if huge && flags & HUGE_FILE != 0 { superblock.block_bytes / 512 } else { 1 };
        let extra = if raw.len() > 128 { usize::from(le16(raw, 0x80)) } else { 0 };
        if extra + 128 > raw.len() || !extra.is_multiple_of(4) {
            wrong.push("its extra fields are longer than it is");
        }
        if flags & INLINE_DATA != 0 {
            wrong.push("it holds its data itself, and the file system has no such feature");
        }
        let seed = crc(crc(superblock.seed, &number.to_le_bytes()), &raw[0x64..0x68]);
        let is_zero = raw.iter().all(|&byte| byte == 0);
        let checksum = (superblock.has_checksums() && !is_zero).then(|| Self::checksum_is_right(seed, raw, extra));
        let tail = raw.get(128 + extra..).unwrap_or_default().to_vec();
        Self {
            number,
            kind: Kind::of_mode(mode),
            size: halves(le32(raw, 0x4), le32(raw, 0x6c)),
            links: le16(raw, 0x1a),
            sectors: sectors.saturating_mul(unit),
            flags,
            i_block: raw[0x28..0x64].try_into().expect("60 bytes"),
            file_acl: halves(le32(raw, 0x68), u32::from(le16(raw, 0x76))),
            seed,
            tail: if extra == 0 { Vec::new() } else { tail },
            wrong,
            checksum,
            is_zero,
            dtime: le32(raw, 0x14),
            value_hash: le32(raw, 0x8),
            value_users: halves(le32(raw, 0x24), le32(raw, 0xc)),
        }
    }

    fn checksum_is_right(seed: u32, raw: &[u8], extra: usize) -> bool {
        let has_high = raw.len() > 128 && extra >= 4;
        let (fields, mask) =
            if has_high { (&[(0x7c, 0x7e), (0x82, 0x84)][..], u32::MAX) } else { (&[(0x7c, 0x7e)][..], 0xffff) };
        let high = if has_high { u32::from(le16(raw, 0x82)) << 16 } else { 0 };
        (u32::from(le16(raw, 0x7c)) | high) == crc_without(seed, raw, fields) & mask
    }

    /// Whether a link's target stands in the inode itself.
    pub(crate) fn is_fast_symlink(&self) -> bool {
        self.kind == Some(Kind::Symlink) && self.flags & EXTENTS == 0 && self.size < wide(self.i_block.len())
    }

    /// Whether blocks are named by extents.
    pub(crate) fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    /// A word of `i_block`.
    pub(crate) fn word(&self, at: usize) -> u32 {
        le32(&self.i_block, 4 * at)
    }
}
