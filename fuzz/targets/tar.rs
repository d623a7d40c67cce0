//! Invariants, for any bytes taken for an archive:
//!
//! - reading, applying to a tree, dumping and writing never panic;
//! - the contents of the additions lie inside the archive, and their parts inside the file, in order;
//! - the caps hold: nodes, sizes, attributes;
//! - a tree that can be written is read back equal.
#![no_main]

use std::sync::Arc;

use fstree::{Addition, Content, Diff, Kind, Limits, Metadata, ReadAt, Tree};
use libfuzzer_sys::fuzz_target;

const NODES_MAX: u32 = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let Some(diff) = read(bytes.to_vec()) else { return };
    for addition in &diff.additions {
        if let Addition::Entry { node, .. } = addition {
            if let Kind::File(content) = &node.kind {
                inside(content, bytes.len());
            }
            assert!(node.metadata.mode < 1 << 12 && node.metadata.mtime.nanoseconds < 1_000_000_000);
        }
    }
    let Some(tree) = apply(&diff) else { return };
    assert!(tree.len() <= usize::try_from(NODES_MAX).expect("small"));
    let dump = fstree::dump(&tree);
    // Holes of a sparse file take room once they are written, so big ones are left out.
    let size: u64 = diff.additions.iter().map(size).fold(0, u64::saturating_add);
    if size < 1 << 20 {
        assert_eq!(dump, written_and_read(&tree), "what was written is read back");
    }
});

fn read(bytes: Vec<u8>) -> Option<Diff> {
    let len = u64::try_from(bytes.len()).expect("fits");
    let mut limits = Limits::default();
    limits.nodes = NODES_MAX;
    limits.metadata_bytes = 4 << 20;
    let source: Arc<dyn ReadAt> = Arc::new(bytes);
    fstree::tar::read(source, len, &limits).ok()
}

fn apply(diff: &Diff) -> Option<Tree> {
    let mut tree = Tree::with_limit(Metadata { mode: 0o755, ..Metadata::default() }, NODES_MAX);
    tree.apply(diff.clone()).ok()?;
    Some(tree)
}

fn written_and_read(tree: &Tree) -> String {
    let mut archive = Vec::new();
    fstree::tar::write(tree, &mut archive).expect("any tree that was read can be written");
    let diff = read(archive).expect("our own archive is read");
    fstree::dump(&apply(&diff).expect("our own archive applies"))
}

fn size(addition: &Addition) -> u64 {
    match addition {
        Addition::Entry { node, .. } => match &node.kind {
            Kind::File(content) => content.size_bytes(),
            _ => 0,
        },
        Addition::Link { .. } => 0,
    }
}

fn inside(content: &Content, archive_len: usize) {
    let archive_len = u64::try_from(archive_len).expect("fits");
    let mut at = 0;
    for segment in content.segments() {
        assert!(segment.file_offset >= at, "parts out of order");
        at = segment.file_offset.checked_add(segment.len_bytes).expect("a part ends");
        let end = segment.source_offset.checked_add(segment.len_bytes).expect("a part ends");
        assert!(at <= content.size_bytes(), "a part past the end of the file");
        assert!(end <= archive_len, "a part outside the archive");
    }
}
