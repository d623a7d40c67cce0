//! Layers of an image to one tree, beside what can't be had for less: hashing, decompressing and hashing the same blobs.
//!
//! `take` opens the image with an empty store, verifies size, digest and diff_id of every layer, uncompresses it into the
//! store and merges all headers into one tree. `take-warm` finds all layers in the store. `floor` has the bare libraries
//! compute both digests of every blob, on as many threads. Throughput is in uncompressed bytes. `entries` reads and merges
//! archives of many empty files; throughput is in entries.

use std::fs;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fstree::{Addition, Content, Kind, Metadata, Node, Sources, TreePath};
use ocilayers::{Digest, Image, ImageRef, Limits, Store, flatten};
use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const LAYERS: u64 = 4;
const FILES_OF_A_LAYER: u64 = 1_000;
const FILE_BYTES: u64 = 16 << 10;

/// How the blobs of an image are compressed.
#[derive(Clone, Copy, Debug)]
enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn compress(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(plain, 3),
        }
    }

    /// Hashes the blob, decompresses it and hashes that: how long it is then.
    fn floor(self, blob: &Path) -> io::Result<u64> {
        let blob = fs::read(blob)?;
        black_box(Sha256::digest(&blob));
        let mut plain: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(&blob[..])),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(&blob[..])?),
        };
        let (mut buffer, mut hash, mut all) = (vec![0; 256 << 10], Sha256::new(), 0);
        loop {
            match plain.read(&mut buffer)? {
                0 => break,
                len => {
                    hash.update(&buffer[..len]);
                    all += u64::try_from(len).expect("usize fits in u64");
                }
            }
        }
        black_box(hash.finalize());
        Ok(all)
    }
}

/// Words of a small vocabulary with numbers between them: about as compressible as programs and their documents.
fn text(seed: u64, len: u64) -> Vec<u8> {
    let (mut state, mut text) = (0x9e37_79b9_7f4a_7c15_u64 ^ seed, Vec::new());
    while u64::try_from(text.len()).is_ok_and(|have| have < len) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state.is_multiple_of(3) {
            text.extend_from_slice(&state.to_le_bytes());
        } else {
            text.extend_from_slice(format!("word{} ", state % 700).as_bytes());
        }
    }
    text
}

/// The archive of layer `number`: half of its files replace files of the layer below.
fn archive(number: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut sources = Sources::default();
    let source = sources.add(Arc::new(text(number, FILES_OF_A_LAYER * FILE_BYTES)));
    let mut additions = Vec::new();
    for file in 0..FILES_OF_A_LAYER {
        let name = format!("usr/lib/d{}/file{}", file % 50, file + number * FILES_OF_A_LAYER / 2);
        let kind = Kind::File(Content::stored(source, file * FILE_BYTES, FILE_BYTES));
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        additions.push(Addition::Entry { path: TreePath::parse(name.as_bytes())?, node: Node { metadata, kind } });
    }
    let mut archive = Vec::new();
    fstree::tar::write_additions(&additions, &sources, &mut archive)?;
    Ok(archive)
}

/// Writes the image into the layout `dir` and answers with its uncompressed bytes and its blobs.
fn write_image(dir: &Path, codec: Codec) -> Result<(u64, Vec<std::path::PathBuf>), Box<dyn std::error::Error>> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: String| -> io::Result<serde_json::Value> {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() }))
    };
    let (mut plain_bytes, mut diff_ids, mut descriptors, mut paths) = (0, vec![], vec![], vec![]);
    for number in 0..LAYERS {
        let plain = archive(number)?;
        let blob = codec.compress(&plain)?;
        plain_bytes += u64::try_from(plain.len())?;
        diff_ids.push(Digest::of(&plain).to_string());
        paths.push(blobs.join(Digest::of(&blob).hex()));
        descriptors.push(put(&blob, format!("application/vnd.oci.image.layer.v1.tar+{}", codec.name()))?);
    }
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json".to_owned())?;
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": descriptors });
    let manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json".to_owned())?;
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok((plain_bytes, paths))
}

/// The image to a tree, through the store in `store`.
fn take(image: &Path, store: &Path) -> Result<usize, ocilayers::Error> {
    let limits = Limits::default();
    let image = Image::open(&ImageRef::Layout { dir: image.to_owned(), tag: None }, &limits)?;
    let layers = Store::open(store, limits)?.layers(&image, None)?;
    Ok(flatten(&layers, &limits)?.len())
}

fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layers");
    group.sample_size(10);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let image = tempfile::tempdir().expect("a temporary directory");
        let (plain_bytes, blobs) = write_image(image.path(), codec).expect("the image can be written");
        group.throughput(Throughput::Bytes(plain_bytes));
        group.bench_function(BenchmarkId::new("take", codec.name()), |bencher| {
            let empty = || tempfile::tempdir().expect("a temporary directory");
            let run = |store: tempfile::TempDir| take(image.path(), store.path()).map(|nodes| (nodes, store));
            bencher.iter_batched(empty, |store| run(store).expect("a good image"), criterion::BatchSize::PerIteration);
        });
        let store = tempfile::tempdir().expect("a temporary directory");
        group.bench_function(BenchmarkId::new("take-warm", codec.name()), |bencher| {
            bencher.iter(|| take(image.path(), store.path()).expect("a good image"));
        });
        group.bench_function(BenchmarkId::new("floor", codec.name()), |bencher| {
            bencher.iter(|| {
                let all: u64 = blobs.par_iter().map(|blob| codec.floor(blob).expect("a good blob")).sum();
                assert_eq!(all, plain_bytes);
            });
        });
    }
    group.finish();
}

/// An archive of empty files in directories of a thousand: reading and merging, nothing else.
fn archive_of_entries(count: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut additions = Vec::new();
    for number in 0..count {
        let name = format!("usr/share/package{:04}/file{:04}", number / 1_000, number % 1_000);
        let kind = Kind::File(Content::default());
        additions.push(Addition::Entry {
            path: TreePath::parse(name.as_bytes())?,
            node: Node { metadata: Metadata::default(), kind },
        });
    }
    let mut archive = Vec::new();
    fstree::tar::write_additions(&additions, &Sources::default(), &mut archive)?;
    Ok(archive)
}

fn entries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("entries");
    group.sample_size(10);
    for count in [10_000, 100_000, 1_000_000] {
        let archive = Arc::new(archive_of_entries(count).expect("names are paths"));
        let len = u64::try_from(archive.len()).expect("usize fits in u64");
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let source: Arc<dyn fstree::ReadAt> = Arc::<Vec<u8>>::clone(&archive);
                let diff = fstree::tar::read(source, len, &fstree::Limits::default()).expect("a good archive");
                let mut tree = fstree::Tree::new(Metadata::default());
                tree.apply(diff).expect("a good archive");
                tree.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, layers, entries);
criterion_main!(benches);
