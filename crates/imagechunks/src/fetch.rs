//! An image made of what this host has and what it lacks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::read::{Wanted, batches, pool};
use crate::source::Source;

/// Ends the names of files that are being fetched.
const UNFINISHED: &str = ".fetching";

/// Zeros of so many bytes in a chunk become a hole.
const HOLE_BYTES: usize = 4096;

/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// How far a fetch is, in bytes of content of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// In their place.
    pub bytes_done: u64,
    /// All.
    pub bytes_total: u64,
}

/// How an image is fetched.
#[derive(Clone, Copy)]
pub struct FetchOptions<'a> {
    /// How many reads are under way at once, and threads that verify; 0 for as many as there are cores.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
    /// Told how far it is, from many threads, often.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Called once the image is complete, verified and on the disk, before it takes its name: what stands beside the one before may go. If
    /// it fails, so does the fetch.
    pub complete: &'a (dyn Fn() -> io::Result<()> + Sync),
}

impl std::fmt::Debug for FetchOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchOptions").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// What a fetch took. A chunk that is there several times counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Chunks that came from the source.
    pub chunks_fetched: u64,
    /// Bytes that were read from the source.
    pub bytes_fetched: u64,
    /// Reads of the source.
    pub reads: u64,
    /// Chunks that the cache had.
    pub chunks_cached: u64,
}

/// Makes the image of a manifest in the file `out`, of chunks of the cache, and of the source what the cache lacks; what was fetched goes to the
/// cache. Every chunk is verified, and the whole at the end. What is zero is a hole.
///
/// The file appears under its name when it is complete and durable, and replaces what had that name. A fetch that was interrupted, even killed,
/// leaves its chunks in the cache, and so the next one goes on with the rest; the unfinished file itself goes with the error, and one of a killed
/// process with the next fetch to that name. Several processes may fetch at once, also to one name.
///
/// # Errors
/// A chunk can't be had or is another one, the file can't be written, or it was cancelled. Then there is no new file.
pub fn fetch(
    manifest: &Manifest,
    source: &dyn Source,
    cache: &Cache,
    out: &Path,
    options: &FetchOptions<'_>,
) -> Result<Fetched, Error> {
    let unfinished = Unfinished::create(out)?;
    let file = unfinished.file.as_file();
    file.set_len(manifest.image_bytes()).map_err(Error::file(out))?;
    let fill = Fill { manifest, source, cache, out, file, options, done: AtomicU64::new(0) };
    let fetched = pool(options.threads)?.install(|| fill.run())?;
    let found = digest(file, manifest, options.cancel).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Error::Cancelled,
        _ => Error::file(out)(error),
    })?;
    if found != manifest.image_digest() {
        return Err(Error::Whole { expected: manifest.image_digest(), found });
    }
    unfinished.finish(out, options.complete)?;
    Ok(fetched)
}

struct Fill<'a> {
    manifest: &'a Manifest,
    source: &'a dyn Source,
    cache: &'a Cache,
    out: &'a Path,
    file: &'a File,
    options: &'a FetchOptions<'a>,
    /// Bytes in their place.
    done: AtomicU64,
}

impl Fill<'_> {
    fn run(&self) -> Result<Fetched, Error> {
        let wanted = wanted(self.manifest);
        let all = count(wanted.len());
        let total = wanted.iter().map(|wanted| u64::from(wanted.chunk.len) * count(wanted.places.len())).sum();
        let from_cache = |wanted: Wanted| match self.cached(&wanted, total) {
            Ok(true) => None,
            Ok(false) => Some(Ok(wanted)),
            Err(error) => Some(Err(error)),
        };
        let missing: Vec<Wanted> = wanted.into_par_iter().filter_map(from_cache).collect::<Result<_, _>>()?;
        let chunks_fetched = count(missing.len());
        let batches = batches(missing);
        batches.par_iter().try_for_each(|batch| {
            self.look()?;
            batch.read(self.manifest, self.source, &mut |wanted, frame, content| {
                self.cache.put(wanted.chunk.digest, frame);
                self.place(wanted, &content, total)
            })
        })?;
        Ok(Fetched {
            chunks_fetched,
            bytes_fetched: batches.iter().map(|batch| batch.bytes()).sum(),
            reads: count(batches.len()),
            chunks_cached: all - chunks_fetched,
        })
    }

    fn cached(&self, wanted: &Wanted, total: u64) -> Result<bool, Error> {
        self.look()?;
        match self.cache.get(wanted.chunk.digest, wanted.chunk.len_usize()) {
            Some(content) => self.place(wanted, &content, total).map(|()| true),
            None => Ok(false),
        }
    }

    fn place(&self, wanted: &Wanted, content: &[u8], total: u64) -> Result<(), Error> {
        for place in &wanted.places {
            write(self.file, content, *place).map_err(Error::file(self.out))?;
        }
        let added = count(content.len() * wanted.places.len());
        let bytes_done = self.done.fetch_add(added, Ordering::Relaxed) + added;
        (self.options.progress)(Progress { bytes_done, bytes_total: total });
        Ok(())
    }

    fn look(&self) -> Result<(), Error> {
        if self.options.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// The chunks of an image, each once, with all its places.
fn wanted(manifest: &Manifest) -> Vec<Wanted> {
    let mut wanted: BTreeMap<(Digest, u32), Wanted> = BTreeMap::new();
    for chunk in manifest.chunks() {
        let one = || Wanted { chunk: *chunk, places: Vec::new() };
        wanted.entry((chunk.digest, chunk.len)).or_insert_with(one).places.push(chunk.place);
    }
    wanted.into_values().collect()
}

/// Writes what is not zero.
fn write(file: &File, content: &[u8], at: u64) -> io::Result<()> {
    let zero = |block: &[u8]| block.iter().all(|&byte| byte == 0);
    let mut from = 0;
    while from < content.len() {
        let blocks = content[from..].chunks(HOLE_BYTES);
        let zeros: usize = blocks.clone().take_while(|block| zero(block)).map(<[u8]>::len).sum();
        let rest = content[from + zeros..].chunks(HOLE_BYTES);
        let data: usize = rest.take_while(|block| !zero(block)).map(<[u8]>::len).sum();
        let start = from + zeros;
        file.write_all_at(&content[start..start + data], at + count(start))?;
        from = start + data;
    }
    Ok(())
}

/// SHA-256 of a file of the image's size. Where the manifest has zeros the file is not read.
fn digest(file: &File, manifest: &Manifest, cancel: &AtomicBool) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; HASH_BYTES];
    let zeros = vec![0; HASH_BYTES];
    let mut at = 0;
    let end = manifest.image_bytes()..manifest.image_bytes();
    for content in manifest.chunks().iter().map(|chunk| chunk.place..chunk.end()).chain([end]) {
        for (_, len) in pieces(at, content.start) {
            stopped(cancel)?;
            hash.update(&zeros[..len]);
        }
        at = content.end;
        for (from, len) in pieces(content.start, content.end) {
            stopped(cancel)?;
            file.read_exact_at(&mut buffer[..len], from)?;
            hash.update(&buffer[..len]);
        }
    }
    Ok(Digest::finish(hash))
}

/// A range in pieces of [`HASH_BYTES`]: where each begins, and its length.
fn pieces(from: u64, to: u64) -> impl Iterator<Item = (u64, usize)> {
    let len = move |at| usize::try_from(to - at).unwrap_or(usize::MAX).min(HASH_BYTES);
    (from..to).step_by(HASH_BYTES).map(move |at| (at, len(at)))
}

fn stopped(cancel: &AtomicBool) -> io::Result<()> {
    if cancel.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// The file that becomes the image, locked while it is worked on: what nobody has locked was left by a process that was killed.
struct Unfinished {
    file: NamedTempFile,
    dir: PathBuf,
}

impl Unfinished {
    fn create(out: &Path) -> Result<Self, Error> {
        // A rename would replace it, whatever it is.
        if fs::metadata(out).is_ok_and(|found| !found.is_file()) {
            return Err(Error::file(out)(io::Error::other("it is there and is not a file, so it is not replaced")));
        }
        let name = out.file_name().ok_or_else(|| Error::file(out)(io::ErrorKind::IsADirectory.into()))?;
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        sweep(&dir, &prefix).map_err(Error::file(&dir))?;
        loop {
            let mut unfinished = tempfile::Builder::new();
            unfinished.prefix(&prefix).suffix(UNFINISHED).permissions(Permissions::from_mode(0o666));
            let file = unfinished.tempfile_in(&dir).map_err(Error::file(&dir))?;
            flock(file.as_file(), FlockOperation::LockExclusive).map_err(|errno| Error::file(&dir)(errno.into()))?;
            // Another process may have swept it before it was locked.
            if file.as_file().metadata().map_err(Error::file(&dir))?.nlink() > 0 {
                return Ok(Self { file, dir });
            }
        }
    }

    fn finish(self, out: &Path, complete: &dyn Fn() -> io::Result<()>) -> Result<(), Error> {
        self.file.as_file().sync_all().and_then(|()| complete()).map_err(Error::file(out))?;
        self.file.persist(out).map_err(|error| Error::file(out)(error.error))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(Error::file(&self.dir))
    }
}

/// Removes what killed processes left of fetches to one name.
fn sweep(dir: &Path, prefix: &OsString) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_bytes();
        if !name.starts_with(prefix.as_bytes()) || !name.ends_with(UNFINISHED.as_bytes()) {
            continue;
        }
        // Opening a pipe waits for who writes it.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // Not ours to open, or gone: somebody else's.
        let Ok(file) = File::open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).expect("usize fits in u64")
}
