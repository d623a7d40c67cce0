//! What a caller may choose. Everything that differs between two images of one tree is here.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fstree::Timestamp;

use crate::block_size::BlockSize;
use crate::error::Error;

/// The smallest journal that the kernel takes, and the largest that `mke2fs` makes, in blocks.
const JOURNAL_BLOCKS_MIN: u32 = 1_024;
const JOURNAL_BLOCKS_MAX: u32 = 10_240_000;

/// How large the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    /// Exactly that many bytes. The file system takes the whole blocks in them; what is left over stays zero.
    Exact(u64),
    /// The smallest image that holds the tree and has `headroom_bytes` free.
    Auto {
        /// Bytes that can still be written to the file system once it is mounted.
        headroom_bytes: u64,
    },
}

/// How many inodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// One for so many bytes of the file system, and never fewer than the tree needs and a sixteenth more. Default: 16,384.
    BytesPerInode(NonZeroU32),
    /// At least that many, reserved ones included. Counts are rounded up to whole blocks of the inode tables.
    Exact(u32),
}

/// Whether there is a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// One of the size that `mke2fs` would choose, and none below 2,048 blocks.
    Auto,
    /// One of that many blocks: 1,024 to 10,240,000 (jbd2), and at most half of the image.
    Blocks(u32),
    /// None.
    None,
}

/// What an image is to be. Layout and bytes depend on these values and on the tree, and on nothing else: no clock, no
/// environment, no random numbers, and not the number of threads.
///
/// ```
/// use ext4writer::{ImageSize, Options};
///
/// let options = Options { size: ImageSize::Exact(512 << 20), label: "rootfs".into(), ..Options::default() };
/// assert_eq!(options.reserved_blocks, 0);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the image. Default: as small as possible with 64 MiB free.
    pub size: ImageSize,
    /// Bytes of a block. Default: 4 KiB.
    pub block_size: BlockSize,
    /// `s_uuid`, not all zero. Default: made from the tree (names, metadata, sizes, holes), so that equal trees give equal
    /// images and hosts can tell others apart.
    pub uuid: Option<[u8; 16]>,
    /// `s_hash_seed` of the directory hashes. Default: made from the tree.
    pub hash_seed: Option<[u8; 16]>,
    /// Volume label, at most 16 bytes. Default: none.
    pub label: String,
    /// When the file system was made: superblock, creation time of every inode, times of inodes that are not in the tree.
    /// Default: the epoch.
    pub time: Timestamp,
    /// Threads that move data; 0 counts as 1. Default: as many as the machine runs at once, at most 4.
    pub threads: Option<usize>,
    /// How many inodes there are. Default: one for 16 KiB.
    pub inodes: Inodes,
    /// Blocks that only root may use. Default: 0.
    pub reserved_blocks: u64,
    /// Whether there is a journal. Default: by size.
    pub journal: Journal,
    /// Whether the kernel refuses to mount it for writing (`ro_compat` READONLY). Default: no.
    pub read_only: bool,
    /// How many times its size the file system can grow to while it is mounted; room for group descriptors is set aside
    /// for it. 0 and 1 mean not at all. Default: 1,024, as `mke2fs`.
    pub grow_factor: u32,
    /// Whether the image is on disk, not just in the page cache, when `write_image` returns. Default: no.
    pub durable: bool,
    /// Set to `true` by another thread to stop.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: ImageSize::Auto { headroom_bytes: 64 << 20 },
            block_size: BlockSize::default(),
            uuid: None,
            hash_seed: None,
            label: String::new(),
            time: Timestamp::default(),
            threads: None,
            inodes: Inodes::BytesPerInode(const { NonZeroU32::new(16_384).unwrap() }),
            reserved_blocks: 0,
            journal: Journal::Auto,
            read_only: false,
            grow_factor: 1024,
            durable: false,
            cancel: None,
        }
    }
}

impl Options {
    /// Refuses what no file system can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what| Err(Error::Option { what });
        if self.uuid == Some([0; 16]) {
            return refuse("the UUID is all zero, which means that there is none");
        }
        if self.label.len() > 16 {
            return refuse("the volume label has more than 16 bytes");
        }
        if self.label.contains('\0') {
            return refuse("the volume label holds a NUL byte");
        }
        if let Journal::Blocks(blocks) = self.journal
            && !(JOURNAL_BLOCKS_MIN..=JOURNAL_BLOCKS_MAX).contains(&blocks)
        {
            return refuse("a journal has 1,024 to 10,240,000 blocks");
        }
        // Superblock times have 40 bits.
        if !(0..1 << 40).contains(&self.time.seconds) || self.time.nanoseconds > 999_999_999 {
            return refuse("the time of creation is not one that a superblock can hold");
        }
        Ok(())
    }

    /// An error once the caller wants to stop.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        match &self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}
