//! The superblock (super.rst): read once, believed only as far as it agrees with itself and with the size of the image.

use fstree::ReadAt;

use crate::Error;
use crate::bytes::{crc, halves, le16, le32};
use crate::features;
use crate::report::{Code, Report};

pub(crate) const OFFSET: u64 = 1_024;
pub(crate) const LEN: usize = 1_024;

/// Features of the format that change where something is or how it is read.
pub(crate) mod compat {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const RESIZE_INODE: u32 = 0x10;
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}
pub(crate) mod incompat {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const EXTENTS: u32 = 0x40;
    pub(crate) const BIT64: u32 = 0x80;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const EA_INODE: u32 = 0x400;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGEDIR: u32 = 0x4000;
}
pub(crate) mod ro_compat {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const EXTRA_ISIZE: u32 = 0x40;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const READONLY: u32 = 0x1000;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x1_0000;
}

/// What is checked here; another one is an error, since nothing could be said of what it changes.
const INCOMPAT_KNOWN: u32 = incompat::FILETYPE
    | incompat::RECOVER
    | incompat::EXTENTS
    | incompat::BIT64
    | incompat::FLEX_BG
    | incompat::EA_INODE
    | incompat::CSUM_SEED
    | incompat::LARGEDIR;
const RO_COMPAT_KNOWN: u32 = ro_compat::SPARSE_SUPER
    | ro_compat::LARGE_FILE
    | ro_compat::HUGE_FILE
    | ro_compat::DIR_NLINK
    | ro_compat::EXTRA_ISIZE
    | ro_compat::METADATA_CSUM
    | ro_compat::READONLY
    | ro_compat::ORPHAN_PRESENT;

/// The superblock, with the numbers that follow from it.
#[derive(Clone, Debug)]
pub(crate) struct Superblock {
    pub(crate) raw: Vec<u8>,
    pub(crate) block_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) inodes: u32,
    pub(crate) first_data_block: u64,
    pub(crate) blocks_per_group: u64,
    pub(crate) inodes_per_group: u32,
    pub(crate) groups: u64,
    pub(crate) inode_bytes: u64,
    pub(crate) desc_bytes: u64,
    pub(crate) first_inode: u32,
    pub(crate) reserved_desc_blocks: u64,
    pub(crate) compat: u32,
    pub(crate) incompat: u32,
    pub(crate) ro_compat: u32,
    /// The seed of every checksum.
    pub(crate) seed: u32,
}

impl Superblock {
    /// Reads the primary one.
    pub(crate) fn read(image: &dyn ReadAt, len: u64) -> Result<Self, Error> {
        let not = |why: &str| Err(Error::NotExt4(why.to_owned()));
        if len < OFFSET + 1_024 {
            return not("it is shorter than a superblock");
        }
        let mut raw = vec![0; LEN];
        image.read_exact_at(&mut raw, OFFSET)?;
        if le16(&raw, 0x38) != 0xef53 {
            return not("the magic number is missing");
        }
        let log = le32(&raw, 0x18);
        if log > 6 {
            return not("the size of a block is none that there is");
        }
        let (incompat, ro_compat) = (le32(&raw, 0x60), le32(&raw, 0x64));
        let block_bytes = 1_024_u64 << log;
        let is_64bit = incompat & incompat::BIT64 != 0;
        let blocks = halves(le32(&raw, 0x4), if is_64bit { le32(&raw, 0x150) } else { 0 });
        let (blocks_per_group, inodes_per_group) = (u64::from(le32(&raw, 0x20)), le32(&raw, 0x28));
        let first_data_block = u64::from(le32(&raw, 0x14));
        let inode_bytes = if le32(&raw, 0x4c) == 0 { 128 } else { u64::from(le16(&raw, 0x58)) };
        let desc_bytes = if is_64bit { u64::from(le16(&raw, 0xfe)) } else { 32 };
        Self::check_features(le32(&raw, 0x5c), incompat, ro_compat)?;
        if first_data_block != u64::from(block_bytes == 1_024) || blocks <= first_data_block {
            return not("the first block is not where it can be");
        }
        if blocks > len / block_bytes {
            return not(&format!(
                "it says that it has {blocks} blocks of {block_bytes} bytes, and the image has {len} bytes"
            ));
        }
        if !(1..=block_bytes * 8).contains(&blocks_per_group) || !blocks_per_group.is_multiple_of(8) {
            return not("the number of blocks of a group is none that there can be");
        }
        if inodes_per_group == 0 || u64::from(inodes_per_group) > block_bytes * 8 {
            return not("the number of inodes of a group is none that there can be");
        }
        if !inode_bytes.is_power_of_two() || !(128..=block_bytes).contains(&inode_bytes) {
            return not("the size of an inode is none that there can be");
        }
        if !desc_bytes.is_power_of_two()
            || !(32..=block_bytes.min(1_024)).contains(&desc_bytes)
            || is_64bit && desc_bytes < 64
        {
            return not("the size of a group descriptor is none that there can be");
        }
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        let inodes = le32(&raw, 0x0);
        if groups.checked_mul(u64::from(inodes_per_group)) != Some(u64::from(inodes)) {
            return not(&format!("{inodes} inodes are not {inodes_per_group} in each of {groups} groups"));
        }
        let seed = if incompat & incompat::CSUM_SEED != 0 { le32(&raw, 0x270) } else { crc(!0, &raw[0x68..0x78]) };
        Ok(Self {
            block_bytes,
            blocks,
            inodes,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            groups,
            inode_bytes,
            desc_bytes,
            first_inode: if le32(&raw, 0x4c) == 0 { 11 } else { le32(&raw, 0x54) },
            reserved_desc_blocks: u64::from(le16(&raw, 0xce)),
            compat: le32(&raw, 0x5c),
            incompat,
            ro_compat,
            seed,
            raw,
        })
    }

    fn check_features(compat: u32, incompat: u32, ro_compat: u32) -> Result<(), Error> {
        let unsupported = |why: String| Err(Error::Unsupported(why));
        if compat & compat::SPARSE_SUPER2 != 0 {
            return unsupported("it has the feature sparse_super2".to_owned());
        }
        if incompat & !INCOMPAT_KNOWN != 0 {
            let names = features::incompat(incompat & !INCOMPAT_KNOWN);
            return unsupported(format!("it has features that are not known here: {names}"));
        }
        if ro_compat & ro_compat::GDT_CSUM != 0 {
            return unsupported("its group descriptors have checksums of the old kind (uninit_bg)".to_owned());
        }
        if ro_compat & !RO_COMPAT_KNOWN != 0 {
            let names = features::ro_compat(ro_compat & !RO_COMPAT_KNOWN);
            return unsupported(format!("it has features that are not known here: {names}"));
        }
        if incompat & incompat::EXTENTS == 0 {
            return unsupported("it is of before ext4: without the feature extent".to_owned());
        }
        Ok(())
    }

    pub(crate) fn has_checksums(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    /// Whether entries of directories say of which kind they are.
    pub(crate) fn has_file_types(&self) -> bool {
        self.incompat & incompat::FILETYPE != 0
    }

    /// The inode of the orphan file.
    pub(crate) fn orphan_inode(&self) -> Option<u32> {
        (self.compat & compat::ORPHAN_FILE != 0).then(|| le32(&self.raw, 0x280))
    }

    /// Levels of index blocks that a directory may have below its root.
    pub(crate) fn index_levels_max(&self) -> u8 {
        if self.incompat & incompat::LARGEDIR != 0 { 2 } else { 1 }
    }

    /// Blocks of group descriptors.
    pub(crate) fn desc_blocks(&self) -> u64 {
        self.groups.div_ceil(self.block_bytes / self.desc_bytes)
    }

    pub(crate) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_bytes).div_ceil(self.block_bytes)
    }

    /// The blocks of a group.
    pub(crate) fn group_blocks(&self, group: u64) -> std::ops::Range<u64> {
        let start = self.first_data_block + group * self.blocks_per_group;
        start..(start + self.blocks_per_group).min(self.blocks)
    }

    /// Whether a group begins with a superblock and descriptors.
    pub(crate) fn has_copy(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            std::iter::successors(Some(base), |power| power.checked_mul(base))
                .take_while(|&power| power <= group)
                .any(|power| power == group)
        };
        self.ro_compat & ro_compat::SPARSE_SUPER == 0 || group <= 1 || [3, 5, 7].into_iter().any(power_of)
    }

    /// Blocks at the start of a group that has a copy: superblock, descriptors, room for more.
    pub(crate) fn copy_blocks(&self) -> u64 {
        1 + self.desc_blocks() + self.reserved_desc_blocks
    }

    /// Blocks that the resize inode counts: its own, and those set aside to grow in every copy.
    pub(crate) fn resize_inode_blocks(&self) -> u64 {
        if self.compat & compat::RESIZE_INODE == 0 || self.reserved_desc_blocks == 0 {
            return 0;
        }
        let copies = (0..self.groups).filter(|&group| self.has_copy(group)).count();
        1 + self.reserved_desc_blocks * crate::bytes::wide(copies)
    }

    /// Checks a copy, that of group 0 being the primary one.
    pub(crate) fn check_copy(&self, raw: &[u8], group: u64, block: u64, report: &mut Report) {
        let mut wrong = |message: String| report.add(Code::Superblock, None, Some(block), message);
        if le16(raw, 0x38) != 0xef53 {
            return wrong(format!("the copy in group {group} is none"));
        }
        if u64::from(le16(raw, 0x5a)) != group & 0xffff {
            wrong(format!("the copy in group {group} says that it is of group {}", le16(raw, 0x5a)));
        }
        // What a mounted file system changes is brought up to date in the primary one alone.
        let same = [
            0x0..0xc,
            0x14..0x2c,
            0x4c..0x5a,
            0x5c..0x88,
            0xcc..0xd0,
            0xe0..0xe4,
            0xec..0xfd,
            0xfe..0x108,
            0x150..0x158,
            0x15c..0x164,
            0x174..0x178,
            0x270..0x274,
        ];
        if let Some(range) = same.into_iter().find(|range| raw[range.clone()] != self.raw[range.clone()]) {
            wrong(format!("the copy in group {group} differs from the first at byte {:#x}", range.start));
        }
        if self.has_checksums() && !report.checksum(le32(raw, 0x3fc), crc(!0, &raw[..0x3fc])) {
            report.add(
                Code::Superblock,
                None,
                Some(block),
                format!("the checksum of the copy in group {group} is wrong"),
            );
        }
    }

    /// Checks what nothing else is read by.
    pub(crate) fn check(&self, report: &mut Report) {
        let mut wrong = |message: &str| report.add(Code::Superblock, None, Some(self.first_data_block), message);
        if le16(&self.raw, 0x3a) & 1 == 0 {
            wrong("the file system was not unmounted cleanly");
        }
        if le16(&self.raw, 0x3a) & 2 != 0 {
            wrong("the kernel found errors in it");
        }
        if self.incompat & incompat::RECOVER != 0 {
            wrong("the journal has to be replayed first");
        }
        if self.ro_compat & ro_compat::ORPHAN_PRESENT != 0 {
            wrong("it has orphans in its orphan file");
        }
        if le32(&self.raw, 0xe8) != 0 {
            wrong("it has a list of orphans");
        }
        if self.first_inode < 11 || self.first_inode > self.inodes {
            wrong("the first inode that is not reserved is none");
        }
        if self.has_checksums() && self.raw[0x175] != 1 {
            wrong("the kind of its checksums is not CRC-32C");
        }
        if self.raw[0x68..0x78].iter().all(|&byte| byte == 0) {
            wrong("it has no UUID");
        }
        let per_block = self.block_bytes / self.inode_bytes;
        if !u64::from(self.inodes_per_group).is_multiple_of(8)
            || !u64::from(self.inodes_per_group).is_multiple_of(per_block) && per_block > 8
        {
            wrong("the inodes of a group are not whole bytes of a bitmap");
        }
        if le32(&self.raw, 0x1c) != le32(&self.raw, 0x18) || le32(&self.raw, 0x24) != le32(&self.raw, 0x20) {
            wrong("it has clusters that are not blocks, and not the feature for it");
        }
        if self.incompat & incompat::FLEX_BG != 0 && self.raw[0x174] > 31 {
            wrong("the number of groups of a flexible group is none that there can be");
        }
        if self.compat & compat::HAS_JOURNAL != 0 && le32(&self.raw, 0xe0) == 0 {
            wrong("it has a journal, and no inode of it");
        }
    }

    /// `s_free_blocks_count`, `s_free_inodes_count`, `s_r_blocks_count`.
    pub(crate) fn free(&self) -> (u64, u32, u64) {
        let high = |at: usize| if self.incompat & incompat::BIT64 != 0 { le32(&self.raw, at) } else { 0 };
        (halves(le32(&self.raw, 0xc), high(0x158)), le32(&self.raw, 0x10), halves(le32(&self.raw, 0x8), high(0x154)))
    }

    /// `s_hash_seed`, and whether letters are signed in hashes.
    pub(crate) fn hash(&self) -> ([u32; 4], bool) {
        let seed = std::array::from_fn(|word| le32(&self.raw, 0xec + 4 * word));
        (seed, le32(&self.raw, 0x160) & 2 == 0)
    }
}
