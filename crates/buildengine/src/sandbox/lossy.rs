//! Texts of the host that may hold names which somebody gave (of processes, interfaces, mount points), in any encoding.

use std::fs;
use std::io;
use std::path::Path;

/// The text of a file; what is no UTF-8 in it is replaced, and costs nothing of the rest.
///
/// # Errors
/// It can't be read.
pub(super) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_another_encoding_costs_nothing_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("status");
        fs::write(&file, b"Name:\tcaf\xe9\nSigCgt:\t0000000000004000\n").unwrap();
        let status = text(&file).unwrap();
        assert_eq!(status.lines().nth(1), Some("SigCgt:\t0000000000004000"));
        assert!(text(dir.path().join("missing")).is_err());
    }
}
