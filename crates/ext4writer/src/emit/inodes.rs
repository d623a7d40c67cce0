//! Inodes and the extent trees behind them.

use fstree::{Kind, Metadata};
use zerocopy::IntoBytes;

use super::Image;
use super::buffer::Buffer;
use super::extent_tree;
use crate::checksum::Checksum;
use crate::disk::inode::{I_BLOCK_LEN, INODE_LEN, Inode, InodeFlags, device_words, file_type};
use crate::disk::xattr;
use crate::error::Error;
use crate::layout::demand::Planned;
use crate::layout::dirs::DirectoryPlan;
use crate::layout::{ExtentTree, Layout};
use crate::options::Options;
use crate::units::{Ino, index, low_u16, low_u32, u64_of};

/// Where `i_block` holds the number of a double indirect block.
const DOUBLE_INDIRECT: usize = 13;

/// Writes blocks of the inode table of a group.
pub(super) fn write_table(
    image: &Image<'_, '_>,
    group: u64,
    first: u64,
    blocks: u64,
    buffer: &mut Buffer,
) -> Result<(), Error> {
    let at = image.layout.plan.geometry.groups[index(group)].inode_table.plus(first);
    image.send(buffer, at, blocks, |bytes| fill_table(image, group, first, bytes))
}

fn fill_table(image: &Image<'_, '_>, group: u64, first: u64, bytes: &mut [u8]) -> Result<(), Error> {
    let geometry = &image.layout.plan.geometry;
    let table = InodeTable::new(image.layout);
    bytes.fill(0);
    let before = group * geometry.inodes_per_group + first * geometry.block_size.holds(INODE_LEN);
    let last = image.layout.last_ino();
    for (number, slot) in (before + 1..=u64::from(last.get())).zip(bytes.chunks_exact_mut(INODE_LEN)) {
        let ino = Ino::new(low_u32(number));
        if image.layout.demand.planned_of(ino).is_some_and(|planned| !planned.is_in_use()) {
            continue;
        }
        let mut inode = table.inode(ino, image.options)?;
        inode.seal(image.seed.of_inode(ino));
        slot.copy_from_slice(inode.as_bytes());
    }
    Ok(())
}

/// Writes the nodes of an extent tree below its root.
pub(super) fn write_extent_tree(image: &Image<'_, '_>, tree: ExtentTree) -> Result<(), Error> {
    let geometry = &image.layout.plan.geometry;
    let (runs, at) = extent_tree::runs_of(image.layout, tree.ino);
    let bytes = extent_tree::build(image.layout, tree.ino, runs, at, image.seed.of_inode(tree.ino)).blocks;
    let block_bytes = geometry.block_size.bytes();
    let mut done = 0;
    while done < tree.blocks {
        let (start, contiguous) = geometry.place(tree.at + done);
        let blocks = contiguous.min(tree.blocks - done);
        image.write(&bytes[index(done * block_bytes)..index((done + blocks) * block_bytes)], start)?;
        done += blocks;
    }
    Ok(())
}

/// Inodes as their layout has them.
#[derive(Debug)]
pub(super) struct InodeTable<'a, 't> {
    layout: &'a Layout<'t>,
}

impl<'a, 't> InodeTable<'a, 't> {
    pub(super) fn new(layout: &'a Layout<'t>) -> Self {
        Self { layout }
    }

    /// An inode without its checksum.
    fn inode(&self, ino: Ino, options: &Options) -> Result<Inode, Error> {
        if let Some(planned) = self.layout.demand.planned_of(ino) {
            return self.of_node(ino, planned, options);
        }
        let plan = &self.layout.plan;
        let mut inode = Inode::unused();
        if ino == Ino::JOURNAL && plan.journal.blocks() > 0 {
            self.set_system_file(&mut inode, ino, plan.journal.blocks() * self.block_bytes(), options);
        } else if let Some((_, runs)) = plan.orphans.as_ref().filter(|_| self.layout.orphan_ino() == Some(ino)) {
            self.set_system_file(&mut inode, ino, runs.blocks() * self.block_bytes(), options);
        } else if let Some(value) = self.layout.demand.value(ino) {
            self.set_system_file(&mut inode, ino, value.len_bytes, options);
            inode.set_value(value.hash, value.users);
        } else if let Some(at) = plan.resize_at.filter(|_| ino == Ino::RESIZE) {
            Self::set_system(&mut inode, options);
            self.set_resize_map(&mut inode, at);
        }
        Ok(inode)
    }

    /// `i_block` of the journal, of which the superblock has a copy.
    pub(super) fn journal_block_map(&self) -> [u8; I_BLOCK_LEN] {
        self.block_map(Ino::JOURNAL)
    }

    /// A file of the file system itself, or one that has no name.
    fn set_system_file(&self, inode: &mut Inode, ino: Ino, size_bytes: u64, options: &Options) {
        Self::set_system(inode, options);
        inode.set_size(size_bytes);
        let blocks = self.layout.demand.block_size.blocks_for(size_bytes);
        self.set_blocks(inode, blocks + self.layout.plan.extent_tree(ino).map_or(0, |tree| tree.blocks));
        self.set_extents(inode, ino);
    }

    fn set_system(inode: &mut Inode, options: &Options) {
        inode.i_mode.set(file_type::REGULAR | 0o600);
        inode.i_links_count.set(1);
        inode.set_times(options.time(), options.time());
    }

    /// Its size is that of all a double indirect block can list, its blocks are those set aside and all their copies.
    fn set_resize_map(&self, inode: &mut Inode, at: u64) {
        let geometry = &self.layout.plan.geometry;
        let addresses = geometry.block_size.addresses_per_block();
        inode.set_size((addresses * addresses + addresses + 12) * self.block_bytes());
        let copies = 1 + u64_of(geometry.backup_groups().count());
        self.set_blocks(inode, 1 + geometry.reserved_desc_blocks * copies);
        let (words, _) = inode.i_block.as_chunks_mut::<4>();
        words[DOUBLE_INDIRECT] = geometry.place(at).0.low().to_le_bytes();
    }

    fn of_node(&self, ino: Ino, planned: &Planned<'t>, options: &Options) -> Result<Inode, Error> {
        let node = self.layout.demand.node(planned);
        let mut inode = Inode::unused();
        let value_blocks = self.set_metadata(&mut inode, planned, &node.metadata)?;
        inode.i_mode.set(mode(&node.kind, node.metadata.mode));
        inode.i_links_count.set(low_u16(u64::from(planned.links)));
        inode.set_times(node.metadata.mtime, options.time());
        match &node.kind {
            Kind::Directory(_) => {
                inode.set_size(planned.runs.blocks() * self.block_bytes());
                if let Some(DirectoryPlan::Indexed(_)) = planned.directory.as_deref() {
                    inode.i_flags.set(InodeFlags::INDEX.bits());
                }
            }
            Kind::File(content) => inode.set_size(content.size_bytes()),
            Kind::Symlink(target) => inode.set_size(u64_of(target.len())),
            _ => {}
        }
        match &node.kind {
            Kind::Symlink(target) if planned.runs.blocks() == 0 => {
                inode.i_block[..target.len()].copy_from_slice(target)
            }
            Kind::Directory(_) | Kind::File(_) | Kind::Symlink(_) => self.set_extents(&mut inode, ino),
            Kind::CharDevice(number) | Kind::BlockDevice(number) => {
                let (words, _) = inode.i_block.as_chunks_mut::<4>();
                for (word, value) in words.iter_mut().zip(device_words(*number)) {
                    *word = value.to_le_bytes();
                }
            }
            Kind::Fifo | Kind::Socket => {}
        }
        let tree = self.layout.plan.extent_tree(ino).map_or(0, |tree| tree.blocks);
        let attribute_blocks = u64::from(planned.xattr_block.is_some()) + value_blocks;
        self.set_blocks(&mut inode, planned.runs.blocks() + tree + attribute_blocks);
        Ok(inode)
    }

    /// Sets owner and attributes. Says how many blocks the values in other inodes have: they count for every one that has them,
    /// shared or not, as the kernel counts them.
    fn set_metadata(&self, inode: &mut Inode, planned: &Planned<'t>, metadata: &Metadata) -> Result<u64, Error> {
        inode.set_owner(metadata.uid, metadata.gid);
        if let Some(at) = self.layout.demand.xattr_at(planned) {
            let (block, _) = self.layout.plan.geometry.place(self.layout.plan.content_at + at);
            inode.i_file_acl_lo.set(block.low());
            inode.i_file_acl_high.set(low_u16(u64::from(block.high())));
        }
        let placed = self.layout.demand.attributes(planned)?;
        if !placed.tail.is_empty() {
            xattr::put_tail(&mut inode.tail, &placed.tail);
        }
        let block_size = self.layout.demand.block_size;
        Ok(placed.elsewhere().map(|attribute| block_size.blocks_for(u64_of(attribute.value.len()))).sum())
    }

    fn block_bytes(&self) -> u64 {
        self.layout.demand.block_size.bytes()
    }

    fn set_blocks(&self, inode: &mut Inode, blocks: u64) {
        inode.set_sectors(blocks * (self.block_bytes() / 512));
    }

    fn set_extents(&self, inode: &mut Inode, ino: Ino) {
        inode.i_flags.set(inode.i_flags.get() | InodeFlags::EXTENTS.bits());
        inode.i_block = self.block_map(ino);
    }

    fn block_map(&self, ino: Ino) -> [u8; I_BLOCK_LEN] {
        let (runs, at) = extent_tree::runs_of(self.layout, ino);
        extent_tree::build(self.layout, ino, runs, at, Checksum::START).root
    }
}

fn mode(kind: &Kind, permissions: u16) -> u16 {
    let file_type = match kind {
        Kind::Directory(_) => file_type::DIRECTORY,
        Kind::File(_) => file_type::REGULAR,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::CharDevice(_) => file_type::CHAR_DEVICE,
        Kind::BlockDevice(_) => file_type::BLOCK_DEVICE,
        Kind::Fifo => file_type::FIFO,
        Kind::Socket => file_type::SOCKET,
    };
    file_type | permissions & 0o7777
}
