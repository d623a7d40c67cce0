//! `struct ext4_inode` of 256 bytes (Documentation/filesystems/ext4/inodes.rst).

use bitflags::bitflags;
use fstree::{DeviceNumber, Timestamp};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::le::{U16, U32};
use crate::checksum::Checksum;
use crate::units::{low_u16, low_u32};

/// Bytes of an inode (`s_inode_size`).
pub(crate) const INODE_LEN: usize = 256;
/// Bytes of the fields after the first 128 (`i_extra_isize`).
pub(crate) const EXTRA_ISIZE: u16 = 32;
/// Bytes after the fields, for extended attributes.
pub(crate) const TAIL_LEN: usize = 96;
/// Bytes of `i_block`, which a short symbolic link fills but for a final NUL.
pub(crate) const I_BLOCK_LEN: usize = 60;

/// The file types of `i_mode`.
pub(crate) mod file_type {
    pub(crate) const FIFO: u16 = 0x1000;
    pub(crate) const CHAR_DEVICE: u16 = 0x2000;
    pub(crate) const DIRECTORY: u16 = 0x4000;
    pub(crate) const BLOCK_DEVICE: u16 = 0x6000;
    pub(crate) const REGULAR: u16 = 0x8000;
    pub(crate) const SYMLINK: u16 = 0xA000;
    pub(crate) const SOCKET: u16 = 0xC000;
}

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct InodeFlags: u32 {
        /// The directory has a hash tree.
        const INDEX = 0x1000;
        /// `i_block` holds an extent tree.
        const EXTENTS = 0x8_0000;
        /// It holds the value of an attribute.
        const EA_INODE = 0x20_0000;
    }
}

/// One inode, with the room behind its fields.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Inode {
    pub(crate) i_mode: U16,
    pub(crate) i_uid_lo: U16,
    pub(crate) i_size_lo: U32,
    pub(crate) i_atime: U32,
    pub(crate) i_ctime: U32,

    pub(crate) i_mtime: U32,
    /// Zero, always: a small number here reads as a link of the orphan list.
    pub(crate) i_dtime: U32,
    pub(crate) i_gid_lo: U16,
    pub(crate) i_links_count: U16,
    /// In units of 512 bytes.
    pub(crate) i_blocks_lo: U32,

    pub(crate) i_flags: U32,
    pub(crate) i_version: U32,
    pub(crate) i_block: [u8; I_BLOCK_LEN],
    pub(crate) i_generation: U32,
    pub(crate) i_file_acl_lo: U32,
    pub(crate) i_size_high: U32,
    pub(crate) i_obso_faddr: U32,

    pub(crate) i_blocks_high: U16,
    pub(crate) i_file_acl_high: U16,
    pub(crate) i_uid_high: U16,
    pub(crate) i_gid_high: U16,
    pub(crate) i_checksum_lo: U16,
    pub(crate) i_reserved: U16,

    pub(crate) i_extra_isize: U16,
    pub(crate) i_checksum_hi: U16,
    pub(crate) i_ctime_extra: U32,
    pub(crate) i_mtime_extra: U32,
    pub(crate) i_atime_extra: U32,

    pub(crate) i_crtime: U32,
    pub(crate) i_crtime_extra: U32,
    pub(crate) i_version_hi: U32,
    pub(crate) i_projid: U32,

    /// Extended attributes.
    pub(crate) tail: [u8; TAIL_LEN],
}

assert_offsets!(Inode, INODE_LEN, {
    0x0: i_mode, 0x2: i_uid_lo, 0x4: i_size_lo, 0x8: i_atime, 0xC: i_ctime, 0x10: i_mtime, 0x14: i_dtime, 0x18: i_gid_lo,
    0x1A: i_links_count, 0x1C: i_blocks_lo, 0x20: i_flags, 0x24: i_version, 0x28: i_block, 0x64: i_generation,
    0x68: i_file_acl_lo, 0x6C: i_size_high, 0x70: i_obso_faddr, 0x74: i_blocks_high, 0x76: i_file_acl_high,
    0x78: i_uid_high, 0x7A: i_gid_high, 0x7C: i_checksum_lo, 0x7E: i_reserved, 0x80: i_extra_isize, 0x82: i_checksum_hi,
    0x84: i_ctime_extra, 0x88: i_mtime_extra, 0x8C: i_atime_extra, 0x90: i_crtime, 0x94: i_crtime_extra,
    0x98: i_version_hi, 0x9C: i_projid, 0xA0: tail,
});

impl Inode {
    /// An inode that is not in use but has a checksum: the reserved ones.
    pub(crate) fn unused() -> Self {
        let mut inode = Self::new_zeroed();
        inode.i_extra_isize.set(EXTRA_ISIZE);
        inode
    }

    /// Sets the owner.
    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        self.i_uid_lo.set(low_u16(u64::from(uid)));
        self.i_uid_high.set(low_u16(u64::from(uid >> 16)));
        self.i_gid_lo.set(low_u16(u64::from(gid)));
        self.i_gid_high.set(low_u16(u64::from(gid >> 16)));
    }

    /// Sets the size in bytes.
    pub(crate) fn set_size(&mut self, size_bytes: u64) {
        self.i_size_lo.set(low_u32(size_bytes));
        self.i_size_high.set(low_u32(size_bytes >> 32));
    }

    /// Sets how many units of 512 bytes are the inode's own.
    pub(crate) fn set_sectors(&mut self, sectors: u64) {
        self.i_blocks_lo.set(low_u32(sectors));
        self.i_blocks_high.set(low_u16(sectors >> 32));
    }

    /// Sets the times of access, change and modification to one, and that of creation.
    pub(crate) fn set_times(&mut self, time: Timestamp, created: Timestamp) {
        let (seconds, extra) = encode_time(time);
        for field in [&mut self.i_atime, &mut self.i_ctime, &mut self.i_mtime] {
            field.set(seconds);
        }
        for field in [&mut self.i_atime_extra, &mut self.i_ctime_extra, &mut self.i_mtime_extra] {
            field.set(extra);
        }
        let (seconds, extra) = encode_time(created);
        self.i_crtime.set(seconds);
        self.i_crtime_extra.set(extra);
    }

    /// Makes it one that holds the value of an attribute, whose hash stands in the time of access; how many attributes have it
    /// stands in the time of change and the version (attributes.rst).
    pub(crate) fn set_value(&mut self, hash: u32, users: u64) {
        self.i_flags.set(self.i_flags.get() | InodeFlags::EA_INODE.bits());
        self.i_atime.set(hash);
        self.i_ctime.set(low_u32(users >> 32));
        self.i_version.set(low_u32(users));
    }

    /// Sets both halves of the checksum; `seed` is the inode's own.
    pub(crate) fn seal(&mut self, seed: Checksum) {
        self.i_checksum_lo.set(0);
        self.i_checksum_hi.set(0);
        let checksum = u64::from(seed.add(self.as_bytes()).get());
        self.i_checksum_lo.set(low_u16(checksum));
        self.i_checksum_hi.set(low_u16(checksum >> 16));
    }
}

/// First and last second that an inode can hold.
pub(crate) const SECONDS: std::ops::RangeInclusive<i64> = -0x8000_0000..=0x3_7FFF_FFFF;
const NANOSECONDS_MAX: u32 = 999_999_999;

/// The nearest time that an inode can hold.
pub(crate) fn clamp_time(time: Timestamp) -> Timestamp {
    if time.seconds < *SECONDS.start() {
        return Timestamp { seconds: *SECONDS.start(), nanoseconds: 0 };
    }
    if time.seconds > *SECONDS.end() {
        return Timestamp { seconds: *SECONDS.end(), nanoseconds: NANOSECONDS_MAX };
    }
    Timestamp { nanoseconds: time.nanoseconds.min(NANOSECONDS_MAX), ..time }
}

/// Seconds modulo 2^32, and nanoseconds above two more bits of seconds. The low half is signed: an epoch bit adds 2^32
/// to it (inodes.rst, "Inode Timestamps").
fn encode_time(time: Timestamp) -> (u32, u32) {
    let time = clamp_time(time);
    let low = low_u32(time.seconds.cast_unsigned());
    let base = i64::from(low.cast_signed());
    let epoch = low_u32(((time.seconds - base) >> 32).cast_unsigned()) & 3;
    (low, time.nanoseconds << 2 | epoch)
}

/// The first two words of `i_block` of a device: the old 16-bit number where it fits, else the new one.
pub(crate) fn device_words(number: DeviceNumber) -> [u32; 2] {
    let (major, minor) = (number.major(), number.minor());
    if major < 256 && minor < 256 {
        [major << 8 | minor, 0]
    } else {
        [0, minor & 0xFF | major << 8 | (minor & !0xFF) << 12]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_epoch() {
        // The rows of the table in inodes.rst, and what lies beyond both ends.
        for (seconds, low, epoch) in [
            (-0x8000_0000, 0x8000_0000_u32, 0),
            (-1, 0xFFFF_FFFF, 0),
            (0, 0, 0),
            (0x7FFF_FFFF, 0x7FFF_FFFF, 0),
            (0x8000_0000, 0x8000_0000, 1),
            (0xFFFF_FFFF, 0xFFFF_FFFF, 1),
            (0x1_0000_0000, 0, 1),
            (0x1_8000_0000, 0x8000_0000, 2),
            (0x2_8000_0000, 0x8000_0000, 3),
            (0x3_7FFF_FFFF, 0x7FFF_FFFF, 3),
        ] {
            assert_eq!(encode_time(Timestamp { seconds, nanoseconds: 5 }), (low, 5 << 2 | epoch), "{seconds:#x}");
        }
        assert_eq!(clamp_time(Timestamp { seconds: i64::MIN, nanoseconds: 7 }).seconds, -0x8000_0000);
        assert_eq!(clamp_time(Timestamp { seconds: i64::MAX, nanoseconds: 0 }).seconds, 0x3_7FFF_FFFF);
        assert_eq!(clamp_time(Timestamp { seconds: 0, nanoseconds: u32::MAX }).nanoseconds, 999_999_999);
    }

    #[test]
    fn device_numbers_old_and_new() {
        let words = |major, minor| device_words(DeviceNumber::new(major, minor).unwrap());
        assert_eq!(words(1, 3), [0x103, 0]);
        assert_eq!(words(255, 255), [0xFFFF, 0]);
        assert_eq!(words(256, 0), [0, 0x1_0000]);
        assert_eq!(words(8, 256), [0, 0x10_0800]);
        assert_eq!(words(4095, 1_048_575), [0, 0xFFFF_FFFF]);
    }
}
