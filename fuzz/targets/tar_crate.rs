//! Invariants, for any bytes taken for an archive by our reader and by the `tar` crate:
//!
//! - both see the same entries: as many, of the same names and kinds, with the same targets;
//! - the content of a file is the same bytes at the same place.
//!
//! Archives that only one of the two takes are left out: ours refuses much on purpose. So are what the crate is known to
//! read otherwise, each for the reason that stands beside it in `read_otherwise`.
#![no_main]

use std::sync::Arc;

use fstree::{Addition, Kind, Limits, TreePath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() < 512 || read_otherwise(bytes) {
        return;
    }
    let (Some(ours), Some(theirs)) = (ours(bytes), theirs(bytes)) else { return };
    assert_eq!(ours, theirs);
});

/// Name, kind as a letter, target of a link, place and length of the content.
type Entry = (Vec<u8>, char, Vec<u8>, Option<(u64, u64)>);

fn ours(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut limits = Limits::default();
    limits.nodes = 5_000;
    limits.metadata_bytes = 4 << 20;
    let len = u64::try_from(bytes.len()).expect("fits");
    let diff = fstree::tar::read(Arc::new(bytes.to_vec()), len, &limits).ok()?;
    Some(diff.additions.iter().map(entry).collect())
}

fn entry(addition: &Addition) -> Entry {
    let name = |path: &TreePath| path.as_bytes().to_vec();
    let (path, node) = match addition {
        Addition::Link { path, target } => return (name(path), 'h', name(target), None),
        Addition::Entry { path, node } => (path, node),
    };
    let (letter, target, content) = match &node.kind {
        Kind::Directory(_) => ('d', vec![], None),
        Kind::File(content) => ('f', vec![], content.segments().first().map(|run| (run.source_offset, run.len_bytes))),
        Kind::Symlink(target) => ('l', target.to_vec(), None),
        Kind::CharDevice(_) => ('c', vec![], None),
        Kind::BlockDevice(_) => ('b', vec![], None),
        Kind::Fifo => ('p', vec![], None),
        Kind::Socket => ('s', vec![], None),
    };
    (name(path), letter, target, content)
}

fn theirs(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut archive = tar::Archive::new(bytes);
    let mut all = Vec::new();
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        let name = entry.path_bytes().into_owned();
        let path = TreePath::parse(&name).ok()?.as_bytes().to_vec();
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let content = (entry.size() > 0).then(|| (entry.raw_file_position(), entry.size()));
        all.push(match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous if name.ends_with(b"/") => (path, 'd', vec![], None),
            tar::EntryType::Regular | tar::EntryType::Continuous => (path, 'f', vec![], content),
            tar::EntryType::Directory => (path, 'd', vec![], None),
            tar::EntryType::Symlink => (path, 'l', target, None),
            tar::EntryType::Link => (path, 'h', TreePath::parse(&target).ok()?.as_bytes().to_vec(), None),
            tar::EntryType::Char => (path, 'c', vec![], None),
            tar::EntryType::Block => (path, 'b', vec![], None),
            tar::EntryType::Fifo => (path, 'p', vec![], None),
            // Global headers are no entry of ours.
            tar::EntryType::XGlobalHeader => continue,
            _ => return None,
        });
    }
    Some(all)
}

/// What the crate reads otherwise than the formats say.
fn read_otherwise(bytes: &[u8]) -> bool {
    let headers = bytes.chunks_exact(512);
    headers.clone().any(|header| {
        // It knows old sparse files alone, and as one run.
        header[156] == b'S'
            // A hard link that states a size stores nothing (docs/decisions/layers.md); the crate takes data for it.
            || header[156] == b'1' && (contains(bytes, b"size=") || header[124..136].iter().any(|byte| !matches!(byte, b'0' | b' ' | 0)))
    }) || contains(bytes, b"GNU.sparse.")
        // It takes a newline for the end of a record of an extended header, whatever its length says.
        || headers.clone().any(|header| matches!(header[156], b'x' | b'g')) && bytes.iter().filter(|&&byte| byte == b'\n').count() > 64
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
