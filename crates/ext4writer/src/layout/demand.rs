//! What a tree needs, whatever the size of the image: inodes in order, and how many blocks each has.
//!
//! Blocks are counted in the order in which they will be handed out, so that the place of every one is known up to where
//! the file system puts its own structures: directories, attributes and link targets first, then the files.

use std::collections::BTreeMap;

use fstree::{Content, Directory, Kind, Metadata, Node, NodeId, Tree, Xattrs};
use sha2::{Digest, Sha256};

use super::dirs::{self, DirectoryPlan, Form};
use super::identity::Identity;
use super::xattrs::{self, Placed};
use crate::block_size::BlockSize;
use crate::checksum::Checksum;
use crate::disk::inode::{I_BLOCK_LEN, clamp_time};
use crate::disk::xattr::ValueInode;
use crate::error::{Error, Unrepresentable};
use crate::features::Features;
use crate::options::{Options, Placement};
use crate::units::{Ino, index, index32, low_u32, u64_of};

/// Where files that a check finds without a name are put.
pub(crate) const LOST_AND_FOUND: &[u8] = b"lost+found";
/// Bytes of a `lost+found` that is made here, so that a check need not allocate any. As `mke2fs`.
pub(super) const LOST_AND_FOUND_BYTES: u64 = 16 << 10;
/// Names of one node that is no directory.
const LINKS_MAX: u32 = 65_000;
/// Inodes that one block of attributes may have (`EXT4_XATTR_REFCOUNT_MAX`).
const XATTR_USERS_MAX: u32 = 1024;
/// Blocks of the largest file: its last one has the number 2^32 - 2.
const FILE_BLOCKS_MAX: u64 = 0xFFFF_FFFF;

/// A run of blocks of a file that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First block, counted from the start of the file.
    pub(crate) logical: u32,
    /// Blocks.
    pub(crate) blocks: u32,
    /// Where it was handed out, counted from the first block of the inode: behind the run before it, but for a directory that grew.
    pub(crate) offset: u32,
}

/// The stored blocks of an inode.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Runs {
    #[default]
    None,
    /// All from the first on: nearly always.
    One(Run),
    Many(Box<[Run]>),
}

impl Runs {
    pub(crate) fn whole(blocks: u32) -> Self {
        if blocks == 0 { Self::None } else { Self::One(Run { logical: 0, blocks, offset: 0 }) }
    }

    pub(crate) fn as_slice(&self) -> &[Run] {
        match self {
            Self::None => &[],
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.as_slice().iter().map(|run| u64::from(run.blocks)).sum()
    }

    /// The same with more blocks at the end of the file, handed out `offset` blocks behind its first.
    pub(crate) fn grown(self, offset: u32, blocks: u32) -> Self {
        let run = Run { logical: low_u32(self.blocks()), blocks, offset };
        match self {
            Self::None => Self::One(run),
            Self::One(first) => Self::Many([first, run].into()),
            Self::Many(runs) => Self::Many(runs.into_iter().chain([run]).collect()),
        }
    }

    /// The blocks that hold any stored byte.
    pub(crate) fn of(content: &Content, block_size: BlockSize) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for segment in content.segments() {
            let start = low_u32(segment.file_offset / block_size.bytes());
            let end = low_u32(block_size.blocks_for(segment.file_offset + segment.len_bytes));
            match runs.last_mut() {
                Some(last) if start <= last.logical + last.blocks => last.blocks = end - last.logical,
                last => {
                    let offset = last.map_or(0, |last| last.offset + last.blocks);
                    runs.push(Run { logical: start, blocks: end - start, offset });
                }
            }
        }
        match runs.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            _ => Self::Many(runs.into_boxed_slice()),
        }
    }
}

/// One inode that is not reserved.
#[derive(Debug)]
pub(crate) struct Planned<'t> {
    /// `None` for a `lost+found` that the tree does not have, and for an inode that is not in use.
    pub(crate) id: Option<NodeId>,
    /// 0 for an inode that is not in use.
    pub(crate) links: u32,
    /// Of a directory: the inode of `..`.
    pub(crate) parent: Ino,
    pub(crate) directory: Option<Box<DirectoryPlan<'t>>>,
    pub(crate) runs: Runs,
    /// Its first block, counted from the first block that is handed out.
    pub(crate) data_at: u64,
    /// Index of the block of its attributes in [`Demand::xattr_blocks`].
    pub(crate) xattr_block: Option<u32>,
    /// Of the first inode that has a block: indexes in [`Demand::values`] of those that the block has no room for.
    values: Box<[u32]>,
}

impl Planned<'_> {
    /// An inode whose links are not known yet.
    pub(super) fn new(id: Option<NodeId>, parent: Ino) -> Self {
        let (directory, runs) = Default::default();
        let values = Box::default();
        Self { id, links: 0, parent, directory, runs, data_at: 0, xattr_block: None, values }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.links > 0
    }
}

/// An inode that holds the value of an attribute. Equal values share one, as they do when the kernel sets them.
#[derive(Debug)]
pub(crate) struct Value {
    /// Index in [`Demand::inodes`] of the first inode with such an attribute.
    owner: u32,
    /// Which of its attributes with such inodes it is.
    nth: u32,
    pub(crate) len_bytes: u64,
    /// The checksum of the value.
    pub(crate) hash: u32,
    /// How many attributes have it.
    pub(crate) users: u64,
    pub(crate) runs: Runs,
    /// Its first block, counted from the first block that is handed out.
    pub(crate) data_at: u64,
}

/// A block of attributes. Inodes with the same ones share it, as they do when the kernel sets them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XattrBlock {
    /// Index of its first inode in [`Demand::inodes`]; none while only removed nodes have had it.
    pub(super) owner: Option<u32>,
    /// How many inodes have it (`h_refcount`).
    pub(crate) users: u32,
    /// Those and the removed nodes that had it.
    counted: u32,
    /// Counted from the first block that is handed out.
    pub(super) at: u64,
}

/// Blocks of attributes by the digest of what is in them, and values that are in inodes.
#[derive(Default)]
pub(super) struct Known {
    blocks: BTreeMap<[u8; 32], u32>,
    values: BTreeMap<[u8; 32], u32>,
}

/// Blocks that were handed out together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocation {
    /// The first of them, counted from the first block that is handed out.
    pub(crate) at: u64,
    /// Index of the owner in [`Demand::inodes`], of a value in [`Demand::values`].
    pub(crate) owner: u32,
    pub(crate) purpose: Purpose,
    /// Blocks of the owner's data that were handed out before: more than none for what a directory grew by.
    pub(crate) skip: u64,
}

impl Allocation {
    pub(super) fn new(at: u64, owner: u32, purpose: Purpose) -> Self {
        Self { at, owner, purpose, skip: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Data,
    Xattrs,
    Value,
    /// Not in use.
    Gap,
}

/// Blocks between allocations that are not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first of them, counted from the first block that is handed out.
    pub(crate) at: u64,
    pub(crate) blocks: u64,
}

/// What a tree needs.
#[derive(Debug)]
pub(crate) struct Demand<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) block_size: BlockSize,
    pub(crate) features: Features,
    /// The root, `lost+found`, then all others in order of their paths; or of when they came ([`super::stable`]).
    pub(crate) inodes: Vec<Planned<'t>>,
    /// The inode of each node, 0 for a node that is not in use.
    pub(super) numbers: Vec<u32>,
    pub(crate) xattr_blocks: Vec<XattrBlock>,
    /// Their inodes come after all others.
    pub(crate) values: Vec<Value>,
    /// Whether an index has three levels.
    pub(crate) has_large_directory: bool,
    /// Inodes between others that are not in use, in order.
    pub(crate) free_inodes: Vec<Ino>,
    /// What was handed out, in order.
    pub(crate) allocations: Vec<Allocation>,
    /// Those that are not in use, in order.
    pub(crate) gaps: Vec<Gap>,
    /// Blocks of all allocations.
    pub(crate) blocks: u64,
    /// Bytes of file content that are stored.
    pub(crate) content_bytes: u64,
    /// Nodes whose time had to be moved into the range of an inode.
    pub(crate) times_clamped: u64,
    /// Attributes that Linux does not have on ext4.
    pub(crate) xattrs_skipped: u64,
    /// Stands in where the tree has none.
    lost_and_found: Node,
}

impl<'t> Demand<'t> {
    /// Measures a tree.
    pub(crate) fn of(tree: &'t Tree, identity: &Identity, options: &Options) -> Result<Self, Error> {
        let metadata = Metadata { mode: 0o700, mtime: options.time(), ..Metadata::default() };
        let mut demand = Self {
            tree,
            block_size: options.block_size,
            features: options.features,
            inodes: Vec::with_capacity(tree.len() + 1),
            numbers: vec![0; tree.node_slots()],
            xattr_blocks: Vec::new(),
            values: Vec::new(),
            has_large_directory: false,
            free_inodes: Vec::new(),
            allocations: Vec::new(),
            gaps: Vec::new(),
            blocks: 0,
            content_bytes: 0,
            times_clamped: 0,
            xattrs_skipped: 0,
            lost_and_found: Node::directory(metadata),
        };
        if options.placement == Placement::Stable {
            demand.place_by_generation(identity, options)?;
            return Ok(demand);
        }
        demand.number_all()?;
        let mut known = Known::default();
        for owner in 0..demand.inodes.len() {
            if owner % 1024 == 0 {
                options.check_cancel()?;
            }
            demand.measure(owner, identity, &mut known)?;
        }
        demand.allocate();
        Ok(demand)
    }

    /// The inode that an index of [`Self::values`] stands for.
    pub(crate) fn value_ino(&self, value: usize) -> Ino {
        Self::ino(self.inodes.len() + value)
    }

    /// The value that an inode holds.
    pub(crate) fn value(&self, ino: Ino) -> Option<&Value> {
        self.values.get(Self::owner(ino)?.checked_sub(self.inodes.len())?)
    }

    /// What an inode is of the tree.
    pub(crate) fn planned_of(&self, ino: Ino) -> Option<&Planned<'t>> {
        self.inodes.get(Self::owner(ino)?)
    }

    /// The attributes of a node in the form of the disk, with the inodes of their values.
    pub(crate) fn attributes(&self, planned: &Planned<'t>) -> Result<Placed<'_>, Error> {
        let xattrs = &self.node(planned).metadata.xattrs;
        let placed = xattrs::place(xattrs, self.block_size, self.features);
        let mut placed = placed.map_err(|why| self.refuse(planned.id, why))?;
        placed.set_elsewhere(planned.values.iter().map(|&number| {
            let number = index32(number);
            ValueInode { ino: self.value_ino(number), hash: self.values[number].hash }
        }));
        Ok(placed)
    }

    /// The bytes of a value.
    pub(crate) fn value_bytes(&self, value: &Value) -> Result<Vec<u8>, Error> {
        let placed = self.attributes(&self.inodes[index32(value.owner)])?;
        let attribute = placed.elsewhere().nth(index32(value.nth)).expect("the owner of a value has it");
        Ok(attribute.value.to_vec())
    }

    /// The inode that an index of [`Self::inodes`] stands for.
    pub(crate) fn ino(owner: usize) -> Ino {
        let number = low_u32(u64_of(owner));
        if number == 0 { Ino::ROOT } else { Ino::new(Ino::FIRST.get() - 1 + number) }
    }

    /// The index in [`Self::inodes`] of an inode, `None` for a reserved one.
    pub(crate) fn owner(ino: Ino) -> Option<usize> {
        if ino == Ino::ROOT { Some(0) } else { ino.get().checked_sub(Ino::FIRST.get()).map(|n| index32(n) + 1) }
    }

    /// The highest inode in use.
    pub(crate) fn last_ino(&self) -> Ino {
        Self::ino(self.inodes.len() + self.values.len() - 1)
    }

    pub(crate) fn node(&self, planned: &Planned<'t>) -> &Node {
        planned.id.map_or(&self.lost_and_found, |id| self.tree.node(id))
    }

    /// The inode of an entry.
    pub(crate) fn ino_of(&self, id: Option<NodeId>) -> Ino {
        id.map_or(Ino::FIRST, |id| Ino::new(self.numbers[id.index()]))
    }

    pub(crate) fn kind_of(&self, id: Option<NodeId>) -> &Kind {
        &id.map_or(&self.lost_and_found, |id| self.tree.node(id)).kind
    }

    /// The entries of a directory, with a `lost+found` in the root where the tree has none.
    pub(crate) fn entries(&self, id: NodeId) -> impl Iterator<Item = (&'t [u8], Option<NodeId>)> + Clone + use<'t> {
        let added =
            (id == Tree::ROOT && self.tree.lookup(id, LOST_AND_FOUND).is_none()).then_some((LOST_AND_FOUND, None));
        let entries = self.tree.entries(id).map(Directory::iter).into_iter().flatten();
        entries.map(|(name, &id)| (&**name, Some(id))).chain(added)
    }

    /// An error about a node, with its first path.
    pub(crate) fn refuse(&self, id: Option<NodeId>, why: Unrepresentable) -> Error {
        Error::Unrepresentable { path: id.map_or(LOST_AND_FOUND.to_vec(), |id| path_of(self.tree, id)), why }
    }

    /// Gives every node its number: a directory, then what is in it. No recursion, the depth is up to the input.
    fn number_all(&mut self) -> Result<(), Error> {
        let tree = self.tree;
        self.number(Some(Tree::ROOT), Ino::ROOT);
        let lost_and_found = tree.lookup(Tree::ROOT, LOST_AND_FOUND);
        if let Some(id) = lost_and_found.filter(|&id| !tree.node(id).is_directory()) {
            return Err(self.refuse(Some(id), Unrepresentable::LostAndFound));
        }
        self.number(lost_and_found, Ino::ROOT);
        let mut open = vec![(Ino::ROOT, self.entries(Tree::ROOT))];
        while let Some((parent, entries)) = open.last_mut() {
            let Some((_, id)) = entries.next() else {
                open.pop();
                continue;
            };
            let Some(id) = id else { continue };
            let parent = *parent;
            if self.numbers[id.index()] == 0 {
                self.number(Some(id), parent);
            } else if Some(id) != lost_and_found {
                continue;
            }
            if tree.node(id).is_directory() {
                open.push((self.ino_of(Some(id)), self.entries(id)));
            }
        }
        Ok(())
    }

    fn number(&mut self, id: Option<NodeId>, parent: Ino) {
        let ino = Self::ino(self.inodes.len());
        if let Some(id) = id {
            self.numbers[id.index()] = ino.get();
        }
        self.inodes.push(Planned::new(id, parent));
    }

    /// Sets all of an inode but its places.
    pub(super) fn measure(&mut self, owner: usize, identity: &Identity, known: &mut Known) -> Result<(), Error> {
        let id = self.inodes[owner].id;
        let (links, directory, runs) = self.body(id, identity.hash_seed).map_err(|why| self.refuse(id, why))?;
        let node = id.map_or(&self.lost_and_found, |id| self.tree.node(id));
        let clamped = clamp_time(node.metadata.mtime) != node.metadata.mtime;
        let stored = match &node.kind {
            Kind::File(content) => content.segments().iter().map(|segment| segment.len_bytes).sum(),
            _ => 0,
        };
        let placed =
            xattrs::place(&node.metadata.xattrs, self.block_size, self.features).map_err(|why| self.refuse(id, why))?;
        if !(self.features.contains(Features::EXT_ATTR) || placed.tail.is_empty() && placed.block.is_empty()) {
            return Err(self.refuse(id, Unrepresentable::Xattrs));
        }
        let (skipped, digest) = (placed.skipped, (!placed.block.is_empty()).then(|| xattrs::digest(&placed.block)));
        let values: Vec<_> = placed.elsewhere().map(|attribute| attribute.value.to_vec()).collect();
        let is_large = matches!(directory.as_deref(), Some(DirectoryPlan::Indexed(indexed)) if indexed.levels() > 1);
        self.has_large_directory |= is_large;
        let owner_number = low_u32(u64_of(owner));
        let (xattr_block, is_new) = digest.map(|digest| self.xattr_block(Some(owner_number), digest, known)).unzip();
        if is_new == Some(true) {
            self.add_values(owner, &values, identity.checksums(), known);
        }
        self.times_clamped += u64::from(clamped);
        self.content_bytes += stored;
        self.xattrs_skipped += skipped;
        let planned = &mut self.inodes[owner];
        (planned.links, planned.directory, planned.runs, planned.xattr_block) = (links, directory, runs, xattr_block);
        Ok(())
    }

    /// Counts attributes that were removed or replaced, so that those who share them find their block where it was.
    pub(super) fn remember_attributes(&mut self, attributes: &Xattrs, known: &mut Known) {
        // What cannot be, no image had.
        if let Ok(placed) = xattrs::place(attributes, self.block_size, self.features)
            && !placed.block.is_empty()
        {
            self.xattr_block(None, xattrs::digest(&placed.block), known);
        }
    }

    /// The block for attributes of that digest: one that is known and has room for another inode, or a new one.
    /// Says whether the inode is the first that has it.
    fn xattr_block(&mut self, owner: Option<u32>, digest: [u8; 32], known: &mut Known) -> (u32, bool) {
        let next = low_u32(u64_of(self.xattr_blocks.len()));
        let number = *known.blocks.entry(digest).or_insert(next);
        let has_room = |block: &XattrBlock| block.counted < XATTR_USERS_MAX;
        let number = if self.xattr_blocks.get(index32(number)).is_some_and(has_room) { number } else { next };
        if number == next {
            self.xattr_blocks.push(XattrBlock { owner: None, users: 0, counted: 0, at: 0 });
            known.blocks.insert(digest, number);
        }
        let block = &mut self.xattr_blocks[index32(number)];
        block.counted += 1;
        block.users += u32::from(owner.is_some());
        let is_first = block.owner.is_none() && owner.is_some();
        block.owner = block.owner.or(owner);
        (number, is_first)
    }

    /// Finds inodes for values: those that hold the same, or new ones.
    fn add_values(&mut self, owner: usize, values: &[Vec<u8>], seed: Checksum, known: &mut Known) {
        let owner_number = low_u32(u64_of(owner));
        let numbers = (0..).zip(values).map(|(nth, value)| {
            let next = low_u32(u64_of(self.values.len()));
            let number = *known.values.entry(Sha256::digest(value).into()).or_insert(next);
            if number == next {
                let len_bytes = u64_of(value.len());
                let runs = Runs::whole(low_u32(self.block_size.blocks_for(len_bytes)));
                let hash = seed.add(value).get();
                self.values.push(Value { owner: owner_number, nth, len_bytes, hash, users: 0, runs, data_at: 0 });
            }
            self.values[index32(number)].users += 1;
            number
        });
        let numbers = numbers.collect();
        self.inodes[owner].values = numbers;
    }

    /// Where the block of an inode's attributes is, counted from the first block that is handed out.
    pub(crate) fn xattr_at(&self, planned: &Planned<'t>) -> Option<u64> {
        planned.xattr_block.map(|number| self.xattr_blocks[index32(number)].at)
    }

    /// Link count, directory plan and blocks of a node.
    fn body(
        &self,
        id: Option<NodeId>,
        seed: [u8; 16],
    ) -> Result<(u32, Option<Box<DirectoryPlan<'t>>>, Runs), Unrepresentable> {
        let Some(id) = id else {
            let blocks = low_u32(self.block_size.blocks_for(LOST_AND_FOUND_BYTES));
            return Ok((2, Some(Box::new(DirectoryPlan::Linear { blocks })), Runs::whole(blocks)));
        };
        let names = self.tree.names(id);
        let node = self.tree.node(id);
        if !node.is_directory() && names > LINKS_MAX {
            return Err(Unrepresentable::Links { links: names });
        }
        let file_bytes_max = file_bytes_max(self.block_size, self.features);
        let symlink_max = self.block_size.len() - 1;
        let runs = match &node.kind {
            Kind::Directory(_) => {
                let subdirectories = self.entries(id).filter(|&(_, id)| matches!(self.kind_of(id), Kind::Directory(_)));
                let links = low_u32(u64_of(subdirectories.count())).saturating_add(2);
                let uncounted = Features::DIR_NLINK | Features::DIR_INDEX;
                if links > LINKS_MAX && !self.features.contains(uncounted) {
                    return Err(Unrepresentable::Subdirectories { count: u64::from(links) - 2 });
                }
                let form = Form::new(self.block_size, self.features);
                let plan = dirs::plan(self.entries(id), seed, form).ok_or(Unrepresentable::DirectorySize)?;
                let runs = Runs::whole(plan.blocks());
                return Ok((directory_links(links), Some(Box::new(plan)), runs));
            }
            Kind::File(content) if content.size_bytes() > file_bytes_max => {
                let size_bytes = content.size_bytes();
                return Err(Unrepresentable::FileSize { size_bytes, max_bytes: file_bytes_max });
            }
            Kind::File(content) => Runs::of(content, self.block_size),
            Kind::Symlink(target) if target.is_empty() || target.len() > symlink_max || target.contains(&0) => {
                return Err(Unrepresentable::SymlinkTarget { len_bytes: target.len(), max_bytes: symlink_max });
            }
            Kind::Symlink(target) => Runs::whole(u32::from(target.len() >= I_BLOCK_LEN)),
            Kind::CharDevice(_) | Kind::BlockDevice(_) | Kind::Fifo | Kind::Socket => Runs::None,
        };
        Ok((names, None, runs))
    }

    /// Hands out blocks: small structures, which a booting system reads all over the tree, before the contents.
    fn allocate(&mut self) {
        for files in [false, true] {
            for (owner, planned) in (0..).zip(&mut self.inodes) {
                let id = planned.id;
                let is_file = id.is_some_and(|id| matches!(self.tree.node(id).kind, Kind::File(_)));
                let blocks = planned.runs.blocks();
                if is_file == files && blocks > 0 {
                    planned.data_at = self.blocks;
                    self.allocations.push(Allocation::new(self.blocks, owner, Purpose::Data));
                    self.blocks += blocks;
                }
                let block = planned.xattr_block.map(|number| &mut self.xattr_blocks[index32(number)]);
                if let Some(block) = block.filter(|block| !files && block.owner == Some(owner)) {
                    block.at = self.blocks;
                    self.allocations.push(Allocation::new(self.blocks, owner, Purpose::Xattrs));
                    self.blocks += 1;
                }
            }
            if !files {
                self.allocate_values();
            }
        }
    }

    pub(super) fn allocate_values(&mut self) {
        for (owner, value) in (0..).zip(&mut self.values) {
            value.data_at = self.blocks;
            self.allocations.push(Allocation::new(self.blocks, owner, Purpose::Value));
            self.blocks += value.runs.blocks();
        }
    }

    /// The allocation that holds a block, counted from the first that is handed out.
    pub(crate) fn allocation_at(&self, at: u64) -> usize {
        self.allocations.partition_point(|allocation| allocation.at <= at) - 1
    }

    /// Blocks of the allocation of that index.
    pub(crate) fn allocation_blocks(&self, allocation: usize) -> u64 {
        let next = self.allocations.get(allocation + 1).map_or(self.blocks, |next| next.at);
        next - self.allocations[allocation].at
    }

    /// Inodes up to the last in use, the reserved ones among them.
    pub(crate) fn inode_count(&self) -> u64 {
        u64::from(self.last_ino().get())
    }

    pub(crate) fn planned(&self, allocation: usize) -> &Planned<'t> {
        &self.inodes[index(u64::from(self.allocations[allocation].owner))]
    }
}

/// The largest size of a file: its blocks have 32 bits; so has its size without `large_file`, of which one is a sign, and the
/// number of its units of 512 bytes without `huge_file`.
pub(super) fn file_bytes_max(block_size: BlockSize, features: Features) -> u64 {
    let blocks = FILE_BLOCKS_MAX * block_size.bytes();
    match (features.contains(Features::LARGE_FILE), features.contains(Features::HUGE_FILE)) {
        (false, _) => (1 << 31) - 1,
        (true, false) => blocks.min(0xFFFF_FFFF * 512 / block_size.bytes() * block_size.bytes()),
        (true, true) => blocks,
    }
}

/// `i_links_count` of a directory: 1, "many", when it is beyond what the field may say (`dir_nlink`).
fn directory_links(links: u32) -> u32 {
    if links > LINKS_MAX { 1 } else { links }
}

/// The first path of a node.
pub(crate) fn path_of(tree: &Tree, id: NodeId) -> Vec<u8> {
    let found = fstree::walk(tree, |visit| if visit.id == id { Err(visit.path.to_vec()) } else { Ok(()) });
    match found {
        Err(path) if path.is_empty() => b"/".to_vec(),
        Err(path) => path,
        Ok(()) => b"?".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use fstree::Segment;

    use super::*;

    #[test]
    fn runs_are_whole_blocks_and_merge_where_they_touch() {
        let mut tree = Tree::new(Metadata::default());
        let source = tree.sources.add(std::sync::Arc::new(Vec::new()));
        let segment = |file_offset, len_bytes| Segment { file_offset, source, source_offset: 0, len_bytes };
        let content = Content::sparse(
            1 << 20,
            vec![segment(0, 1), segment(4000, 200), segment(8192, 4096), segment(20_480, 1), segment(20_482, 8192)],
        );
        let runs = Runs::of(&content.unwrap(), BlockSize::Kib4);
        let expected = [Run { logical: 0, blocks: 3, offset: 0 }, Run { logical: 5, blocks: 3, offset: 3 }];
        assert_eq!(runs.as_slice(), expected);
        assert_eq!(runs.blocks(), 6);
    }

    #[test]
    fn more_subdirectories_than_the_field_counts() {
        assert_eq!(directory_links(65_000), 65_000);
        assert_eq!(directory_links(65_001), 1);
    }

    #[test]
    fn inode_numbers_and_indexes() {
        for (owner, ino) in [(0, 2), (1, 11), (2, 12), (100, 110)] {
            assert_eq!(Demand::ino(owner), Ino::new(ino));
            assert_eq!(Demand::owner(Ino::new(ino)), Some(owner));
        }
        assert_eq!(Demand::owner(Ino::JOURNAL), None);
    }
}
