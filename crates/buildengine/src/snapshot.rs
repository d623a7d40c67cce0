//! The upper directory of an overlay as the change it stands for: overlayfs marks become removals.
//!
//! A character device 0/0 is a whiteout; `trusted.overlay.opaque` = `y` on a directory hides all below it (kernel
//! documentation, filesystems/overlayfs).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fstree::{
    Addition, Content, DeviceNumber, Diff, Kind, Metadata, Node, ReadAt, Removal, Segment, Timestamp, TreePath, Xattrs,
};
use rustix::fs::{SeekFrom, lgetxattr, llistxattr, major, minor, seek};

use crate::error::Error;
use crate::sandbox::rootfs;

/// The mark of a directory whose lower entries are hidden.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Attributes that belong to the host or to the overlay, not to the image.
const NOT_OF_THE_IMAGE: [&[u8]; 4] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"security.ima"];
/// The kernel's own cap on one attribute and on the list of names, in bytes.
const XATTR_MAX: usize = 65_536;

/// What changed, read from `upper`; times after `epoch`, where one is given, become `epoch`, in the directory too, so that
/// later steps see what the image will hold.
///
/// # Errors
/// The directory can't be read, or holds what no layer can.
pub(crate) fn read(upper: &Path, epoch: Option<Timestamp>) -> Result<Diff, Error> {
    let mut walk = Walk { upper, epoch, diff: Diff::default(), links: HashMap::new() };
    // A work list of directories: their depth is the choice of the command that ran.
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        walk.directory(&directory)?;
        let mut names = walk.names(&directory)?;
        names.sort();
        let mut below = Vec::new();
        for name in names {
            let path = directory.join(name);
            if walk.entry(&path)? {
                below.push(path);
            }
        }
        pending.extend(below.into_iter().rev());
    }
    Ok(walk.diff)
}

struct Walk<'a> {
    upper: &'a Path,
    epoch: Option<Timestamp>,
    diff: Diff,
    /// Inodes with several names, and the first of them.
    links: HashMap<(u64, u64), TreePath>,
}

impl Walk<'_> {
    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = self.upper.join(path);
        move |source| Error::Snapshot { path, source }
    }

    fn names(&self, directory: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
        let entries = fs::read_dir(self.upper.join(directory)).map_err(self.failed(directory))?;
        entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(self.failed(directory))).collect()
    }

    /// A directory itself; what is in it comes after it.
    fn directory(&mut self, path: &Path) -> Result<(), Error> {
        let full = self.upper.join(path);
        let stat = fs::symlink_metadata(&full).map_err(self.failed(path))?;
        let (metadata, opaque) = self.metadata(path, &stat)?;
        let tree_path = tree_path(path)?;
        if opaque {
            self.diff.removals.push(Removal::Opaque(tree_path.clone()));
        }
        self.diff.additions.push(Addition::Entry { path: tree_path, node: Node::directory(metadata) });
        Ok(())
    }

    /// Any other entry; `true` for a directory, which is left to [`Self::directory`].
    fn entry(&mut self, path: &Path) -> Result<bool, Error> {
        let stat = fs::symlink_metadata(self.upper.join(path)).map_err(self.failed(path))?;
        let kind = stat.file_type();
        if kind.is_dir() {
            return Ok(true);
        }
        let tree_path = tree_path(path)?;
        if kind.is_char_device() && stat.rdev() == 0 {
            self.diff.removals.push(Removal::Path(tree_path));
            return Ok(false);
        }
        if kind.is_socket() {
            tracing::debug!(path = %path.display(), "a socket is not part of an image");
            return Ok(false);
        }
        if stat.nlink() > 1 {
            if let Some(first) = self.links.get(&(stat.dev(), stat.ino())) {
                self.diff.additions.push(Addition::Link { path: tree_path, target: first.clone() });
                return Ok(false);
            }
            self.links.insert((stat.dev(), stat.ino()), tree_path.clone());
        }
        let (metadata, _) = self.metadata(path, &stat)?;
        let kind = self.kind(path, &stat)?;
        self.diff.additions.push(Addition::Entry { path: tree_path, node: Node { metadata, kind } });
        Ok(false)
    }

    fn kind(&mut self, path: &Path, stat: &fs::Metadata) -> Result<Kind, Error> {
        let kind = stat.file_type();
        Ok(if kind.is_file() {
            Kind::File(self.content(path, stat).map_err(self.failed(path))?)
        } else if kind.is_symlink() {
            let target = fs::read_link(self.upper.join(path)).map_err(self.failed(path))?;
            Kind::Symlink(target.as_os_str().as_bytes().into())
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            let number = DeviceNumber::new(major(stat.rdev()), minor(stat.rdev()));
            let number = number.ok_or_else(|| unrepresentable(path, "its device number is out of range"))?;
            if kind.is_block_device() { Kind::BlockDevice(number) } else { Kind::CharDevice(number) }
        })
    }

    /// The runs of a file that are stored: a command can make a file of a terabyte that takes no space.
    fn content(&mut self, path: &Path, stat: &fs::Metadata) -> io::Result<Content> {
        let full = self.upper.join(path);
        let source = self.diff.sources.add(Arc::new(UpperFile(full.clone())));
        if stat.blocks() * 512 >= stat.size() {
            return Ok(Content::stored(source, 0, stat.size()));
        }
        let file = File::open(full)?;
        let (mut segments, mut at) = (Vec::new(), 0);
        while at < stat.size() {
            let start = match seek(&file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Nothing but a hole up to the end.
                Err(rustix::io::Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            let end = seek(&file, SeekFrom::Hole(start))?.min(stat.size());
            segments.push(Segment { file_offset: start, source, source_offset: start, len_bytes: end - start });
            at = end;
        }
        Ok(Content::sparse(stat.size(), segments).expect("the kernel tells runs in order"))
    }

    fn metadata(&self, path: &Path, stat: &fs::Metadata) -> Result<(Metadata, bool), Error> {
        let (xattrs, opaque) = self.xattrs(path)?;
        let nanoseconds = u32::try_from(stat.mtime_nsec()).expect("below a second");
        let mut mtime = Timestamp { seconds: stat.mtime(), nanoseconds };
        if let Some(epoch) = self.epoch.filter(|epoch| mtime > *epoch) {
            mtime = epoch;
            let here = File::open(self.upper).map_err(self.failed(path))?;
            let name = if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() };
            let at = std::os::fd::AsFd::as_fd(&here);
            rootfs::set_time(at, name.as_bytes(), epoch).map_err(self.failed(path))?;
        }
        let mode = u16::try_from(stat.mode() & 0o7777).expect("twelve bits");
        Ok((Metadata { mode, uid: stat.uid(), gid: stat.gid(), mtime, xattrs }, opaque))
    }

    /// The attributes of the image, and whether the directory is opaque.
    fn xattrs(&self, path: &Path) -> Result<(Xattrs, bool), Error> {
        let full = self.upper.join(path);
        let failed = |errno: rustix::io::Errno| Error::Snapshot { path: full.clone(), source: errno.into() };
        let mut names = vec![0_u8; XATTR_MAX];
        let len = match llistxattr(&full, &mut names[..]) {
            // A file system without attributes has none.
            Err(rustix::io::Errno::NOTSUP) => 0,
            answer => answer.map_err(failed)?,
        };
        let (mut xattrs, mut opaque) = (Xattrs::new(), false);
        let mut value = if len > 0 { vec![0_u8; XATTR_MAX] } else { Vec::new() };
        for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let len = lgetxattr(&full, name, &mut value[..]).map_err(failed)?;
            opaque |= name == OPAQUE && &value[..len] == b"y";
            if !NOT_OF_THE_IMAGE.iter().any(|prefix| name.starts_with(prefix)) {
                xattrs.insert(name.into(), value[..len].into());
            }
        }
        Ok((xattrs, opaque))
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
            let error = read(upper.path(), None).unwrap_err().to_string();
            assert!(error.contains("d/.wh.") && error.contains("use another name"), "{error}");
        }
        let upper = tempfile::tempdir().unwrap();
        fs::write(upper.path().join(".wh"), "x").unwrap();
        assert!(read(upper.path(), None).is_ok());
    }
}
