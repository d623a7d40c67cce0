//! An image of ours unpacked by umoci, the most exact of the other tools, is our tree.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fstree::{
    Addition, Content, Diff, Kind, Metadata, Node, Removal, Segment, Sources, Timestamp, Tree, TreePath, walk,
};
use ocilayers::{Image, Limits, Store, flatten, import, write_layout};

use crate::shared::bytes;

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn is_there() -> bool {
    let found = Command::new("umoci").arg("--version").output().is_ok();
    if !found {
        let required = std::env::var_os("DRYDOCK_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "umoci is not installed, and DRYDOCK_REQUIRE_ALL=1 lets no test be skipped");
        eprintln!("SKIPPED: an image unpacked by umoci: it is not installed");
    }
    found
}

/// Entries that need no privilege to be made: all of one owner.
fn entry(name: &str, mode: u16, kind: Kind) -> Addition {
    let process = fs::metadata("/proc/self").unwrap();
    let mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 123_456_789 };
    let metadata = Metadata { mode, uid: process.uid(), gid: process.gid(), mtime, ..Metadata::default() };
    Addition::Entry { path: path(name), node: Node { metadata, kind } }
}

fn file(start: u64, len: u64) -> Kind {
    Kind::File(Content::stored(Sources::default().add(Arc::new(vec![])), start, len))
}

fn change(removals: Vec<Removal>, additions: Vec<Addition>) -> Diff {
    let mut sources = Sources::default();
    sources.add(Arc::new((0..1_000).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>()));
    Diff { removals, additions, sources }
}

fn base() -> Diff {
    let directory = || Kind::Directory(Default::default());
    let link = |target: &str| Kind::Symlink(target.as_bytes().into());
    let mut additions = vec![entry("", 0o755, directory())];
    additions.extend(
        ["usr", "usr/bin", "etc", "etc/apt", "var", "var/log", "opt"].map(|name| entry(name, 0o755, directory())),
    );
    additions.extend(
        ["usr/bin/sh", "usr/bin/ls", "etc/passwd", "etc/apt/a", "etc/apt/b", "var/log/x", "etc/hostname"]
            .map(|name| entry(name, 0o644, file(3, 99))),
    );
    additions.extend([entry("bin", 0o777, link("usr/bin")), entry("run", 0o777, link("/var/log"))]);
    additions.push(Addition::Link { path: path("usr/bin/bash"), target: path("bin/sh") });
    change(vec![], additions)
}

fn step() -> Diff {
    let removals = ["etc/passwd", "bin/ls", "usr/bin/sh", "not/there"].map(|name| Removal::Path(path(name)));
    let opaque = ["etc/apt", "run"].map(|name| Removal::Opaque(path(name)));
    let id = Sources::default().add(Arc::new(vec![]));
    let run = Segment { file_offset: 20_480, source: id, source_offset: 0, len_bytes: 500 };
    let long = "n".repeat(200);
    let additions = vec![
        entry("etc/apt/new", 0o600, file(0, 10)),
        entry("bin/tool", 0o755, file(0, 1_000)),
        Addition::Link { path: path("opt/tool"), target: path("bin/tool") },
        Addition::Link { path: path("opt/bash"), target: path("usr/bin/bash") },
        entry("opt/pipe", 0o622, Kind::Fifo),
        entry("opt/sparse", 0o644, Kind::File(Content::sparse(1 << 20, vec![run]).unwrap())),
        entry(&format!("opt/{long}/{long}"), 0o644, file(1, 1)),
        entry("etc/hostname", 0o700, Kind::Directory(Default::default())),
        entry("etc/hostname/in", 0o644, Kind::File(Content::default())),
        entry("opt", 0o711, Kind::Directory(Default::default())),
    ];
    change([removals.to_vec(), opaque.to_vec()].concat(), additions)
}

/// What is compared of a name. The content of a file is in it; the number of its names too.
type Facts = (String, u32, i64, u32, Vec<u8>, u64);

fn of_tree(tree: &Tree) -> BTreeMap<Vec<u8>, Facts> {
    let mut all = BTreeMap::new();
    let done: Result<(), ()> = walk(tree, |visit| {
        let (kind, data) = match &visit.node.kind {
            Kind::Directory(_) => ("directory", vec![]),
            Kind::File(content) => ("file", bytes(tree, content)),
            Kind::Symlink(target) => ("link", target.to_vec()),
            Kind::Fifo => ("pipe", vec![]),
            kind => panic!("{kind:?}"),
        };
        let metadata = &visit.node.metadata;
        let names = if kind == "directory" { 1 } else { tree.names(visit.id).into() };
        // Nobody says when a directory that is only implied was made.
        let time = if is_implied(visit.path) { (0, 0) } else { (metadata.mtime.seconds, metadata.mtime.nanoseconds) };
        all.insert(visit.path.to_vec(), (kind.to_owned(), metadata.mode.into(), time.0, time.1, data, names));
        Ok(())
    });
    done.unwrap();
    all
}

fn of_disk(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let (mut all, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(place) = left.pop() {
        let metadata = fs::symlink_metadata(&place).unwrap();
        let (kind, data) = match metadata.file_type() {
            kind if kind.is_dir() => {
                left.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
                ("directory", vec![])
            }
            kind if kind.is_symlink() => ("link", fs::read_link(&place).unwrap().as_os_str().as_bytes().to_vec()),
            kind if kind.is_file() => ("file", fs::read(&place).unwrap()),
            _ => ("pipe", vec![]),
        };
        let path = place.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let names = if kind == "directory" { 1 } else { metadata.nlink() };
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap();
        let time = if is_implied(&path) { (0, 0) } else { (metadata.mtime(), nanoseconds) };
        all.insert(path, (kind.to_owned(), metadata.mode() & 0o7777, time.0, time.1, data, names));
    }
    all
}

/// The directory that the change only implies.
fn is_implied(path: &[u8]) -> bool {
    path.starts_with(b"opt/nnn") && path.len() < 300
}

#[test]
fn umoci_unpacks_the_same_tree() {
    if !is_there() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (limits, layout) = (Limits::default(), scratch.path().join("layout"));
    let mut tree = Tree::new(Metadata::default());
    tree.apply(base()).unwrap();
    let mut archive = Vec::new();
    fstree::tar::write(&tree, &mut archive).unwrap();
    let tar = scratch.path().join("base.tar");
    fs::write(&tar, archive).unwrap();
    import(&tar, &layout, "base", &limits).unwrap();

    let image = Image::open(&format!("oci:{}:base", layout.display()).parse().unwrap(), &limits).unwrap();
    let store = Store::open(&scratch.path().join("store"), limits).unwrap();
    let mut layers = store.layers(&image, None).unwrap();
    layers.push(store.commit(&step()).unwrap());
    write_layout(&layout, "step", serde_json::from_slice(image.config()).unwrap(), &layers, &limits).unwrap();

    let bundle = scratch.path().join("bundle");
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--rootless", "--image"]).arg(format!("{}:step", layout.display())).arg(&bundle);
    let output = umoci.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (theirs, ours) = (of_disk(&bundle.join("rootfs")), of_tree(&flatten(&layers, &limits).unwrap()));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (path, facts) in &ours {
        assert!(theirs[path] == *facts, "{}: {:?} and {:?}", path.escape_ascii(), theirs[path], facts);
    }
}
