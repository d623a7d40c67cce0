//! What a layer does to a tree: removals and additions apart, and the rules by which they are carried out.
//!
//! All removals act on the tree as it was below the layer, in whatever order the layer names them; then the additions
//! follow one another (OCI image specification, layer.md, "Whiteouts"). That is why they are two lists.

use thiserror::Error;

use crate::content::{SourceId, Sources};
use crate::node::{Kind, Metadata, Node};
use crate::path::TreePath;
use crate::resolve::ResolveError;
use crate::tree::{NodeId, Tree, TreeError};

/// A change of a tree.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// What goes away; the order does not matter.
    pub removals: Vec<Removal>,
    /// What comes, in order.
    pub additions: Vec<Addition>,
    /// What the contents of the additions refer to.
    pub sources: Sources,
}

/// Something of the tree below that goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The entry of that path with all below it; nothing where there is none.
    Path(TreePath),
    /// All entries of the directory of that path; the directory stays.
    Opaque(TreePath),
}

/// Something that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// A node. A directory over a directory keeps the entries and takes all metadata; all else replaces what is there.
    Entry {
        /// Where; the root for its metadata.
        path: TreePath,
        /// What. A directory comes without entries.
        node: Node,
    },
    /// A further name of the node that `target` names at this point of the list.
    Link {
        /// Where.
        path: TreePath,
        /// The existing name.
        target: TreePath,
    },
}

/// Why a change can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{}': {why}", path.escape_ascii())]
pub struct ApplyError {
    /// The path of the removal or addition.
    pub path: Vec<u8>,
    /// What is wrong there.
    pub why: ApplyFault,
}

/// What is wrong with a removal or an addition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyFault {
    /// The path leads nowhere.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The tree refuses.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The root can't be anything but a directory.
    #[error("the root is a directory and stays one")]
    RootNotDirectory,
    /// A hard link to something that is not there.
    #[error("the target of the hard link, '{}', does not exist", target.escape_ascii())]
    LinkTargetMissing {
        /// The target as named.
        target: Vec<u8>,
    },
    /// A hard link whose target is itself.
    #[error("a hard link to itself")]
    LinkToItself,
}

/// What directories get that a layer implies and nobody describes: never the time of day.
fn implied() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

impl Tree {
    /// Carries out `diff`. On an error the tree is in between and of no more use.
    ///
    /// # Errors
    /// The first removal or addition that can't be carried out, with its path.
    pub fn apply(&mut self, diff: &Diff) -> Result<(), ApplyError> {
        for removal in &diff.removals {
            let (Removal::Path(path) | Removal::Opaque(path)) = removal;
            self.remove_below(removal).map_err(|why| at(path, why))?;
        }
        let numbers: Vec<SourceId> = self.sources.append(&diff.sources);
        let renumber = |id: SourceId| numbers[id.index()];
        let mut cursor = Cursor::default();
        for addition in &diff.additions {
            let (Addition::Entry { path, .. } | Addition::Link { path, .. }) = addition;
            self.add(addition, &renumber, &mut cursor).map_err(|why| at(path, why))?;
        }
        Ok(())
    }

    fn remove_below(&mut self, removal: &Removal) -> Result<(), ApplyFault> {
        match removal {
            Removal::Path(path) => match self.resolve_parent(path) {
                Ok(found) => {
                    if let (Some(_), Some((parent, name))) = (found.node, found.path.split_last()) {
                        let parent = self.resolve(parent)?.node.expect("the parent of a node is a node");
                        self.remove(parent, name);
                    }
                    Ok(())
                }
                // A whiteout below something that is no directory, or not there, hides nothing.
                Err(ResolveError::NotADirectory { .. } | ResolveError::DanglingLink { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Removal::Opaque(path) => match self.resolve(path.as_bytes()) {
                Ok(found) => {
                    if let Some(node) = found.node {
                        self.clear(node);
                    }
                    Ok(())
                }
                Err(ResolveError::NotADirectory { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn add(
        &mut self,
        addition: &Addition,
        renumber: &dyn Fn(SourceId) -> SourceId,
        cursor: &mut Cursor,
    ) -> Result<(), ApplyFault> {
        match addition {
            Addition::Entry { path, node } => {
                let mut node = node.clone();
                if let Kind::File(content) = &mut node.kind {
                    *content = std::mem::take(content).with_sources(renumber);
                }
                self.add_entry(path, node, cursor)
            }
            Addition::Link { path, target } => self.add_link(path, target, cursor),
        }
    }

    fn add_entry(&mut self, path: &TreePath, node: Node, cursor: &mut Cursor) -> Result<(), ApplyFault> {
        let Some((_, name)) = path.split_last() else {
            if !node.is_directory() {
                return Err(ApplyFault::RootNotDirectory);
            }
            *self.metadata_mut(Self::ROOT) = node.metadata;
            return Ok(());
        };
        let parent = self.make_parent(path, cursor)?;
        if let (true, Some(existing)) = (node.is_directory(), self.lookup(parent, name))
            && self.node(existing).is_directory()
        {
            *self.metadata_mut(existing) = node.metadata;
            return Ok(());
        }
        cursor.forget_unless(self.lookup(parent, name).is_none());
        self.insert(parent, name, node)?;
        Ok(())
    }

    fn add_link(&mut self, path: &TreePath, target: &TreePath, cursor: &mut Cursor) -> Result<(), ApplyFault> {
        let missing = || ApplyFault::LinkTargetMissing { target: target.as_bytes().to_vec() };
        let found = match self.resolve_parent(target) {
            Ok(found) => found.node.ok_or_else(missing)?,
            Err(ResolveError::NotADirectory { .. } | ResolveError::DanglingLink { .. }) => return Err(missing()),
            Err(error) => return Err(error.into()),
        };
        if self.node(found).is_directory() {
            return Err(TreeError::LinkToDirectory.into());
        }
        let Some((_, name)) = path.split_last() else { return Err(ApplyFault::RootNotDirectory) };
        // A name below the target itself would first replace the target by a directory.
        let inside = path.as_bytes().strip_prefix(target.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'));
        if path == target || inside {
            return Err(ApplyFault::LinkToItself);
        }
        let parent = self.make_parent(path, cursor)?;
        // Making the parent may have replaced the last name of the target.
        if self.names(found) == 0 {
            return Err(missing());
        }
        cursor.forget_unless(self.lookup(parent, name).is_none());
        self.link(parent, name, found)?;
        Ok(())
    }

    /// The directory that the last component of `path` is to be in, made where the layer only implies it.
    fn make_parent(&mut self, path: &TreePath, cursor: &mut Cursor) -> Result<NodeId, ApplyFault> {
        let (parent, _) = path.split_last().expect("the root has been dealt with");
        if let Some(known) = cursor.get(parent) {
            return Ok(known);
        }
        let mut directory = Self::ROOT;
        let mut done = 0;
        for name in parent.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            done += name.len() + 1;
            let next = self.lookup(directory, name);
            directory = match next.map(|next| (next, &self.node(next).kind)) {
                Some((next, Kind::Directory(_))) => next,
                Some((_, Kind::Symlink(_))) => self.follow(parent, done)?,
                // A file that a later entry treats as a directory is one from then on.
                _ => self.insert(directory, name, Node::directory(implied()))?,
            };
        }
        cursor.set(parent, directory);
        Ok(directory)
    }

    /// The directory that the first `len` bytes of `path` lead to, through the symbolic link at their end.
    fn follow(&self, path: &[u8], len: usize) -> Result<NodeId, ApplyFault> {
        let upto = &path[..(len - 1).min(path.len())];
        let found = self.resolve(upto)?;
        let node = found.node.ok_or_else(|| ResolveError::DanglingLink { at: upto.to_vec() })?;
        if self.node(node).is_directory() {
            Ok(node)
        } else {
            Err(ResolveError::NotADirectory { at: upto.to_vec() }.into())
        }
    }
}

fn at(path: &TreePath, why: ApplyFault) -> ApplyError {
    ApplyError { path: path.as_bytes().to_vec(), why }
}

/// The directory of the addition before: archives list the entries of a directory together.
#[derive(Default)]
struct Cursor(Option<(Vec<u8>, NodeId)>);

impl Cursor {
    fn get(&self, path: &[u8]) -> Option<NodeId> {
        self.0.as_ref().filter(|(known, _)| known == path).map(|(_, node)| *node)
    }

    fn set(&mut self, path: &[u8], node: NodeId) {
        self.0 = Some((path.to_vec(), node));
    }

    /// Once something is replaced, what was known of paths may no longer be true.
    fn forget_unless(&mut self, nothing_replaced: bool) {
        if !nothing_replaced {
            self.0 = None;
        }
    }
}
