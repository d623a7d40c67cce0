//! Root file systems by chain id, kept between builds: each an ext4 image, written once and mounted read-only by every build
//! that stands on it.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use ext4writer::{ImageSize, Inodes, Journal};
use fstree::Tree;

use crate::cache::shelf::{Held, Shelf};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::sandbox::{Missing, disk, rootfs};
use crate::scratch::Scratch;

/// The folder of root file systems.
#[derive(Debug)]
pub(crate) struct Roots<'a> {
    pub(crate) shelf: Shelf,
    /// What a host may lack.
    pub(crate) allowed: &'a [Missing],
}

/// A root file system that stays where it is as long as this lives.
#[derive(Debug)]
pub(crate) struct Root {
    /// A directory with its files.
    pub(crate) path: PathBuf,
    _held: Held,
}

impl Roots<'_> {
    /// The files of `tree`, not to be written to, for as long as `scratch` lives. `chain_id` names the tree.
    ///
    /// # Errors
    /// It can't be written or mounted.
    pub(crate) fn get(&self, chain_id: &str, tree: &Tree, scratch: &Scratch, cancel: &Cancel) -> Result<Root, Error> {
        let name = chain_id.replace(':', "-");
        let path = scratch.subdirectory(&format!("root-{name}"))?;
        let held = self.shelf.get(&format!("{name}.ext4"), cancel, |partial| write_image(tree, partial, cancel))?;
        match disk::mount_read_only(held.path(), &path) {
            Ok(()) => Ok(Root { path, _held: held }),
            Err(Error::Lacking { missing, why }) if self.allowed.contains(&missing) => {
                tracing::warn!(%why, "the root file system is unpacked");
                let held = self.shelf.get(&name, cancel, |partial| unpack(tree, partial))?;
                Ok(Root { path: held.path().to_owned(), _held: held })
            }
            Err(error) => Err(error),
        }
    }
}

/// Writes the tree as a directory.
fn unpack(tree: &Tree, partial: &Path) -> Result<(), Error> {
    let context = |source| Error::Scratch { path: partial.to_owned(), source };
    fs::create_dir(partial).map_err(context)?;
    rootfs::write(tree, partial)?;
    let directory = File::open(partial).map_err(context)?;
    rustix::fs::syncfs(&directory).map_err(|errno| context(errno.into()))
}

/// Writes the tree as an image.
fn write_image(tree: &Tree, partial: &Path, cancel: &Cancel) -> Result<(), Error> {
    let context = |source: io::Error| Error::Scratch { path: partial.to_owned(), source };
    let file = File::create_new(partial).map_err(context)?;
    let options = ext4writer::Options {
        size: ImageSize::Auto { headroom_bytes: 0 },
        // No more than there are files.
        inodes: Inodes::BytesPerInode(NonZeroU32::MAX),
        journal: Journal::None,
        grow_factor: 0,
        cancel: Some(cancel.flag()),
        ..ext4writer::Options::default()
    };
    ext4writer::write_to(tree, &options, &file).map_err(|error| match error {
        ext4writer::Error::Cancelled => Error::Cancelled,
        error => Error::DiskImage(error),
    })?;
    file.sync_all().map_err(context)
}

#[cfg(test)]
mod tests {
    use fstree::Metadata;

    use super::*;

    #[test]
    fn an_image_under_way_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, cancel) = (Tree::new(Metadata { mode: 0o755, ..Metadata::default() }), Cancel::default());
        write_image(&tree, &dir.path().join("whole"), &cancel).unwrap();
        cancel.cancel();
        let cancelled = write_image(&tree, &dir.path().join("half"), &cancel);
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    }
}
