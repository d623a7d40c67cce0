//! What the parts of a build's network are called on the host: of its scratch directory alone.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What every interface of ours begins with.
pub(super) const PREFIX: &str = "dd";

/// The names of one build's network.
#[derive(Debug)]
pub(crate) struct Names {
    /// The host's end of the pair: `dd`, five digits of the directory of all builds, eight of this one. A name of an
    /// interface has at most 15 bytes.
    pub(super) interface: String,
    /// The table of nftables.
    pub(super) table: String,
}

impl Names {
    /// The names for the build at `scratch`, a canonical path.
    pub(crate) fn of(scratch: &Path) -> Self {
        let root = scratch.parent().unwrap_or(scratch);
        let id = format!("{}{}", &digits(root)[..5], &digits(scratch)[..8]);
        Self { interface: format!("{PREFIX}{id}"), table: format!("drydock-{id}") }
    }
}

/// The SHA-256 of a path in hexadecimal digits.
fn digits(path: &Path) -> String {
    Sha256::digest(path.as_os_str().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_place_and_fit_the_kernel() {
        let one = Names::of(Path::new("/state/scratch/build-1"));
        let same_state = Names::of(Path::new("/state/scratch/build-2"));
        let other_state = Names::of(Path::new("/other/scratch/build-1"));
        assert_eq!(one.interface.len(), 15, "{}", one.interface);
        assert_eq!(one.interface[..7], same_state.interface[..7]);
        assert_ne!(one.interface, same_state.interface);
        assert_ne!(one.interface[..7], other_state.interface[..7]);
        assert!(one.table.ends_with(&one.interface[2..]));
    }
}
