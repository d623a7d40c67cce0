//! Places that do not depend on what comes later ([`Placement::Stable`](crate::Placement::Stable)).
//!
//! ```text
//! inodes:  root, lost+found │ of the lowest layer: directories, others │ of the next: directories, others │ ...
//! blocks:  lost+found │ of the lowest layer: directories, links, attributes │ its files │ the same of the next │ ...
//! ```
//!
//! The nodes of a generation are in the order in which they came, removed ones among them, whose inodes and blocks are left free. A
//! generation is placed by what it was when it was complete: later ones find their places behind it and move nothing.
//!
//! - A file that took the name of another, and its last one, takes its inode over, so that the directory need not change; and where it has
//!   the same size and the same holes its blocks too, since most such files are the same with another mode or owner.
//! - A directory is given as many blocks as its names can need by their number and lengths, wherever hashes put them. When a
//!   later generation makes it need more, the further blocks are among those of that generation.
//! - Directories have inodes next to each other, since it is their times that change.
//! - Values of attributes in inodes of their own, and extent trees, are behind all generations: few file systems have any.

use fstree::{Directory, Kind, NodeId, Tree, Xattrs, padded_len};

use super::demand::{
    Allocation, Demand, Gap, Known, LOST_AND_FOUND, LOST_AND_FOUND_BYTES, Planned, Purpose, Runs, file_bytes_max,
};
use super::dirs::{DirectoryPlan, Form};
use super::geometry::align_blocks;
use super::identity::Identity;
use crate::disk::inode::I_BLOCK_LEN;
use crate::error::{Error, Unrepresentable};
use crate::options::Options;
use crate::units::{Ino, index32, low_u32, u64_of};

/// A part of a generation begins at a multiple of [`align_blocks`] when it has so many times as many blocks: what is lost is little then, and
/// its pieces are the same behind other generations, too.
const ALIGNED_FROM: u64 = 8;

/// The nodes that came with one layer.
#[derive(Debug, Default)]
struct Generation<'t> {
    directories: Vec<NodeId>,
    others: Vec<NodeId>,
    /// Directories whose attributes are since this generation what they are.
    measured: Vec<NodeId>,
    /// Attributes of directories that a later generation replaced.
    replaced: Vec<&'t Xattrs>,
    /// Blocks that directories of this and earlier generations need since this one.
    growth: Vec<(NodeId, u64)>,
    /// How many blocks of attributes there are up to here.
    xattr_blocks: usize,
}

/// Side tables of all nodes, those not in use among them.
#[derive(Debug)]
struct Slots {
    /// The index in [`Demand::inodes`] of the inode a node has or had.
    homes: Vec<u32>,
    /// Which node's blocks a file has: its own, or those of one it replaced.
    places: Vec<u32>,
    /// The node in use that has the blocks of a node.
    tenants: Vec<Option<NodeId>>,
}

impl Demand<'_> {
    /// Numbers, measures and places all nodes.
    pub(super) fn place_by_generation(&mut self, identity: &Identity, options: &Options) -> Result<(), Error> {
        let lost_and_found = self.tree.lookup(Tree::ROOT, LOST_AND_FOUND);
        if let Some(id) = lost_and_found.filter(|&id| !self.tree.node(id).is_directory()) {
            return Err(self.refuse(Some(id), Unrepresentable::LostAndFound));
        }
        let mut generations = generations(self.tree, Form::new(self.block_size, self.features));
        let slots = self.number_by_generation(&generations, lost_and_found);
        self.set_parents(&generations);
        self.measure_by_generation(&mut generations, identity, options)?;
        self.free_inodes =
            (0..self.inodes.len()).filter(|&owner| !self.inodes[owner].is_in_use()).map(Self::ino).collect();
        self.place_lost_and_found();
        for (number, generation) in generations.iter().enumerate() {
            options.check_cancel()?;
            let first_xattr_block = number.checked_sub(1).map_or(0, |before| generations[before].xattr_blocks);
            self.place_small(generation, first_xattr_block);
            self.place_files(generation, &slots);
        }
        self.end_with_values();
        Ok(())
    }

    fn number_by_generation(&mut self, generations: &[Generation<'_>], lost_and_found: Option<NodeId>) -> Slots {
        let tree = self.tree;
        let nodes = tree.node_slots();
        let mut slots = Slots { homes: vec![0; nodes], places: vec![0; nodes], tenants: vec![None; nodes] };
        self.inodes.push(Planned::new(Some(Tree::ROOT), Ino::ROOT));
        self.inodes.push(Planned::new(lost_and_found, Ino::ROOT));
        self.numbers[Tree::ROOT.index()] = Ino::ROOT.get();
        for generation in generations {
            let directories = generation.directories.iter().filter(|&&id| id != Tree::ROOT);
            for &id in directories.chain(&generation.others) {
                // One for every node, so that it is what came before that decides which.
                let (own_home, own_place) = (low_u32(u64_of(self.inodes.len())), low_u32(u64_of(id.index())));
                self.inodes.push(Planned::new(None, Ino::ROOT));
                let (home, place) = match inherited(tree, id) {
                    Some((old, true)) => (slots.homes[old.index()], slots.places[old.index()]),
                    Some((old, false)) => (slots.homes[old.index()], own_place),
                    None => (own_home, own_place),
                };
                (slots.homes[id.index()], slots.places[id.index()]) = (home, place);
                if Some(id) == lost_and_found {
                    self.numbers[id.index()] = Ino::FIRST.get();
                } else if tree.names(id) > 0 {
                    self.numbers[id.index()] = Self::ino(index32(home)).get();
                    self.inodes[index32(home)].id = Some(id);
                    slots.tenants[index32(place)] = Some(id);
                }
            }
        }
        slots
    }

    /// Says of every directory in which it is.
    fn set_parents(&mut self, generations: &[Generation<'_>]) {
        for &parent in generations.iter().flat_map(|generation| &generation.directories) {
            let entries = self.tree.names(parent) > 0;
            let entries = entries.then(|| self.tree.entries(parent)).flatten();
            for &child in entries.map(Directory::values).into_iter().flatten() {
                if self.tree.node(child).is_directory() {
                    let owner = self.owner_of(child);
                    self.inodes[owner].parent = self.ino_of(Some(parent));
                }
            }
        }
    }

    fn measure_by_generation(
        &mut self,
        generations: &mut [Generation<'_>],
        identity: &Identity,
        options: &Options,
    ) -> Result<(), Error> {
        let mut known = Known::default();
        if self.inodes[1].id.is_none() {
            self.measure(1, identity, &mut known)?;
        }
        for generation in generations {
            for attributes in &generation.replaced {
                self.remember_attributes(attributes, &mut known);
            }
            for (number, &id) in generation.measured.iter().chain(&generation.others).enumerate() {
                if number % 1024 == 0 {
                    options.check_cancel()?;
                }
                if self.tree.names(id) > 0 {
                    let owner = self.owner_of(id);
                    self.measure(owner, identity, &mut known)?;
                    if self.inodes[owner].directory.is_some() {
                        // Its blocks come in parts.
                        self.inodes[owner].runs = Runs::None;
                    }
                } else {
                    let (_, node) = self.tree.remembered(id.index());
                    self.remember_attributes(&node.metadata.xattrs, &mut known);
                }
            }
            generation.xattr_blocks = self.xattr_blocks.len();
        }
        Ok(())
    }

    fn owner_of(&self, id: NodeId) -> usize {
        Self::owner(self.ino_of(Some(id))).expect("no node has a reserved inode")
    }

    /// The `lost+found` that a tree gets has its blocks first, also when it has its own.
    fn place_lost_and_found(&mut self) {
        let blocks = self.block_size.blocks_for(LOST_AND_FOUND_BYTES);
        if self.inodes[1].id.is_none() {
            self.hand_out(blocks, Some((1, Purpose::Data, 0)));
        } else {
            self.hand_out(blocks, None);
        }
    }

    /// Directories, long link targets and attributes.
    fn place_small(&mut self, generation: &Generation<'_>, first_xattr_block: usize) {
        let tree = self.tree;
        let block_size = self.block_size;
        let links = generation.others.iter().copied().filter(|id| {
            let (_, node) = tree.remembered(id.index());
            matches!(&node.kind, Kind::Symlink(target) if target.len() >= I_BLOCK_LEN)
        });
        let links: Vec<NodeId> = links.collect();
        let xattr_blocks = first_xattr_block..generation.xattr_blocks;
        let growth: u64 = generation.growth.iter().map(|(_, blocks)| blocks).sum();
        self.align(growth + u64_of(links.len() + xattr_blocks.len()), align_blocks(block_size));
        for &(id, blocks) in &generation.growth {
            self.place_directory(id, blocks);
        }
        for id in links {
            let owner = (tree.names(id) > 0).then(|| self.owner_of(id));
            let allocation = owner.map(|owner| (low_u32(u64_of(owner)), Purpose::Data, 0));
            if let Some(owner) = owner {
                self.inodes[owner].data_at = self.blocks;
            }
            self.hand_out(1, allocation);
        }
        for number in xattr_blocks {
            self.xattr_blocks[number].at = self.blocks;
            let owner = self.xattr_blocks[number].owner;
            self.hand_out(1, owner.map(|owner| (owner, Purpose::Xattrs, 0)));
        }
    }

    /// Gives a directory more blocks, of which it may not need all.
    fn place_directory(&mut self, id: NodeId, blocks: u64) {
        let owner = (self.tree.names(id) > 0).then(|| self.owner_of(id));
        let Some(owner) = owner else { return self.hand_out(blocks, None) };
        let at = self.blocks;
        let planned = &mut self.inodes[owner];
        let wanted = planned.directory.as_deref().map_or(0, DirectoryPlan::blocks);
        if planned.runs == Runs::None {
            planned.data_at = at;
        }
        let done = planned.runs.blocks();
        let used = blocks.min(u64::from(wanted) - done);
        if used > 0 {
            let offset = low_u32(at - planned.data_at);
            planned.runs = std::mem::take(&mut planned.runs).grown(offset, low_u32(used));
            self.hand_out(used, Some((low_u32(u64_of(owner)), Purpose::Data, done)));
        }
        self.hand_out(blocks - used, None);
    }

    fn place_files(&mut self, generation: &Generation<'_>, slots: &Slots) {
        let (tree, block_size, features) = (self.tree, self.block_size, self.features);
        let files = generation.others.iter().filter_map(|id| match &tree.remembered(id.index()).1.kind {
            Kind::File(content) if index32(slots.places[id.index()]) == id.index() => {
                // One that is too large for any image is none that was removed from one.
                let can_be = content.size_bytes() <= file_bytes_max(block_size, features);
                let blocks = if can_be { Runs::of(content, block_size).blocks() } else { 0 };
                (blocks > 0).then_some((slots.tenants[id.index()], blocks))
            }
            _ => None,
        });
        let files: Vec<_> = files.collect();
        self.align(files.iter().map(|(_, blocks)| blocks).sum(), align_blocks(block_size));
        for (tenant, blocks) in files {
            let owner = tenant.map(|id| self.owner_of(id));
            if let Some(owner) = owner {
                self.inodes[owner].data_at = self.blocks;
            }
            self.hand_out(blocks, owner.map(|owner| (low_u32(u64_of(owner)), Purpose::Data, 0)));
        }
    }

    /// Leaves blocks out before a part of so many blocks, if it is large.
    fn align(&mut self, blocks: u64, align: u64) {
        if blocks >= ALIGNED_FROM * align {
            self.hand_out(self.blocks.next_multiple_of(align) - self.blocks, None);
        }
    }

    /// Hands out blocks, to nobody if there is no owner.
    fn hand_out(&mut self, blocks: u64, owner: Option<(u32, Purpose, u64)>) {
        if blocks == 0 {
            return;
        }
        let at = self.blocks;
        self.blocks += blocks;
        match (owner, self.gaps.last_mut()) {
            (Some((owner, purpose, skip)), _) => self.allocations.push(Allocation { at, owner, purpose, skip }),
            (None, Some(gap)) if gap.at + gap.blocks == at => gap.blocks += blocks,
            (None, _) => {
                self.allocations.push(Allocation::new(at, 0, Purpose::Gap));
                self.gaps.push(Gap { at, blocks });
            }
        }
    }

    fn end_with_values(&mut self) {
        if self.allocations.pop_if(|last| last.purpose == Purpose::Gap).is_some() {
            self.blocks = self.gaps.pop().map_or(0, |gap| gap.at);
        }
        self.allocate_values();
    }
}

/// The nodes of each layer, and what it made the directories grow by.
fn generations(tree: &Tree, form: Form) -> Vec<Generation<'_>> {
    let mut generations: Vec<Generation<'_>> = Vec::new();
    for slots in tree.generations() {
        let mut generation = Generation::default();
        for index in slots {
            let (id, node) = tree.remembered(index);
            if node.is_directory() { &mut generation.directories } else { &mut generation.others }.push(id);
        }
        generations.push(generation);
    }
    let last = generations.len() - 1;
    for born in 0..generations.len() {
        for number in 0..generations[born].directories.len() {
            let id = generations[born].directories[number];
            let mut attributes = tree.directory_attributes(id, born);
            if let Some((generation, _)) = attributes.pop() {
                generations[generation.min(last)].measured.push(id);
            }
            for (generation, replaced) in attributes {
                generations[generation.min(last)].replaced.push(replaced);
            }
            let mut given = 0;
            for size in tree.directory_sizes(id, born) {
                // The root may have a `lost+found` that the tree does not know.
                let added = if id == Tree::ROOT { padded_len(LOST_AND_FOUND) } else { 0 };
                let needed = form.blocks_for(size.entry_bytes + added);
                if needed > given {
                    generations[size.generation.min(last)].growth.push((id, needed - given));
                    given = needed;
                }
            }
        }
    }
    generations
}

/// The node whose inode a node takes over, and whether its blocks come with it. Directories take over none.
fn inherited(tree: &Tree, id: NodeId) -> Option<(NodeId, bool)> {
    let old = tree.replaced(id)?;
    let kinds = [id, old].map(|id| &tree.remembered(id.index()).1.kind);
    match kinds {
        [Kind::Directory(_), _] | [_, Kind::Directory(_)] => None,
        [Kind::File(new), Kind::File(old_content)] => Some((old, has_same_shape(new, old_content))),
        _ => Some((old, false)),
    }
}

/// Whether two contents are of the same size and have the same holes.
fn has_same_shape(one: &fstree::Content, other: &fstree::Content) -> bool {
    let shape = |content: &fstree::Content| {
        content.segments().iter().map(|run| (run.file_offset, run.len_bytes)).collect::<Vec<_>>()
    };
    one.size_bytes() == other.size_bytes() && shape(one) == shape(other)
}
