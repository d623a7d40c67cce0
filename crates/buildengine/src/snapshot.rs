//! The upper directory of an overlay as the change it stands for: overlayfs marks become removals.
//!
//! A character device 0/0 is a whiteout; `trusted.overlay.opaque` = `y` on a directory hides all below it (kernel
//! documentation, filesystems/overlayfs).
//!
//! ```text
//!   directories of one depth ──look, by all threads──▶ what is there, in order ──add, by one──▶ Diff
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fstree::{
    Addition, Content, DeviceNumber, Diff, Kind, Metadata, Node, ReadAt, Removal, Segment, Timestamp, TreePath, Xattrs,
};
use rayon::prelude::*;
use rustix::fs::{CWD, SeekFrom, lgetxattr, llistxattr, major, minor, seek};
use rustix::io::Errno;

use crate::error::Error;
use crate::sandbox::rootfs;

/// The mark of a directory whose lower entries are hidden.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// The kernel's own cap on one attribute and on the list of names, in bytes.
const XATTR_MAX: usize = 65_536;
/// A file of at most so many bytes is read where it is looked at: opening it costs more than what is in it.
const SMALL: u64 = 64 << 10;
/// How many bytes of small files are held in memory; what comes after that is read when it is written.
const SMALL_ALL: u64 = 64 << 20;

/// What changed, read from `upper` by `threads` (one a core if none are named); times after `epoch`, where one is given, become
/// `epoch`, in the directory too, so that later steps see what the image will hold. The change is the same at any number of
/// threads.
///
/// # Errors
/// The directory can't be read, or holds what no layer can.
pub fn read(upper: &Path, epoch: Option<Timestamp>, threads: Option<usize>) -> Result<Diff, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    let pool = pool.map_err(|why| Error::Snapshot { path: upper.to_owned(), source: io::Error::other(why) })?;
    let look = Look { upper, epoch, small_left: AtomicU64::new(SMALL_ALL) };
    let mut gathered = Gathered::default();
    let mut level = vec![PathBuf::new()];
    while !level.is_empty() {
        let looked =
            pool.install(|| level.par_iter().map(|path| look.directory(path)).collect::<Result<Vec<_>, _>>())?;
        level = looked.into_iter().flat_map(|directory| gathered.add(directory)).collect();
    }
    Ok(gathered.diff)
}

/// A directory that was looked at.
struct Directory {
    path: TreePath,
    metadata: Metadata,
    opaque: bool,
    /// What is in it, in the order of the names.
    entries: Vec<Entry>,
}

/// An entry of a directory.
enum Entry {
    /// It is looked at after this directory.
    Directory(PathBuf),
    Whiteout(TreePath),
    /// Nothing of the image.
    Nothing,
    Other {
        path: TreePath,
        metadata: Metadata,
        kind: Found,
        /// The inode, if it has several names.
        inode: Option<(u64, u64)>,
    },
}

/// What is no directory.
enum Found {
    /// A file: where its bytes are, its size, and which runs of it are stored.
    File { source: Arc<dyn ReadAt>, size: u64, runs: Vec<(u64, u64)> },
    /// Anything else.
    Node(Kind),
}

/// The change as it grows.
#[derive(Default)]
struct Gathered {
    diff: Diff,
    /// Inodes with several names, and the first of them.
    links: HashMap<(u64, u64), TreePath>,
}

impl Gathered {
    /// Adds a directory and what is in it; the answer is the directories below.
    fn add(&mut self, directory: Directory) -> Vec<PathBuf> {
        let Directory { path, metadata, opaque, entries } = directory;
        if opaque {
            self.diff.removals.push(Removal::Opaque(path.clone()));
        }
        self.diff.additions.push(Addition::Entry { path, node: Node::directory(metadata) });
        let mut below = Vec::new();
        for entry in entries {
            match entry {
                Entry::Directory(path) => below.push(path),
                Entry::Whiteout(path) => self.diff.removals.push(Removal::Path(path)),
                Entry::Nothing => {}
                Entry::Other { path, metadata, kind, inode } => self.add_other(path, metadata, kind, inode),
            }
        }
        below
    }

    fn add_other(&mut self, path: TreePath, metadata: Metadata, found: Found, inode: Option<(u64, u64)>) {
        if let Some(inode) = inode {
            if let Some(first) = self.links.get(&inode) {
                self.diff.additions.push(Addition::Link { path, target: first.clone() });
                return;
            }
            self.links.insert(inode, path.clone());
        }
        let kind = match found {
            Found::Node(kind) => kind,
            Found::File { source, size, runs } => {
                let source = self.diff.sources.add(source);
                let segment =
                    |(start, len_bytes)| Segment { file_offset: start, source, source_offset: start, len_bytes };
                let segments = runs.into_iter().map(segment).collect();
                Kind::File(Content::sparse(size, segments).expect("the kernel tells runs in order"))
            }
        };
        self.diff.additions.push(Addition::Entry { path, node: Node { metadata, kind } });
    }
}

/// How it is looked at, by any thread.
struct Look<'a> {
    upper: &'a Path,
    epoch: Option<Timestamp>,
    /// How much more of small files may be held.
    small_left: AtomicU64,
}

impl Look<'_> {
    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = self.upper.join(path);
        move |source| Error::Snapshot { path, source }
    }

    fn directory(&self, path: &Path) -> Result<Directory, Error> {
        let full = self.upper.join(path);
        let stat = fs::symlink_metadata(&full).map_err(self.failed(path))?;
        let names = fs::read_dir(&full).map_err(self.failed(path))?;
        let names = names.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>().map_err(self.failed(path))?;
        names.par_sort_unstable();
        let entries = names.par_iter().map_init(Buffer::default, |buffer, name| self.entry(path.join(name), buffer));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let (metadata, opaque) = self.metadata(path, &stat, &mut Buffer::default())?;
        Ok(Directory { path: tree_path(path)?, metadata, opaque, entries })
    }

    fn entry(&self, path: PathBuf, buffer: &mut Buffer) -> Result<Entry, Error> {
        let full = self.upper.join(&path);
        let stat = fs::symlink_metadata(&full).map_err(self.failed(&path))?;
        let kind = stat.file_type();
        let tree_path = tree_path(&path)?;
        if kind.is_dir() {
            return Ok(Entry::Directory(path));
        }
        if kind.is_char_device() && stat.rdev() == 0 {
            return Ok(Entry::Whiteout(tree_path));
        }
        if kind.is_socket() {
            tracing::debug!(path = %path.display(), "a socket is not part of an image");
            return Ok(Entry::Nothing);
        }
        let (metadata, _) = self.metadata(&path, &stat, buffer)?;
        let kind = if kind.is_file() {
            self.file(full, &stat).map_err(self.failed(&path))?
        } else {
            Found::Node(self.special(&path, &stat)?)
        };
        let inode = (stat.nlink() > 1).then(|| (stat.dev(), stat.ino()));
        Ok(Entry::Other { path: tree_path, metadata, kind, inode })
    }

    fn special(&self, path: &Path, stat: &fs::Metadata) -> Result<Kind, Error> {
        let kind = stat.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(self.upper.join(path)).map_err(self.failed(path))?;
            return Ok(Kind::Symlink(target.as_os_str().as_bytes().into()));
        }
        if kind.is_fifo() {
            return Ok(Kind::Fifo);
        }
        let number = DeviceNumber::new(major(stat.rdev()), minor(stat.rdev()));
        let number = number.ok_or_else(|| unrepresentable(path, "its device number is out of range"))?;
        Ok(if kind.is_block_device() { Kind::BlockDevice(number) } else { Kind::CharDevice(number) })
    }

    /// A file, with its bytes if it is small and there is room for them.
    fn file(&self, full: PathBuf, stat: &fs::Metadata) -> io::Result<Found> {
        let size = stat.size();
        // A command can make a file of a terabyte that takes no space.
        let has_holes = stat.blocks() * 512 < size;
        let whole = || if size > 0 { vec![(0, size)] } else { Vec::new() };
        let is_small = !has_holes && size <= SMALL;
        if is_small
            && self.small_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size)).is_ok()
        {
            let mut bytes = vec![0; usize::try_from(size).expect("a small file fits")];
            if size > 0 {
                FileExt::read_exact_at(&File::open(full)?, &mut bytes, 0)?;
            }
            return Ok(Found::File { source: Arc::new(bytes), size, runs: whole() });
        }
        let runs = if has_holes { runs(&File::open(&full)?, size)? } else { whole() };
        Ok(Found::File { source: Arc::new(UpperFile(full)), size, runs })
    }

    /// The metadata, and whether the directory is opaque.
    fn metadata(&self, path: &Path, stat: &fs::Metadata, buffer: &mut Buffer) -> Result<(Metadata, bool), Error> {
        let full = self.upper.join(path);
        let (xattrs, opaque) = buffer.xattrs(&full).map_err(|errno| self.failed(path)(errno.into()))?;
        let nanoseconds = u32::try_from(stat.mtime_nsec()).expect("below a second");
        let mut mtime = Timestamp { seconds: stat.mtime(), nanoseconds };
        if let Some(epoch) = self.epoch.filter(|epoch| mtime > *epoch) {
            mtime = epoch;
            rootfs::set_time(CWD, full.as_os_str().as_bytes(), epoch).map_err(self.failed(path))?;
        }
        let mode = u16::try_from(stat.mode() & 0o7777).expect("twelve bits");
        Ok((Metadata { mode, uid: stat.uid(), gid: stat.gid(), mtime, xattrs }, opaque))
    }
}

/// The runs of a file that are stored: start and length.
fn runs(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        runs.push((start, end - start));
        at = end;
    }
    Ok(runs)
}

/// What one thread reads attributes into: most files have none, and few have long ones.
struct Buffer {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { names: vec![0; 1_024], value: vec![0; 1_024] }
    }
}

impl Buffer {
    /// The attributes of the image, and whether the directory is opaque.
    fn xattrs(&mut self, full: &Path) -> Result<(Xattrs, bool), Errno> {
        let Self { names, value } = self;
        let len = match filled(names, |buffer| llistxattr(full, buffer)) {
            // A file system without attributes has none.
            Err(Errno::NOTSUP) => 0,
            answer => answer?,
        };
        let (mut xattrs, mut opaque) = (Xattrs::new(), false);
        for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let len = filled(value, |buffer| lgetxattr(full, name, buffer))?;
            opaque |= name == OPAQUE && &value[..len] == b"y";
            if ocilayers::is_of_the_image(name) {
                xattrs.insert(name.into(), value[..len].into());
            }
        }
        Ok((xattrs, opaque))
    }
}

/// What `read` puts into the buffer, which grows up to the kernel's cap if need be: an empty one is never handed over, since
/// that asks for the length alone.
fn filled(buffer: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
    match read(&mut buffer[..]) {
        Err(Errno::RANGE) if buffer.len() < XATTR_MAX => {
            buffer.resize(XATTR_MAX, 0);
            read(&mut buffer[..])
        }
        answer => answer,
    }
}

/// The path of an entry in a layer. Names with the prefix of removals are refused: who reads the layer would take the file
/// for the removal of another (OCI image specification, layer.md, "Whiteouts").
fn tree_path(path: &Path) -> Result<TreePath, Error> {
    if path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
        return Err(unrepresentable(
            path,
            "names that begin with '.wh.' stand for removals in a layer; use another name",
        ));
    }
    let parsed = TreePath::parse(path.as_os_str().as_bytes());
    parsed.map_err(|error| unrepresentable(path, &error.to_string()))
}

fn unrepresentable(path: &Path, why: &str) -> Error {
    Error::Unrepresentable { path: path.display().to_string(), why: why.to_owned() }
}

/// A file of the upper directory: opened for each read, so that a layer of many files needs no many descriptors.
#[derive(Debug)]
struct UpperFile(PathBuf);

impl ReadAt for UpperFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&File::open(&self.0)?, buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_layers_keep_for_removals_are_refused() {
        for name in [".wh.x", ".wh..wh..opq", ".wh.directory/x"] {
            let upper = tempfile::tempdir().unwrap();
            let file = upper.path().join("d").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
            let error = read(upper.path(), None, None).unwrap_err().to_string();
            assert!(error.contains("d/.wh.") && error.contains("use another name"), "{error}");
        }
        let upper = tempfile::tempdir().unwrap();
        fs::write(upper.path().join(".wh"), "x").unwrap();
        assert!(read(upper.path(), None, None).is_ok());
    }

    #[test]
    fn attributes_of_the_host_are_none_of_the_image() {
        use rustix::fs::{XattrFlags, setxattr};
        let upper = tempfile::tempdir().unwrap();
        let file = upper.path().join("f");
        fs::write(&file, "x").unwrap();
        for name in ["user.overlay.origin", "security.selinux", "security.ima", "security.evm", "user.own"] {
            match setxattr(&file, name, b"\x02value", XattrFlags::empty()) {
                // Who is not root can't have those of the host.
                Err(Errno::PERM) if name.starts_with("security.") => {}
                set => set.unwrap(),
            }
        }
        let diff = read(upper.path(), None, None).unwrap();
        let Some(Addition::Entry { node, .. }) = diff.additions.last() else { panic!("{:?}", diff.additions) };
        let names: Vec<&[u8]> = node.metadata.xattrs.keys().map(|name| &**name).collect();
        assert_eq!(names, [b"user.own"]);
    }
}
