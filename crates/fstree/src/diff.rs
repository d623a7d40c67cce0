//! What a layer does to a tree: removals and additions apart, and the rules by which they are carried out.
//!
//! All removals act on the tree as it was below the layer, in whatever order the layer names them; then the additions
//! follow one another (OCI image specification, layer.md, "Whiteouts"). That is why they are two lists.

use std::collections::HashSet;

use thiserror::Error;

use crate::content::{SourceId, Sources};
use crate::node::{Kind, Metadata, Node};
use crate::path::{TreePath, shown};
use crate::resolve::{ResolveError, Walk};
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
#[error("'{}': {why}", shown(path))]
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
    #[error("the target of the hard link, '{}', does not exist", shown(target))]
    LinkTargetMissing {
        /// The target as named.
        target: Vec<u8>,
    },
    /// A hard link whose target is itself.
    #[error("a hard link to itself")]
    LinkToItself,
    /// Links that are made to keep one busy.
    #[error("following the links of this change takes more than {STEPS_MAX} steps")]
    TooManySteps,
}

/// Components looked at for all hard links, removals and symbolic links on the way of one change: seconds of work. Real
/// changes need thousands; a small archive of links through links could ask for hours.
const STEPS_MAX: u64 = 100_000_000;

/// What directories get that a layer implies and nobody describes: never the time of day.
fn implied() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

impl Tree {
    /// Carries out `diff`, whose nodes become those of the tree. On an error the tree is in between and of no more use.
    ///
    /// # Errors
    /// The first removal or addition that can't be carried out, with its path.
    pub fn apply(&mut self, diff: Diff) -> Result<(), ApplyError> {
        let mut steps = Steps(STEPS_MAX);
        self.remove_all(&diff, &mut steps)?;
        let numbers: Vec<SourceId> = self.sources.append(&diff.sources);
        let renumber = |id: SourceId| numbers[id.index()];
        let mut way = Way { cursor: Cursor::default(), steps };
        self.expect(diff.additions.len());
        for addition in diff.additions {
            match addition {
                Addition::Entry { path, mut node } => {
                    if let Kind::File(content) = &mut node.kind {
                        content.renumber(renumber);
                    }
                    self.add_entry(&path, node, &mut way).map_err(|why| at(&path, why))?;
                }
                Addition::Link { path, target } => {
                    self.add_link(&path, &target, &mut way).map_err(|why| at(&path, why))?;
                }
            }
        }
        self.end_generation();
        Ok(())
    }

    /// All removals are looked up before the first is carried out: one may take away the link that another goes through.
    fn remove_all(&mut self, diff: &Diff, steps: &mut Steps) -> Result<(), ApplyError> {
        if diff.removals.is_empty() {
            return Ok(());
        }
        let replaced = replaced_links(&diff.additions);
        let mut gone = Vec::with_capacity(diff.removals.len());
        for removal in &diff.removals {
            let (Removal::Path(path) | Removal::Opaque(path)) = removal;
            gone.push(self.find(removal, &replaced, steps).map_err(|why| at(path, why))?);
        }
        for gone in gone {
            match gone {
                Gone::Nothing => {}
                Gone::Entry(parent, name) => drop(self.remove(parent, name)),
                Gone::Entries(directory) => self.clear(directory),
            }
        }
        Ok(())
    }

    fn find<'a>(
        &self,
        removal: &'a Removal,
        replaced: &HashSet<&[u8]>,
        steps: &mut Steps,
    ) -> Result<Gone<'a>, ApplyFault> {
        let (Removal::Path(path) | Removal::Opaque(path)) = removal;
        let mut walk = Walk::new(self).with_opaque_links(replaced);
        let done = walk.run(path.as_bytes(), matches!(removal, Removal::Opaque(_)));
        steps.take(&walk)?;
        match (done, removal) {
            (Ok(()), Removal::Opaque(_)) => Ok(walk.node().map_or(Gone::Nothing, Gone::Entries)),
            (Ok(()), Removal::Path(_)) => Ok(match (walk.entry(), path.split_last()) {
                (Some((parent, _)), Some((_, name))) => Gone::Entry(parent, name),
                _ => Gone::Nothing,
            }),
            // A whiteout below something that is no directory hides nothing.
            (Err(ResolveError::NotADirectory { .. }), _) => Ok(Gone::Nothing),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn add_entry(&mut self, path: &TreePath, node: Node, way: &mut Way) -> Result<(), ApplyFault> {
        let Some((_, name)) = path.split_last() else {
            if !node.is_directory() {
                return Err(ApplyFault::RootNotDirectory);
            }
            self.note_attributes(Self::ROOT, &node.metadata);
            *self.metadata_mut(Self::ROOT) = node.metadata;
            return Ok(());
        };
        let parent = self.make_parent(path, way)?;
        if node.is_directory()
            && let Some(existing) = self.lookup(parent, name)
            && self.node(existing).is_directory()
        {
            self.note_attributes(existing, &node.metadata);
            *self.metadata_mut(existing) = node.metadata;
            return Ok(());
        }
        if self.put(parent, name, node)?.replaced {
            way.cursor.forget();
        }
        Ok(())
    }

    fn add_link(&mut self, path: &TreePath, target: &TreePath, way: &mut Way) -> Result<(), ApplyFault> {
        let missing = || ApplyFault::LinkTargetMissing { target: target.as_bytes().to_vec() };
        let mut walk = Walk::new(self).without_dangling_links();
        let done = walk.run(target.as_bytes(), false);
        way.steps.take(&walk)?;
        let found = match done {
            Ok(()) => walk.node().ok_or_else(missing)?,
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
        let parent = self.make_parent(path, way)?;
        // Making the parent may have replaced the last name of the target.
        if self.names(found) == 0 {
            return Err(missing());
        }
        if self.lookup(parent, name).is_some() {
            way.cursor.forget();
        }
        self.link(parent, name, found)?;
        Ok(())
    }

    /// The directory that the last component of `path` is to be in, made where the layer only implies it.
    fn make_parent(&mut self, path: &TreePath, way: &mut Way) -> Result<NodeId, ApplyFault> {
        let (parent, _) = path.split_last().expect("the root has been dealt with");
        if let Some(known) = way.cursor.get(parent) {
            return Ok(known);
        }
        let mut directory = Self::ROOT;
        let mut done = 0;
        for name in parent.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            done += name.len() + 1;
            let next = self.lookup(directory, name);
            directory = match next.map(|next| (next, &self.node(next).kind)) {
                Some((next, Kind::Directory(_))) => next,
                Some((_, Kind::Symlink(_))) => self.follow(parent, done, &mut way.steps)?,
                // A file that a later entry treats as a directory is one from then on.
                _ => self.insert(directory, name, Node::directory(implied()))?,
            };
        }
        way.cursor.set(parent, directory);
        Ok(directory)
    }

    /// The directory that the first `len` bytes of `path` lead to, through the symbolic link at their end.
    fn follow(&self, path: &[u8], len: usize, steps: &mut Steps) -> Result<NodeId, ApplyFault> {
        let upto = &path[..(len - 1).min(path.len())];
        let mut walk = Walk::new(self);
        let done = walk.run(upto, true);
        steps.take(&walk)?;
        done?;
        let node = walk.node().ok_or_else(|| ResolveError::DanglingLink { at: upto.to_vec() })?;
        if self.node(node).is_directory() {
            Ok(node)
        } else {
            Err(ResolveError::NotADirectory { at: upto.to_vec() }.into())
        }
    }
}

/// Where something goes away.
enum Gone<'a> {
    Nothing,
    Entry(NodeId, &'a [u8]),
    Entries(NodeId),
}

/// Names at which the layer itself puts something that is no symbolic link. A link below that stood there is replaced: what
/// the layer hides under such a name was never meant to be what the old link led to.
fn replaced_links(additions: &[Addition]) -> HashSet<&[u8]> {
    let no_link = |addition: &&Addition| match addition {
        Addition::Entry { node, .. } => !matches!(node.kind, Kind::Symlink(_)),
        Addition::Link { .. } => true,
    };
    let path = |addition| match addition {
        &Addition::Entry { ref path, .. } | &Addition::Link { ref path, .. } => path.as_bytes(),
    };
    additions.iter().filter(no_link).map(path).collect()
}

/// What is left of [`STEPS_MAX`].
struct Steps(u64);

impl Steps {
    fn take(&mut self, walk: &Walk<'_>) -> Result<(), ApplyFault> {
        let taken = u64::try_from(walk.components()).expect("usize fits in u64");
        self.0 = self.0.checked_sub(taken).ok_or(ApplyFault::TooManySteps)?;
        Ok(())
    }
}

/// What the additions of one change know of those before.
struct Way {
    cursor: Cursor,
    steps: Steps,
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
    fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dump;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    /// `d name/`, `f name`, `l name target`, `h name target`.
    fn additions(lines: &[&str]) -> Vec<Addition> {
        let addition = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let entry =
                |kind| Addition::Entry { path: path(words[1]), node: Node { metadata: Metadata::default(), kind } };
            match words[0] {
                "d" => entry(Kind::Directory(Default::default())),
                "f" => entry(Kind::Fifo),
                "l" => entry(Kind::Symlink(words[2].as_bytes().into())),
                _ => Addition::Link { path: path(words[1]), target: path(words[2]) },
            }
        };
        lines.iter().map(addition).collect()
    }

    fn tree(lines: &[&str]) -> Tree {
        let mut tree = Tree::new(Metadata::default());
        tree.apply(Diff { additions: additions(lines), ..Diff::default() }).unwrap();
        tree
    }

    fn apply(tree: &mut Tree, removals: Vec<Removal>, lines: &[&str]) -> Result<(), ApplyError> {
        tree.apply(Diff { removals, additions: additions(lines), ..Diff::default() })
    }

    fn names(tree: &Tree) -> Vec<String> {
        let name = |line: &str| match line.strip_prefix("h ") {
            Some(link) => link.split(' ').next().unwrap().to_owned(),
            None => line.split(' ').nth(6).unwrap().to_owned(),
        };
        dump(tree).lines().skip(1).map(name).collect()
    }

    #[test]
    fn the_order_of_removals_does_not_matter() {
        let removals = [Removal::Path(path("bin")), Removal::Path(path("bin/x"))];
        for removals in [removals.to_vec(), removals.iter().rev().cloned().collect()] {
            let mut tree = tree(&["f usr/bin/x", "f usr/bin/y", "l bin usr/bin"]);
            apply(&mut tree, removals, &[]).unwrap();
            assert_eq!(names(&tree), ["usr", "usr/bin", "usr/bin/y"]);
        }
    }

    #[test]
    fn a_directory_in_place_of_a_link_spares_what_the_link_led_to() {
        for removal in [Removal::Opaque(path("bin")), Removal::Path(path("bin/x")), Removal::Opaque(path("bin/sub"))] {
            let mut tree = tree(&["f usr/bin/x", "f usr/bin/sub/z", "l bin usr/bin"]);
            apply(&mut tree, vec![removal], &["d bin", "d bin/sub", "f bin/new"]).unwrap();
            let expected = ["bin", "bin/new", "bin/sub", "usr", "usr/bin", "usr/bin/sub", "usr/bin/sub/z", "usr/bin/x"];
            assert_eq!(names(&tree), expected);
        }
    }

    #[test]
    fn removals_go_through_links_that_stay() {
        let mut tree = tree(&["f usr/bin/x", "f usr/bin/y", "f usr/lib/z", "l bin usr/bin", "l lib usr/lib"]);
        let removals = vec![Removal::Path(path("bin/x")), Removal::Opaque(path("lib"))];
        apply(&mut tree, removals, &["f bin/new"]).unwrap();
        assert_eq!(names(&tree), ["bin", "lib", "usr", "usr/bin", "usr/bin/new", "usr/bin/y", "usr/lib"]);
    }

    #[test]
    fn removals_of_nothing_change_nothing() {
        let mut tree = tree(&["f a/x", "l lost no/where", "f file"]);
        let before = dump(&tree);
        let nothing = ["no", "no/x", "file/x", "lost/x", "a/x/y"];
        let removals = nothing.iter().flat_map(|name| [Removal::Path(path(name)), Removal::Opaque(path(name))]);
        // Of what is no directory there is nothing to empty.
        let removals: Vec<_> = removals.chain([Removal::Opaque(path("file")), Removal::Opaque(path("lost"))]).collect();
        apply(&mut tree, removals, &[]).unwrap();
        assert_eq!(dump(&tree), before);
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn links_through_links_are_bounded_as_a_whole() {
        let links: Vec<String> = (0..40).map(|n| format!("l l{n:02} {}", "./d/../".repeat(45))).collect();
        let mut lines: Vec<&str> = links.iter().map(String::as_str).collect();
        lines.insert(0, "d d");
        let mut tree = tree(&lines);
        let way: Vec<String> = (0..40).map(|n| format!("l{n:02}")).collect();
        let (one, two) = (format!("f {}/x", way.join("/")), format!("f {}/d/x", way.join("/")));
        let many: Vec<&str> = [one.as_str(), two.as_str()].into_iter().cycle().take(20_000).collect();
        let error = apply(&mut tree, vec![], &many).unwrap_err();
        assert_eq!(error.why, ApplyFault::TooManySteps);
    }

    #[test]
    fn hard_links_that_lead_nowhere() {
        let mut tree = tree(&["d d", "f f", "l s d"]);
        for (line, what) in [
            ("h x no", "does not exist"),
            ("h x f/y", "does not exist"),
            ("h x d", "directory"),
            ("h x .", "directory"),
            ("h f f", "to itself"),
            ("h f/x f", "to itself"),
        ] {
            let error = apply(&mut tree.clone(), vec![], &[line]).unwrap_err();
            assert!(error.to_string().contains(what), "{line}: {error}");
        }
        apply(&mut tree, vec![], &["h s2 s", "h s/in f"]).unwrap();
        assert_eq!(names(&tree), ["d", "d/in", "f", "s", "s2"]);
    }
}
