//! A file system tree to an ext4 image, in parallel and reproducibly.
//!
//! ```text
//! Tree ──layout (pure)──▶ Layout: every inode, every block ──emit──▶ image, each block written once, in any order
//!
//! image:  superblock, descriptors │ bitmaps, inode tables │ journal │ directories, attributes, links │ files │ extent trees
//! ```
//!
//! ```
//! use ext4writer::{ImageSize, Memory, Options, write_to};
//! use fstree::{Addition, Diff, Kind, Metadata, Node, Tree, TreePath};
//!
//! let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
//! let node = Node { metadata: Metadata::default(), kind: Kind::Symlink(b"usr/bin".as_slice().into()) };
//! tree.apply(Diff { additions: vec![Addition::Entry { path: TreePath::parse(b"bin")?, node }], ..Diff::default() })?;
//!
//! let (one, many) = (Memory::default(), Memory::default());
//! let options = Options { size: ImageSize::Exact(1 << 20), threads: Some(1), ..Options::default() };
//! assert_eq!(write_to(&tree, &options, &one)?.image_bytes, 1 << 20);
//! write_to(&tree, &Options { threads: Some(8), ..options }, &many)?;
//! assert_eq!(one.into_bytes(), many.into_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything is planned before the first byte is written; what is not written is a hole. The image has exactly the size
//! asked for, and its bytes depend on the tree and the [`Options`] only.
//!
//! The file systems have blocks of 1, 2 or 4 KiB, 256-byte inodes and this profile, which every kernel since 4.4 mounts: `has_journal`
//! (from 2,048 blocks on), `ext_attr`, `resize_inode` (where there is room to grow), `dir_index`, `filetype`, `extent`, `64bit`,
//! `flex_bg`, `sparse_super`, `large_file`, `huge_file`, `dir_nlink`, `extra_isize`, `metadata_csum`, `metadata_csum_seed`. [`Options`]
//! leave out each of these but `extent`.
//!
//! A `lost+found` is added where the tree has none. Times of access and change are those of modification. Source of truth for
//! the format is Documentation/filesystems/ext4 of the Linux kernel, and what e2fsck accepts.
#![forbid(unsafe_code)]

mod block_size;
mod checksum;
mod disk;
mod emit;
mod error;
mod features;
mod layout;
mod name_hash;
mod options;
mod units;

pub use block_size::BlockSize;
pub use emit::{Memory, Report, WriteAt, check_output, write_image, write_to};
pub use error::{Error, Unrepresentable};
pub use features::Features;
pub use layout::{Layout, layout};
pub use options::{ImageSize, InodeTables, Inodes, Journal, Options, Placement};
