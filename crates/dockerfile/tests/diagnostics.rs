//! The pages of `docs/diagnostics/` say what the table of codes says, and its examples are true.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dockerfile::diagnostic::Code;
use dockerfile::render::page;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics")
}

#[test]
fn pages_are_up_to_date() {
    let stale = "stale: run `cargo run -p dockerfile --example diagnostics-docs`";
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap_or_default();
    assert!(read("README.md") == page::index(), "the index is {stale}");
    for &code in Code::ALL {
        assert!(read(&format!("{code}.md")) == page::page(code), "the page of {code} is {stale}");
    }
    let mut there: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    there.remove("README.md");
    let meant: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(there, meant, "pages of codes that are gone are {stale}");
}
