//! Contents that need no copying: whole blocks of files that lie on block boundaries of a file which shares its blocks with
//! the image.

use std::fs::File;

use fstree::Kind;

use super::buffer::Buffer;
use super::content;
use super::jobs::span_blocks;
use super::{Image, WriteAt};
use crate::block_size::BlockSize;
use crate::error::Error;
use crate::layout::Layout;
use crate::layout::demand::{Purpose, path_of};
use crate::units::{BlockNr, index};

/// Blocks are shared where those of the image are those of the file systems that can.
const BLOCK_SIZE: BlockSize = BlockSize::Kib4;
/// Shorter runs are copied: to share them costs more than the bytes.
const BLOCKS_MIN: u64 = 16;

/// Blocks of the image that another file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// The first of them, counted from the first block that was handed out to the tree.
    pub(super) at: u64,
    pub(super) blocks: u64,
    /// Index of the allocation that they are of.
    allocation: usize,
    source_offset: u64,
}

/// What can be shared, in order of place.
pub(super) fn of_layout(layout: &Layout<'_>, sink: &dyn WriteAt) -> Vec<Shared> {
    let demand = &layout.demand;
    if demand.block_size != BLOCK_SIZE {
        return Vec::new();
    }
    let mut known: Option<(fstree::SourceId, bool)> = None;
    let mut may_share = |id: fstree::SourceId| match known {
        Some((last, may)) if last == id => may,
        _ => {
            let may = demand.tree.sources.get(id).file().is_some_and(|file| sink.may_share(file));
            known = Some((id, may));
            may
        }
    };
    let data = demand.allocations.iter().enumerate().filter(|(_, allocation)| allocation.purpose == Purpose::Data);
    let shared = data.filter_map(|(number, allocation)| {
        let Kind::File(content) = &demand.node(demand.planned(number)).kind else { return None };
        let [run] = content.segments() else { return None };
        let blocks = run.len_bytes / BLOCK_SIZE.bytes();
        let is_aligned = run.file_offset == 0 && run.source_offset.is_multiple_of(BLOCK_SIZE.bytes());
        (is_aligned && blocks >= BLOCKS_MIN && may_share(run.source)).then_some(Shared {
            at: allocation.at,
            blocks,
            allocation: number,
            source_offset: run.source_offset,
        })
    });
    shared.collect()
}

impl Shared {
    /// The part of it from a block on that is in one piece in the image.
    pub(super) fn part(&self, at: u64, blocks: u64) -> Self {
        Self { at, blocks, source_offset: self.source_offset + (at - self.at) * BLOCK_SIZE.bytes(), ..*self }
    }
}

/// Takes the blocks over, or copies those that can't be.
pub(super) fn write(image: &Image<'_, '_>, shared: Shared, start: BlockNr, buffer: &mut Buffer) -> Result<(), Error> {
    let (file, len) = (file_of(image, shared), shared.blocks * BLOCK_SIZE.bytes());
    let offset = BLOCK_SIZE.offset(start);
    let taken = image.sink.share(file, shared.source_offset, offset, len).map_err(|source| {
        let planned = image.layout.demand.planned(shared.allocation);
        let path = planned.id.map_or_else(Vec::new, |id| path_of(image.layout.demand.tree, id));
        Error::ReadContent { path, offset: shared.source_offset, source }
    })? / BLOCK_SIZE.bytes();
    image.shared.fetch_add(taken * BLOCK_SIZE.bytes(), std::sync::atomic::Ordering::Relaxed);
    for done in (taken..shared.blocks).step_by(index(span_blocks(BLOCK_SIZE))) {
        let blocks = span_blocks(BLOCK_SIZE).min(shared.blocks - done);
        content::write(image, shared.at + done, start.plus(done), blocks, buffer)?;
    }
    Ok(())
}

fn file_of<'i>(image: &Image<'i, '_>, shared: Shared) -> &'i File {
    let demand = &image.layout.demand;
    let Kind::File(content) = &demand.node(demand.planned(shared.allocation)).kind else {
        unreachable!("only contents of files are shared")
    };
    demand.tree.sources.get(content.segments()[0].source).file().expect("it was looked at before")
}
