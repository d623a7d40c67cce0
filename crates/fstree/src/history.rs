//! How a tree came to be: which nodes each change added, what they replaced, and how large directories were in between.
//!
//! Whoever places the nodes of a tree needs it, to leave what came with the lower layers where it is without the upper ones.
//! Numbers of nodes are never used twice, and a node that was removed is remembered, so the order of the numbers is the order in which
//! nodes came, whatever came later.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::node::{Metadata, Node, Xattrs};
use crate::tree::{NodeId, Tree};

/// What the changes of a tree leave to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// How many slots there were after each change.
    ends: Vec<u32>,
    /// Directories that a change after the one they came with touched: the change, and what their entries took before it.
    before: BTreeMap<NodeId, Vec<DirectorySize>>,
    /// Directories whose attributes such a change replaced: the change, and those before it.
    attributes: BTreeMap<NodeId, Vec<(usize, Xattrs)>>,
}

/// How large a directory was when a generation was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectorySize {
    /// The number of the generation.
    pub generation: usize,
    /// The sum of [`padded_len`] of the names in it.
    pub entry_bytes: u64,
}

/// What an entry takes in a directory as the file systems of Unix keep it: eight bytes and the name, rounded up to four bytes.
#[must_use]
pub fn padded_len(name: &[u8]) -> u64 {
    8 + u64::try_from(name.len()).expect("usize fits in u64").next_multiple_of(4)
}

impl Tree {
    /// The nodes that came together, generation after generation, those that are not in use any more among them. Each
    /// [`Tree::apply`] ends a generation; nodes that came without are of the next.
    pub fn generations(&self) -> impl Iterator<Item = Range<usize>> {
        let last = usize_of(*self.history.ends.last().unwrap_or(&0));
        let rest = (last < self.node_slots()).then_some(self.node_slots());
        let mut start = 0;
        self.history.ends.iter().map(|&end| usize_of(end)).chain(rest).map(move |end| {
            let generation = start..end;
            start = end;
            generation
        })
    }

    /// The node of an index below [`Tree::node_slots`], and what it is or was; a directory that was removed has no entries.
    ///
    /// # Panics
    /// When there is no such index.
    #[must_use]
    pub fn remembered(&self, index: usize) -> (NodeId, &Node) {
        (NodeId(u32::try_from(index).expect("an index of a node")), &self.slots[index].node)
    }

    /// The node that went away when this one took its name, and its last one.
    #[must_use]
    pub fn replaced(&self, id: NodeId) -> Option<NodeId> {
        let replaced = self.slots[id.index()].replaced;
        (replaced != 0).then_some(NodeId(replaced))
    }

    /// How large a directory was after the generation it came with and after each that changed it. A directory that was removed
    /// counts as it was then.
    #[must_use]
    pub fn directory_sizes(&self, id: NodeId, born: usize) -> Vec<DirectorySize> {
        let changes = self.history.before.get(&id).map(Vec::as_slice).unwrap_or_default();
        let generations = std::iter::once(born).chain(changes.iter().map(|change| change.generation));
        let sizes = changes.iter().map(|change| change.entry_bytes).chain([self.slots[id.index()].entry_bytes]);
        generations.zip(sizes).map(|(generation, entry_bytes)| DirectorySize { generation, entry_bytes }).collect()
    }

    /// The attributes of a directory after the generation it came with and after each that replaced them. Those of other nodes stay.
    #[must_use]
    pub fn directory_attributes(&self, id: NodeId, born: usize) -> Vec<(usize, &Xattrs)> {
        let changes = self.history.attributes.get(&id).map(Vec::as_slice).unwrap_or_default();
        let generations = std::iter::once(born).chain(changes.iter().map(|(generation, _)| *generation));
        let last = &self.slots[id.index()].node.metadata.xattrs;
        generations.zip(changes.iter().map(|(_, before)| before).chain([last])).collect()
    }

    /// To be called before a directory gets other metadata.
    pub(crate) fn note_attributes(&mut self, directory: NodeId, new: &Metadata) {
        let History { ends, attributes, .. } = &mut self.history;
        let old = &self.slots[directory.index()].node.metadata.xattrs;
        if *old == new.xattrs || ends.last().is_none_or(|&end| directory.0 >= end) {
            return;
        }
        let changes = attributes.entry(directory).or_default();
        if changes.last().is_none_or(|(generation, _)| *generation < ends.len()) {
            changes.push((ends.len(), old.clone()));
        }
    }

    /// To be called before the entries of a directory change.
    pub(crate) fn note_change(&mut self, directory: NodeId) {
        let History { ends, before, .. } = &mut self.history;
        if ends.last().is_none_or(|&end| directory.0 >= end) {
            return;
        }
        let (generation, entry_bytes) = (ends.len(), self.slots[directory.index()].entry_bytes);
        let changes = before.entry(directory).or_default();
        if changes.last().is_none_or(|last| last.generation < generation) {
            changes.push(DirectorySize { generation, entry_bytes });
        }
    }

    /// What comes from here on is of another generation.
    pub(crate) fn end_generation(&mut self) {
        let end = u32::try_from(self.slots.len()).expect("nodes are counted with 32 bits");
        self.history.ends.push(end);
    }
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).expect("u32 fits in usize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addition, Diff, Kind, Removal, TreePath};

    fn entry(path: &str, kind: Kind) -> Addition {
        let node = Node { metadata: Metadata::default(), kind };
        Addition::Entry { path: TreePath::parse(path.as_bytes()).unwrap(), node }
    }

    fn diff(removals: &[&str], additions: Vec<Addition>) -> Diff {
        let path = |path: &&str| Removal::Path(TreePath::parse(path.as_bytes()).unwrap());
        Diff { removals: removals.iter().map(path).collect(), additions, ..Diff::default() }
    }

    #[test]
    fn what_each_layer_added_is_known_whatever_came_later() {
        let mut tree = Tree::new(Metadata::default());
        let fifo = || Kind::Fifo;
        tree.apply(diff(&[], vec![entry("d", Kind::Directory(Default::default())), entry("d/abc", fifo())])).unwrap();
        let directory = tree.lookup(Tree::ROOT, b"d").unwrap();
        let old = tree.lookup(directory, b"abc").unwrap();
        tree.apply(diff(&[], vec![entry("d/abc", fifo()), entry("d/abcde", fifo())])).unwrap();
        tree.apply(diff(&["d/abcde"], Vec::new())).unwrap();

        assert_eq!(tree.generations().collect::<Vec<_>>(), [0..3, 3..5, 5..5]);
        let new = tree.lookup(directory, b"abc").unwrap();
        assert_eq!((tree.replaced(new), tree.replaced(old)), (Some(old), None));
        assert_eq!(tree.remembered(old.index()).1.kind, fifo());
        let sizes =
            |id| tree.directory_sizes(id, 0).iter().map(|at| (at.generation, at.entry_bytes)).collect::<Vec<_>>();
        assert_eq!(sizes(directory), [(0, 12), (1, 12 + 16), (2, 12)]);
        assert_eq!(sizes(Tree::ROOT), [(0, 12)]);
    }

    #[test]
    fn attributes_that_a_layer_replaced_are_known() {
        let mut tree = Tree::new(Metadata::default());
        let with = |value: u8| {
            let xattrs = [(b"user.a".as_slice().into(), [value].as_slice().into())].into();
            let node = Node::directory(Metadata { xattrs, ..Metadata::default() });
            Addition::Entry { path: TreePath::parse(b"d").unwrap(), node }
        };
        tree.apply(diff(&[], vec![with(0), with(1)])).unwrap();
        tree.apply(diff(&[], vec![with(1)])).unwrap();
        tree.apply(diff(&[], vec![with(2), with(3)])).unwrap();
        let id = tree.lookup(Tree::ROOT, b"d").unwrap();
        let values = tree.directory_attributes(id, 0);
        let values: Vec<_> = values.iter().map(|(at, xattrs)| (*at, xattrs[b"user.a".as_slice()][0])).collect();
        assert_eq!(values, [(0, 1), (2, 3)]);
    }

    #[test]
    fn a_removed_directory_is_remembered_as_it_was() {
        let mut tree = Tree::new(Metadata::default());
        tree.apply(diff(&[], vec![entry("d/a", Kind::Fifo), entry("d/e/b", Kind::Fifo)])).unwrap();
        let directory = tree.lookup(Tree::ROOT, b"d").unwrap();
        tree.apply(diff(&["d"], Vec::new())).unwrap();
        assert_eq!(tree.directory_sizes(directory, 0), [DirectorySize { generation: 0, entry_bytes: 24 }]);
        assert_eq!(tree.len(), 1);
        // What comes without a change that ends is of one more generation.
        let id = tree.insert(Tree::ROOT, b"x", Node::directory(Metadata::default())).unwrap();
        assert_eq!(tree.generations().last(), Some(id.index()..id.index() + 1));
    }

    #[test]
    fn a_name_that_another_keeps_replaces_nothing() {
        let mut tree = Tree::new(Metadata::default());
        let node = || Node { metadata: Metadata::default(), kind: Kind::Fifo };
        let a = tree.insert(Tree::ROOT, b"a", node()).unwrap();
        tree.link(Tree::ROOT, b"b", a).unwrap();
        let new = tree.insert(Tree::ROOT, b"a", node()).unwrap();
        assert_eq!(tree.replaced(new), None);
        let newer = tree.insert(Tree::ROOT, b"b", node()).unwrap();
        assert_eq!(tree.replaced(newer), Some(a));
    }
}
