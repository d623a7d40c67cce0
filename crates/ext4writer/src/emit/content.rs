//! Blocks of directories, attributes, links and files: whatever lies next to each other in the image goes into one buffer.

use fstree::{Content, Kind};

use super::Image;
use super::buffer::Buffer;
use crate::disk::dir_entry::{self, FileType};
use crate::disk::htree;
use crate::disk::xattr;
use crate::error::Error;
use crate::features::Features;
use crate::layout::demand::{Demand, Planned, Purpose, Run, Value, path_of};
use crate::layout::dirs::DirectoryPlan;
use crate::units::{BlockNr, Ino, index, index32, low_u8, low_u32, u64_of};

/// Writes `blocks` blocks from the `at`-th that was handed out to the tree on, which is at `start` with the others right behind it.
pub(super) fn write(
    image: &Image<'_, '_>,
    at: u64,
    start: BlockNr,
    blocks: u64,
    buffer: &mut Buffer,
) -> Result<(), Error> {
    image.send(buffer, start, blocks, |bytes| fill(image, at, start, bytes))
}

fn fill(image: &Image<'_, '_>, at: u64, start: BlockNr, bytes: &mut [u8]) -> Result<(), Error> {
    let demand = &image.layout.demand;
    let block_bytes = demand.block_size.bytes();
    let blocks = u64_of(bytes.len()) / block_bytes;
    let mut done = 0;
    let mut allocation = demand.allocation_at(at);
    while done < blocks {
        let owner = demand.allocations[allocation];
        let inside = at + done - owner.at;
        let len = (demand.allocation_blocks(allocation) - inside).min(blocks - done);
        let part = &mut bytes[index(done * block_bytes)..index((done + len) * block_bytes)];
        let number = index32(owner.owner);
        match owner.purpose {
            Purpose::Data => {
                fill_data(image, &demand.inodes[number], Demand::ino(number), owner.skip + inside, part)?;
            }
            Purpose::Xattrs => fill_xattrs(image, &demand.inodes[number], start.plus(done), part)?,
            Purpose::Value => fill_value(image, &demand.values[number], inside, part)?,
            Purpose::Gap => unreachable!("no job is for what is not in use"),
        }
        done += len;
        allocation += 1;
    }
    Ok(())
}

fn fill_data(image: &Image<'_, '_>, planned: &Planned<'_>, ino: Ino, from: u64, part: &mut [u8]) -> Result<(), Error> {
    match &image.layout.demand.node(planned).kind {
        Kind::File(content) => fill_file(image, planned, content, from, part),
        Kind::Symlink(target) => {
            part.fill(0);
            part[..target.len()].copy_from_slice(target);
            Ok(())
        }
        _ => {
            part.fill(0);
            for (block, bytes) in (low_u32(from)..).zip(part.chunks_exact_mut(image.layout.demand.block_size.len())) {
                fill_directory(image, planned, ino, block, bytes);
            }
            Ok(())
        }
    }
}

fn fill_xattrs(image: &Image<'_, '_>, planned: &Planned<'_>, at: BlockNr, block: &mut [u8]) -> Result<(), Error> {
    let demand = &image.layout.demand;
    let placed = demand.attributes(planned)?;
    block.fill(0);
    let users = planned.xattr_block.map_or(1, |number| demand.xattr_blocks[index32(number)].users);
    xattr::put_block(block, at, &placed.block, users, image.seed);
    Ok(())
}

/// Blocks of a value from the `from`-th on.
fn fill_value(image: &Image<'_, '_>, value: &Value, from: u64, part: &mut [u8]) -> Result<(), Error> {
    let demand = &image.layout.demand;
    let bytes = demand.value_bytes(value)?;
    let rest = &bytes[index(from * demand.block_size.bytes())..];
    let len = rest.len().min(part.len());
    part[..len].copy_from_slice(&rest[..len]);
    part[len..].fill(0);
    Ok(())
}

/// One block of a directory into a zeroed buffer.
fn fill_directory(image: &Image<'_, '_>, planned: &Planned<'_>, ino: Ino, block: u32, bytes: &mut [u8]) {
    let demand = &image.layout.demand;
    let seed = image.seed.of_inode(ino);
    let has_types = image.options.features.contains(Features::FILETYPE);
    let typed = |file_type| if has_types { file_type } else { FileType::NONE };
    let entry = |&(name, id): &(_, _)| (demand.ino_of(id), name, typed(FileType::of(demand.kind_of(id))));
    let dots = [(ino, &b"."[..]), (planned.parent, b"..")].map(|(ino, name)| (ino, name, typed(FileType::DIRECTORY)));
    match planned.directory.as_deref() {
        Some(DirectoryPlan::Indexed(indexed)) if block == 0 => {
            let levels = low_u8(u64_of(indexed.levels()));
            let dots = ([ino, planned.parent], typed(FileType::DIRECTORY));
            htree::put_root(bytes, dots, levels, &indexed.index_entries(0), seed);
        }
        Some(DirectoryPlan::Indexed(indexed)) if block < indexed.first_leaf() => {
            htree::put_node(bytes, &indexed.index_entries(block), seed);
        }
        Some(DirectoryPlan::Indexed(indexed)) => {
            let leaf = indexed.leaf(block - indexed.first_leaf()).iter();
            dir_entry::fill(bytes, leaf.map(|hashed| entry(&(hashed.name, hashed.id))), seed);
        }
        Some(DirectoryPlan::Linear { .. }) if block == 0 => {
            let entries = planned.id.into_iter().flat_map(|id| demand.entries(id));
            dir_entry::fill(bytes, dots.into_iter().chain(entries.map(|found| entry(&found))), seed);
        }
        Some(DirectoryPlan::Listed(listed)) => {
            let dots = dots.into_iter().filter(|_| block == 0);
            dir_entry::fill(bytes, dots.chain(listed.block(block).iter().map(entry)), seed);
        }
        _ => dir_entry::fill(bytes, std::iter::empty(), seed),
    }
}

/// Stored blocks of a file from the `from`-th on.
fn fill_file(
    image: &Image<'_, '_>,
    planned: &Planned<'_>,
    content: &Content,
    from: u64,
    part: &mut [u8],
) -> Result<(), Error> {
    let runs = planned.runs.as_slice();
    let mut run = runs.partition_point(|run| u64::from(run.offset) <= from) - 1;
    let mut done = 0;
    let block_bytes = image.layout.demand.block_size.bytes();
    let blocks = u64_of(part.len()) / block_bytes;
    while done < blocks {
        let Run { logical, blocks: run_blocks, offset } = runs[run];
        let inside = from + done - u64::from(offset);
        let len = (u64::from(run_blocks) - inside).min(blocks - done);
        let bytes = &mut part[index(done * block_bytes)..index((done + len) * block_bytes)];
        read(image, planned, content, (u64::from(logical) + inside) * block_bytes, bytes)?;
        done += len;
        run += 1;
    }
    Ok(())
}

/// The bytes of a file from `offset` on; holes and what is beyond the end are zero.
fn read(
    image: &Image<'_, '_>,
    planned: &Planned<'_>,
    content: &Content,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), Error> {
    let demand = &image.layout.demand;
    let end = offset + u64_of(bytes.len());
    let segments = content.segments();
    let first = segments.partition_point(|segment| segment.file_offset + segment.len_bytes <= offset);
    let mut filled = offset;
    for segment in segments[first..].iter().take_while(|segment| segment.file_offset < end) {
        let from = segment.file_offset.max(offset);
        let to = (segment.file_offset + segment.len_bytes).min(end);
        bytes[index(filled - offset)..index(from - offset)].fill(0);
        let place = &mut bytes[index(from - offset)..index(to - offset)];
        let source = demand.tree.sources.get(segment.source);
        let source_offset = segment.source_offset + (from - segment.file_offset);
        source.read_exact_at(place, source_offset).map_err(|source| {
            let path = planned.id.map_or_else(Vec::new, |id| path_of(demand.tree, id));
            Error::ReadContent { path, offset: from, source }
        })?;
        filled = to;
    }
    bytes[index(filled - offset)..].fill(0);
    Ok(())
}
