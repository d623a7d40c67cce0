//! Paths as a process inside the tree would resolve them: symbolic links followed, `..` stopped at the root.

use std::collections::HashSet;

use thiserror::Error;

use crate::node::Kind;
use crate::path::{PathError, TreePath, shown};
use crate::tree::{NodeId, Tree};

/// Symbolic links followed for one path (Linux follows 40).
const LINKS_MAX: u32 = 40;
/// Components looked at for one path, those of link targets included.
const COMPONENTS_MAX: usize = 4_096;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The path without symbolic links: what exists of it is made of directories.
    pub path: TreePath,
    /// The node there, if there is one.
    pub node: Option<NodeId>,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Symbolic links that lead to each other, or too many.
    #[error("too many symbolic links on the way (at most {LINKS_MAX})")]
    TooManyLinks,
    /// Link targets that grow without end.
    #[error("too many components on the way (at most {COMPONENTS_MAX})")]
    TooManyComponents,
    /// Something on the way is no directory.
    #[error("'{}' on the way is not a directory", shown(at))]
    NotADirectory {
        /// It.
        at: Vec<u8>,
    },
    /// A component is missing and is not the last.
    #[error("'{}' on the way is a symbolic link to nothing", shown(at))]
    DanglingLink {
        /// The link.
        at: Vec<u8>,
    },
    /// The path can't be one.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Tree {
    /// Resolves `path` from the root, the last component included. Missing components are fine: they are in the answer's
    /// path and it has no node.
    ///
    /// # Errors
    /// Links in circles, or a file where a directory has to be.
    pub fn resolve(&self, path: &[u8]) -> Result<Resolved, ResolveError> {
        let mut walk = Walk::new(self);
        walk.run(path, true)?;
        walk.finish()
    }

    /// Resolves all but the last component: the place at which an entry of that name is.
    ///
    /// # Errors
    /// As [`Self::resolve`], and where a symbolic link on the way leads to nothing.
    pub fn resolve_parent(&self, path: &TreePath) -> Result<Resolved, ResolveError> {
        let mut walk = Walk::new(self).without_dangling_links();
        walk.run(path.as_bytes(), false)?;
        walk.finish()
    }
}

/// A path on its way through a tree.
pub(crate) struct Walk<'a> {
    tree: &'a Tree,
    /// The real directories from the root down, with their nodes as far as they exist.
    stack: Vec<(&'a [u8], Option<NodeId>)>,
    links_left: u32,
    components_left: usize,
    /// Whether a link to nothing is an error.
    strict_links: bool,
    /// Links of these paths are taken as something that is no directory.
    opaque_links: Option<&'a HashSet<&'a [u8]>>,
}

/// A component that is still to be looked at.
struct Step<'a> {
    name: &'a [u8],
    /// How much of the path that is being resolved has been used when this component has.
    used: usize,
    /// Whether it comes from the target of a link.
    of_link: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            stack: Vec::new(),
            links_left: LINKS_MAX,
            components_left: COMPONENTS_MAX,
            strict_links: false,
            opaque_links: None,
        }
    }

    /// A symbolic link on the way that leads to nothing becomes an error.
    pub(crate) fn without_dangling_links(mut self) -> Self {
        self.strict_links = true;
        self
    }

    /// Symbolic links of these paths, as they are written in the path to resolve, are not followed.
    pub(crate) fn with_opaque_links(mut self, paths: &'a HashSet<&'a [u8]>) -> Self {
        self.opaque_links = Some(paths);
        self
    }

    /// The node that the walk has come to.
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.stack.last().map_or(Some(Tree::ROOT), |(_, node)| *node)
    }

    /// The directory and the name under which that node is; `None` for the root and for what does not exist.
    pub(crate) fn entry(&self) -> Option<(NodeId, &'a [u8])> {
        let (&(name, node), above) = self.stack.split_last()?;
        node?;
        let parent = above.last().map_or(Some(Tree::ROOT), |(_, node)| *node);
        Some((parent.expect("the parent of a node is a node"), name))
    }

    /// How many components were looked at.
    pub(crate) fn components(&self) -> usize {
        COMPONENTS_MAX - self.components_left
    }

    /// A list of what is left to do, last first: link targets go on top of it.
    pub(crate) fn run(&mut self, path: &'a [u8], follow_last: bool) -> Result<(), ResolveError> {
        let mut left: Vec<Step<'_>> = Vec::new();
        self.push(&mut left, path, None)?;
        while let Some(step) = left.pop() {
            let Some(directory) = self.node() else {
                self.missing(&step, path)?;
                continue;
            };
            if !self.tree.node(directory).is_directory() {
                return Err(ResolveError::NotADirectory { at: self.here() });
            }
            if step.name == b".." {
                self.stack.pop();
                continue;
            }
            let Some(node) = self.tree.lookup(directory, step.name) else {
                self.missing(&step, path)?;
                continue;
            };
            match &self.tree.node(node).kind {
                Kind::Symlink(target) if follow_last || !left.is_empty() => {
                    let written = &path[..step.used];
                    if !step.of_link && self.opaque_links.is_some_and(|links| links.contains(written)) {
                        return Err(ResolveError::NotADirectory { at: written.to_vec() });
                    }
                    self.links_left = self.links_left.checked_sub(1).ok_or(ResolveError::TooManyLinks)?;
                    if target.first() == Some(&b'/') {
                        self.stack.clear();
                    }
                    self.push(&mut left, target, Some(step.used))?;
                }
                _ => self.stack.push((step.name, Some(node))),
            }
        }
        Ok(())
    }

    /// Adds the components of `path`, which is the target of the link that `used` bytes lead to, or no such target.
    fn push(&mut self, left: &mut Vec<Step<'a>>, path: &'a [u8], used: Option<usize>) -> Result<(), ResolveError> {
        let before = left.len();
        let mut at = 0;
        for name in path.split(|&byte| byte == b'/') {
            at += name.len() + 1;
            if !matches!(name, b"" | b".") {
                self.components_left = self.components_left.checked_sub(1).ok_or(ResolveError::TooManyComponents)?;
                left.push(Step { name, used: used.unwrap_or(at - 1), of_link: used.is_some() });
            }
        }
        left[before..].reverse();
        Ok(())
    }

    fn missing(&mut self, step: &Step<'a>, path: &[u8]) -> Result<(), ResolveError> {
        if self.strict_links && step.of_link {
            return Err(ResolveError::DanglingLink { at: path[..step.used].to_vec() });
        }
        if step.name == b".." {
            self.stack.pop();
        } else {
            self.stack.push((step.name, None));
        }
        Ok(())
    }

    fn here(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.stack.iter().map(|(name, _)| *name).collect();
        names.join(&b'/')
    }

    fn finish(self) -> Result<Resolved, ResolveError> {
        Ok(Resolved { path: TreePath::parse(&self.here())?, node: self.node() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Metadata, Node};

    fn tree() -> Tree {
        let mut tree = Tree::new(Metadata::default());
        let directory = || Node::directory(Metadata::default());
        let link = |target: &str| Node { metadata: Metadata::default(), kind: Kind::Symlink(target.as_bytes().into()) };
        let usr = tree.insert(Tree::ROOT, b"usr", directory()).unwrap();
        let bin = tree.insert(usr, b"bin", directory()).unwrap();
        tree.insert(bin, b"sh", Node { metadata: Metadata::default(), kind: Kind::Fifo }).unwrap();
        for (name, target) in
            [("bin", "usr/bin"), ("abs", "/usr/bin"), ("up", "../../usr"), ("loop", "loop"), ("lost", "no/where")]
        {
            tree.insert(Tree::ROOT, name.as_bytes(), link(target)).unwrap();
        }
        tree
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        let tree = tree();
        for (path, real, exists) in [
            ("/bin/sh", "usr/bin/sh", true),
            ("abs/sh", "usr/bin/sh", true),
            ("up/bin/new", "usr/bin/new", false),
            ("../../usr", "usr", true),
            ("usr/bin/../../bin", "usr/bin", true),
            ("a/b/c", "a/b/c", false),
            ("lost/x", "no/where/x", false),
            ("", "", true),
        ] {
            let found = tree.resolve(path.as_bytes()).unwrap();
            assert_eq!(found.path.as_bytes(), real.as_bytes(), "{path}");
            assert_eq!(found.node.is_some(), exists, "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        let tree = tree();
        assert_eq!(tree.resolve(b"loop"), Err(ResolveError::TooManyLinks));
        assert_eq!(tree.resolve(b"bin/sh/x"), Err(ResolveError::NotADirectory { at: b"usr/bin/sh".to_vec() }));
        let long = b"a/".repeat(5_000);
        assert_eq!(tree.resolve(&long), Err(ResolveError::TooManyComponents));
    }

    #[test]
    fn the_place_of_an_entry_is_the_link_itself() {
        let tree = tree();
        let place = |path: &str| tree.resolve_parent(&TreePath::parse(path.as_bytes()).unwrap());
        assert_eq!(place("bin").unwrap().path.as_bytes(), b"bin");
        assert_eq!(place("bin/new").unwrap().path.as_bytes(), b"usr/bin/new");
        assert_eq!(place("lost/x"), Err(ResolveError::DanglingLink { at: b"lost".to_vec() }));
    }
}
