//! Small random trees: e2fsck is content, an independent reader finds the tree, and the smallest image is the smallest.

use std::num::NonZeroU32;

use ext4writer::{BlockSize, Error, Features, ImageSize, InodeTables, Inodes, Journal, Layout, Options, layout};
use fstree::{Content, DeviceNumber, Kind, Metadata, NodeId, Tree};
use proptest::prelude::*;

use crate::kernel;
use crate::support::{image_of, read_back, verify};
use crate::trees::{Builder, SOURCE_LEN, target, time};

/// One step of making a tree; numbers choose among the directories and nodes there are.
#[derive(Clone, Debug)]
enum Step {
    Directory(usize),
    File(usize, u64),
    Sparse(usize, Vec<(u64, u64)>),
    Symlink(usize, usize),
    Device(usize, u32, u32),
    Link(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = || any::<usize>();
    let runs = proptest::collection::vec((0_u64..20_000, 1_u64..20_000), 0..12);
    prop_oneof![
        3 => any().prop_map(Step::Directory),
        6 => (any(), prop_oneof![0_u64..10_000, 0_u64..400_000]).prop_map(|(d, len)| Step::File(d, len)),
        2 => (any(), runs).prop_map(|(d, runs)| Step::Sparse(d, runs)),
        2 => (any(), 1_usize..4096).prop_map(|(d, len)| Step::Symlink(d, len)),
        1 => (any(), 0_u32..4096, 0_u32..1 << 20).prop_map(|(d, major, minor)| Step::Device(d, major, minor)),
        2 => (any(), any()).prop_map(|(d, node)| Step::Link(d, node)),
    ]
}

prop_compose! {
    fn metadata()(
        mode in 0_u16..0o10000,
        (uid, gid) in (0..u32::MAX, 0..u32::MAX),
        (seconds, nanoseconds) in (0_i64..0x7FFF_FFFF, 0_u32..1_000_000_000),
        xattrs in proptest::collection::btree_map("(user|trusted|security)\\.[a-z]{1,40}", proptest::collection::vec(any::<u8>(), 0..300), 0..4),
    ) -> Metadata {
        let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes().into(), value.into())).collect();
        Metadata { mode, uid, gid, mtime: time(seconds, nanoseconds), xattrs }
    }
}

fn build(steps: Vec<(Step, Metadata, Vec<u8>)>) -> Builder {
    let mut b = Builder::new();
    let mut directories: Vec<NodeId> = vec![Tree::ROOT];
    let mut others: Vec<NodeId> = Vec::new();
    for (number, (step, metadata, name)) in steps.into_iter().enumerate() {
        // The number keeps names apart, so that nothing is replaced.
        let name = [name, number.to_string().into_bytes()].concat();
        let pick = |choice: usize| directories[choice % directories.len()];
        let (parent, kind) = match step {
            Step::Directory(d) => {
                let d = b.add(pick(d), name, metadata, Kind::Directory(Default::default()));
                directories.push(d);
                continue;
            }
            Step::Link(d, node) => {
                if let Some(&target) = others.get(node % others.len().max(1)) {
                    b.tree.link(pick(d), &name, target).unwrap();
                }
                continue;
            }
            Step::File(d, len) => (pick(d), Kind::File(Content::stored(b.source, SOURCE_LEN - len, len))),
            Step::Sparse(d, gaps) => {
                let mut end = 0;
                let mut place = |(gap, len)| {
                    let start = end + gap;
                    end = start + len;
                    (start, len)
                };
                let runs: Vec<_> = gaps.into_iter().map(&mut place).collect();
                let id = b.sparse(pick(d), name, end + 1000, &runs);
                others.push(id);
                continue;
            }
            Step::Symlink(d, len) => (pick(d), Kind::Symlink(target(len))),
            Step::Device(d, major, minor) => (pick(d), Kind::CharDevice(DeviceNumber::new(major, minor).unwrap())),
        };
        others.push(b.add(parent, name, metadata, kind));
    }
    b
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>().prop_filter("no name", |byte| !matches!(byte, 0 | b'/')), 1..200)
}

/// What may be typed for a file system, all of it.
fn options() -> impl Strategy<Value = Options> {
    let journal = prop_oneof![
        3 => Just(Journal::Auto),
        1 => Just(Journal::None),
        1 => (1_024_u32..3_000).prop_map(Journal::Blocks),
    ];
    let inodes = prop_oneof![
        (1_024_u32..100_000).prop_map(|bytes| Inodes::BytesPerInode(NonZeroU32::new(bytes).unwrap())),
        (200_u32..20_000).prop_map(Inodes::Exact),
    ];
    let tables = prop_oneof![Just(InodeTables::Sparse), Just(InodeTables::Lazy), Just(InodeTables::Full)];
    // Each feature is there more often than not.
    let features = (0..=Features::all().bits(), 0..=Features::all().bits());
    let features = features.prop_map(|(some, others)| Features::from_bits_retain(some | others));
    let chosen = (0_usize..3, journal, inodes, tables, features, 0_u32..2_000, any::<[bool; 2]>());
    let named = (any::<[u8; 16]>(), any::<[u8; 16]>(), "[a-z]{0,16}", 0_i64..1_700_000_000, 0_u64..200);
    (chosen, named).prop_map(|((block, journal, inodes, inode_tables, features, grow_factor, flags), named)| {
        let (uuid, hash_seed, label, seconds, reserved_blocks) = named;
        Options {
            block_size: BlockSize::ALL[block],
            uuid: Some(uuid).filter(|uuid| *uuid != [0; 16]),
            hash_seed: Some(hash_seed),
            label,
            time: Some(time(seconds, 7)),
            inodes,
            reserved_blocks,
            journal,
            inode_tables,
            features,
            read_only: flags[0],
            grow_factor: if flags[1] { grow_factor } else { 0 },
            threads: Some(2),
            ..Options::default()
        }
    })
}

/// Without what an error says that contradicts the rest.
fn without_contradictions(mut options: Options) -> Options {
    if !options.features.contains(Features::METADATA_CSUM) {
        options.features -= Features::METADATA_CSUM_SEED;
        if options.inode_tables == InodeTables::Lazy {
            options.inode_tables = InodeTables::Sparse;
        }
    }
    if options.journal == Journal::None {
        options.features -= Features::ORPHAN_FILE;
    }
    if !options.features.contains(Features::SPARSE_SUPER | Features::LARGE_FILE) {
        options.grow_factor = 0;
    }
    options
}

/// Whether a tree can do without a feature; here it is attributes alone that not every file system has.
fn has_xattrs(tree: &Tree) -> bool {
    fstree::walk(tree, |visit| if visit.node.metadata.xattrs.is_empty() { Ok(()) } else { Err(()) }).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees(steps in proptest::collection::vec((step(), metadata(), name()), 0..120), headroom_bytes in 0_u64..2_000_000) {
        let builder = build(steps);
        let options = Options { size: ImageSize::Auto { headroom_bytes }, ..Options::default() };
        image_of(&builder.tree, &options);

        let exact = |bytes| Options { size: ImageSize::Exact(bytes), ..Options::default() };
        let size = Layout::minimum_size(&builder.tree, &exact(0)).unwrap();
        image_of(&builder.tree, &exact(size));
        for less in (1..40).take_while(|less| less * 4096 < size) {
            let refused = layout(&builder.tree, &exact(size - less * 4096));
            prop_assert!(matches!(refused, Err(Error::NoSpace { .. })), "{} blocks less work, too", less);
        }
    }
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(24)) })]

    #[test]
    fn random_trees_with_any_options(
        steps in proptest::collection::vec((step(), metadata(), name()), 0..60),
        large in proptest::collection::vec((any::<usize>(), 0_usize..65_537), 0..4),
        options in options(),
        more in 0_u64..30_000_000,
    ) {
        let mut builder = of_the_kernel(build(steps), &large);
        let options = without_contradictions(options);
        assert!(!layout(&builder.tree, &options).is_err_and(|error| matches!(error, Error::Option { .. })));
        if !options.features.contains(Features::EXT_ATTR) && has_xattrs(&builder.tree) {
            let refused = layout(&builder.tree, &options).unwrap_err();
            assert!(matches!(refused, Error::Unrepresentable { .. }), "{}", refused);
            builder = without_xattrs(builder);
        }
        let exact = |bytes| Options { size: ImageSize::Exact(bytes), ..options.clone() };
        let Ok(size) = Layout::minimum_size(&builder.tree, &exact(0)) else {
            // A link that no block of 1 KiB holds, or too few inodes.
            assert!(matches!(
                layout(&builder.tree, &exact(1 << 30)),
                Err(Error::Unrepresentable { .. } | Error::NotEnoughInodes { .. })
            ));
            return Ok(());
        };
        let less = layout(&builder.tree, &exact(size - options.block_size.bytes()));
        assert!(matches!(less, Err(Error::NoSpace { needed_bytes, .. }) if needed_bytes == size));
        for size in [size, size + more] {
            match layout(&builder.tree, &exact(size)) {
                // A larger image may need more for itself.
                Err(Error::NoSpace { needed_bytes, .. }) => assert!(needed_bytes > size),
                layout => drop(layout.unwrap()),
            }
            let Ok(_) = layout(&builder.tree, &exact(size)) else { continue };
            let image = crate::support::image(&builder.tree, &exact(size));
            verify(&image.path);
            if is_known_to_view(&image.path) {
                read_back(&builder.tree, &image.path);
            }
            kernel::compare_mounted(&builder.tree, &image);
        }
    }
}

/// A tree as the kernel makes it: `user.` is for files and directories alone. Some nodes get attributes of such lengths.
fn of_the_kernel(mut builder: Builder, large: &[(usize, usize)]) -> Builder {
    let nodes = nodes(&builder.tree);
    for &id in &nodes {
        if !matches!(builder.tree.node(id).kind, Kind::File(_) | Kind::Directory(_)) {
            builder.tree.metadata_mut(id).xattrs.retain(|name, _| !name.starts_with(b"user."));
        }
    }
    for &(node, len) in large {
        let xattrs = &mut builder.tree.metadata_mut(nodes[node % nodes.len()]).xattrs;
        xattrs.insert(b"trusted.large".as_slice().into(), vec![7; len].into());
    }
    builder
}

/// Whether the independent reader takes the features of an image (`ext4-view` 1.0: not `ea_inode`, and never without `filetype`).
fn is_known_to_view(image: &std::path::Path) -> bool {
    let mut incompat = [0; 4];
    let file = std::fs::File::open(image).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut incompat, 1_024 + 0x60).unwrap();
    u32::from_le_bytes(incompat) & (0x400 | 0x2) == 0x2
}

fn nodes(tree: &Tree) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    let done: Result<(), ()> = fstree::walk(tree, |visit| {
        nodes.push(visit.id);
        Ok(())
    });
    done.unwrap();
    nodes
}

fn without_xattrs(mut builder: Builder) -> Builder {
    for id in nodes(&builder.tree) {
        builder.tree.metadata_mut(id).xattrs.clear();
    }
    builder
}

/// How many cases: as many as the environment says.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}
