//! From a layout to bytes: the only part that reads contents and writes the image.

mod buffer;
mod content;
mod digest;
mod extent_tree;
mod file;
mod inodes;
mod jobs;
mod metadata;
mod shared;
mod sink;
mod turn;

use std::sync::atomic::{AtomicU64, Ordering};

use fstree::Tree;

use crate::checksum::Checksum;
use crate::error::Error;
use crate::features::Features;
use crate::layout::{Layout, layout};
use crate::options::Options;
use crate::units::{BlockNr, index, u64_of};
use buffer::Buffer;
use jobs::Job;
use metadata::Metadata;
use turn::Turn;

pub use file::{check_output, write_image};
pub use sink::{Memory, WriteAt};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Bytes of the file system: the whole blocks of the image, without a last group that is too short to be one.
    pub file_system_bytes: u64,
    /// Bytes of it that are not in use.
    pub free_bytes: u64,
    /// Inodes, in use or not.
    pub inodes: u32,
    /// Inodes that are not in use.
    pub free_inodes: u32,
    /// Bytes of the journal, 0 without one.
    pub journal_bytes: u64,
    /// Bytes of file content; holes do not count.
    pub content_bytes: u64,
    /// Bytes that were written to the sink; the rest of the image was zero before, or is shared.
    pub written_bytes: u64,
    /// Bytes of contents that the image shares with the files they came from, on a file system that can.
    pub shared_bytes: u64,
    /// The SHA-256 of the image, with [`Options::digest`].
    pub digest: Option<[u8; 32]>,
    /// See [`Layout::times_clamped`].
    pub times_clamped: u64,
    /// See [`Layout::xattrs_skipped`].
    pub xattrs_skipped: u64,
}

/// Writes an image of `tree` to any sink. [`Options::durable`] and [`Options::digest`] are up to the caller here.
///
/// # Errors
/// As [`layout`](crate::layout), and when reading a content or writing fails, or the caller cancels. The sink holds a part of
/// an image then.
pub fn write_to(tree: &Tree, options: &Options, sink: &dyn WriteAt) -> Result<Report, Error> {
    let layout = layout(tree, options)?;
    let size_bytes = layout.size_bytes();
    sink.prepare(size_bytes).map_err(|source| Error::SetSize { size_bytes, source })?;
    let has_checksums = options.features.contains(Features::METADATA_CSUM);
    let seed = if has_checksums { layout.identity.checksums() } else { Checksum::NONE };
    let threads = options.threads.unwrap_or_else(jobs::default_threads).max(1);
    let image = Image {
        layout: &layout,
        options,
        sink,
        seed,
        turn: Turn::default(),
        written: AtomicU64::new(0),
        shared: AtomicU64::new(0),
    };
    image.emit(threads)?;
    Ok(image.report())
}

/// A layout on its way to a sink.
#[derive(Debug)]
struct Image<'a, 't> {
    layout: &'a Layout<'t>,
    options: &'a Options,
    sink: &'a dyn WriteAt,
    /// The seed of every checksum.
    seed: Checksum,
    turn: Turn,
    written: AtomicU64,
    shared: AtomicU64,
}

impl Image<'_, '_> {
    fn emit(&self, threads: usize) -> Result<(), Error> {
        let metadata = Metadata::new(self);
        let shared = shared::of_layout(self.layout, self.sink);
        let jobs = jobs::jobs(self.layout, self.options.inode_tables, &shared);
        self.reserve(&jobs)?;
        jobs::run(&jobs, threads, |job, buffer| {
            self.options.check_cancel()?;
            match job {
                Job::Backup { group } => metadata::write_backup(self, &metadata, group, buffer),
                Job::Bitmaps => metadata::write_bitmaps(self),
                Job::InodeTable { group, first, blocks } => inodes::write_table(self, group, first, blocks, buffer),
                Job::Journal => metadata::write_journal(self, buffer),
                Job::Resize { at } => metadata::write_resize(self, at, buffer),
                Job::Orphans { at, blocks } => metadata::write_orphans(self, at, blocks, buffer),
                Job::Content { at, start, blocks } => content::write(self, at, start, blocks, buffer),
                Job::Shared { shared, start } => shared::write(self, shared, start, buffer),
                Job::ExtentTree(tree) => inodes::write_extent_tree(self, tree),
            }
        })
    }

    /// Has the sink make room for what the jobs will write, in a few large pieces: a full disk is seen here, before anything
    /// is written.
    fn reserve(&self, jobs: &[Job]) -> Result<(), Error> {
        let block_size = self.layout.demand.block_size;
        jobs::contiguous(jobs, block_size).try_for_each(|(start, blocks)| {
            let offset = block_size.offset(start);
            let reserved = self.sink.reserve(offset, blocks * block_size.bytes());
            reserved.map_err(|source| Error::WriteImage { offset, source })
        })
    }

    /// Writes so many blocks from `at` on, which `fill` is given with anything in them.
    ///
    /// Each thread writes what it filled itself: memory that another core has filled is copied at a third of the speed.
    fn send(
        &self,
        buffer: &mut Buffer,
        at: BlockNr,
        blocks: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bytes = buffer.bytes(index(blocks * self.layout.demand.block_size.bytes()));
        fill(bytes)?;
        self.write(bytes, at)
    }

    /// Writes whole blocks.
    fn write(&self, bytes: &[u8], at: BlockNr) -> Result<(), Error> {
        let offset = self.layout.demand.block_size.offset(at);
        let turn = self.turn.take();
        let written = self.sink.write_all_at(bytes, offset);
        drop(turn);
        written.map_err(|source| Error::WriteImage { offset, source })?;
        self.written.fetch_add(u64_of(bytes.len()), Ordering::Relaxed);
        Ok(())
    }

    fn report(&self) -> Report {
        let layout = self.layout;
        let block_bytes = layout.demand.block_size.bytes();
        Report {
            image_bytes: layout.size_bytes(),
            file_system_bytes: layout.blocks() * block_bytes,
            free_bytes: layout.free_blocks() * block_bytes,
            inodes: layout.inodes(),
            free_inodes: layout.free_inodes(),
            journal_bytes: layout.journal_blocks() * block_bytes,
            content_bytes: layout.content_bytes(),
            written_bytes: self.written.load(Ordering::Relaxed),
            shared_bytes: self.shared.load(Ordering::Relaxed),
            digest: None,
            times_clamped: layout.times_clamped(),
            xattrs_skipped: layout.xattrs_skipped(),
        }
    }
}
