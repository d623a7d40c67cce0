//! The directory of a store: which layers are there, who uses them, which have to go.
//!
//! A layer is a directory named by the digits of its diff_id, with `content` and `index` in it; without an index there is
//! no layer. Who has a layer open holds a shared lock on its content. Names are given and taken away under `.lock`. What a
//! killed process leaves is a `.partial-` directory that nobody holds a lock in; who opens the store next removes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens};

use super::index::Index;
use super::layer::Kept;
use crate::digest::Digest;

const CONTENT: &str = "content";
const INDEX: &str = "index";
const PARTIAL: &str = ".partial-";

/// The directory of a store.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
}

/// A layer on its way into the store. It is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Partial {
    dir: tempfile::TempDir,
    pub(super) content: File,
    pub(super) index: File,
}

impl Dir {
    /// Makes the directory if needed and removes what was left unfinished.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // What layers hold is the business of whoever keeps them: nobody else on the host reads it.
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let dir = Self { path: path.to_owned() };
        dir.sweep()?;
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a layer; `None` when it is not there, or not what a store of this version keeps.
    pub(super) fn find(&self, diff_id: &Digest) -> io::Result<Option<Kept>> {
        match self.open_kept(diff_id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found,
        }
    }

    fn open_kept(&self, diff_id: &Digest) -> io::Result<Option<Kept>> {
        let dir = self.path.join(diff_id.hex());
        let content = File::open(dir.join(CONTENT))?;
        // Held before the index is looked for: who takes a layer away has to have this lock.
        flock(&content, FlockOperation::LockShared)?;
        let file = File::open(dir.join(INDEX))?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&file, &Timestamps { last_access: now, last_modification: now })?;
        let index = Index::open(file, diff_id)?;
        let sound = index.filter(|index| content.metadata().is_ok_and(|content| content.len() == index.content_bytes));
        if sound.is_none() {
            tracing::warn!(%diff_id, "a layer of the store is damaged or of another version; it is made again");
        }
        Ok(sound.map(|index| Kept { index, content: Arc::new(content) }))
    }

    /// A new layer to be filled.
    pub(super) fn partial(&self) -> io::Result<Partial> {
        let _names = self.lock()?;
        let dir = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(&self.path)?;
        let content = File::create_new(dir.path().join(CONTENT))?;
        flock(&content, FlockOperation::LockShared)?;
        let index = File::create_new(dir.path().join(INDEX))?;
        Ok(Partial { dir, content, index })
    }

    /// Gives a complete layer its name: from then on it is there, also after a crash. Another of that name that is sound
    /// stays instead.
    pub(super) fn keep(&self, partial: Partial, diff_id: &Digest) -> io::Result<Kept> {
        partial.content.sync_data()?;
        partial.index.sync_data()?;
        File::open(partial.dir.path())?.sync_all()?;
        let _names = self.lock()?;
        if let Some(kept) = self.find(diff_id)? {
            return Ok(kept);
        }
        let path = self.path.join(diff_id.hex());
        unless_gone(fs::remove_dir_all(&path))?;
        fs::rename(partial.dir.path(), &path)?;
        let _ = partial.dir.keep();
        File::open(&self.path)?.sync_all()?;
        self.find(diff_id)?.ok_or_else(|| io::Error::other("what was written just now is not sound"))
    }

    /// Removes the layers that were used least recently until at most `max` bytes are left. Layers in use stay.
    pub(super) fn evict(&self, max: u64) -> io::Result<()> {
        let _names = self.lock()?;
        let mut layers = Vec::new();
        for path in self.entries()? {
            let size = |name: &str| fs::metadata(path.join(name)).map(|file| file.blocks() * 512);
            if let (Ok(index), Ok(content), Ok(bytes)) = (fs::metadata(path.join(INDEX)), size(CONTENT), size(INDEX)) {
                layers.push(((index.mtime(), index.mtime_nsec()), path, content + bytes));
            }
        }
        layers.sort();
        let mut all: u64 = layers.iter().map(|(.., bytes)| bytes).sum();
        for (_, path, bytes) in layers {
            if all <= max {
                break;
            }
            if let Some(_lock) = unused(&path)? {
                // Without an index it is gone, whatever comes after.
                unless_gone(fs::remove_file(path.join(INDEX)))?;
                unless_gone(fs::remove_dir_all(&path))?;
                all -= bytes;
            }
        }
        Ok(())
    }

    /// Removes what nobody works at: partial layers, and layers that were being evicted.
    fn sweep(&self) -> io::Result<()> {
        let _names = self.lock()?;
        for path in self.entries()? {
            let partial = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PARTIAL.as_bytes()));
            if (partial || !path.join(INDEX).exists())
                && let Some(_lock) = unused(&path)?
            {
                unless_gone(fs::remove_dir_all(&path))?;
            }
        }
        Ok(())
    }

    /// The directories of partial and of whole layers.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        let is_layer = |name: &str| {
            name.starts_with(PARTIAL) || name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(is_layer) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }

    /// Held while names are given or taken away.
    fn lock(&self) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.path.join(".lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// How it went to remove a part of a layer, which may be gone: whoever gives up what it was making removes that without the lock of
/// names.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The lock on a layer that nobody uses, or `None`.
fn unused(layer: &Path) -> io::Result<Option<Option<File>>> {
    let content = match File::open(layer.join(CONTENT)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)),
        Err(error) => return Err(error),
    };
    match flock(&content, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Some(content))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
