//! Every class of tree: e2fsck is content and an independent reader finds the tree.

use ext4writer::{Error, Unrepresentable, layout};
use fstree::{Content, Kind, Metadata, Tree};

use crate::support::{image, image_of, sized};
use crate::trees::{self, Builder, metadata};

#[test]
fn an_empty_tree() {
    let image = image_of(&Builder::new().tree, &sized(16 << 20));
    assert_eq!((image.report.content_bytes, image.report.times_clamped), (0, 0));
}

#[test]
fn every_class_at_once() {
    let builder = trees::everything();
    image_of(&builder.tree, &sized(128 << 20));
}

#[test]
fn times_of_every_epoch() {
    let mut builder = Builder::new();
    trees::times(&mut builder);
    let written = image(&builder.tree, &sized(16 << 20));
    assert_eq!(written.report.times_clamped, 0);
}

#[test]
fn times_out_of_range_are_moved_and_counted() {
    let mut builder = Builder::new();
    for seconds in [i64::MIN, i64::MAX, -0x8000_0001, 0x3_8000_0000] {
        let metadata = Metadata { mtime: trees::time(seconds, 0), ..metadata(0o644) };
        builder.add(Tree::ROOT, seconds.to_string(), metadata, Kind::Fifo);
    }
    assert_eq!(image(&builder.tree, &sized(16 << 20)).report.times_clamped, 4);
}

#[test]
fn twenty_thousand_entries() {
    let mut builder = Builder::new();
    let d = builder.directory(Tree::ROOT, "many");
    for i in 0..20_000 {
        builder.file(d, format!("file-with-a-longish-name-{i:05}"), i % 3);
    }
    image_of(&builder.tree, &sized(256 << 20));
}

#[test]
fn a_hundred_thousand_entries_and_an_index_of_two_levels() {
    let mut builder = Builder::new();
    let d = builder.directory(Tree::ROOT, "many");
    for i in 0..100_000 {
        builder.add(d, format!("{i:050}"), metadata(0o600), Kind::Fifo);
    }
    // A root of an index lists 507 leaves of twelve entries each.
    let long = builder.directory(Tree::ROOT, "long");
    for i in 0..7_000 {
        builder.add(long, format!("{i:0255}"), metadata(0o600), Kind::Fifo);
    }
    image_of(&builder.tree, &sized(512 << 20));
}

#[test]
fn seventy_thousand_subdirectories() {
    let mut builder = Builder::new();
    let d = builder.directory(Tree::ROOT, "many");
    for i in 0..70_000 {
        builder.directory(d, i.to_string());
    }
    image(&builder.tree, &sized(1 << 30));
}

#[test]
fn exactly_as_many_subdirectories_as_the_link_count_holds() {
    for count in [64_997, 64_998, 64_999] {
        let mut builder = Builder::new();
        let d = builder.directory(Tree::ROOT, "many");
        for i in 0..count {
            builder.directory(d, i.to_string());
        }
        image(&builder.tree, &sized(1 << 30));
    }
}

#[test]
fn depth_beyond_any_path() {
    let mut builder = Builder::new();
    trees::deep(&mut builder, 3_000);
    image_of(&builder.tree, &sized(64 << 20));
}

#[test]
fn hard_links_up_to_the_limit_and_not_beyond() {
    let mut builder = Builder::new();
    let d = builder.directory(Tree::ROOT, "d");
    let file = builder.file(d, "0", 1);
    for i in 1..65_000 {
        builder.tree.link(d, i.to_string().as_bytes(), file).unwrap();
    }
    image(&builder.tree, &sized(64 << 20));
    builder.tree.link(Tree::ROOT, b"one-more", file).unwrap();
    let error = layout(&builder.tree, &sized(64 << 20)).unwrap_err();
    assert_eq!(error.to_string(), "'d/0': it has 65001 hard links; ext4 allows 65,000");
}

#[test]
fn a_lost_and_found_of_the_tree_is_kept() {
    let mut builder = Builder::new();
    let d = builder.add(Tree::ROOT, "lost+found", metadata(0o711), Kind::Directory(Default::default()));
    builder.file(d, "kept", 5);
    let elsewhere = builder.directory(Tree::ROOT, "d");
    builder.file(elsewhere, "lost+found", 5);
    image_of(&builder.tree, &sized(16 << 20));
    let mut builder = Builder::new();
    builder.file(Tree::ROOT, "lost+found", 5);
    let error = layout(&builder.tree, &sized(16 << 20)).unwrap_err();
    assert_eq!(error.to_string(), "'lost+found': it has to be a directory");
}

#[test]
fn what_ext4_cannot_hold_is_refused_with_its_path() {
    let refused = |kind: Kind, metadata: Metadata| {
        let mut builder = Builder::new();
        let d = builder.directory(Tree::ROOT, "d");
        builder.add(d, "f", metadata, kind);
        match layout(&builder.tree, &sized(16 << 20)).unwrap_err() {
            Error::Unrepresentable { path, why } => {
                assert_eq!(path, b"d/f");
                why
            }
            other => panic!("{other}"),
        }
    };
    let with = |name: &[u8], value: &[u8]| Metadata { xattrs: [(name.into(), value.into())].into(), ..metadata(0o644) };
    let too_large = Kind::File(Content::sparse(0xFFFF_FFFF * 4096 + 1, vec![]).unwrap());
    assert!(matches!(refused(too_large, metadata(0)), Unrepresentable::FileSize { .. }));
    // Names have to be in the block, wherever the values are.
    let names = (0..20).map(|number| (format!("user.{number:0250}").into_bytes().into(), [7; 40].as_slice().into()));
    let too_many = Metadata { xattrs: names.collect(), ..metadata(0o644) };
    assert!(matches!(refused(Kind::Fifo, too_many), Unrepresentable::XattrSize { .. }));
    assert!(matches!(
        refused(Kind::Fifo, with(b"system.posix_acl_access", b"\x01\0\0\0")),
        Unrepresentable::Acl { .. }
    ));
    for target in [&[b'a'; 4096][..], b"", b"a\0b"] {
        let why = refused(Kind::Symlink(target.into()), metadata(0o777));
        assert!(matches!(why, Unrepresentable::SymlinkTarget { .. }));
    }
}

#[test]
fn attributes_that_linux_does_not_have_are_left_out_and_counted() {
    let mut builder = Builder::new();
    let xattrs =
        [b"com.apple.quarantine".as_slice(), b"system.nfs4_acl"].map(|name| (name.into(), [1].as_slice().into()));
    builder.add(Tree::ROOT, "f", Metadata { xattrs: xattrs.into(), ..metadata(0o644) }, Kind::Fifo);
    assert_eq!(image(&builder.tree, &sized(16 << 20)).report.xattrs_skipped, 2);
}

#[test]
fn the_largest_file_size_is_allowed() {
    let mut builder = Builder::new();
    builder.sparse(Tree::ROOT, "f", 0xFFFF_FFFF * 4096, &[(0xFFFF_FFFE * 4096, 4096)]);
    image(&builder.tree, &sized(16 << 20));
}

#[test]
fn inodes_of_the_same_attributes_share_a_block() {
    let mut builder = Builder::new();
    let with = |value: u8| {
        let xattrs = [(b"user.long"[..].into(), vec![value; 500].into()), (b"user.a"[..].into(), vec![1; 90].into())];
        Metadata { xattrs: xattrs.into(), ..metadata(0o644) }
    };
    for i in 0..2_500 {
        builder.add(Tree::ROOT, format!("same{i}"), with(7), Kind::Fifo);
    }
    builder.add(Tree::ROOT, "other", with(8), Kind::Fifo);
    let shared = image(&builder.tree, &sized(64 << 20)).report;
    let mut plain = Builder::new();
    for i in 0..2_500 {
        plain.add(Tree::ROOT, format!("same{i}"), metadata(0o644), Kind::Fifo);
    }
    plain.add(Tree::ROOT, "other", metadata(0o644), Kind::Fifo);
    let without = image(&plain.tree, &sized(64 << 20)).report;
    // 1,024 inodes can have one block: three blocks for 2,500, and one for the other.
    assert_eq!(without.free_bytes - shared.free_bytes, 4 * 4096);
}
