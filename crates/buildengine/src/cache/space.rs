//! Trees that commands made: how much of the disk they take, and their removal. Their depth and their names are the choice of
//! strangers, and they may change while they are looked at.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Directories below each other that are looked into: each costs an open file.
const DEPTH_MAX: usize = 200;
/// What an entry takes beside its blocks, in bytes: so that many empty files are no little thing.
const ENTRY_BYTES: u64 = 1_024;

/// The bytes that a file or a tree takes; `None` when it is deeper than [`DEPTH_MAX`]. Nothing for what is not there.
pub(crate) fn used(path: &Path) -> io::Result<Option<u64>> {
    let stat = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Some(0)),
        stat => stat?,
    };
    let mut bytes = size(&stat);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Some(bytes));
    }
    let mut open = vec![Dir::new(directory(CWD, path)?)?];
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        if is_dot(entry.file_name()) {
            continue;
        }
        // What was removed meanwhile takes nothing.
        let Ok(stat) = statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        bytes = bytes.saturating_add(size(&stat));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if open.len() == DEPTH_MAX {
                return Ok(None);
            }
            let dir = open.last().expect("it was just read");
            match directory(dir.fd()?, entry.file_name()) {
                Ok(below) => open.push(Dir::new(below)?),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(Some(bytes))
}

/// Removes a file or a tree; it is no error when it is not there.
///
/// What lies deeper is moved up first, so that depth costs neither stack nor open files.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(path),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let top = directory(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let below = unlink_files(&top)?;
        if below.is_empty() {
            return fs::remove_dir(path);
        }
        for name in below {
            let dir = directory(&top, &*name)?;
            for deeper in unlink_files(&dir)? {
                move_up(&dir, &deeper, &top, &mut moved)?;
            }
            unlinkat(&top, &*name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Moves a directory to a name in `top` that is free.
fn move_up(dir: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat(dir, name, top, format!(".moved-{moved}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            renamed => return Ok(renamed?),
        }
    }
}

/// Removes what is no directory; the answer is what is.
fn unlink_files(dir: &OwnedFd) -> io::Result<Vec<Box<CStr>>> {
    let mut below = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => below.push(name.into()),
            removed => removed?,
        }
    }
    Ok(below)
}

fn directory(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn size(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512).saturating_add(ENTRY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `depth` directories below each other, made from the inside out: no path is long.
    fn deep(root: &Path, depth: usize) {
        fs::create_dir(root).unwrap();
        for _ in 0..depth {
            let outer = root.with_extension("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(root, outer.join("d")).unwrap();
            fs::rename(&outer, root).unwrap();
        }
    }

    #[test]
    fn files_and_holes_and_empty_things_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        assert_eq!(used(&root).unwrap(), Some(0));
        fs::create_dir_all(root.join("a/b")).unwrap();
        let before = used(&root).unwrap().unwrap();
        fs::write(root.join("a/b/f"), vec![1; 100_000]).unwrap();
        fs::File::create(root.join("hole")).unwrap().set_len(1 << 40).unwrap();
        let grown = used(&root).unwrap().unwrap() - before;
        assert!((100_000..200_000).contains(&grown), "{grown}");
        (0..100).for_each(|n| drop(fs::File::create(root.join(format!("empty-{n}"))).unwrap()));
        assert!(used(&root).unwrap().unwrap() >= before + grown + 100 * ENTRY_BYTES);
        std::os::unix::fs::symlink("/", root.join("out")).unwrap();
        assert!(used(&root).unwrap().unwrap() < before + grown + 300 * ENTRY_BYTES, "no link is followed");
    }

    #[test]
    fn deep_trees_are_not_measured_and_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        deep(&root, DEPTH_MAX - 1);
        assert!(used(&root).unwrap().is_some());
        remove(&root).unwrap();
        deep(&root, 5_000);
        assert_eq!(used(&root).unwrap(), None);
        fs::create_dir_all(root.join(".moved-1/x")).unwrap();
        fs::write(root.join(".moved-2"), "in the way").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("link")).unwrap();
        fs::write(dir.path().join("beside"), "stays").unwrap();
        remove(&root).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists() && dir.path().join("beside").exists());
    }
}
