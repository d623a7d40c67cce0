//! A tree as a directory on the host, for an overlay to stand on.
//!
//! The tree is finished: no entry of it is reached through a symbolic link, and the directory is fresh and nobody else's.
//! Still every step is made relative to an open directory and never follows a link.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use fstree::{Content, DeviceNumber, Kind, Metadata, NodeId, Timestamp, Tree};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, linkat,
    lsetxattr, makedev, mkdirat, mknodat, open, openat, symlinkat, utimensat,
};

use crate::error::Error;

/// Bytes moved at a time.
const CHUNK: usize = 1 << 20;

/// Writes `tree` into the existing, empty directory `dir`.
///
/// # Errors
/// The first thing that could not be made.
pub(crate) fn write(tree: &Tree, dir: &Path) -> Result<(), Error> {
    let mut writer = Writer { tree, seen: HashMap::new(), buffer: vec![0; CHUNK], path: Vec::new() };
    writer.write(dir).map_err(|source| {
        let inside = String::from_utf8_lossy(&writer.path.join(&b'/')).into_owned();
        Error::Scratch { path: dir.join(inside), source }
    })
}

struct Writer<'a> {
    tree: &'a Tree,
    /// The first path of each node that has several, for the further ones.
    seen: HashMap<NodeId, Vec<Vec<u8>>>,
    buffer: Vec<u8>,
    /// Where it is: components.
    path: Vec<Vec<u8>>,
}

/// A directory on the way down: its own node and the entries still to do, last first.
struct Level {
    node: NodeId,
    left: Vec<(Vec<u8>, NodeId)>,
}

impl Writer<'_> {
    /// A walk with a list of levels, and one open directory at a time: depth costs neither stack nor descriptors.
    fn write(&mut self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = open(dir, flags, Mode::empty())?;
        let mut at = root.try_clone()?;
        let mut levels = vec![self.level(Tree::ROOT)];
        while let Some(level) = levels.last_mut() {
            if let Some((name, id)) = level.left.pop() {
                self.path.push(name.clone());
                if self.tree.node(id).is_directory() {
                    mkdirat(&at, name.as_slice(), Mode::RWXU)?;
                    at = openat(&at, name.as_slice(), flags, Mode::empty())?;
                    levels.push(self.level(id));
                } else {
                    self.leaf(&root, &at, &name, id)?;
                    self.path.pop();
                }
            } else {
                let node = level.node;
                levels.pop();
                // After its entries: making them changes the time of the directory.
                set_metadata(at.as_fd(), b".", &self.tree.node(node).metadata, false)?;
                if !levels.is_empty() {
                    at = openat(&at, "..", flags, Mode::empty())?;
                    self.path.pop();
                }
            }
        }
        Ok(())
    }

    fn level(&self, node: NodeId) -> Level {
        let entries = self.tree.entries(node).into_iter().flatten();
        let mut left: Vec<_> = entries.map(|(name, id)| (name.to_vec(), *id)).collect();
        left.reverse();
        Level { node, left }
    }

    fn leaf(&mut self, root: &OwnedFd, at: &OwnedFd, name: &[u8], id: NodeId) -> io::Result<()> {
        if self.tree.names(id) > 1 {
            if let Some(first) = self.seen.get(&id) {
                return Ok(linkat(root, first.join(&b'/'), at, name, AtFlags::empty())?);
            }
            self.seen.insert(id, self.path.clone());
        }
        let node = self.tree.node(id);
        let device = |number: DeviceNumber| makedev(number.major(), number.minor());
        let special = |kind: FileType, number: u64| mknodat(at, name, kind, Mode::RUSR, number);
        match &node.kind {
            Kind::Directory(_) => unreachable!("directories are made by the walk"),
            Kind::File(content) => self.file(at, name, content)?,
            Kind::Symlink(target) => symlinkat(&**target, at, name)?,
            Kind::CharDevice(number) => special(FileType::CharacterDevice, device(*number))?,
            Kind::BlockDevice(number) => special(FileType::BlockDevice, device(*number))?,
            Kind::Fifo => special(FileType::Fifo, 0)?,
            Kind::Socket => special(FileType::Socket, 0)?,
        }
        set_metadata(at.as_fd(), name, &node.metadata, matches!(node.kind, Kind::Symlink(_)))
    }

    fn file(&mut self, at: &OwnedFd, name: &[u8], content: &Content) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(at, name, flags, Mode::RUSR | Mode::WUSR)?);
        for segment in content.segments() {
            let source = self.tree.sources.get(segment.source);
            let mut done = 0;
            while done < segment.len_bytes {
                let len = usize::try_from(segment.len_bytes - done).unwrap_or(CHUNK).min(CHUNK);
                source.read_exact_at(&mut self.buffer[..len], segment.source_offset + done)?;
                file.write_all_at(&self.buffer[..len], segment.file_offset + done)?;
                done += u64::try_from(len).expect("a chunk fits");
            }
        }
        file.set_len(content.size_bytes())?;
        file.flush()
    }
}

/// Owner, mode, attributes, time, in the order in which none undoes another: a new owner clears set-id bits and
/// capabilities.
fn set_metadata(at: rustix::fd::BorrowedFd<'_>, name: &[u8], metadata: &Metadata, is_symlink: bool) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_symlink {
        chmodat(at, name, Mode::from_raw_mode(RawMode::from(metadata.mode)), AtFlags::empty())?;
    }
    if !metadata.xattrs.is_empty() {
        // There is no lsetxattrat: the directory is reached through its descriptor.
        let mut path = format!("/proc/self/fd/{}/", std::os::fd::AsRawFd::as_raw_fd(&at)).into_bytes();
        path.extend_from_slice(name);
        for (key, value) in &metadata.xattrs {
            lsetxattr(path.as_slice(), &**key, value, XattrFlags::empty())?;
        }
    }
    set_time(at, name, metadata.mtime)
}

/// Sets the time of the last change, and of the last access to the same.
pub(crate) fn set_time(at: rustix::fd::BorrowedFd<'_>, name: &[u8], mtime: Timestamp) -> io::Result<()> {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
