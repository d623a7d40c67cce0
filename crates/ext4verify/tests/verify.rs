//! Clean images are called clean, and whatever e2fsck finds is found: images of our writer, of mke2fs, and damaged ones.
#![cfg(test)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ext4verify::{Error, Report, verify};
use ext4writer::{ImageSize, Options, write_image};
use fstree::{Addition, Content, DeviceNumber, Diff, Kind, Metadata, Node, Sources, Timestamp, Tree, TreePath};
use proptest::prelude::*;

fn check(path: &Path) -> Result<Report, Error> {
    let image = File::open(path).unwrap();
    let len = image.metadata().unwrap().len();
    verify(&image, len)
}

#[track_caller]
fn assert_clean(path: &Path) -> Report {
    let report = check(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.is_clean(), "{}: {} findings\n{}", path.display(), findings.len(), findings.join("\n"));
    report
}

/// A tree of everything: directories of one block and of many, long names, links, holes, devices, attributes.
fn tree(names: usize) -> Tree {
    let mut sources = Sources::default();
    let source = sources.add(Arc::new((0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>()));
    let metadata =
        |mode| Metadata { mode, mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 }, ..Metadata::default() };
    let mut additions = Vec::new();
    let mut add = |path: String, mode, kind| {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        additions.push(Addition::Entry { path, node: Node { metadata: metadata(mode), kind } });
    };
    add("many".into(), 0o755, Kind::Directory(Default::default()));
    for number in 0..names {
        add(format!("many/{number:0width$}", width = 5 + number % 90), 0o644, Kind::Fifo);
    }
    for number in 0..60_u64 {
        let content = Content::stored(source, number, number * 3_001 % 190_000);
        add(format!("files/d{}/f{number}", number % 7), 0o644, Kind::File(content));
    }
    let runs = (0..40).map(|n| fstree::Segment { file_offset: n * 40_960, source, source_offset: n, len_bytes: 4_096 });
    add("sparse".into(), 0o600, Kind::File(Content::sparse(50 << 20, runs.collect()).unwrap()));
    add("short".into(), 0o777, Kind::Symlink(b"files".to_vec().into()));
    add("long".into(), 0o777, Kind::Symlink(vec![b'l'; 3_000].into()));
    add("null".into(), 0o666, Kind::CharDevice(DeviceNumber::new(1, 3).unwrap()));
    add("disk".into(), 0o660, Kind::BlockDevice(DeviceNumber::new(300, 70_000).unwrap()));
    add("socket".into(), 0o755, Kind::Socket);
    for (number, len) in [10, 100, 3_000].into_iter().enumerate() {
        let mut node = Node { metadata: metadata(0o644), kind: Kind::Fifo };
        for name in ["user.one", "security.capability", "trusted.\u{e9}"] {
            node.metadata.xattrs.insert(name.as_bytes().into(), vec![7_u8; len / 3].into());
        }
        additions.push(Addition::Entry { path: TreePath::parse(format!("x{number}").as_bytes()).unwrap(), node });
    }
    let path = |text: &str| TreePath::parse(text.as_bytes()).unwrap();
    additions.push(Addition::Link { path: path("linked"), target: path("files/d0/f0") });
    let mut tree = Tree::new(metadata(0o755));
    tree.apply(Diff { additions, sources, ..Diff::default() }).unwrap();
    tree
}

#[test]
fn images_of_our_writer_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    for (names, mib) in [(0, 12), (40, 64), (3_000, 200), (60_000, 300), (10, 5_000)] {
        let options = Options { size: ImageSize::Exact((mib << 20) + 12_345), ..Options::default() };
        let tree = tree(names);
        write_image(&tree, &options, &path).unwrap();
        let report = assert_clean(&path);
        assert_eq!(report.counts.block_bytes, 4_096);
        assert_eq!(report.counts.used_inodes, u64::try_from(tree.len()).unwrap() + 10);
        assert!(report.counts.checksums > 100, "{:?}", report.counts);
    }
    let options = Options { size: ImageSize::Exact(1 << 20), ..Options::default() };
    write_image(&Tree::new(Metadata::default()), &options, &path).unwrap();
    assert_clean(&path);
}

/// `mke2fs` with these options, filled with a directory.
fn mke2fs(path: &Path, from: &Path, options: &[&str], size: &str) {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(from).args(options).arg(path).arg(size);
    let output = command.output().expect("mke2fs of e2fsprogs is installed");
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn images_of_mke2fs_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let (path, from) = (dir.path().join("image"), dir.path().join("from"));
    fs::create_dir_all(from.join("a/b/c")).unwrap();
    for number in 0..400 {
        fs::write(from.join(format!("a/file-number-{number}")), vec![b'x'; number * 50]).unwrap();
    }
    fs::hard_link(from.join("a/file-number-7"), from.join("a/b/seven")).unwrap();
    std::os::unix::fs::symlink("a".repeat(200), from.join("long")).unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    for at in 0..20 {
        sparse.write_all_at(b"x", at << 17).unwrap();
    }
    for options in [
        &["-b", "4096"][..],
        &["-b", "1024"],
        &["-b", "2048"],
        &["-O", "^64bit"],
        &["-O", "^metadata_csum"],
        &["-O", "^has_journal"],
        &["-O", "^resize_inode"],
        &["-O", "^flex_bg"],
        &["-O", "^sparse_super,^resize_inode"],
        &["-O", "metadata_csum_seed"],
        &["-O", "^64bit,^metadata_csum,^huge_file", "-b", "1024"],
        &["-I", "128"],
        &["-I", "1024"],
        &["-g", "8192"],
        &["-N", "5000"],
        &["-E", "lazy_itable_init=0,lazy_journal_init=0"],
        &["-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"],
    ] {
        mke2fs(&path, &from, options, "40M");
        let report = assert_clean(&path);
        assert!(report.counts.entries > 400, "{options:?}");
    }
    for (options, part) in [
        ("bigalloc", "not known here: bigalloc"),
        ("quota", "not known here: quota"),
        ("inline_data", "not known here: inline_data"),
        ("meta_bg,^resize_inode", "not known here: meta_bg"),
        ("^extents,^64bit", "without the feature extent"),
    ] {
        mke2fs(&path, &from, &["-O", options], "40M");
        let error = check(&path).unwrap_err().to_string();
        assert!(error.starts_with("it can't be checked: ") && error.contains(part), "{options}: {error}");
    }
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    for (bytes, part) in [(vec![], "shorter"), (vec![0; 4_096], "magic")] {
        let len = u64::try_from(bytes.len()).unwrap();
        let error = verify(&bytes, len).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    write_image(&tree(10), &Options { size: ImageSize::Exact(16 << 20), ..Options::default() }, &path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(8 << 20).unwrap();
    assert!(check(&path).unwrap_err().to_string().contains("and the image has 8388608 bytes"));
}

/// An image with a little of everything, and the places in it that hold anything but content.
fn sample(names: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    write_image(&tree(names), &Options { size: ImageSize::Exact(16 << 20), ..Options::default() }, &path).unwrap();
    fs::read(path).unwrap()
}

/// What e2fsck says: whether it finds nothing.
fn fsck_is_clean(path: &Path) -> bool {
    let output = Command::new("e2fsck").arg("-fn").arg(path).output().expect("e2fsck of e2fsprogs is installed");
    output.status.success()
}

/// Deterministic numbers.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Changes one byte after another, and has e2fsck and us say what they find: where they differ.
fn differences(path: &Path, rounds: u32) -> (Vec<String>, usize) {
    let good = fs::read(path).unwrap();
    assert!(fsck_is_clean(path));
    assert_clean(path);
    let file = File::options().write(true).open(path).unwrap();
    let (mut state, mut round) = (0x9e37_79b9_7f4a_7c15, 0);
    let (mut different, mut found) = (Vec::new(), 0);
    while round < rounds {
        // Bytes that are neither zero nor content, of the blocks before the contents: superblock, descriptors, bitmaps,
        // inodes, directories. Which ones must not depend on the others: times in an image are of the day.
        let at = 1_024 + usize::try_from(random(&mut state)).unwrap() % (good.len() / 4 - 1_024);
        if matches!(good[at], 0 | b'x') {
            continue;
        }
        round += 1;
        let value = good[at] ^ u8::try_from(1 + random(&mut state) % 255).unwrap();
        file.write_all_at(&[value], u64::try_from(at).unwrap()).unwrap();
        let ours = check(path).is_ok_and(|report| report.is_clean());
        let theirs = fsck_is_clean(path);
        found += usize::from(!theirs);
        if ours != theirs {
            let what = if ours { "we find nothing" } else { "e2fsck finds nothing" };
            let ours = check(path).map(|report| report.findings.first().map(ToString::to_string));
            different.push(format!(
                "round {round}, byte {at:#x} ({:#x} of block {}), {:#x} to {value:#x}: {what}: {ours:?}",
                at % 4_096,
                at / 4_096,
                good[at]
            ));
        }
        file.write_all_at(&good[at..=at], u64::try_from(at).unwrap()).unwrap();
    }
    (different, found)
}

#[test]
fn what_e2fsck_finds_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, sample(300)).unwrap();
    let (different, found) = differences(&path, 400);
    // How many inodes at the end of a table are unused e2fsck counts again without a word, and the checksum with it.
    let more = "the checksum of the descriptor of group";
    let unexplained: Vec<_> = different.iter().filter(|text| !text.contains(more)).collect();
    assert!(unexplained.is_empty(), "{} of {found}:\n{unexplained:#?}", unexplained.len());
    assert!(found > 50, "only {found} of the changes are damage");
}

#[test]
fn what_e2fsck_finds_without_checksums_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (path, from) = (dir.path().join("image"), dir.path().join("from"));
    fs::create_dir_all(from.join("a/b")).unwrap();
    for number in 0..300 {
        fs::write(from.join(format!("a/file-{number}")), vec![b'x'; number * 50]).unwrap();
    }
    let uuid = "01234567-89ab-4def-8123-456789abcdef";
    let seed = format!("hash_seed={uuid}");
    mke2fs(&path, &from, &["-O", "^metadata_csum", "-N", "1000", "-U", uuid, "-E", &seed], "12M");
    let (different, found) = differences(&path, 1_000);
    // Copies that differ from the first, names that are there twice, counts that are wrong, room to grow that is misnamed, files that say that they are
    // values of attributes (newer kernels refuse to open them), and a superblock that can't be read: e2fsck lets the first pass and takes a copy for
    // the last.
    let more = [
        "differs from the first",
        "puts things elsewhere",
        "twice",
        "it says that",
        "clusters",
        "NotExt4",
        "to grow",
        "can't hold the value",
    ];
    let unexplained: Vec<_> = different.iter().filter(|text| !more.iter().any(|part| text.contains(part))).collect();
    assert!(unexplained.is_empty(), "{} of {found}:\n{unexplained:#?}", unexplained.len());
    assert!(found > 50, "only {found} of the changes are damage");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_is_survived(changes in proptest::collection::vec((0..1_200_usize, 0..4_096_usize, any::<[u8; 4]>()), 1..60)) {
        thread_local! {
            static GOOD: Vec<u8> = sample(300);
        }
        GOOD.with(|good| {
            let mut bytes = good.clone();
            for (block, at, value) in changes {
                let at = (block * 4_096 + at).min(bytes.len() - 4);
                bytes[at..at + 4].copy_from_slice(&value);
            }
            let len = u64::try_from(bytes.len()).unwrap();
            if let Ok(report) = verify(&bytes, len) {
                assert!(report.findings.len() <= Report::FINDINGS_MAX);
            }
        });
    }
}
