//! Every option with every other over odd sizes: each image is clean to e2fsck and to the reader of our own.

use std::fs::File;
use std::num::NonZeroU32;

use ext4writer::{BlockSize, Error, Features, ImageSize, InodeTables, Inodes, Journal, Layout, Options, write_image};
use fstree::Tree;

use crate::support::fsck;
use crate::trees::{self, Builder};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// An empty tree, a small one, and one of everything that the blocks hold.
fn trees(block_size: BlockSize) -> [Tree; 3] {
    let mut some = Builder::new();
    trees::names(&mut some);
    some.file(Tree::ROOT, "f", 300_000);
    some.sparse(Tree::ROOT, "holes", 10 << 20, &[(0, 1), (4_095, 2), (70_000, 5_000), (9 << 20, 4_096)]);
    let mut everything = if block_size == BlockSize::Kib4 { trees::everything() } else { trees::of_any_block_size() };
    for i in 0..4_000 {
        everything.file(Tree::ROOT, format!("file-{i:040}"), i % 3);
    }
    [Tree::new(trees::metadata(0o755)), some.tree, everything.tree]
}

/// The features that the trees here can do without, alone and together.
fn features() -> [Features; 8] {
    let without = [
        Features::empty(),
        Features::BIT64,
        Features::FLEX_BG,
        Features::METADATA_CSUM | Features::METADATA_CSUM_SEED,
        Features::DIR_INDEX | Features::FILETYPE,
        Features::SPARSE_SUPER,
        Features::METADATA_CSUM_SEED | Features::EXTRA_ISIZE | Features::DIR_NLINK,
        Features::default() - (Features::EXT_ATTR | Features::LARGE_FILE | Features::HUGE_FILE),
    ];
    without.map(|without| Features::default() - without)
}

fn variants() -> Vec<Options> {
    let journals = [Journal::Auto, Journal::None, Journal::Blocks(1_024), Journal::Blocks(1_500)];
    let inodes = [
        Inodes::BytesPerInode(NonZeroU32::new(16_384).unwrap()),
        Inodes::BytesPerInode(NonZeroU32::new(1_024).unwrap()),
        Inodes::BytesPerInode(NonZeroU32::MAX),
        Inodes::Exact(5_000),
    ];
    let mut all = Vec::new();
    for (number, (journal, inodes)) in journals.into_iter().flat_map(|j| inodes.map(|i| (j, i))).enumerate() {
        let features = features()[number % 8];
        let has_checksums = features.contains(Features::METADATA_CSUM);
        all.push(Options {
            journal,
            inodes,
            grow_factor: if features.contains(Features::SPARSE_SUPER) { [1_024, 0, 3][number % 3] } else { 0 },
            features: if journal == Journal::None { features } else { features | Features::ORPHAN_FILE },
            inode_tables: match number % 3 {
                0 => InodeTables::Full,
                1 if has_checksums => InodeTables::Lazy,
                _ => InodeTables::Sparse,
            },
            reserved_blocks: [0, 7][number % 2],
            read_only: number % 5 == 0,
            label: ["", "rootfs"][number % 2].to_owned(),
            ..Options::default()
        });
    }
    all
}

#[test]
fn every_image_is_clean() {
    let mib = [(5, 4_097), (17, 0), (33, 511), (65, 4_096), (129, 512), (257, 1), (300, 9)];
    let larger = mib.map(|(mib, bytes)| mib * MIB + bytes);
    let sizes: Vec<u64> = [64 * KIB, 100 * KIB, MIB + 1].into_iter().chain(larger).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let (mut written, mut too_small) = (0, 0);
    let trees = BlockSize::ALL.map(trees);
    for (kind, name) in ["empty", "small", "everything"].into_iter().enumerate() {
        for (chosen, options) in variants().into_iter().enumerate() {
            for (number, &size) in sizes.iter().enumerate() {
                // Every size of blocks with every option, and with every size of an image as the options go on.
                let at = (number + chosen) % 3;
                let (block_size, tree) = (BlockSize::ALL[at], &trees[at][kind]);
                let options = Options { size: ImageSize::Exact(size), block_size, ..options.clone() };
                let shown = || format!("{name}, {size} bytes, {options:?}");
                match write_image(tree, &options, &path) {
                    Ok(report) => assert_eq!(report.image_bytes, size, "{}", shown()),
                    Err(Error::NoSpace { needed_bytes, .. }) => {
                        assert!(needed_bytes > size, "{}", shown());
                        too_small += 1;
                        continue;
                    }
                    Err(error) => panic!("{}: {error}", shown()),
                }
                written += 1;
                fsck("-fn", &path);
                let image = File::open(&path).unwrap();
                let report = ext4verify::verify(&image, size).unwrap();
                let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
                assert!(report.is_clean(), "{}: {findings:#?}", shown());
            }
        }
    }
    assert!(written > 200 && too_small > 20, "{written} images, {too_small} too small");
}

#[test]
fn equal_trees_give_equal_images_and_others_have_another_identity() {
    let build = |turned: bool| {
        let mut builder = Builder::new();
        let mut names = ["a", "b", "c", "d"];
        if turned {
            names.reverse();
        }
        for name in names {
            builder.file(Tree::ROOT, name, 1_000);
        }
        let d = builder.tree.lookup(Tree::ROOT, b"d").unwrap();
        builder.tree.link(Tree::ROOT, b"e", d).unwrap();
        builder.tree
    };
    let bytes = |tree: &Tree| {
        let sink = ext4writer::Memory::default();
        ext4writer::write_to(tree, &crate::support::sized(MIB), &sink).unwrap();
        sink.into_bytes()
    };
    let (one, other) = (bytes(&build(false)), bytes(&build(true)));
    assert!(one == other, "the order in which a tree is made does not show");
    let mut changed = build(false);
    let a = changed.lookup(Tree::ROOT, b"a").unwrap();
    changed.metadata_mut(a).mode = 0o600;
    let uuid = |image: &[u8]| image[1_024 + 0x68..1_024 + 0x78].to_vec();
    assert_ne!(uuid(&bytes(&changed)), uuid(&one));
    assert_eq!(uuid(&one)[6] >> 4, 8, "a UUID of version 8");
}

#[test]
fn the_smallest_image_is_smaller_than_64_kib() {
    let empty = Tree::new(trees::metadata(0o755));
    let options = Options { size: ImageSize::Exact(0), ..Options::default() };
    assert!(Layout::minimum_size(&empty, &options).unwrap() <= 64 * KIB);
}
