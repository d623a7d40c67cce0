//! Little-endian fields of structures, and the checksum of ext4.

/// The number of two bytes at `at`.
///
/// Offsets here are those of structures whose length was checked; a wrong one is a mistake of this crate.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The number of four bytes at `at`.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A number whose halves lie apart.
pub(crate) fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// An index of memory; what does not fit can't be one.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(crate) fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// CRC-32C without inversions at both ends, going on from `seed`.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// [`crc`] of a structure in which the checksum's own bytes, from and to, count as zeros.
pub(crate) fn crc_without(seed: u32, bytes: &[u8], fields: &[(usize, usize)]) -> u32 {
    let mut copy = bytes.to_vec();
    for &(from, to) in fields {
        copy[from..to].fill(0);
    }
    crc(seed, &copy)
}
