//! Overlay mounts, and the list of what is mounted.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::Error;

/// The kernel takes one page of mount options.
const OPTIONS_MAX: usize = 4_095;
/// What is mounted, as this process sees it (proc(5)).
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mounted overlay; dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Overlay {
    merged: PathBuf,
    mounted: bool,
}

impl Overlay {
    /// Mounts `lowers` (uppermost first) below `upper` at `merged`.
    ///
    /// Plain layers only: no redirects, no metadata-only copies, no index, so that the upper directory alone says what
    /// changed (kernel documentation, filesystems/overlayfs).
    pub(crate) fn mount(lowers: &[PathBuf], upper: &Path, work: &Path, merged: &Path) -> Result<Self, Error> {
        let lowerdir = lowers.iter().map(|lower| text(lower)).collect::<Result<Vec<_>, _>>()?.join(":");
        let options = format!(
            "lowerdir={lowerdir},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,index=off,xino=auto",
            text(upper)?,
            text(work)?
        );
        if options.len() > OPTIONS_MAX {
            return Err(Error::ScratchPath {
                path: merged.to_owned(),
                why: "too long for an overlay of this many steps",
            });
        }
        let options = CString::new(options).expect("check_path refuses NUL");
        mount("overlay", merged, "overlay", MountFlags::NODEV, options.as_c_str())
            .map_err(|errno| Error::Mount { target: merged.to_owned(), source: errno.into() })?;
        Ok(Self { merged: merged.to_owned(), mounted: true })
    }

    /// Unmounts it.
    pub(crate) fn unmount(mut self) -> Result<(), Error> {
        self.mounted = false;
        unmount_one(&self.merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = unmount_one(&self.merged)
        {
            tracing::warn!(path = %self.merged.display(), error = %error, "an overlay could not be unmounted");
        }
    }
}

/// Refuses a path that the option string of an overlay can't hold.
///
/// # Errors
/// It is not UTF-8 or holds `:`, `,` or `\`.
pub(crate) fn check_path(path: &Path) -> Result<(), Error> {
    text(path).map(|_| ())
}

fn text(path: &Path) -> Result<&str, Error> {
    let refuse = |why| Error::ScratchPath { path: path.to_owned(), why };
    let text = path.to_str().ok_or_else(|| refuse("not UTF-8"))?;
    if text.contains([':', ',', '\\', '\0']) { Err(refuse("it holds ':', ',' or '\\'")) } else { Ok(text) }
}

fn unmount_one(target: &Path) -> Result<(), Error> {
    // Detached: it leaves the tree at once, also when a process of the host just looks into it.
    unmount(target, UnmountFlags::DETACH)
        .map_err(|errno| Error::Mount { target: target.to_owned(), source: errno.into() })
}

/// Ends every mount at or below `dir`, innermost first.
///
/// # Errors
/// One of them can't be ended, or the list of mounts can't be read.
pub(crate) fn unmount_below(dir: &Path) -> Result<(), Error> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    let table = fs::read(MOUNTINFO).map_err(|source| Error::Mount { target: MOUNTINFO.into(), source })?;
    let lines = table.split(|&byte| byte == b'\n');
    let mut targets: Vec<PathBuf> = lines.filter_map(mount_point).filter(|at| at.starts_with(&dir)).collect();
    targets.reverse();
    targets.iter().try_for_each(|target| unmount_one(target))
}

/// The fifth field of a line of mountinfo, with its octal escapes undone (proc(5)). A name is bytes, in no encoding that is promised.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let mut rest = line.split(|&byte| byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(rest.len());
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        path.extend_from_slice(&rest[..at]);
        let digits = std::str::from_utf8(rest.get(at + 1..at + 4)?).ok()?;
        path.push(u8::from_str_radix(digits, 8).ok()?);
        rest = &rest[at + 4..];
    }
    path.extend_from_slice(rest);
    Some(OsString::from_vec(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_escapes() {
        let line = b"36 35 98:0 / /a\\040b\\134c/caf\xe9 rw,noatime master:1 - ext4 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(OsString::from_vec(b"/a b\\c/caf\xe9".to_vec()))));
        assert_eq!(mount_point(b"36 35"), None);
    }

    #[test]
    fn paths_that_mount_options_cannot_hold() {
        for path in ["/a:b", "/a,b", "/a\\b"] {
            assert!(check_path(Path::new(path)).is_err(), "{path}");
        }
        assert!(check_path(Path::new("/var/cache/drydock")).is_ok());
    }
}
