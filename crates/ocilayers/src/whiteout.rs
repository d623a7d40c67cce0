//! `.wh.` names and the removals they stand for (OCI image specification, layer.md, "Whiteouts").

use std::collections::BTreeMap;

use fstree::{Addition, Diff, Kind, Metadata, Node, Removal, TreePath};

use crate::error::Error;

const PREFIX: &[u8] = b".wh.";
/// The name that hides everything below its directory; only exactly this one.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this kind are notes of an old file system (aufs) to itself.
const AUFS: &[u8] = b".wh..wh.";

/// Attributes that overlay file systems act on, and labels of a host: they are no part of an image.
const NOT_OF_THE_IMAGE: [&[u8]; 5] =
    [b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"security.ima", b"security.evm"];

/// Whether an extended attribute of that name is a part of an image. Those that overlay file systems act on and those of a host's own
/// security are none: they are left out of the layers that are read, and whoever makes one leaves them out of it.
#[must_use]
pub fn is_of_the_image(attribute: &[u8]) -> bool {
    !NOT_OF_THE_IMAGE.iter().any(|prefix| attribute.starts_with(prefix))
}

/// Takes the `.wh.` names out of the additions of a layer and makes them removals.
///
/// # Errors
/// A whiteout of nothing, or a path through one. `layer` names the layer in them.
pub(crate) fn split(mut diff: Diff, layer: &str) -> Result<Diff, Error> {
    let refuse =
        |path: &TreePath, why| Error::Whiteout { layer: layer.to_owned(), name: path.as_bytes().to_vec(), why };
    let mut kept = Vec::with_capacity(diff.additions.len());
    let mut pseudo_links = BTreeMap::new();
    for mut addition in std::mem::take(&mut diff.additions) {
        let (Addition::Entry { path, .. } | Addition::Link { path, .. }) = &addition;
        match role(path).map_err(|why| refuse(path, why))? {
            Role::Opaque(directory) => diff.removals.push(Removal::Opaque(directory)),
            Role::Whiteout(hidden) => diff.removals.push(Removal::Path(hidden)),
            Role::OfAufs => {
                tracing::debug!(path = %path.as_bytes().escape_ascii(), "a file of aufs is left out");
                if let Addition::Entry { path, node } = addition {
                    pseudo_links.insert(path, PseudoLink::Content(node));
                }
            }
            Role::OfTheImage => {
                resolve_pseudo_link(&mut addition, &mut pseudo_links);
                if let Addition::Entry { node, .. } = &mut addition {
                    node.metadata.xattrs.retain(|name, _| is_of_the_image(name));
                }
                kept.push(addition);
            }
        }
    }
    diff.additions = kept;
    Ok(diff)
}

/// What a name of a layer stands for.
enum Role {
    OfTheImage,
    OfAufs,
    Opaque(TreePath),
    Whiteout(TreePath),
}

fn role(path: &TreePath) -> Result<Role, &'static str> {
    let Some((parent, name)) = path.split_last() else { return Ok(Role::OfTheImage) };
    if parent.split(|&byte| byte == b'/').any(|name| name.starts_with(AUFS)) {
        // What is inside aufs's own directories goes with them.
        return Ok(Role::OfAufs);
    }
    if parent.split(|&byte| byte == b'/').any(|name| name.starts_with(PREFIX)) {
        return Err("a whiteout can't be a directory");
    }
    let Some(hidden) = name.strip_prefix(PREFIX) else { return Ok(Role::OfTheImage) };
    match hidden {
        _ if name == OPAQUE => Ok(Role::Opaque(parse(parent))),
        _ if name.starts_with(AUFS) => Ok(Role::OfAufs),
        b"" | b"." | b".." => Err("it names no entry"),
        _ => {
            let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
            Ok(Role::Whiteout(parse(&[parent, slash, hidden].concat())))
        }
    }
}

/// A file in `.wh..wh.plnk`, where aufs keeps what has several names.
enum PseudoLink {
    /// No name of the image has been given to it.
    Content(Node),
    /// The first name that was.
    Named(TreePath),
}

/// Makes a hard link to a file of aufs the file itself, and further links to it links of that name.
fn resolve_pseudo_link(addition: &mut Addition, pseudo_links: &mut BTreeMap<TreePath, PseudoLink>) {
    let Addition::Link { path, target } = addition else { return };
    let Some(link) = pseudo_links.get_mut(target) else { return };
    match std::mem::replace(link, PseudoLink::Named(path.clone())) {
        PseudoLink::Content(node) => *addition = Addition::Entry { path: path.clone(), node },
        PseudoLink::Named(first) => {
            *target = first.clone();
            *link = PseudoLink::Named(first);
        }
    }
}

fn parse(path: &[u8]) -> TreePath {
    TreePath::parse(path).expect("a part of a path, or one that is shorter, is a path")
}

/// Removals as names again, which come before the additions of their change: the form in which a layer holds them.
///
/// # Errors
/// A removed name that is too long to be marked: the mark is four bytes longer.
pub(crate) fn marks(removals: &[Removal]) -> Result<Vec<Addition>, Error> {
    let mut names: Vec<Vec<u8>> = removals.iter().map(name_of).collect();
    names.sort_unstable();
    names.dedup();
    let mark = |name: Vec<u8>| {
        let why = "the removed name is too long for a layer to say so; names of up to 251 bytes can be removed";
        let refused = |_| Error::Whiteout { layer: "of the step".to_owned(), name: name.clone(), why };
        let (path, metadata) = (TreePath::parse(&name).map_err(refused)?, Metadata::default());
        Ok(Addition::Entry { path, node: Node { metadata, kind: Kind::File(fstree::Content::default()) } })
    };
    names.into_iter().map(mark).collect()
}

fn name_of(removal: &Removal) -> Vec<u8> {
    match removal {
        Removal::Path(path) => {
            let (parent, name) = path.split_last().unwrap_or((b"", b""));
            let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
            [parent, slash, PREFIX, name].concat()
        }
        Removal::Opaque(path) => {
            let slash: &[u8] = if path.is_root() { b"" } else { b"/" };
            [path.as_bytes(), slash, OPAQUE].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Diff {
        let additions = names.iter().map(|name| Addition::Entry {
            path: TreePath::parse(name.as_bytes()).unwrap(),
            node: Node { metadata: Metadata::default(), kind: Kind::Fifo },
        });
        Diff { additions: additions.collect(), ..Diff::default() }
    }

    #[test]
    fn marks_become_removals_and_back() {
        let diff = split(entries(&["a/.wh.x", ".wh.y", "d/.wh..wh..opq", ".wh..wh..opq", "keep", ".wh"]), "l").unwrap();
        let path = |name: &str| TreePath::parse(name.as_bytes()).unwrap();
        let expected = [
            Removal::Path(path("a/x")),
            Removal::Path(path("y")),
            Removal::Opaque(path("d")),
            Removal::Opaque(TreePath::root()),
        ];
        assert_eq!(diff.removals, expected);
        assert_eq!(diff.additions.len(), 2);
        let marked = Diff { additions: marks(&diff.removals).unwrap(), ..Diff::default() };
        let again = split(marked, "l").unwrap();
        assert!(again.additions.is_empty());
        assert!(expected.iter().all(|removal| again.removals.contains(removal)) && again.removals.len() == 4);
    }

    #[test]
    fn whiteouts_of_nothing_are_refused_and_aufs_is_left_out() {
        for name in ["a/.wh.", ".wh..", ".wh...", ".wh.d/x"] {
            assert!(split(entries(&[name]), "l").is_err(), "{name}");
        }
        let node = |mode| Node { metadata: Metadata { mode, ..Metadata::default() }, kind: Kind::Fifo };
        let path = |name: &str| TreePath::parse(name.as_bytes()).unwrap();
        let link = |name, target| Addition::Link { path: path(name), target: path(target) };
        let entry = |name, mode| Addition::Entry { path: path(name), node: node(mode) };
        let additions =
            vec![entry(".wh..wh.plnk/1.2", 7), link("a", ".wh..wh.plnk/1.2"), link("b", ".wh..wh.plnk/1.2")];
        let linked = split(Diff { additions, ..Diff::default() }, "l").unwrap();
        assert_eq!(linked.additions, [entry("a", 7), link("b", "a")]);

        let aufs = split(entries(&[".wh..wh.plnk", ".wh..wh.plnk/1.2", "d/.wh..wh..opqX"]), "l").unwrap();
        assert!(aufs.additions.is_empty() && aufs.removals.is_empty());
    }
}
