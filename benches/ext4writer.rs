//! A tree to an ext4 image, beside a plain copy of the same bytes in the same run.
//!
//! The input `rootfs-256m` is made here: 8,000 files of the sizes that a root file system has (most of a few KiB, a few of
//! many MiB) in 400 directories, 256 MiB in all, in one source file as a layer is.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ext4writer::{ImageSize, Options, layout, write_image};
use fstree::{Content, Kind, Metadata, Node, SourceId, Tree};

const FILES: u64 = 8_000;
const DIRECTORIES: u64 = 400;
const CONTENT_BYTES: u64 = 256 << 20;

/// Nine of ten files are small; the tenth has what is left.
fn file_bytes(number: u64) -> u64 {
    let small = FILES - FILES / 10;
    let small_bytes = |number: u64| 200 + number * 7919 % 16_000;
    if number % 10 != 9 {
        return small_bytes(number);
    }
    let taken: u64 = (0..FILES).filter(|number| number % 10 != 9).map(small_bytes).sum();
    (CONTENT_BYTES - taken) / (FILES - small)
}

fn rootfs(source: File) -> Tree {
    let metadata = |mode| Metadata { mode, ..Metadata::default() };
    let mut tree = Tree::new(metadata(0o755));
    let source: SourceId = tree.sources.add(Arc::new(source));
    let directory = |number: u64| format!("directory-{number}").into_bytes();
    let directories: Vec<_> = (0..DIRECTORIES)
        .map(|number| {
            tree.insert(Tree::ROOT, &directory(number), Node::directory(metadata(0o755))).expect("a new name")
        })
        .collect();
    let large = file_bytes(9);
    let mut offset = 0;
    for (number, parent) in (0..FILES).zip(directories.iter().cycle()) {
        let len_bytes = if number % 10 == 9 { large } else { file_bytes(number) };
        let kind = Kind::File(Content::stored(source, offset, len_bytes));
        let name = format!("file-{number}").into_bytes();
        tree.insert(*parent, &name, Node { metadata: metadata(0o644), kind }).expect("a new name");
        offset += len_bytes;
    }
    tree
}

fn source(path: &Path) -> File {
    let mut file = File::create(path).expect("a file in a temporary directory");
    let piece: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    for _ in 0..=CONTENT_BYTES >> 20 {
        file.write_all(&piece).expect("room for the input");
    }
    File::open(path).expect("what was just written")
}

fn images(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = directory.path().join("input");
    let tree = rootfs(source(&input));
    let options = |threads| Options { size: ImageSize::Exact(512 << 20), threads: Some(threads), ..Options::default() };
    let image = directory.path().join("image");

    let mut group = criterion.benchmark_group("ext4writer/rootfs-256m");
    group.sample_size(10).throughput(Throughput::Bytes(CONTENT_BYTES));
    group.bench_function("reference-copy", |bench| bench.iter(|| std::fs::copy(&input, &image).expect("a copy")));
    for threads in [1, 2, 3, 4, 8] {
        group.bench_function(BenchmarkId::new("write_image/threads", threads), |bench| {
            bench.iter(|| write_image(&tree, &options(threads), &image).expect("an image"));
        });
    }
    group.finish();

    criterion.bench_function("ext4writer/layout/rootfs-256m", |bench| {
        bench.iter(|| layout(&tree, &options(1)).expect("a layout").free_blocks());
    });
}

criterion_group!(benches, images);
criterion_main!(benches);
