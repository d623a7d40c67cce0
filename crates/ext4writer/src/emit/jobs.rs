//! A layout cut into pieces that any thread can write, in any order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::buffer::Buffer;
use super::shared::Shared;
use crate::block_size::BlockSize;
use crate::disk::inode::INODE_LEN;
use crate::error::Error;
use crate::layout::geometry::inodes_used;
use crate::layout::{ExtentTree, Layout};
use crate::options::InodeTables;
use crate::units::{BlockNr, index};

/// The most bytes of one piece. Fewer and larger writes are what makes it fast, as long as a piece stays in the processor's
/// cache; a power of two is slower, since the kernel then takes memory in such large pieces (docs/decisions/ext4-emit.md).
const SPAN_BYTES: u64 = 250 << 12;

/// The most blocks of one piece.
pub(super) const fn span_blocks(block_size: BlockSize) -> u64 {
    SPAN_BYTES / block_size.bytes()
}

/// One piece of the image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Superblock and group descriptors at the start of a group.
    Backup { group: u64 },
    /// The bitmaps of all groups.
    Bitmaps,
    /// Blocks of the inode table of a group.
    InodeTable { group: u64, first: u64, blocks: u64 },
    /// The journal's first block, the only one that is not zero.
    Journal,
    /// The resize inode's block and the blocks it lists.
    Resize { at: u64 },
    /// The orphan file.
    Orphans { at: u64, blocks: u64 },
    /// Blocks of directories, attributes, links and files that are next to each other in the image. The first is the `at`-th that
    /// was handed out to the tree.
    Content { at: u64, start: BlockNr, blocks: u64 },
    /// Blocks of a file that another file has too.
    Shared { shared: Shared, start: BlockNr },
    /// The extent tree of one inode.
    ExtentTree(ExtentTree),
}

/// Every piece of a layout, in the order of the image as far as content goes.
pub(super) fn jobs(layout: &Layout<'_>, inode_tables: InodeTables, shared: &[Shared]) -> Vec<Job> {
    let plan = &layout.plan;
    let geometry = &plan.geometry;
    let span_blocks = span_blocks(geometry.block_size);
    let inodes_per_block = geometry.block_size.holds(INODE_LEN);
    let mut jobs = vec![Job::Backup { group: 0 }];
    jobs.extend(geometry.backup_groups().map(|group| Job::Backup { group }));
    jobs.push(Job::Bitmaps);
    if layout.journal_blocks() > 0 {
        jobs.push(Job::Journal);
    }
    jobs.extend(plan.resize_at.map(|at| Job::Resize { at }));
    jobs.extend(plan.orphans.as_ref().map(|(at, runs)| Job::Orphans { at: *at, blocks: runs.blocks() }));
    for group in 0..geometry.group_count() {
        let used = match inode_tables {
            InodeTables::Sparse | InodeTables::Lazy => inodes_used(geometry, group, layout.last_ino()),
            InodeTables::Full => geometry.inodes_per_group,
        };
        let used = used.div_ceil(inodes_per_block);
        let firsts = (0..used).step_by(index(span_blocks));
        jobs.extend(firsts.map(|first| Job::InodeTable { group, first, blocks: span_blocks.min(used - first) }));
    }
    let mut shared = shared.iter().peekable();
    let mut gaps = layout.demand.gaps.iter().peekable();
    let (mut at, end) = (0, layout.demand.blocks);
    while at < end {
        if let Some(gap) = gaps.next_if(|gap| gap.at == at) {
            at += gap.blocks;
            continue;
        }
        let (start, contiguous) = geometry.place(plan.content_at + at);
        let contiguous = contiguous.min(gaps.peek().map_or(end, |gap| gap.at) - at);
        while shared.next_if(|shared| shared.at + shared.blocks <= at).is_some() {}
        let left = match shared.peek() {
            Some(shared) if shared.at <= at => {
                let blocks = contiguous.min(shared.at + shared.blocks - at);
                jobs.push(Job::Shared { shared: shared.part(at, blocks), start });
                at += blocks;
                continue;
            }
            Some(shared) => shared.at - at,
            None => end - at,
        };
        let to_boundary = span_blocks - start.get() % span_blocks;
        let blocks = to_boundary.min(contiguous).min(left);
        jobs.push(Job::Content { at, start, blocks });
        at += blocks;
    }
    jobs.extend(plan.extent_trees.iter().map(|&tree| Job::ExtentTree(tree)));
    jobs
}

/// The first block and the number of blocks of what the jobs for contents write in one piece, for pieces of a full
/// [`SPAN_BYTES`] and more:
/// to make room for smaller ones costs more than it saves.
pub(super) fn contiguous(jobs: &[Job], block_size: BlockSize) -> impl Iterator<Item = (BlockNr, u64)> {
    let contents = jobs.iter().filter_map(|job| match *job {
        Job::Content { start, blocks, .. } => Some((start, blocks)),
        _ => None,
    });
    let mut contents = contents.peekable();
    let runs = std::iter::from_fn(move || {
        let (start, mut run) = contents.next()?;
        while let Some((_, blocks)) = contents.next_if(|&(next, _)| next == start.plus(run)) {
            run += blocks;
        }
        Some((start, run))
    });
    runs.filter(move |&(_, run)| run >= span_blocks(block_size))
}

/// Runs `work` for each job on `threads` threads of a pool of its own. Each has a buffer of its own. Jobs start in order, so writes
/// are nearly sequential.
///
/// # Errors
/// The first error; no job starts after it.
pub(super) fn run(
    jobs: &[Job],
    threads: usize,
    work: impl Fn(Job, &mut Buffer) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let worker = || {
        let mut buffer = Buffer::default();
        while !failed.load(Ordering::Relaxed) {
            let Some(&job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            work(job, &mut buffer).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.min(jobs.len())).build().map_err(Error::Threads)?;
    pool.broadcast(|_| worker()).into_iter().collect()
}

/// How many threads to use when the caller does not say.
pub(super) fn default_threads() -> usize {
    // More do not help: the kernel lets one thread at a time write to a file, the others prepare what comes next.
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}
