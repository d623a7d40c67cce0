//! Small random trees: e2fsck is content, an independent reader finds the tree, and the smallest image is the smallest.

use ext4writer::{Error, ImageSize, Options, layout, required_size};
use fstree::{Content, DeviceNumber, Kind, Metadata, NodeId, Tree};
use proptest::prelude::*;

use crate::support::image_of;
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees(steps in proptest::collection::vec((step(), metadata(), name()), 0..120), headroom_bytes in 0_u64..2_000_000) {
        let builder = build(steps);
        let options = Options { size: ImageSize::Auto { headroom_bytes }, ..Options::default() };
        image_of(&builder.tree, &options);

        let exact = |bytes| Options { size: ImageSize::Exact(bytes), ..Options::default() };
        let size = required_size(&builder.tree, &exact(0)).unwrap();
        image_of(&builder.tree, &exact(size));
        for less in (1..40).take_while(|less| less * 4096 < size) {
            let refused = layout(&builder.tree, &exact(size - less * 4096));
            prop_assert!(matches!(refused, Err(Error::NoSpace { .. })), "{} blocks less work, too", less);
        }
    }
}
