//! Checks an ext4 image as the kernel's documentation of the format describes it (Documentation/filesystems/ext4): every
//! checksum, every block used once and marked, every entry of every directory, every link counted.
//!
//! It shares no code with the writer of images, so that one misreading is not made twice. The image is hostile input: all
//! arithmetic is bounded, nothing recurses on its depth, and memory grows with its blocks (one bit each) and inodes (12
//! bytes each) alone.
//!
//! ```no_run
//! let image = std::fs::File::open("rootfs.ext4")?;
//! let report = ext4verify::verify(&image, image.metadata()?.len())?;
//! for finding in &report.findings {
//!     println!("{finding}");
//! }
//! # Ok::<(), ext4verify::Error>(())
//! ```
#![forbid(unsafe_code)]

mod bytes;
mod directory;
mod extents;
mod features;
mod groups;
mod half_md4;
mod inode;
mod journal;
mod orphans;
mod report;
mod superblock;
mod usage;
mod values;
mod walk;
mod xattrs;

use std::io;

use fstree::ReadAt;
use thiserror::Error;

pub use report::{Code, Counts, Finding, Report};

/// Why an image can't be checked at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// It can't be read.
    #[error("the image can't be read")]
    Read(#[from] io::Error),
    /// There is no superblock of ext4 in it, or one that nothing else can be read by.
    #[error("it is no ext4 image: {0}")]
    NotExt4(String),
    /// It has a feature that changes the format in a way that is not known here.
    #[error("it can't be checked: {0}")]
    Unsupported(String),
}

/// Checks an image of `len` bytes.
///
/// # Errors
/// It can't be read, is no ext4 image, or has a feature that is not known here. What is wrong with an image that can be read
/// is in the report.
pub fn verify(image: &dyn ReadAt, len: u64) -> Result<Report, Error> {
    let superblock = superblock::Superblock::read(image, len)?;
    walk::Walk::new(image, superblock).run()
}
