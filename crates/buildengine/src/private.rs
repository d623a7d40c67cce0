//! Directories of the state that other accounts of the host can't enter: what a step left there keeps its modes and has the ids that
//! the step saw, so a set-id program of its root would be one of the host's root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes the directory, or closes one of ours that is open.
pub(crate) fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let found = fs::metadata(dir)?;
    // Whose it is decides who may enter; nobody else could change that either.
    if found.mode() & 0o077 != 0 && found.uid() == rustix::process::geteuid().as_raw() {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_closed_and_closed_where_it_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let (new, open) = (dir.path().join("a/new"), dir.path().join("open"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        for dir in [&new, &open, &open] {
            make(dir).unwrap();
            assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700, "{}", dir.display());
        }
    }
}
