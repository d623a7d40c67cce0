//! Paths as a process inside the tree would resolve them: symbolic links followed, `..` stopped at the root.

use thiserror::Error;

use crate::node::Kind;
use crate::path::{PathError, TreePath};
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
    #[error("'{}' on the way is not a directory", at.escape_ascii())]
    NotADirectory {
        /// It.
        at: Vec<u8>,
    },
    /// A component is missing and is not the last.
    #[error("'{}' on the way is a symbolic link to nothing", at.escape_ascii())]
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
        let mut walk = Walk::new(self);
        walk.strict_links = true;
        walk.run(path.as_bytes(), false)?;
        walk.finish()
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    /// The real directories from the root down, with their nodes as far as they exist.
    stack: Vec<(Vec<u8>, Option<NodeId>)>,
    links_left: u32,
    components_left: usize,
    /// Whether a link to nothing is an error.
    strict_links: bool,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self { tree, stack: Vec::new(), links_left: LINKS_MAX, components_left: COMPONENTS_MAX, strict_links: false }
    }

    fn node(&self) -> Option<NodeId> {
        self.stack.last().map_or(Some(Tree::ROOT), |(_, node)| *node)
    }

    /// A list of what is left to do, last first: link targets go on top of it.
    fn run(&mut self, path: &[u8], follow_last: bool) -> Result<(), ResolveError> {
        let mut left: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        push(&mut left, path, None);
        while let Some((name, link)) = left.pop() {
            self.components_left = self.components_left.checked_sub(1).ok_or(ResolveError::TooManyComponents)?;
            if name == b".." {
                self.stack.pop();
                continue;
            }
            let Some(directory) = self.node() else {
                self.missing(name, link)?;
                continue;
            };
            if !self.tree.node(directory).is_directory() {
                return Err(ResolveError::NotADirectory { at: self.here() });
            }
            match self.tree.lookup(directory, &name) {
                None => self.missing(name, link)?,
                Some(node) => match &self.tree.node(node).kind {
                    Kind::Symlink(target) if follow_last || !left.is_empty() => {
                        self.links_left = self.links_left.checked_sub(1).ok_or(ResolveError::TooManyLinks)?;
                        self.stack.push((name, None));
                        let at = self.here();
                        self.stack.pop();
                        if target.first() == Some(&b'/') {
                            self.stack.clear();
                        }
                        push(&mut left, target, Some(&at));
                    }
                    _ => self.stack.push((name, Some(node))),
                },
            }
        }
        Ok(())
    }

    fn missing(&mut self, name: Vec<u8>, link: Option<Vec<u8>>) -> Result<(), ResolveError> {
        if let (true, Some(at)) = (self.strict_links, link) {
            return Err(ResolveError::DanglingLink { at });
        }
        self.stack.push((name, None));
        Ok(())
    }

    fn here(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.stack.iter().map(|(name, _)| name.as_slice()).collect();
        names.join(&b'/')
    }

    fn finish(self) -> Result<Resolved, ResolveError> {
        Ok(Resolved { path: TreePath::parse(&self.here())?, node: self.node() })
    }
}

/// Adds the components of `path` to a list that is worked off from its end; `link` is the link they come from.
fn push(left: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>, path: &[u8], link: Option<&[u8]>) {
    let components = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    left.extend(components.rev().map(|name| (name.to_vec(), link.map(<[u8]>::to_vec))));
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
