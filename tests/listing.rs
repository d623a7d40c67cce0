//! A tree on a mounted file system as comparable values.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything about one path that an image has to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `d`, `f`, `l`, `c`, `b`, `p`, `s`.
    pub kind: char,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Size of a file in bytes.
    pub size: u64,
    /// SHA-256 of a file, target of a symbolic link.
    pub content: String,
    /// Device number.
    pub rdev: u64,
    /// The first path, in byte order, of the inode: equal for hard links of each other.
    pub first_name: PathBuf,
    /// Attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every path below `root` (the root itself is the empty path), in order.
///
/// # Panics
/// When something can't be read.
#[must_use]
pub fn list(root: &Path) -> BTreeMap<PathBuf, Entry> {
    list_without(root, &[])
}

/// The same, but for these paths and all below them.
///
/// # Panics
/// When something can't be read.
#[must_use]
pub fn list_without(root: &Path, left_out: &[&str]) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    // By device too: the layers of an overlay can lie on several.
    let mut names: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        if left_out.iter().any(|left_out| path == Path::new(left_out)) {
            continue;
        }
        let full = root.join(&path);
        let stat = fs::symlink_metadata(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
        if stat.is_dir() {
            pending.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else {
            let first = names.entry((stat.dev(), stat.ino())).or_insert_with(|| path.clone());
            if path < *first {
                first.clone_from(&path);
            }
        }
        entries.insert(path, ((stat.dev(), stat.ino()), entry(&full, &stat)));
    }
    entries
        .into_iter()
        .map(|(path, (inode, mut entry))| {
            entry.first_name = names.get(&inode).unwrap_or(&path).clone();
            (path, entry)
        })
        .collect()
}

fn entry(full: &Path, stat: &fs::Metadata) -> Entry {
    let kind = stat.file_type();
    let letter = [
        (kind.is_dir(), 'd'),
        (kind.is_file(), 'f'),
        (kind.is_symlink(), 'l'),
        (kind.is_char_device(), 'c'),
        (kind.is_block_device(), 'b'),
        (kind.is_fifo(), 'p'),
    ];
    let content = match kind {
        kind if kind.is_file() => crate::sha256(full),
        kind if kind.is_symlink() => fs::read_link(full).unwrap().to_string_lossy().into_owned(),
        _ => String::new(),
    };
    Entry {
        kind: letter.iter().find(|(is, _)| *is).map_or('s', |(_, letter)| *letter),
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        size: if kind.is_file() { stat.size() } else { 0 },
        content,
        rdev: if kind.is_char_device() || kind.is_block_device() { stat.rdev() } else { 0 },
        first_name: PathBuf::new(),
        xattrs: xattrs(full),
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    names.filter(|name| *name != b"security.selinux").map(|name| (name.to_vec(), value(name))).collect()
}

/// What differs between two listings, one line each; `ignore` says which paths do not count.
#[must_use]
pub fn differences(
    ours: &BTreeMap<PathBuf, Entry>,
    theirs: &BTreeMap<PathBuf, Entry>,
    ignore: impl Fn(&Path) -> bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, entry) in ours {
        match theirs.get(path) {
            _ if ignore(path) => {}
            None => lines.push(format!("only ours: {}", path.display())),
            Some(other) if other != entry => lines.push(format!("{}: {entry:?} != {other:?}", path.display())),
            Some(_) => {}
        }
    }
    let missing = theirs.keys().filter(|path| !ours.contains_key(*path) && !ignore(path));
    lines.extend(missing.map(|path| format!("missing: {}", path.as_os_str().as_bytes().escape_ascii())));
    lines
}
