//! Trees of every class that an image has to hold.

use std::sync::Arc;

use fstree::{Content, DeviceNumber, Kind, Metadata, Node, NodeId, Segment, SourceId, Timestamp, Tree};

/// Bytes that files are made of.
pub(crate) const SOURCE_LEN: u64 = 8 << 20;

/// A tree and a source that its files take their bytes from.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) tree: Tree,
    pub(crate) source: SourceId,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut tree = Tree::new(metadata(0o755));
        // A multiplicative generator: nothing in it repeats, and no file looks like another.
        let mut state = 1_u64;
        let bytes = (0..SOURCE_LEN).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        let bytes: Vec<u8> = bytes.collect();
        let source = tree.sources.add(Arc::new(bytes));
        Self { tree, source }
    }

    pub(crate) fn add(&mut self, parent: NodeId, name: impl AsRef<[u8]>, metadata: Metadata, kind: Kind) -> NodeId {
        self.tree.insert(parent, name.as_ref(), Node { metadata, kind }).unwrap()
    }

    pub(crate) fn directory(&mut self, parent: NodeId, name: impl AsRef<[u8]>) -> NodeId {
        self.add(parent, name, metadata(0o755), Kind::Directory(Default::default()))
    }

    /// A file of `len_bytes` bytes of the source, from a place that depends on the length.
    pub(crate) fn file(&mut self, parent: NodeId, name: impl AsRef<[u8]>, len_bytes: u64) -> NodeId {
        let content = Content::stored(self.source, (SOURCE_LEN - len_bytes) / 3, len_bytes);
        self.add(parent, name, metadata(0o644), Kind::File(content))
    }

    /// A file of `size_bytes` that is a hole except for runs (offset, length).
    pub(crate) fn sparse(
        &mut self,
        parent: NodeId,
        name: impl AsRef<[u8]>,
        size_bytes: u64,
        runs: &[(u64, u64)],
    ) -> NodeId {
        let source = self.source;
        let segment = |&(file_offset, len_bytes)| Segment { file_offset, source, source_offset: 77, len_bytes };
        let content = Content::sparse(size_bytes, runs.iter().map(segment).collect()).unwrap();
        self.add(parent, name, metadata(0o644), Kind::File(content))
    }
}

pub(crate) fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 3, gid: 70_000, mtime: time(1_700_000_000, 123_456_789), ..Metadata::default() }
}

pub(crate) fn time(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp { seconds, nanoseconds }
}

/// The attribute of an access control list: (tag, permissions, id).
pub(crate) fn acl(entries: &[(u16, u16, u32)]) -> Box<[u8]> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value.into()
}

/// User 1000 may read, group and others may not.
pub(crate) fn acl_for_user_1000() -> Box<[u8]> {
    const NONE: u32 = u32::MAX;
    acl(&[(1, 7, NONE), (2, 5, 1000), (4, 0, NONE), (8, 4, 2000), (0x10, 7, NONE), (0x20, 0, NONE)])
}

fn root_directory(builder: &mut Builder, name: &str) -> NodeId {
    builder.directory(Tree::ROOT, name)
}

/// Sizes around every boundary.
pub(crate) fn sizes(b: &mut Builder) {
    let d = root_directory(b, "sizes");
    for len in [0, 1, 59, 60, 155, 156, 4095, 4096, 4097, 65_536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000] {
        b.file(d, len.to_string(), len);
    }
}

/// Link targets that are in the inode and in a block.
pub(crate) fn symlinks(b: &mut Builder) {
    let d = root_directory(b, "symlinks");
    for len in [1, 58, 59, 60, 61, 255, 1000, 4094, 4095] {
        b.add(d, len.to_string(), metadata(0o777), Kind::Symlink(target(len)));
    }
    b.add(d, "dangling", metadata(0o777), Kind::Symlink(b"../../nowhere".as_slice().into()));
}

/// A link target whose components are names: the independent reader wants that.
pub(crate) fn target(len: usize) -> Box<[u8]> {
    (1..=len).map(|at| if at % 100 == 0 { b'/' } else { b'a' }).collect()
}

/// Device numbers of both encodings, pipes, sockets.
pub(crate) fn devices(b: &mut Builder) {
    let d = root_directory(b, "devices");
    let numbers =
        [(1, 3), (8, 0), (8, 255), (8, 256), (255, 255), (256, 1), (259, 65_536), (511, 1_048_575), (4095, 1_048_575)];
    for (major, minor) in numbers {
        let number = DeviceNumber::new(major, minor).unwrap();
        b.add(d, format!("c{major}-{minor}"), metadata(0o600), Kind::CharDevice(number));
        b.add(d, format!("b{major}-{minor}"), metadata(0o660), Kind::BlockDevice(number));
    }
    b.add(d, "fifo", metadata(0o644), Kind::Fifo);
    b.add(d, "socket", metadata(0o755), Kind::Socket);
}

/// Hard links to files, to links and to pipes, within a directory and across.
pub(crate) fn hard_links(b: &mut Builder) {
    let d = root_directory(b, "links");
    let file = b.file(d, "a", 10_000);
    for i in 0..200 {
        b.tree.link(d, format!("l{i}").as_bytes(), file).unwrap();
    }
    b.tree.link(Tree::ROOT, b"elsewhere", file).unwrap();
    let symlink = b.add(d, "symlink", metadata(0o777), Kind::Symlink(b"a".as_slice().into()));
    b.tree.link(d, b"symlink2", symlink).unwrap();
    let fifo = b.add(d, "fifo", metadata(0o644), Kind::Fifo);
    b.tree.link(d, b"fifo2", fifo).unwrap();
}

/// Names that are hard on encodings.
pub(crate) fn names(b: &mut Builder) {
    let d = root_directory(b, "names");
    for name in [
        &[b'n'; 255][..],
        "\u{e9}".repeat(127).as_bytes(),
        b"a b\tc\nd",
        b"bad\xff\xfeutf8",
        b"back\\slash",
        b".hidden",
        b".wh.x",
    ] {
        b.file(d, name, 3);
    }
}

/// Owners and modes of every width.
pub(crate) fn owners(b: &mut Builder) {
    let d = root_directory(b, "owners");
    for id in [0, 65_535, 65_536, 100_000, 2_097_152, 4_294_967_294] {
        let metadata = Metadata { uid: id, gid: id, ..metadata(0o4755) };
        b.add(d, id.to_string(), metadata, Kind::File(Content::default()));
    }
    for mode in [0, 0o1777, 0o2775, 0o4711, 0o7777] {
        b.add(d, format!("mode{mode:o}"), metadata(mode), Kind::Directory(Default::default()));
    }
}

/// Name and value.
type Attribute = (Vec<u8>, Vec<u8>);

/// Attributes in the inode and in a block, of every prefix, on every kind of node.
pub(crate) fn xattrs(b: &mut Builder) {
    let d = root_directory(b, "xattrs");
    let long_name = [b"user.".as_slice(), &[b'n'; 250]].concat();
    let many: Vec<Attribute> =
        (0..40_u8).map(|i| (format!("user.k{i:02}").into_bytes(), vec![b'v'; i.into()])).collect();
    let cases: Vec<(&str, Vec<Attribute>)> = vec![
        ("empty", vec![(b"user.empty".to_vec(), vec![])]),
        (
            "capability",
            vec![(b"security.capability".to_vec(), b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec())],
        ),
        ("selinux", vec![(b"security.selinux".to_vec(), b"system_u:object_r:bin_t:s0\0".to_vec())]),
        (
            "three",
            vec![
                (b"trusted.t".to_vec(), b"1".to_vec()),
                (b"user.a".to_vec(), b"2".to_vec()),
                (b"security.x".to_vec(), b"3".to_vec()),
            ],
        ),
        ("long-name", vec![(long_name, b"1".to_vec())]),
        ("big", vec![(b"user.big".to_vec(), vec![b'B'; 3000])]),
        ("full", vec![(b"user.full".to_vec(), vec![b'F'; 4096 - 32 - 4 - 20])]),
        ("many", many),
    ];
    for (name, list) in cases {
        let xattrs = list.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        b.add(d, name, Metadata { xattrs, ..metadata(0o644) }, Kind::File(Content::stored(b.source, 0, 5)));
    }
    let trusted = |name: &[u8]| Metadata { xattrs: [(name.into(), vec![7; 200].into())].into(), ..metadata(0o777) };
    b.add(d, "symlink", trusted(b"trusted.l"), Kind::Symlink(b"x".as_slice().into()));
    b.add(d, "long-symlink", trusted(b"trusted.l"), Kind::Symlink(vec![b'x'; 100].into()));
    b.add(d, "fifo", trusted(b"security.f"), Kind::Fifo);
    b.add(d, "directory", trusted(b"user.d"), Kind::Directory(Default::default()));
}

/// Access control lists on a file and on a directory.
pub(crate) fn acls(b: &mut Builder) {
    let d = root_directory(b, "acls");
    let access = (b"system.posix_acl_access".as_slice().into(), acl_for_user_1000());
    let default = (b"system.posix_acl_default".as_slice().into(), acl_for_user_1000());
    let file = Metadata { xattrs: [access.clone()].into(), uid: 0, gid: 0, ..metadata(0o770) };
    b.add(d, "file", file, Kind::File(Content::stored(b.source, 0, 100)));
    let directory = Metadata { xattrs: [access, default].into(), uid: 0, gid: 0, ..metadata(0o770) };
    b.add(d, "directory", directory, Kind::Directory(Default::default()));
}

/// Holes at the start, in the middle, at the end, and everywhere; more runs than an inode holds extents.
pub(crate) fn holes(b: &mut Builder) {
    let d = root_directory(b, "holes");
    b.sparse(d, "only", 10_000_000, &[]);
    b.sparse(d, "start", 100_000, &[(90_000, 10_000)]);
    b.sparse(d, "end", 100_000, &[(0, 10)]);
    b.sparse(d, "inside-a-block", 4096, &[(0, 10), (1000, 10), (4000, 96)]);
    let runs = |count: u64| (0..count).map(|i| (i * 8192 + 100, 50)).collect::<Vec<_>>();
    for count in [4, 5, 340, 341, 1360, 1361] {
        b.sparse(d, format!("runs{count}"), count * 8192, &runs(count));
    }
    b.sparse(d, "huge", 1 << 41, &[((1 << 41) - 5000, 5000)]);
}

/// Directories inside directories.
pub(crate) fn deep(b: &mut Builder, levels: usize) {
    let mut at = root_directory(b, "deep");
    for level in 0..levels {
        at = b.directory(at, format!("d{level:02}"));
    }
    b.file(at, "leaf", 4);
}

/// Everything that an independent reader reads.
pub(crate) fn everything() -> Builder {
    let mut b = of_any_block_size();
    // Targets and attributes of up to 4 KiB, and a file that ends where blocks of 1 KiB do not reach.
    for class in [symlinks, xattrs] {
        class(&mut b);
    }
    b.sparse(Tree::ROOT, "huge", 1 << 43, &[((1 << 43) - 5000, 5000)]);
    b
}

/// What blocks of 1 KiB hold too.
pub(crate) fn of_any_block_size() -> Builder {
    let mut b = Builder::new();
    for class in [sizes, devices, hard_links, names, owners, acls, holes] {
        class(&mut b);
    }
    deep(&mut b, 60);
    b
}

/// Times of every epoch. The independent reader does not know those whose low half is negative.
pub(crate) fn times(b: &mut Builder) {
    let d = root_directory(b, "times");
    let seconds = [
        0,
        1,
        -1,
        -86_400,
        -0x8000_0000,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FFFF,
        0x1_0000_0000,
        4_102_444_800,
        10_000_000_000,
        0x3_7FFF_FFFF,
    ];
    for seconds in seconds {
        let metadata = Metadata { mtime: time(seconds, 999_999_999), ..metadata(0o644) };
        b.add(d, seconds.to_string(), metadata, Kind::Fifo);
    }
}
