//! The tree itself: an arena of nodes; a hard link is a second entry with the same [`NodeId`].

use thiserror::Error;

use crate::content::Sources;
use crate::history::{History, padded_len};
use crate::node::{Directory, Kind, Metadata, Node};
use crate::path::NAME_MAX;

/// The number of a node in its tree. Two directory entries with one number are hard links of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The number as an index: below [`Tree::node_slots`], for side tables.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).expect("u32 fits in usize")
    }
}

/// Why a change of the tree was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The parent is not a directory.
    #[error("the parent of the entry is not a directory")]
    ParentNotDirectory,
    /// An entry name that is empty, `.`, `..`, too long, or that holds `/` or NUL.
    #[error("'{}' cannot be the name of a directory entry", name.escape_ascii())]
    BadName {
        /// The name.
        name: Vec<u8>,
    },
    /// A directory can have only one name.
    #[error("a hard link to a directory is not possible")]
    LinkToDirectory,
    /// Every node number is taken.
    #[error("the tree has more than {max} nodes")]
    TooManyNodes {
        /// The limit.
        max: u32,
    },
}

/// A slot of the arena: a node and the number of its names.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Stays when the last name is gone, since its place in an image of the layers below is known by it; a directory without
    /// its entries.
    pub(crate) node: Node,
    /// 0 once it has been removed.
    names: u32,
    /// The node whose last name this one took, by its number; 0 for none, since nothing replaces the root.
    pub(crate) replaced: u32,
    /// What the entries of a directory take; see [`padded_len`].
    pub(crate) entry_bytes: u64,
}

impl Slot {
    fn new(node: Node, replaced: u32) -> Self {
        Self { node, names: 1, replaced, entry_bytes: 0 }
    }

    fn used(&self) -> Option<&Node> {
        (self.names > 0).then_some(&self.node)
    }
}

/// What became of an entry.
pub(crate) struct Put {
    pub(crate) id: NodeId,
    /// Whether it took the place of another.
    pub(crate) replaced: bool,
}

/// The tree of a file system.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) slots: Vec<Slot>,
    /// Nodes that have a name.
    alive: u32,
    nodes_max: u32,
    pub(crate) history: History,
    /// What the contents of the files refer to.
    pub sources: Sources,
}

impl Tree {
    /// The root directory of every tree.
    pub const ROOT: NodeId = NodeId(0);
    /// How many nodes a tree may hold unless told otherwise.
    pub const NODES_MAX: u32 = 4_000_000;

    /// A tree of a root directory alone, for at most [`Self::NODES_MAX`] nodes.
    #[must_use]
    pub fn new(root: Metadata) -> Self {
        Self::with_limit(root, Self::NODES_MAX)
    }

    /// A tree of a root directory alone, for at most `nodes_max` nodes over its whole life.
    #[must_use]
    pub fn with_limit(root: Metadata, nodes_max: u32) -> Self {
        let root = Slot::new(Node::directory(root), 0);
        let (history, sources) = Default::default();
        Self { slots: vec![root], alive: 1, nodes_max, history, sources }
    }

    /// The node of that number.
    ///
    /// # Panics
    /// When the node has been removed or is of another tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        self.slots[id.index()].used().expect("a node in use has a name")
    }

    /// The node of that number, to change. Directory entries are changed by the methods of the tree, which count links.
    ///
    /// # Panics
    /// As [`Self::node`].
    pub fn metadata_mut(&mut self, id: NodeId) -> &mut Metadata {
        let slot = &mut self.slots[id.index()];
        assert!(slot.names > 0, "a node in use has a name");
        &mut slot.node.metadata
    }

    /// All nodes, those that were removed too, to change, and what their contents refer to.
    pub(crate) fn nodes_and_sources(&mut self) -> (impl Iterator<Item = &mut Node>, &Sources) {
        (self.slots.iter_mut().map(|slot| &mut slot.node), &self.sources)
    }

    /// How many directory entries name the node; 1 for the root.
    #[must_use]
    pub fn names(&self, id: NodeId) -> u32 {
        self.slots[id.index()].names
    }

    /// The entries of a directory, or `None` for another kind of node.
    #[must_use]
    pub fn entries(&self, id: NodeId) -> Option<&Directory> {
        match &self.node(id).kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entry `name` of `directory`.
    #[must_use]
    pub fn lookup(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.entries(directory)?.get(name).copied()
    }

    /// How many nodes are in the tree, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.alive).expect("u32 fits in usize")
    }

    /// Never: there is always a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// An upper bound of [`NodeId::index`], for side tables.
    #[must_use]
    pub fn node_slots(&self) -> usize {
        self.slots.len()
    }

    /// Puts `node` at `name`; what was there goes away with all below it. A directory comes without entries.
    ///
    /// # Errors
    /// The parent is not a directory, the name is impossible, or the tree is full.
    pub fn insert(&mut self, parent: NodeId, name: &[u8], node: Node) -> Result<NodeId, TreeError> {
        Ok(self.put(parent, name, node)?.id)
    }

    /// As [`Self::insert`], and says whether something was there.
    pub(crate) fn put(&mut self, parent: NodeId, name: &[u8], mut node: Node) -> Result<Put, TreeError> {
        self.check_entry(parent, name)?;
        let number = u32::try_from(self.slots.len()).ok().filter(|&number| number < self.nodes_max);
        let id = NodeId(number.ok_or(TreeError::TooManyNodes { max: self.nodes_max })?);
        if let Kind::Directory(entries) = &mut node.kind {
            entries.clear();
        }
        let before = self.set_entry(parent, name, id);
        if let Some(before) = before {
            self.drop_name(before);
        }
        let replaced = before.filter(|&before| self.names(before) == 0).map_or(0, |before| before.0);
        self.slots.push(Slot::new(node, replaced));
        self.alive += 1;
        Ok(Put { id, replaced: before.is_some() })
    }

    /// Makes room for so many more nodes, as far as there may be so many: growing step by step copies all that are there.
    pub(crate) fn expect(&mut self, nodes: usize) {
        let max = usize::try_from(self.nodes_max).expect("u32 fits in usize");
        self.slots.reserve(nodes.min(max.saturating_sub(self.slots.len())));
    }

    /// Gives the node `target` the further name `name`; what was there goes away. A link to itself changes nothing.
    ///
    /// # Errors
    /// The parent is not a directory, the name is impossible, or `target` is a directory.
    ///
    /// # Panics
    /// When a node has 2^32 names, which [`Self::NODES_MAX`]-sized inputs cannot reach.
    pub fn link(&mut self, parent: NodeId, name: &[u8], target: NodeId) -> Result<(), TreeError> {
        self.check_entry(parent, name)?;
        if self.node(target).is_directory() {
            return Err(TreeError::LinkToDirectory);
        }
        let slot = &mut self.slots[target.index()];
        slot.names = slot.names.checked_add(1).expect("fewer than 2^32 names");
        // The target may be below what is replaced: its new name keeps it alive.
        self.remove(parent, name);
        self.set_entry(parent, name, target);
        Ok(())
    }

    /// Removes the entry `name` with all below it. Returns whether there was one.
    pub fn remove(&mut self, parent: NodeId, name: &[u8]) -> bool {
        let Some(id) = self.slots[parent.index()].used().and_then(|node| match &node.kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }) else {
            return false;
        };
        self.note_change(parent);
        self.slots[parent.index()].entry_bytes -= padded_len(name);
        self.entries_mut(parent).remove(name);
        self.drop_name(id);
        true
    }

    /// Removes every entry of the directory with all below it.
    pub fn clear(&mut self, directory: NodeId) {
        if self.slots[directory.index()].used().is_some_and(Node::is_directory) {
            self.note_change(directory);
            self.slots[directory.index()].entry_bytes = 0;
            for id in std::mem::take(self.entries_mut(directory)).into_values() {
                self.drop_name(id);
            }
        }
    }

    /// Sets an entry; says what it named before, which still counts that name.
    fn set_entry(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Option<NodeId> {
        self.note_change(directory);
        let before = self.entries_mut(directory).insert(name.into(), id);
        if before.is_none() {
            self.slots[directory.index()].entry_bytes += padded_len(name);
        }
        before
    }

    /// A work list, not recursion: the depth of a tree is the choice of who made the layer.
    fn drop_name(&mut self, id: NodeId) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let slot = &mut self.slots[id.index()];
            slot.names -= 1;
            if slot.names == 0 {
                self.alive -= 1;
                if let Kind::Directory(entries) = &mut slot.node.kind {
                    pending.extend(std::mem::take(entries).into_values());
                }
            }
        }
    }

    fn check_entry(&self, parent: NodeId, name: &[u8]) -> Result<(), TreeError> {
        if self.entries(parent).is_none() {
            return Err(TreeError::ParentNotDirectory);
        }
        let possible =
            !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX && !name.iter().any(|&b| b == b'/' || b == 0);
        if possible { Ok(()) } else { Err(TreeError::BadName { name: name.to_vec() }) }
    }

    fn entries_mut(&mut self, directory: NodeId) -> &mut Directory {
        match &mut self.slots[directory.index()].node.kind {
            Kind::Directory(entries) => entries,
            _ => unreachable!("checked by check_entry"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(Metadata { mode: 0o755, ..Metadata::default() })
    }

    fn fifo() -> Node {
        Node { metadata: Metadata::default(), kind: Kind::Fifo }
    }

    #[test]
    fn a_hard_link_outlives_its_first_name() {
        let mut tree = tree();
        let a = tree.insert(Tree::ROOT, b"a", fifo()).unwrap();
        tree.link(Tree::ROOT, b"b", a).unwrap();
        assert_eq!(tree.names(a), 2);
        assert!(tree.remove(Tree::ROOT, b"a"));
        assert_eq!((tree.names(a), tree.lookup(Tree::ROOT, b"b")), (1, Some(a)));
        assert_eq!(tree.len(), 2);
    }

    #[test]
    fn a_link_replaces_the_directory_its_target_lives_in() {
        let mut tree = tree();
        let d = tree.insert(Tree::ROOT, b"d", Node::directory(Metadata::default())).unwrap();
        let f = tree.insert(d, b"f", fifo()).unwrap();
        tree.link(Tree::ROOT, b"d", f).unwrap();
        assert_eq!((tree.lookup(Tree::ROOT, b"d"), tree.names(f), tree.len()), (Some(f), 1, 2));
        tree.link(Tree::ROOT, b"d", f).unwrap();
        assert_eq!((tree.names(f), tree.len()), (1, 2));
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn removing_a_deep_tree_needs_no_deep_stack() {
        let mut tree = tree();
        let mut at = Tree::ROOT;
        for _ in 0..200_000 {
            at = tree.insert(at, b"d", Node::directory(Metadata::default())).unwrap();
        }
        tree.clear(Tree::ROOT);
        assert_eq!(tree.len(), 1);
    }

    #[test]
    fn refusals() {
        let mut tree = Tree::with_limit(Metadata::default(), 2);
        let f = tree.insert(Tree::ROOT, b"f", fifo()).unwrap();
        assert_eq!(tree.insert(f, b"x", fifo()), Err(TreeError::ParentNotDirectory));
        assert_eq!(tree.insert(Tree::ROOT, b"g", fifo()), Err(TreeError::TooManyNodes { max: 2 }));
        assert_eq!(tree.link(Tree::ROOT, b"r", Tree::ROOT), Err(TreeError::LinkToDirectory));
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert!(matches!(tree.insert(Tree::ROOT, name, fifo()), Err(TreeError::BadName { .. })));
        }
        assert!(tree.lookup(Tree::ROOT, b"f").is_some(), "a refused change leaves the tree as it was");
    }
}
