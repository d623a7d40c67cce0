//! Sizes of images: every one from 1 MiB on, exact, and the smallest that does.

use std::os::unix::fs::MetadataExt;

use ext4writer::{BlockSize, Error, ImageSize, Inodes, Journal, Layout, Options, layout};
use fstree::{Content, Kind, Segment, Tree};

use crate::support::{check, fsck, image, image_of, sized};
use crate::trees::{self, Builder, metadata};

const MIB: u64 = 1 << 20;
const GROUP: u64 = 128 * MIB;

fn small() -> Builder {
    let mut builder = Builder::new();
    trees::symlinks(&mut builder);
    trees::names(&mut builder);
    builder.file(Tree::ROOT, "f", 300_000);
    builder
}

#[test]
fn sizes_from_one_mib_to_beyond_a_group() {
    let builder = small();
    let odd = [MIB, MIB + 1, MIB + 4095, 2 * MIB, 3 * MIB + 512, 8 * MIB - 4096, 8 * MIB, 8 * MIB + 4096, 63 * MIB + 7];
    let around_groups =
        [GROUP - 4096, GROUP, GROUP + 4096, GROUP + 40_960, GROUP + 5 * MIB, 2 * GROUP + 4096, 3 * GROUP + 8192];
    for size in odd.into_iter().chain(around_groups) {
        let image = image_of(&builder.tree, &sized(size));
        assert_eq!(image.report.image_bytes, size);
        assert!(image.report.file_system_bytes <= size && image.report.file_system_bytes + 8 * MIB > size);
        assert_eq!(image.report.journal_bytes > 0, size >= 8 * MIB, "{size}");
    }
}

#[test]
fn sizes_around_a_flex_group_and_up_to_64_gib() {
    let builder = small();
    let flex = 16 * GROUP;
    let gib = 1 << 30;
    for size in [
        flex - 4096,
        flex,
        flex + 4096,
        flex + 10 * MIB,
        flex + 100 * MIB,
        flex + GROUP + 4096,
        4 * gib,
        64 * gib,
        65 * gib + 12_345,
    ] {
        let image = image_of(&builder.tree, &sized(size));
        let allocated = std::fs::metadata(&image.path).unwrap().blocks() * 512;
        assert!(allocated < 24 * MIB, "an image of {size} bytes takes {allocated} on disk");
    }
}

#[test]
fn the_smallest_image_works_and_one_block_less_does_not() {
    let mut cases: Vec<(Builder, Options)> = vec![
        (Builder::new(), Options::default()),
        (small(), Options::default()),
        (trees::everything(), Options::default()),
        (small(), Options { journal: Journal::None, grow_factor: 0, ..Options::default() }),
        (small(), Options { inodes: Inodes::Exact(5_000), ..Options::default() }),
    ];
    // As much content as brings the end to each side of a group.
    for files in [29, 30, 31, 32, 33] {
        let mut builder = Builder::new();
        for i in 0..files {
            builder.file(Tree::ROOT, i.to_string(), 4 * MIB);
        }
        cases.push((builder, Options::default()));
    }
    let mut inodes = Builder::new();
    for i in 0..50_000 {
        inodes.add(Tree::ROOT, i.to_string(), metadata(0o644), Kind::Fifo);
    }
    cases.push((inodes, Options::default()));
    for block_size in [BlockSize::Kib1, BlockSize::Kib2] {
        for journal in [Journal::Auto, Journal::None] {
            cases.push((trees::of_any_block_size(), Options { block_size, journal, ..Options::default() }));
        }
        let mut files = Builder::new();
        for i in 0..9 {
            files.file(Tree::ROOT, i.to_string(), MIB);
        }
        cases.push((files, Options { block_size, ..Options::default() }));
    }
    for (builder, options) in cases {
        let block = options.block_size.bytes();
        let options = Options { size: ImageSize::Exact(0), ..options };
        let size = Layout::minimum_size(&builder.tree, &options).unwrap();
        image(&builder.tree, &Options { size: ImageSize::Exact(size), ..options.clone() });
        let less = Options { size: ImageSize::Exact(size - block), ..options.clone() };
        match layout(&builder.tree, &less).unwrap_err() {
            Error::NoSpace { size_bytes, needed_bytes, blocks, block_bytes, inodes } => {
                assert_eq!((size_bytes, needed_bytes, block_bytes), (size - block, size, block));
                assert!(blocks * block <= size && inodes >= 11, "{blocks} blocks, {inodes} inodes");
            }
            other => panic!("{other}"),
        }
        // Nor does anything else that is smaller.
        for size in (1..20).map(|i| size * i / 20) {
            let options = Options { size: ImageSize::Exact(size), ..options.clone() };
            assert!(layout(&builder.tree, &options).is_err(), "{size}");
        }
    }
}

#[test]
fn headroom_is_free_afterwards() {
    let builder = small();
    for headroom_bytes in [0, 1, 10 * MIB, 200 * MIB] {
        let options = Options { size: ImageSize::Auto { headroom_bytes }, ..Options::default() };
        let image = image_of(&builder.tree, &options);
        assert!(image.report.free_bytes >= headroom_bytes);
        assert!(image.report.free_bytes < headroom_bytes + MIB, "{}", image.report.free_bytes);
    }
}

#[test]
fn options_have_their_effect() {
    let builder = small();
    let base = sized(64 * MIB);
    for options in [
        Options { journal: Journal::None, ..base.clone() },
        Options { grow_factor: 0, ..base.clone() },
        Options { reserved_blocks: 500, ..base.clone() },
        Options { inodes: Inodes::Exact(100), ..base.clone() },
        Options { inodes: Inodes::BytesPerInode(1024.try_into().unwrap()), ..base.clone() },
        Options { label: "sixteen letters!".into(), uuid: Some([9; 16]), hash_seed: Some([0; 16]), ..base.clone() },
        Options { time: Some(trees::time(1_750_000_000, 5)), ..base.clone() },
    ] {
        let image = image_of(&builder.tree, &options);
        assert_eq!(image.report.journal_bytes == 0, options.journal == Journal::None);
        if let Inodes::Exact(inodes) = options.inodes {
            assert!((inodes..inodes + 16).contains(&image.report.inodes));
        }
    }
}

#[test]
fn options_that_no_file_system_can_have_are_refused() {
    let builder = small();
    let base = sized(64 * MIB);
    for options in [
        Options { uuid: Some([0; 16]), ..base.clone() },
        Options { journal: Journal::Blocks(1_023), ..base.clone() },
        Options { journal: Journal::Blocks(10_240_001), ..base.clone() },
        Options { label: "seventeen letters".into(), ..base.clone() },
        Options { label: "a\0".into(), ..base.clone() },
        Options { time: Some(trees::time(-1, 0)), ..base.clone() },
        Options { time: Some(trees::time(1 << 40, 0)), ..base.clone() },
    ] {
        assert!(matches!(layout(&builder.tree, &options), Err(Error::Option { .. })));
    }
    let few = Options { inodes: Inodes::Exact(20), ..base.clone() };
    assert!(matches!(layout(&builder.tree, &few), Err(Error::NotEnoughInodes { asked: 20, .. })));
    assert!(matches!(layout(&builder.tree, &sized(1 << 45)), Err(Error::TooLarge { .. })));
    let half = Options { reserved_blocks: u64::MAX, ..base };
    assert!(matches!(layout(&builder.tree, &half), Err(Error::TooLarge { .. })));
}

#[test]
fn more_content_than_four_extents_and_files_across_groups() {
    // Contents that repeat: what matters is where they go.
    let mut builder = Builder::new();
    let source = builder.source;
    let piece = trees::SOURCE_LEN;
    for (name, size) in [("a", 700 * MIB), ("b", 3 * MIB), ("c", 200 * MIB)] {
        let run = |at| Segment { file_offset: at, source, source_offset: 0, len_bytes: piece.min(size - at) };
        let segments = (0..size).step_by(usize::try_from(piece).unwrap()).map(run).collect();
        let content = Content::sparse(size, segments).unwrap();
        builder.add(Tree::ROOT, name, metadata(0o644), Kind::File(content));
    }
    let image = image_of(&builder.tree, &sized(1 << 30));
    check(&image);
    assert_eq!(image.report.content_bytes, 903 * MIB);
}

#[test]
fn a_copy_gets_another_uuid_by_a_change_of_the_superblock_alone() {
    let image = image(&trees::everything().tree, &sized(64 << 20));
    let before = std::fs::read(&image.path).unwrap();
    let uuid = "0c5a2e4d-7b61-4138-9e40-526f6f746673";
    let changed = std::process::Command::new("tune2fs").args(["-U", uuid]).arg(&image.path).output();
    let changed = changed.expect("tune2fs of e2fsprogs is installed");
    assert!(changed.status.success(), "{changed:?}");
    fsck("-fn", &image.path);
    let after = std::fs::read(&image.path).unwrap();
    let differs = |block: usize| before[block * 4096..][..4096] != after[block * 4096..][..4096];
    let blocks: Vec<usize> = (0..before.len() / 4096).filter(|&block| differs(block)).collect();
    assert!(blocks.contains(&0), "the UUID was not changed");
    // The superblock's backups are at the start of groups.
    assert!(blocks.iter().all(|block| block % 32_768 == 0), "{blocks:?}");
}
