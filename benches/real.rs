//! One run over a real image in a layout, for `benches/compare-layers`: prints seconds and the peak of memory in KiB.
//!
//! `floor` hashes, decompresses and hashes every layer with the bare libraries, largest first, and writes nothing; `cold`
//! verifies, indexes and keeps them in an empty store and merges them; `warm` finds them in the store of a `cold` run.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use drydock_benches::peak_memory_mib;
use ocilayers::{Image, ImageRef, LayerBlob, Limits, Store, flatten};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, layout, store] = args.as_slice() else {
        eprintln!("usage: real floor|cold|warm LAYOUT STORE");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let done = if mode == "floor" { floor(Path::new(layout)) } else { take(Path::new(layout), Path::new(store)) };
    match done {
        Ok(()) => println!("{:.4} {}", start.elapsed().as_secs_f64(), peak_memory_mib() << 10),
        Err(error) => {
            eprintln!("real: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn open(layout: &Path) -> Result<Image, Failure> {
    Ok(Image::open(&ImageRef::Layout { dir: layout.to_owned(), tag: None }, &Limits::default())?)
}

fn take(layout: &Path, store: &Path) -> Result<(), Failure> {
    let limits = Limits::default();
    let layers = Store::open(store, limits)?.layers(&open(layout)?, None)?;
    flatten(&layers, &limits)?;
    Ok(())
}

fn floor(layout: &Path) -> Result<(), Failure> {
    let image = open(layout)?;
    let mut layers: Vec<&LayerBlob> = image.layers().iter().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.blob.map_or(0, |(_, size)| size)));
    layers.into_iter().par_bridge().try_for_each(|layer| verify(layout, layer))
}

/// Blob digest and diff_id of one layer, nothing else.
fn verify(layout: &Path, layer: &LayerBlob) -> Result<(), Failure> {
    let (digest, _) = layer.blob.ok_or("a layer without a blob")?;
    let mut blob =
        Hashing { inner: fs::File::open(layout.join("blobs/sha256").join(digest.hex()))?, hash: Sha256::new() };
    let mut plain = Hashing { inner: io::empty(), hash: Sha256::new() };
    {
        let buffered = io::BufReader::with_capacity(256 << 10, &mut blob);
        let mut reader: Box<dyn Read> = match layer.media_type.as_deref() {
            Some(media_type) if media_type.ends_with("zstd") => {
                Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?)
            }
            _ => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        };
        let mut buffer = vec![0; 256 << 10];
        while let len @ 1.. = reader.read(&mut buffer)? {
            plain.hash.update(&buffer[..len]);
        }
    }
    io::copy(&mut blob, &mut io::sink())?;
    let same = blob.hex() == digest.hex() && plain.hex() == layer.diff_id.hex();
    if same { Ok(()) } else { Err("a digest does not match".into()) }
}

struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T> Hashing<T> {
    fn hex(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.hash.update(&buffer[..len]);
        Ok(len)
    }
}
