//! The number of threads does not show.

use ext4writer::{Memory, Options, WriteAt, write_image, write_to};
use fstree::Tree;
use sha2::{Digest, Sha256};

use crate::support::sized;
use crate::trees;

fn bytes(tree: &Tree, options: &Options) -> Vec<u8> {
    let sink = Memory::default();
    write_to(tree, options, &sink).unwrap();
    sink.into_bytes()
}

#[test]
fn one_thread_and_many_give_the_same_bytes() {
    let mut builder = trees::everything();
    for i in 0..3_000 {
        builder.file(Tree::ROOT, format!("f{i}"), i * 17 % 20_000);
    }
    let with = |threads| bytes(&builder.tree, &Options { threads: Some(threads), ..sized(200 << 20) });
    let one = with(1);
    for threads in [0, 2, 4, 13] {
        assert!(with(threads) == one, "{threads} threads give other bytes");
    }
}

#[test]
fn a_file_that_was_not_empty_gives_the_same_bytes() {
    let builder = trees::everything();
    let options = sized(100 << 20);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&vec![0xA5; 120 << 20], 0).unwrap();
    write_to(&builder.tree, &options, &file).unwrap();
    let mut found = vec![0; 100 << 20];
    fstree::ReadAt::read_exact_at(&file, &mut found, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 100 << 20);
    assert!(found == bytes(&builder.tree, &options));
}

#[test]
fn the_digest_is_that_of_the_image() {
    let builder = trees::everything();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for (durable, digest) in [(true, true), (false, true), (true, false)] {
        let options = Options { durable, digest, ..sized((70 << 20) + 1) };
        let report = write_image(&builder.tree, &options, &path).unwrap();
        let expected: [u8; 32] = Sha256::digest(std::fs::read(&path).unwrap()).into();
        assert_eq!(report.digest, digest.then_some(expected));
    }
}
