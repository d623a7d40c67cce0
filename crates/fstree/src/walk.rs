//! Ordered visits of a tree.

use crate::node::Node;
use crate::tree::{NodeId, Tree};

/// One name of one node.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The path: components joined by `/`, empty for the root.
    pub path: &'a [u8],
    /// The number of the node.
    pub id: NodeId,
    /// The node.
    pub node: &'a Node,
}

/// Visits every name of the tree: a directory before its entries, entries in byte order of their names.
///
/// # Errors
/// The first error of `visit` ends the walk.
pub fn walk<E>(tree: &Tree, mut visit: impl FnMut(Visit<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut path: Vec<u8> = Vec::new();
    visit(Visit { path: &path, id: Tree::ROOT, node: tree.node(Tree::ROOT) })?;
    // One iterator for each open directory, and the length of its path: no recursion on the depth of the tree.
    let mut open: Vec<_> = tree.entries(Tree::ROOT).map(|entries| (0, entries.iter())).into_iter().collect();
    while let Some((len, entries)) = open.last_mut() {
        path.truncate(*len);
        let Some((name, &id)) = entries.next() else {
            open.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        visit(Visit { path: &path, id, node: tree.node(id) })?;
        if let Some(entries) = tree.entries(id) {
            open.push((path.len(), entries.iter()));
        }
    }
    Ok(())
}
