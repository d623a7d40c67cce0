//! Where root file systems of running steps are mounted: a place that everybody may pass through.
//!
//! ```text
//!   /run/drydock/<twelve digits of the hash of the scratch root>/<build>/<step>
//! ```
//!
//! Root of a container is nobody on the host, and the runtime goes to the root file system as that. A state directory may lie
//! where nobody may go, in a home for instance.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::overlay;
use crate::error::Error;
use crate::scratch::{Scratch, root_id};

/// What belongs to running builds of all state directories.
pub(super) const RUN: &str = "/run/drydock";

/// An empty directory for the root file system of the step `id`.
pub(super) fn create(scratch: &Scratch, id: &str) -> Result<PathBuf, Error> {
    let path = of_build(scratch.path()).join(id);
    let steps = [Path::new(RUN), &of_root(scratch.root()), &of_build(scratch.path()), &path];
    let made = steps.into_iter().try_for_each(passable);
    made.map_err(|source| Error::Scratch { path: path.clone(), source })?;
    Ok(path)
}

/// Makes a directory that everybody may pass through and nobody else may list, whatever the umask is.
pub(super) fn passable(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(dir, Permissions::from_mode(0o711))
}

/// Ends the mounts of the build whose scratch directory is, or was, `build`, and removes its directories.
///
/// # Errors
/// A mount can't be ended, or a directory not removed.
pub(crate) fn remove(build: &Path) -> Result<(), Error> {
    let dir = of_build(build);
    let failed = |source| Error::Scratch { path: dir.clone(), source };
    if !dir.exists() {
        return Ok(());
    }
    overlay::unmount_below(&dir)?;
    for entry in fs::read_dir(&dir).map_err(failed)? {
        // Only what is empty goes: a mount that is still there is not to be emptied.
        fs::remove_dir(entry.map_err(failed)?.path()).map_err(failed)?;
    }
    fs::remove_dir(&dir).map_err(failed)
}

/// Removes the directory of a scratch root, if it is empty. Nobody may be about to make a directory in it.
pub(crate) fn remove_parent(root: &Path) {
    // It is not there, or somebody's who still ends: the next build removes it then.
    let _ = fs::remove_dir(of_root(root));
}

fn of_root(root: &Path) -> PathBuf {
    Path::new(RUN).join(root_id(root))
}

fn of_build(build: &Path) -> PathBuf {
    let root = build.parent().unwrap_or(build);
    of_root(root).join(build.file_name().unwrap_or_default())
}
