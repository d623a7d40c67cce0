//! `struct ext4_super_block` (Documentation/filesystems/ext4/super.rst).

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::{U16, U32, U64};
use crate::checksum::Checksum;

/// Where the primary superblock begins in the image; a backup begins with its block.
pub(crate) const PRIMARY_OFFSET: u64 = 1024;
/// `s_magic`.
pub(crate) const MAGIC: u16 = 0xEF53;
/// `s_state`: unmounted cleanly.
pub(crate) const STATE_CLEAN: u16 = 1;
/// `s_errors`: go on after an error.
pub(crate) const ERRORS_CONTINUE: u16 = 1;
/// `s_rev_level`: inode sizes and feature sets are stated.
pub(crate) const REV_DYNAMIC: u32 = 1;
/// `s_def_hash_version`: half-MD4.
pub(crate) const HASH_HALF_MD4: u8 = 1;
/// `s_default_mount_opts`: user attributes and POSIX ACLs.
pub(crate) const MOUNT_XATTR_ACL: u32 = 0x4 | 0x8;
/// `s_flags`: directory hashes take characters as signed.
pub(crate) const FLAG_SIGNED_HASH: u32 = 1;
/// `s_checksum_type`: CRC-32C.
pub(crate) const CHECKSUM_CRC32C: u8 = 1;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds the block map of the journal's inode.
pub(crate) const JNL_BACKUP_BLOCKS: u8 = 1;

/// The superblock. A field that is not set stays zero.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) s_inodes_count: U32,
    pub(crate) s_blocks_count_lo: U32,
    pub(crate) s_r_blocks_count_lo: U32,
    pub(crate) s_free_blocks_count_lo: U32,

    pub(crate) s_free_inodes_count: U32,
    pub(crate) s_first_data_block: U32,
    /// Block size as a power of two above 1 KiB.
    pub(crate) s_log_block_size: U32,
    pub(crate) s_log_cluster_size: U32,

    pub(crate) s_blocks_per_group: U32,
    pub(crate) s_clusters_per_group: U32,
    pub(crate) s_inodes_per_group: U32,
    /// Seconds; never mounted.
    pub(crate) s_mtime: U32,

    /// Seconds.
    pub(crate) s_wtime: U32,
    pub(crate) s_mnt_count: U16,
    pub(crate) s_max_mnt_count: U16,
    pub(crate) s_magic: U16,
    pub(crate) s_state: U16,
    pub(crate) s_errors: U16,
    pub(crate) s_minor_rev_level: U16,

    /// Seconds.
    pub(crate) s_lastcheck: U32,
    pub(crate) s_checkinterval: U32,
    pub(crate) s_creator_os: U32,
    pub(crate) s_rev_level: U32,

    pub(crate) s_def_resuid: U16,
    pub(crate) s_def_resgid: U16,
    pub(crate) s_first_ino: U32,
    pub(crate) s_inode_size: U16,
    /// The group that holds this copy.
    pub(crate) s_block_group_nr: U16,
    pub(crate) s_feature_compat: U32,

    pub(crate) s_feature_incompat: U32,
    pub(crate) s_feature_ro_compat: U32,
    pub(crate) s_uuid: [u8; 16],
    pub(crate) s_volume_name: [u8; 16],
    pub(crate) s_last_mounted: [u8; 64],
    pub(crate) s_algorithm_usage_bitmap: U32,
    pub(crate) s_prealloc_blocks: u8,
    pub(crate) s_prealloc_dir_blocks: u8,
    pub(crate) s_reserved_gdt_blocks: U16,

    /// Zero with a journal inside the file system.
    pub(crate) s_journal_uuid: [u8; 16],

    pub(crate) s_journal_inum: U32,
    pub(crate) s_journal_dev: U32,
    pub(crate) s_last_orphan: U32,
    pub(crate) s_hash_seed: [u8; 16],
    pub(crate) s_def_hash_version: u8,
    pub(crate) s_jnl_backup_type: u8,
    /// Bytes of a group descriptor.
    pub(crate) s_desc_size: U16,

    pub(crate) s_default_mount_opts: U32,
    pub(crate) s_first_meta_bg: U32,
    /// Seconds.
    pub(crate) s_mkfs_time: U32,
    /// `i_block` of the journal, then its size, high half first.
    pub(crate) s_jnl_blocks: [U32; 17],

    pub(crate) s_blocks_count_hi: U32,
    pub(crate) s_r_blocks_count_hi: U32,
    pub(crate) s_free_blocks_count_hi: U32,
    pub(crate) s_min_extra_isize: U16,
    pub(crate) s_want_extra_isize: U16,

    pub(crate) s_flags: U32,
    pub(crate) s_raid_stride: U16,
    pub(crate) s_mmp_interval: U16,
    pub(crate) s_mmp_block: U64,

    pub(crate) s_raid_stripe_width: U32,
    pub(crate) s_log_groups_per_flex: u8,
    pub(crate) s_checksum_type: u8,
    pub(crate) s_encryption_level: u8,
    pub(crate) s_reserved_pad: u8,
    pub(crate) s_kbytes_written: U64,

    /// Snapshot fields and the records of errors seen, all zero in a new file system.
    pub(crate) snapshots_and_errors: [u8; 128],

    pub(crate) s_mount_opts: [u8; 64],

    pub(crate) s_usr_quota_inum: U32,
    pub(crate) s_grp_quota_inum: U32,
    pub(crate) s_overhead_clusters: U32,
    pub(crate) s_backup_bgs: [U32; 2],
    pub(crate) s_encrypt_algos: [u8; 4],
    pub(crate) s_encrypt_pw_salt: [u8; 16],
    pub(crate) s_lpf_ino: U32,
    pub(crate) s_prj_quota_inum: U32,

    pub(crate) s_checksum_seed: U32,
    pub(crate) s_wtime_hi: u8,
    pub(crate) s_mtime_hi: u8,
    pub(crate) s_mkfs_time_hi: u8,
    pub(crate) s_lastcheck_hi: u8,
    pub(crate) s_first_error_time_hi: u8,
    pub(crate) s_last_error_time_hi: u8,
    pub(crate) s_first_error_errcode: u8,
    pub(crate) s_last_error_errcode: u8,
    pub(crate) s_encoding: U16,
    pub(crate) s_encoding_flags: U16,
    pub(crate) s_orphan_file_inum: U32,
    pub(crate) s_reserved: [U32; 94],
    pub(crate) s_checksum: U32,
}

assert_offsets!(Superblock, 1024, {
    0x0: s_inodes_count, 0x4: s_blocks_count_lo, 0x8: s_r_blocks_count_lo, 0xC: s_free_blocks_count_lo,
    0x10: s_free_inodes_count, 0x14: s_first_data_block, 0x18: s_log_block_size, 0x1C: s_log_cluster_size,
    0x20: s_blocks_per_group, 0x24: s_clusters_per_group, 0x28: s_inodes_per_group, 0x2C: s_mtime,
    0x30: s_wtime, 0x34: s_mnt_count, 0x36: s_max_mnt_count, 0x38: s_magic, 0x3A: s_state, 0x3C: s_errors,
    0x3E: s_minor_rev_level, 0x40: s_lastcheck, 0x44: s_checkinterval, 0x48: s_creator_os, 0x4C: s_rev_level,
    0x50: s_def_resuid, 0x52: s_def_resgid, 0x54: s_first_ino, 0x58: s_inode_size, 0x5A: s_block_group_nr,
    0x5C: s_feature_compat, 0x60: s_feature_incompat, 0x64: s_feature_ro_compat, 0x68: s_uuid, 0x78: s_volume_name,
    0x88: s_last_mounted, 0xC8: s_algorithm_usage_bitmap, 0xCC: s_prealloc_blocks, 0xCD: s_prealloc_dir_blocks,
    0xCE: s_reserved_gdt_blocks, 0xD0: s_journal_uuid, 0xE0: s_journal_inum, 0xE4: s_journal_dev, 0xE8: s_last_orphan,
    0xEC: s_hash_seed, 0xFC: s_def_hash_version, 0xFD: s_jnl_backup_type, 0xFE: s_desc_size,
    0x100: s_default_mount_opts, 0x104: s_first_meta_bg, 0x108: s_mkfs_time, 0x10C: s_jnl_blocks,
    0x150: s_blocks_count_hi, 0x154: s_r_blocks_count_hi, 0x158: s_free_blocks_count_hi, 0x15C: s_min_extra_isize,
    0x15E: s_want_extra_isize, 0x160: s_flags, 0x164: s_raid_stride, 0x166: s_mmp_interval, 0x168: s_mmp_block,
    0x170: s_raid_stripe_width, 0x174: s_log_groups_per_flex, 0x175: s_checksum_type, 0x176: s_encryption_level,
    0x177: s_reserved_pad, 0x178: s_kbytes_written, 0x180: snapshots_and_errors, 0x200: s_mount_opts,
    0x240: s_usr_quota_inum, 0x244: s_grp_quota_inum, 0x248: s_overhead_clusters, 0x24C: s_backup_bgs,
    0x254: s_encrypt_algos, 0x258: s_encrypt_pw_salt, 0x268: s_lpf_ino, 0x26C: s_prj_quota_inum,
    0x270: s_checksum_seed, 0x274: s_wtime_hi, 0x275: s_mtime_hi, 0x276: s_mkfs_time_hi, 0x277: s_lastcheck_hi,
    0x278: s_first_error_time_hi, 0x279: s_last_error_time_hi, 0x27A: s_first_error_errcode,
    0x27B: s_last_error_errcode, 0x27C: s_encoding, 0x27E: s_encoding_flags, 0x280: s_orphan_file_inum,
    0x284: s_reserved, 0x3FC: s_checksum,
});

impl Superblock {
    /// Sets `s_checksum`, which covers all before it.
    pub(crate) fn seal(&mut self) {
        self.s_checksum.set(0);
        let bytes = self.as_bytes();
        let covered = bytes.len() - size_of::<U32>();
        let checksum = Checksum::START.add(&bytes[..covered]);
        self.s_checksum.set(checksum.get());
    }
}
