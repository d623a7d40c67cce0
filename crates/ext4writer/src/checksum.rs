//! CRC-32C as ext4 counts it: without the usual inversions, seeded with what a block belongs to.

use crate::units::Ino;

/// The state of a checksum, which is also the seed of the next one; `None` in a file system that has no checksums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum(Option<u32>);

impl Checksum {
    /// The state before any byte.
    pub(crate) const START: Self = Self(Some(u32::MAX));

    /// No checksum: whatever is added, its field stays zero.
    pub(crate) const NONE: Self = Self(None);

    /// The seed of every checksum of a file system: that of its UUID.
    pub(crate) fn of_file_system(uuid: [u8; 16]) -> Self {
        Self::START.add(&uuid)
    }

    /// The seed of the blocks of an inode. Every generation number is 0 here.
    pub(crate) fn of_inode(self, ino: Ino) -> Self {
        self.add(&ino.get().to_le_bytes()).add(&0_u32.to_le_bytes())
    }

    /// The state after some more bytes.
    #[must_use]
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        Self(self.0.map(|state| !crc32c::crc32c_append(!state, bytes)))
    }

    /// The checksum, 0 without one.
    pub(crate) fn get(self) -> u32 {
        self.0.unwrap_or(0)
    }

    /// Whether there are checksums.
    pub(crate) fn is_kept(self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(!Checksum::START.add(b"123456789").get(), 0xE306_9283);
        let whole = Checksum::START.add(b"123456789").get();
        assert_eq!(Checksum::START.add(b"1234").add(b"56789").get(), whole);
    }
}
