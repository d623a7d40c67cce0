//! What chunks of each size cost: bytes of a manifest, bytes that the first image ships, bytes that each later one ships to who has the
//! ones before, and the time to pack and to fetch.
//!
//! `cargo run --release -p imagechunks --example measure -- IMAGE...` reads finished images, so that any builds can be compared; with
//! `--levels` first it compares levels of zstd.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use imagechunks::{CHUNK_BYTES, Cache, Digest, FetchOptions, Manifest, PackOptions, Packed, Source};
use sha2::{Digest as _, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Packs<'a>(&'a Path);

impl Source for Packs<'_> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("a range fits in memory")];
        File::open(self.0.join(pack))?.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }
}

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let levels = args.first().is_some_and(|arg| arg == "--levels");
    if levels {
        args.remove(0);
    }
    let images: Vec<(PathBuf, Digest)> =
        args.into_iter().map(|path| Ok((path.clone().into(), digest(Path::new(&path))?))).collect::<Result<_>>()?;
    println!(
        "chunk KiB level image             chunks    new  manifest B      shipped B    pack s   fetch s   known s"
    );
    if levels {
        for level in [1, 3, 6, 9, 12] {
            measure(&images, &PackOptions { level, ..PackOptions::default() })?;
        }
        return Ok(());
    }
    for shift in 14..19 {
        measure(&images, &PackOptions { chunk_bytes: 1 << shift, ..PackOptions::default() })?;
    }
    println!("(the default is {} KiB)", CHUNK_BYTES >> 10);
    Ok(())
}

fn measure(images: &[(PathBuf, Digest)], options: &PackOptions) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::open(dir.path().join("cache"), 64 << 30)?;
    let mut known: Vec<Manifest> = Vec::new();
    for (number, (path, digest)) in images.iter().enumerate() {
        let name = format!("pack.{number}");
        let mut out = io::BufWriter::new(File::create(dir.path().join(&name))?);
        let begun = Instant::now();
        let (manifest, Packed { chunks, new_chunks, pack_bytes, .. }) =
            imagechunks::pack(&File::open(path)?, *digest, &known, &name, &mut out, options)?;
        let packed = begun.elapsed();
        drop(out);
        let (source, target) = (Packs(dir.path()), dir.path().join("image"));
        let cancel = AtomicBool::new(false);
        let options_of_fetch = FetchOptions { threads: 0, cancel: &cancel, progress: &|_| {}, complete: &|| Ok(()) };
        let begun = Instant::now();
        let fetched = imagechunks::fetch(&manifest, &source, &cache, &target, &options_of_fetch)?;
        let took = begun.elapsed();
        let begun = Instant::now();
        imagechunks::fetch(&manifest, &source, &cache, &target, &options_of_fetch)?;
        let again = begun.elapsed();
        fs::remove_file(&target)?;
        println!(
            "{:9} {:5} {:18} {chunks:6} {new_chunks:6} {:11} {:14} {:9.3} {:9.3} {:9.3}",
            options.chunk_bytes >> 10,
            options.level,
            path.file_name().unwrap_or_default().to_string_lossy(),
            manifest.encode().len(),
            fetched.bytes_fetched,
            packed.as_secs_f64(),
            took.as_secs_f64(),
            again.as_secs_f64(),
        );
        assert_eq!(pack_bytes, fetched.bytes_fetched);
        known.insert(0, manifest);
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Digest> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    let text: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(text.parse()?)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
