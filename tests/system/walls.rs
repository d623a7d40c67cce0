//! Who may use whom: the table of ARCHITECTURE.md, held by a test.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use drydock_tests::{run, workspace};

/// A crate and the crates of this workspace it may use. A crate that is not here fails the test.
const TABLE: [(&str, &[&str]); 13] = [
    ("dockerfile", &[]),
    ("fstree", &[]),
    ("ocilayers", &["fstree"]),
    ("ext4writer", &["fstree"]),
    ("ext4verify", &["fstree"]),
    ("imagechunks", &[]),
    ("buildengine", &["dockerfile", "ext4writer", "fstree", "ocilayers"]),
    ("drydock", &["buildengine", "dockerfile", "ext4verify", "ext4writer", "fstree", "ocilayers"]),
    ("templates", &["drydock", "imagechunks"]),
    ("server", &["drydock", "imagechunks", "templates"]),
    ("cli", &["buildengine", "dockerfile", "drydock", "fstree", "imagechunks", "ocilayers", "server", "templates"]),
    ("drydock-benches", &["buildengine", "dockerfile", "drydock", "ext4writer", "fstree", "ocilayers"]),
    // For the example that embeds it; the tests have the binary alone.
    ("drydock-tests", &["drydock"]),
];

#[test]
fn the_rooms_use_only_whom_they_may() {
    let mut metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(workspace());
    let metadata: serde_json::Value = serde_json::from_slice(&run(&mut metadata).stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    let rooms: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(rooms, allowed.keys().copied().collect(), "the table names every room");
    let mut broken = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if rooms.contains(used) && !for_tests && !allowed[name].contains(&used) {
                broken.push(format!("{name} uses {used}"));
            }
        }
    }
    assert!(broken.is_empty(), "walls broken: {broken:?}");
}
