//! Invariants, for any two archives put on each other as plain layers:
//!
//! - applying them never panics, and what the model can do can be done;
//! - the tree has the names that a slow, obvious model has: a map of paths, changed entry by entry.
//!
//! Cases that the model is too simple for are left out: links, and names that lead through something that is no directory.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use fstree::{Addition, Diff, Kind, Limits, Metadata, Tree, tar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (lower, upper) = bytes.split_at(bytes.len() / 1024 * 512);
    let (Some(lower), Some(upper)) = (read(lower), read(upper)) else { return };
    let mut model = BTreeMap::from([(Vec::new(), true)]);
    let simple = add(&mut model, &lower) && add(&mut model, &upper);
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    if tree.apply(lower).and_then(|()| tree.apply(upper)).is_err() {
        assert!(!simple, "what the model can do can be done");
        return;
    }
    if simple {
        let mut found = BTreeMap::new();
        fstree::walk(&tree, |visit| {
            found.insert(visit.path.to_vec(), visit.node.is_directory());
            Ok::<_, std::convert::Infallible>(())
        })
        .expect("never");
        assert_eq!(found, model, "the tree is the model's");
    }
});

fn read(bytes: &[u8]) -> Option<Diff> {
    let mut limits = Limits::default();
    limits.nodes = 2_000;
    limits.metadata_bytes = 1 << 20;
    tar::read(Arc::new(bytes.to_vec()), u64::try_from(bytes.len()).expect("fits"), &limits).ok()
}

/// Paths, and whether each is a directory. `false` when the change is not simple.
fn add(model: &mut BTreeMap<Vec<u8>, bool>, diff: &Diff) -> bool {
    for addition in &diff.additions {
        let Addition::Entry { path, node } = addition else { return false };
        let (path, directory) = (path.as_bytes(), node.is_directory());
        if matches!(node.kind, Kind::Symlink(_)) || path.is_empty() && !directory {
            return false;
        }
        for (at, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            if model.insert(path[..at].to_vec(), true) == Some(false) {
                return false;
            }
        }
        if model.insert(path.to_vec(), directory) == Some(true) && !directory {
            let below = [path, b"/"].concat();
            model.retain(|name, _| !name.starts_with(&below));
        }
    }
    true
}
