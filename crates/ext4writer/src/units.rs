//! Numbers that must not be mixed up, and the conversions that cannot fail here.

/// The number of a block of the file system, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockNr(u64);

impl BlockNr {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The block `blocks` further on.
    pub(crate) const fn plus(self, blocks: u64) -> Self {
        Self(self.0 + blocks)
    }

    /// The low 32 bits, as the old fields of the format hold them.
    pub(crate) fn low(self) -> u32 {
        low_u32(self.0)
    }

    /// The bits above them.
    pub(crate) fn high(self) -> u32 {
        low_u32(self.0 >> 32)
    }
}

/// The number of an inode; the first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ino(u32);

impl Ino {
    pub(crate) const ROOT: Self = Self(2);
    pub(crate) const RESIZE: Self = Self(7);
    pub(crate) const JOURNAL: Self = Self(8);
    /// The first inode that is not reserved. It is `lost+found`, as everywhere.
    pub(crate) const FIRST: Self = Self(11);

    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    /// The inode after it.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A length in memory as a 64-bit number.
#[expect(clippy::as_conversions, reason = "usize has at most 64 bits on every target of Rust")]
pub(crate) const fn u64_of(value: usize) -> u64 {
    value as u64
}

/// A number that counts things in memory (bytes of a buffer, items of a vector) as an index.
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).expect("what is in memory can be counted")
}

/// A 32-bit number as an index.
pub(crate) fn index32(value: u32) -> usize {
    index(u64::from(value))
}

/// The low 32 bits.
#[expect(clippy::as_conversions, reason = "cutting off the high bits is what it is for")]
pub(crate) const fn low_u32(value: u64) -> u32 {
    value as u32
}

/// The low 16 bits.
#[expect(clippy::as_conversions, reason = "cutting off the high bits is what it is for")]
pub(crate) const fn low_u16(value: u64) -> u16 {
    value as u16
}

/// The low 8 bits.
#[expect(clippy::as_conversions, reason = "cutting off the high bits is what it is for")]
pub(crate) const fn low_u8(value: u64) -> u8 {
    value as u8
}
