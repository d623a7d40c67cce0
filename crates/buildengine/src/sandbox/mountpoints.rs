//! Mount points as a layer of their own, below the one that is kept.
//!
//! A runtime makes missing mount points itself, in the root file system it was given: here that would be the layer of the
//! step, and every image would hold empty `/proc` and `/etc/resolv.conf` nobody asked for. So they come from a lower
//! layer. Directories on the way to them are there already or are made here with the metadata the image gives them,
//! since in an overlay the uppermost directory decides.

use std::collections::BTreeSet;
use std::path::Path;

use fstree::{DeviceNumber, Kind, Metadata, Node, NodeId, Tree, TreeError};

use super::rootfs;
use crate::error::Error;

/// The files of /etc that describe the network; the bundle holds one file of each name.
pub(crate) const ETC_FILES: [&str; 2] = ["hosts", "resolv.conf"];
/// The directories that every sandbox mounts over.
const DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

/// A mount point: an absolute path in the image, and whether a file or a directory has to be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MountPoint {
    path: String,
    is_file: bool,
}

impl MountPoint {
    /// A directory to mount over.
    pub(crate) fn directory(path: &str) -> Self {
        Self { path: path.to_owned(), is_file: false }
    }

    /// A file to mount over.
    pub(crate) fn file(path: &str) -> Self {
        Self { path: path.to_owned(), is_file: true }
    }
}

/// The directory that every ext4 file system has, as the root file system may be one.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Writes into `dir` the mount points that `tree` lacks, those of every sandbox and `extra`, and hides what it does not have.
///
/// # Errors
/// They can't be written.
pub(crate) fn write(tree: &Tree, extra: &[MountPoint], dir: &Path) -> Result<(), Error> {
    let own = DIRECTORIES.iter().map(|name| MountPoint::directory(&format!("/{name}")));
    let etc = ETC_FILES.iter().map(|name| MountPoint::file(&format!("/etc/{name}")));
    let wanted: BTreeSet<MountPoint> = own.chain(etc).chain(extra.iter().cloned()).collect();
    let mut points = Tree::new(tree.node(Tree::ROOT).metadata.clone());
    for point in &wanted {
        add(tree, &mut points, point).expect("names of a path that was resolved are names");
    }
    if tree.lookup(Tree::ROOT, LOST_AND_FOUND).is_none() && points.lookup(Tree::ROOT, LOST_AND_FOUND).is_none() {
        // A character device 0/0 is a whiteout (kernel documentation, filesystems/overlayfs).
        let kind = Kind::CharDevice(DeviceNumber::new(0, 0).expect("in range"));
        let whiteout = Node { metadata: Metadata::default(), kind };
        points.insert(Tree::ROOT, LOST_AND_FOUND, whiteout).expect("looked up above");
    }
    rootfs::write(&points, dir)
}

/// Adds one mount point, unless the image has it already or has something else in its way: the runtime then says so.
fn add(tree: &Tree, points: &mut Tree, point: &MountPoint) -> Result<(), TreeError> {
    let Ok(found) = tree.resolve(point.path.as_bytes()) else { return Ok(()) };
    if found.node.is_some() || found.path.is_root() {
        return Ok(());
    }
    let (mut real, mut parent) = (Some(Tree::ROOT), Tree::ROOT);
    let names: Vec<&[u8]> = found.path.components().collect();
    let (last, parents) = names.split_last().expect("the path is not the root");
    for name in parents {
        real = real.and_then(|directory| tree.lookup(directory, name));
        parent = match points.lookup(parent, name) {
            Some(known) => known,
            None => points.insert(parent, name, Node::directory(metadata(tree, real)))?,
        };
    }
    if points.lookup(parent, last).is_none() {
        let metadata = Metadata { mode: if point.is_file { 0o644 } else { 0o755 }, ..Metadata::default() };
        let kind =
            if point.is_file { Kind::File(fstree::Content::default()) } else { Kind::Directory(Default::default()) };
        points.insert(parent, last, Node { metadata, kind })?;
    }
    Ok(())
}

fn metadata(tree: &Tree, node: Option<NodeId>) -> Metadata {
    node.map_or_else(|| Metadata { mode: 0o755, ..Metadata::default() }, |node| tree.node(node).metadata.clone())
}
