//! Random trees through archives: out and in again they are the same, and other tools read what was written.
#![cfg(test)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fstree::{
    Addition, Content, DeviceNumber, Diff, Kind, Limits, Metadata, Node, NodeId, Segment, Sources, Timestamp, Tree,
    TreePath, dump, tar, walk,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Bytes that files are made of.
const SOURCE_LEN: u64 = 4_096;

fn source() -> Vec<u8> {
    (0..SOURCE_LEN).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// Names that meet each other often, and names that are hard on headers.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[abc]".prop_map(String::into_bytes),
        1 => Just(vec![b'n'; 255]),
        1 => Just("\u{e9}\u{4e2d}".as_bytes().to_vec()),
        1 => Just(b"back\\slash new\nline = %3D".to_vec()),
        1 => vec(any::<u8>().prop_filter("no name", |byte| !matches!(byte, 0 | b'/')), 1..40)
            .prop_filter("no name", |name| !matches!(name.as_slice(), b"." | b"..")),
    ]
}

fn path() -> impl Strategy<Value = TreePath> {
    vec(name(), 1..5).prop_map(|names| TreePath::parse(&names.join(&b'/')).unwrap())
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let seconds = prop_oneof![
        Just(0),
        Just(1_700_000_000),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN + 1),
        any::<i32>().prop_map(i64::from)
    ];
    let nanoseconds = prop_oneof![Just(0_u32), Just(1), Just(999_999_999), 0..1_000_000_000_u32];
    let owner = || prop_oneof![Just(0), Just(2_097_152), 0..u32::MAX];
    let attribute = "(user|trusted|security)\\.[a-z=%\n]{1,40}".prop_map(|name| name.into_bytes().into_boxed_slice());
    let xattrs = btree_map(attribute, vec(any::<u8>(), 0..200).prop_map(Vec::into_boxed_slice), 0..3);
    (0..0o10000_u16, owner(), owner(), seconds, nanoseconds, xattrs).prop_map(
        |(mode, uid, gid, seconds, nanoseconds, xattrs)| Metadata {
            mode,
            uid,
            gid,
            mtime: Timestamp { seconds, nanoseconds },
            xattrs,
        },
    )
}

/// A file of a few runs, whole or with holes before, between and after them.
fn content() -> impl Strategy<Value = Content> {
    let runs = vec((0..5_000_u64, 0..SOURCE_LEN, 0..600_u64), 0..5);
    (runs, prop_oneof![Just(0_u64), Just(1), 0..100_000_u64]).prop_map(|(runs, rest)| {
        let id = Sources::default().add(Arc::new(source()));
        let mut end = 0;
        let mut segments: Vec<Segment> = Vec::new();
        for (hole, source_offset, len) in runs {
            let len_bytes = len.min(SOURCE_LEN - source_offset);
            segments.push(Segment { file_offset: end + hole, source: id, source_offset, len_bytes });
            end += hole + len_bytes;
        }
        Content::sparse(end + rest, segments).unwrap()
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    let number =
        || (0..4_096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| DeviceNumber::new(major, minor).unwrap());
    let target = vec(1..=255_u8, 1..300).prop_map(|target| Kind::Symlink(target.into_boxed_slice()));
    prop_oneof![
        4 => Just(Kind::Directory(Default::default())),
        2 => (0..SOURCE_LEN).prop_map(|len| Kind::File(Content::stored(Sources::default().add(Arc::new(source())), 0, len))),
        2 => content().prop_map(Kind::File),
        1 => target,
        1 => number().prop_map(Kind::CharDevice),
        1 => number().prop_map(Kind::BlockDevice),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

fn addition() -> impl Strategy<Value = Addition> {
    prop_oneof![
        5 => (path(), metadata(), kind())
            .prop_map(|(path, metadata, kind)| Addition::Entry { path, node: Node { metadata, kind } }),
        1 => (path(), path()).prop_map(|(path, target)| Addition::Link { path, target }),
    ]
}

/// A tree of the additions that can be carried out.
fn tree() -> impl Strategy<Value = Tree> {
    (metadata(), vec(addition(), 0..25)).prop_map(|(root, additions)| {
        let mut tree = Tree::new(root);
        for addition in additions {
            let mut sources = Sources::default();
            sources.add(Arc::new(source()));
            let mut changed = tree.clone();
            let diff = Diff { removals: vec![], additions: vec![addition], sources };
            if changed.apply(diff).is_ok() {
                tree = changed;
            }
        }
        tree
    })
}

fn without_sockets(tree: &Tree) -> Tree {
    let mut sockets: Vec<(NodeId, Vec<u8>)> = Vec::new();
    let mut tree = tree.clone();
    let parent_of = |tree: &Tree, path: &[u8]| {
        let names = path.split(|&byte| byte == b'/').collect::<Vec<_>>();
        let above = names[..names.len() - 1].iter();
        (above.fold(Tree::ROOT, |at, name| tree.lookup(at, name).unwrap()), names[names.len() - 1].to_vec())
    };
    let done: Result<(), ()> = walk(&tree, |visit| {
        if matches!(visit.node.kind, Kind::Socket) {
            sockets.push(parent_of(&tree, visit.path));
        }
        Ok(())
    });
    done.unwrap();
    for (parent, name) in sockets {
        assert!(tree.remove(parent, &name));
    }
    tree
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut archive = Vec::new();
    tar::write(tree, &mut archive).unwrap();
    archive
}

fn read(archive: Vec<u8>) -> Tree {
    let len = u64::try_from(archive.len()).unwrap();
    let diff = tar::read(Arc::new(archive), len, &Limits::default()).unwrap();
    let mut tree = Tree::new(Metadata::default());
    tree.apply(diff).unwrap();
    tree
}

/// Stored runs: where each starts in its file, and its bytes.
type Runs = Vec<(u64, Vec<u8>)>;

/// Where data and holes are in each file, and the data.
fn contents(tree: &Tree) -> Vec<(Vec<u8>, Runs)> {
    let mut all = Vec::new();
    let done: Result<(), ()> = walk(tree, |visit| {
        if let Kind::File(content) = &visit.node.kind {
            let run = |segment: &Segment| {
                let mut bytes = vec![0; usize::try_from(segment.len_bytes).unwrap()];
                tree.sources.get(segment.source).read_exact_at(&mut bytes, segment.source_offset).unwrap();
                (segment.file_offset, bytes)
            };
            all.push((visit.path.to_vec(), merged(content.segments().iter().map(run).collect())));
        }
        Ok(())
    });
    done.unwrap();
    all
}

/// Runs that touch are one run.
fn merged(runs: Runs) -> Runs {
    let mut all = Runs::new();
    for (start, bytes) in runs {
        match all.last_mut() {
            Some((before, data)) if *before + u64::try_from(data.len()).unwrap() == start => data.extend(bytes),
            _ => all.push((start, bytes)),
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn out_and_in_again_is_the_same(tree in tree()) {
        let tree = without_sockets(&tree);
        let archive = written(&tree);
        prop_assert_eq!(&archive, &written(&tree), "the same tree gives the same bytes");
        let again = read(archive);
        prop_assert_eq!(dump(&again), dump(&tree));
        prop_assert_eq!(contents(&again), contents(&tree));
    }

    #[test]
    fn sockets_and_their_hard_links_are_left_out(tree in tree()) {
        prop_assert_eq!(dump(&read(written(&tree))), dump(&without_sockets(&tree)));
    }

    #[test]
    fn damage_is_no_panic(tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut archive = written(&tree);
        let at = at.index(archive.len());
        archive[at] = byte;
        let len = u64::try_from(archive.len()).unwrap();
        if let Ok(diff) = tar::read(Arc::new(archive), len, &Limits::default()) {
            let _ = Tree::new(Metadata::default()).apply(diff);
        }
    }
}

/// Whether `tool` is there; without it, this says so, or fails where no test may be skipped.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("DRYDOCK_REQUIRE_ALL").is_none_or(|value| value != "1"), "{tool} is missing");
        eprintln!("SKIPPED: what is written is not read by {tool}: it is not installed");
    }
    found
}

/// A tree of everything that archives can hold, within what other tools take.
fn everything() -> Tree {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let id = tree.sources.add(Arc::new(source()));
    let time = Timestamp { seconds: -5, nanoseconds: 250_000_000 };
    let xattrs = [(Box::from(&b"user.x"[..]), Box::from(&b"\x00\n=\xff"[..]))].into();
    let metadata = Metadata { mode: 0o4755, uid: 3_000_000_000, gid: 7, mtime: time, xattrs };
    let mut put = |name: &[u8], kind| {
        tree.insert(Tree::ROOT, name, Node { metadata: metadata.clone(), kind }).unwrap();
    };
    let run = |file_offset, len_bytes| Segment { file_offset, source: id, source_offset: 100, len_bytes };
    let long = vec![b'n'; 250];
    put(b"plain", Kind::File(Content::stored(id, 1, 1_000)));
    put(b"empty", Kind::File(Content::default()));
    put(b"sparse", Kind::File(Content::sparse(1 << 20, vec![run(4_096, 512), run(100_000, 1_000)]).unwrap()));
    put(b"hole", Kind::File(Content::sparse(1 << 20, vec![]).unwrap()));
    put(b"starts-with-data", Kind::File(Content::sparse(9_000, vec![run(0, 600)]).unwrap()));
    put(b"ends-with-data", Kind::File(Content::sparse(9_000, vec![run(8_400, 600)]).unwrap()));
    put(&long, Kind::File(Content::stored(id, 0, 5)));
    put("\u{e9}".as_bytes(), Kind::Symlink(long.clone().into()));
    put(b"char", Kind::CharDevice(DeviceNumber::new(4_095, 1_048_575).unwrap()));
    put(b"block", Kind::BlockDevice(DeviceNumber::new(8, 1).unwrap()));
    put(b"pipe", Kind::Fifo);
    put(b"dir", Kind::Directory(Default::default()));
    let plain = tree.lookup(Tree::ROOT, b"plain").unwrap();
    tree.link(Tree::ROOT, b"z-link", plain).unwrap();
    tree
}

/// What every name of a file holds.
fn expected_files(tree: &Tree) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let done: Result<(), ()> = walk(tree, |visit| {
        if let Kind::File(content) = &visit.node.kind {
            let mut bytes = vec![0; usize::try_from(content.size_bytes()).unwrap()];
            for segment in content.segments() {
                let start = usize::try_from(segment.file_offset).unwrap();
                let end = start + usize::try_from(segment.len_bytes).unwrap();
                tree.sources.get(segment.source).read_exact_at(&mut bytes[start..end], segment.source_offset).unwrap();
            }
            all.push((String::from_utf8(visit.path.to_vec()).unwrap(), bytes));
        }
        Ok(())
    });
    done.unwrap();
    all
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a reader has something to say");
    output.stdout
}

#[test]
fn gnu_tar_reads_what_is_written() {
    if !has("tar") {
        return;
    }
    let tree = everything();
    let mut archive = tempfile::NamedTempFile::new().unwrap();
    archive.write_all(&written(&tree)).unwrap();
    let gnu = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        output(command.args(arguments).arg("-f").arg(archive.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC"))
    };
    let listing =
        String::from_utf8(gnu(&["-tv", "--numeric-owner", "--full-time", "--quoting-style=literal"])).unwrap();
    assert_eq!(listing.lines().count(), dump(&tree).lines().count(), "{listing}");
    // Times before 1970 are left to the other reader: GNU tar 1.34 lists even its own wrongly.
    for (start, end) in [
        ("-rwsr-xr-x 3000000000/7         1000 ", " plain"),
        ("-rwsr-xr-x 3000000000/7      1048576 ", " sparse"),
        ("-rwsr-xr-x 3000000000/7      1048576 ", " hole"),
        ("crwsr-xr-x 3000000000/7 4095,1048575 ", " char"),
        ("prwsr-xr-x", "pipe"),
        ("drwsr-xr-x", " dir"),
        ("hrw-r--r--", "z-link link to plain"),
    ] {
        assert!(
            listing.lines().any(|line| line.starts_with(start) && line.ends_with(end)),
            "{start} ... {end}\n{listing}"
        );
    }
    for (name, bytes) in expected_files(&tree).into_iter().filter(|(name, _)| name != "z-link") {
        assert!(gnu(&["-x", "--to-stdout", &name]) == bytes, "{name} is another file");
    }
}

#[test]
fn python_reads_what_is_written() {
    if !has("python3") {
        return;
    }
    let tree = everything();
    let mut archive = tempfile::NamedTempFile::new().unwrap();
    archive.write_all(&written(&tree)).unwrap();
    let script = "import sys, tarfile\n\
        for m in tarfile.open(sys.argv[1]):\n\
        \x20   print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname, m.devmajor, m.devminor, sep='|')";
    let listing = String::from_utf8(output(Command::new("python3").args(["-c", script]).arg(archive.path()))).unwrap();
    assert_eq!(listing.lines().count(), dump(&tree).lines().count(), "{listing}");
    for line in [
        "plain|0|0o4755|3000000000|7|1000|-4.75||0|0",
        "sparse|0|0o4755|3000000000|7|1048576|-4.75||0|0",
        "char|3|0o4755|3000000000|7|0|-4.75||4095|1048575",
        "z-link|1|0o644|0|0|0|0|plain|0|0",
    ] {
        assert!(listing.lines().any(|found| found == line), "{line}\n{listing}");
    }
}
