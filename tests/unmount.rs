//! Unmounting an image that is looked at afterwards: for the tests of this crate and, by its path, of the crates below it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Unmounts; a process that another test has just forked may hold a file of it for a moment.
///
/// A mount namespace made meanwhile has a copy of the mount, and the file system stays in use for as long: so that the image is whole at
/// once, with nothing in its journal, it becomes read-only first.
///
/// # Panics
/// When it stays in use for five seconds.
pub(crate) fn unmount(at: &Path) {
    let (is_whole, is_gone) = (patiently(&["mount", "-o", "remount,ro"], at), patiently(&["umount"], at));
    assert!(is_whole && is_gone || std::thread::panicking(), "{} can't be unmounted", at.display());
}

fn patiently(command: &[&str], at: &Path) -> bool {
    (0..100).any(|_| {
        let output = Command::new(command[0]).args(&command[1..]).arg(at).output();
        let done = output.is_ok_and(|output| output.status.success());
        if !done {
            std::thread::sleep(Duration::from_millis(50));
        }
        done
    })
}
