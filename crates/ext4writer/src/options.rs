//! What a caller may choose. Everything that differs between two images of one tree is here.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fstree::Timestamp;

use crate::block_size::BlockSize;
use crate::error::Error;
use crate::features::Features;

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

/// What is in the inode tables where no inode is in use yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InodeTables {
    /// A hole of the image, which reads as zeros: the kernel is told that there is nothing to do (`INODE_ZEROED`).
    #[default]
    Sparse,
    /// A hole that the kernel is not told of: it writes zeros in the background once the file system is mounted for writing,
    /// as after `mke2fs -E lazy_itable_init=1`. For an image that is copied to a disk without its zeros.
    Lazy,
    /// Zeros that are written: the image has all blocks of its tables, and its disk cannot run out of space for them.
    Full,
}

/// Where nodes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// One after the other without a gap, in order of their paths.
    #[default]
    Compact,
    /// What came with the lower layers has the place and the inode that it has in an image of these layers alone, and what upper layers
    /// bring comes after it; what they replace or remove is left free. So images with layers in common have most of their blocks in common,
    /// byte for byte (docs/decisions/ext4-placement.md). A tree that needs more than [`Options::inodes`] gives has larger inode
    /// tables, and other places behind them. An image too small for gaps is as with [`Self::Compact`]; how small an image can be does not
    /// depend on the placement.
    Stable,
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
    /// Where nodes go. Default: without gaps.
    pub placement: Placement,
    /// `s_uuid`, not all zero. Default: made from the tree (names, metadata, sizes, holes), so that equal trees give equal
    /// images and hosts can tell others apart.
    pub uuid: Option<[u8; 16]>,
    /// `s_hash_seed` of the directory hashes. Default: made from the tree; with [`Placement::Stable`] from its lowest layer.
    pub hash_seed: Option<[u8; 16]>,
    /// Volume label, at most 16 bytes. Default: none.
    pub label: String,
    /// When the file system was made: superblock, creation time of every inode, times of inodes that are not in the tree.
    /// Default: the epoch.
    pub time: Option<Timestamp>,
    /// Threads that move data; 0 counts as 1. Default: as many as the machine runs at once, at most 4.
    pub threads: Option<usize>,
    /// How many inodes there are. Default: one for 16 KiB.
    pub inodes: Inodes,
    /// Blocks that only root may use. Default: 0.
    pub reserved_blocks: u64,
    /// Whether there is a journal. Default: by size.
    pub journal: Journal,
    /// What is in the inode tables where no inode is in use yet. Default: holes.
    pub inode_tables: InodeTables,
    /// Which features the file system has. Default: all that kernels since 4.4 know.
    pub features: Features,
    /// Whether the kernel refuses to mount it for writing (`ro_compat` READONLY). Default: no.
    pub read_only: bool,
    /// How many times its size the file system can grow to while it is mounted; room for group descriptors is set aside
    /// for it. 0 and 1 mean not at all. Default: 1,024, as `mke2fs`.
    pub grow_factor: u32,
    /// Whether the image is on disk, not just in the page cache, when `write_image` returns. Default: no.
    pub durable: bool,
    /// Whether `write_image` reports the SHA-256 of the image. It is found while the image goes to disk. Default: no.
    pub digest: bool,
    /// Set to `true` by another thread to stop.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: ImageSize::Auto { headroom_bytes: 64 << 20 },
            block_size: BlockSize::default(),
            placement: Placement::default(),
            uuid: None,
            hash_seed: None,
            label: String::new(),
            time: None,
            threads: None,
            inodes: Inodes::BytesPerInode(const { NonZeroU32::new(16_384).unwrap() }),
            reserved_blocks: 0,
            journal: Journal::Auto,
            inode_tables: InodeTables::default(),
            features: Features::default(),
            read_only: false,
            grow_factor: 1024,
            durable: false,
            digest: false,
            cancel: None,
        }
    }
}

impl Options {
    /// Refuses what no file system can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what| Err(Error::Option { what });
        let lacks = |feature| !self.features.contains(feature);
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
        if !lacks(Features::ORPHAN_FILE) && self.journal == Journal::None {
            return refuse("the feature orphan_file needs a journal: have one, or leave it out");
        }
        if lacks(Features::METADATA_CSUM) && !lacks(Features::METADATA_CSUM_SEED) {
            return refuse("the feature metadata_csum_seed needs metadata_csum: have both, or leave both out");
        }
        if lacks(Features::METADATA_CSUM) && self.inode_tables == InodeTables::Lazy {
            return refuse(
                "lazy inode tables need the feature metadata_csum: have it, or choose sparse or full tables",
            );
        }
        if lacks(Features::SPARSE_SUPER) && self.grow_factor > 1 {
            return refuse("room to grow needs the feature sparse_super: have it, or set the grow factor to 0");
        }
        if lacks(Features::LARGE_FILE) && self.grow_factor > 1 && self.block_size == BlockSize::Kib4 {
            return refuse(
                "room to grow in blocks of 4 KiB needs the feature large_file: have it, or set the grow factor to 0",
            );
        }
        // Superblock times have 40 bits.
        let time = self.time();
        if !(0..1 << 40).contains(&time.seconds) || time.nanoseconds > 999_999_999 {
            return refuse("the time of creation is not one that a superblock can hold");
        }
        Ok(())
    }

    /// When the file system was made.
    pub(crate) fn time(&self) -> Timestamp {
        self.time.unwrap_or_default()
    }

    /// An error once the caller wants to stop.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        match &self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}
