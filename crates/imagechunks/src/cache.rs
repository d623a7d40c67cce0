//! Chunks that this host has, by digest: `<shard>/<digest>`, each a file with a zstd frame. Any number of processes share it.
//!
//! Nothing in it is believed: a chunk is verified when it is read, and one that is torn is removed. A file is written beside its place and
//! renamed, not synced: what a power cut takes is fetched again.
//!
//! The directories below it, [`SHARDS`] of them, are bounded each for itself, so that no bound needs a look at all files: digests
//! spread evenly. When one has more than its share, what was used least recently goes (the time of a file is that of its last use).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::digest::Digest;
use crate::error::Error;
use crate::read::content;

/// Directories of a cache.
const SHARDS: u8 = 64;

/// A chunk that was used so long ago is marked as used again.
const USED_AGAIN: Duration = Duration::from_secs(60);

/// A cache of chunks in a directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    shard_bytes_max: u64,
    shards: Vec<Shard>,
    first_failure: Mutex<Option<Error>>,
}

/// What this process knows of a directory.
#[derive(Debug, Default)]
struct Shard {
    /// Bytes in it when it was last looked at, and those added since; nothing before the first look.
    bytes: Mutex<Option<u64>>,
    /// Bytes that this process added since its last look.
    added: AtomicU64,
}

impl Cache {
    /// Opens the cache in a directory, which is made if it is not there. It has at most about `bytes_max` bytes; a process goes
    /// over that by an eighth at most, for it does not see at once what the others add.
    ///
    /// # Errors
    /// The directory can't be made.
    pub fn open(dir: impl Into<PathBuf>, bytes_max: u64) -> Result<Self, Error> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Ok(Self { dir, shard_bytes_max: bytes_max / u64::from(SHARDS), shards, first_failure: Mutex::default() })
    }

    /// The content of a chunk of `len` bytes, verified; none if it is not there, or can't be read.
    pub(crate) fn get(&self, digest: Digest, len: usize) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let file = File::open(&path).ok()?;
        let found = file.metadata().ok()?;
        let frame_bytes_max = zstd::zstd_safe::compress_bound(len);
        let mut frame = Vec::new();
        let limit = u64::try_from(frame_bytes_max).expect("usize fits in u64") + 1;
        (&file).take(limit).read_to_end(&mut frame).ok()?;
        let Some(content) = content(&frame, digest, len) else {
            // Torn by a power cut, or worse. If another process has just replaced it, that one is fetched again.
            drop(fs::remove_file(&path));
            return None;
        };
        let now = SystemTime::now();
        if found.modified().is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago > USED_AGAIN)) {
            drop(file.set_modified(now));
        }
        Some(content)
    }

    /// Whether there is something that says it is that chunk.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.path(digest).exists()
    }

    /// Adds a chunk that was verified. That it can't be kept is no failure of whoever has it; see [`Cache::take_failure`].
    pub(crate) fn put(&self, digest: Digest, frame: &[u8]) {
        let bytes = u64::try_from(frame.len()).expect("usize fits in u64");
        if bytes > self.shard_bytes_max {
            return;
        }
        let kept = self.write(digest, frame).and_then(|()| self.bound(digest, bytes));
        if let Err(error) = kept {
            let mut first = self.first_failure.lock().expect("nobody panics with it");
            first.get_or_insert(error);
        }
    }

    /// The first reason since the last call why a chunk could not be kept. Fetching goes on without, so whoever runs it says this.
    #[must_use]
    pub fn take_failure(&self) -> Option<Error> {
        self.first_failure.lock().expect("nobody panics with it").take()
    }

    fn write(&self, digest: Digest, frame: &[u8]) -> Result<(), Error> {
        let path = self.path(digest);
        let dir = path.parent().expect("a chunk is in a directory");
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let mut temporary = tempfile::Builder::new().prefix("tmp-").tempfile_in(dir).map_err(Error::file(dir))?;
        temporary.write_all(frame).map_err(Error::file(&path))?;
        temporary.persist(&path).map_err(|error| Error::file(&path)(error.error))?;
        Ok(())
    }

    /// Makes room in the directory of a chunk that was added, if it has too much.
    fn bound(&self, digest: Digest, added: u64) -> Result<(), Error> {
        let shard = &self.shards[usize::from(shard_of(digest))];
        let since = shard.added.fetch_add(added, Ordering::Relaxed) + added;
        let mut bytes = shard.bytes.lock().expect("nobody panics with it");
        *bytes = bytes.map(|bytes| bytes + added);
        let looked = bytes.is_some_and(|bytes| bytes <= self.shard_bytes_max) && since <= self.shard_bytes_max / 8;
        if !looked {
            *bytes = Some(evict(&self.shard(digest), self.shard_bytes_max)?);
            shard.added.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn shard(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{:02x}", shard_of(digest)))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.shard(digest).join(digest.to_string())
    }
}

fn shard_of(digest: Digest) -> u8 {
    digest.as_bytes()[0] % SHARDS
}

/// Removes what was used least recently until seven eighths of the bound are left, if there is more than that. Gives the bytes that
/// are there then.
fn evict(dir: &Path, bytes_max: u64) -> Result<u64, Error> {
    let lock = File::open(dir).map_err(Error::file(dir))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| Error::file(dir)(errno.into()))?;
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(Error::file(dir))? {
        let entry = entry.map_err(Error::file(dir))?;
        // It may be gone: whoever finds it torn takes no lock.
        let Ok(found) = entry.metadata() else { continue };
        bytes += found.len();
        files.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path(), found.len()));
    }
    if bytes <= bytes_max {
        return Ok(bytes);
    }
    files.sort();
    for (_, path, len) in files {
        if bytes <= bytes_max / 8 * 7 {
            break;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file(path)(error)),
            _ => bytes -= len,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64) -> (Digest, Vec<u8>) {
        let content: Vec<u8> =
            (0..128_u64).flat_map(|at| Digest::of(&(number, at).0.to_le_bytes()).as_bytes()[..8].to_vec()).collect();
        (Digest::of(&content), zstd::bulk::compress(&content, 1).unwrap())
    }

    fn bytes(dir: &Path) -> u64 {
        let shards = fs::read_dir(dir).unwrap().flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
        shards.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    fn there(cache: &Cache, digest: Digest) -> bool {
        cache.path(digest).exists()
    }

    #[test]
    fn it_stays_below_its_bound_also_when_two_add_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let bytes_max = 64 << 10;
        let caches = [0, 1].map(|_| Cache::open(dir.path(), bytes_max).unwrap());
        for number in 0..4000 {
            let (digest, frame) = chunk(number);
            caches[usize::from(number % 2 == 1)].put(digest, &frame);
        }
        let kept = bytes(dir.path());
        assert!(kept <= bytes_max / 8 * 10 && kept > bytes_max / 2, "{kept}");
        assert!(caches.iter().all(|cache| cache.take_failure().is_none()));
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 30).unwrap();
        let in_one_shard = (0..).map(chunk).filter(|(digest, _)| shard_of(*digest) == 0);
        let chunks: Vec<(Digest, Vec<u8>)> = in_one_shard.take(16).collect();
        let hour = Duration::from_secs(3_600);
        for (digest, frame) in &chunks {
            cache.put(*digest, frame);
            File::open(cache.path(*digest)).unwrap().set_modified(SystemTime::now() - hour).unwrap();
        }
        let used = chunks[3].0;
        let content = zstd::bulk::decompress(&chunks[3].1, 1 << 20).unwrap();
        assert_eq!(cache.get(used, content.len()), Some(content));
        let frame_bytes = u64::try_from(chunks[0].1.len()).unwrap();
        let left = evict(&cache.shard(used), frame_bytes * 8).unwrap();
        assert!(left <= frame_bytes * 8 && left > 0);
        assert!(there(&cache, used));
        assert_eq!(chunks.iter().filter(|(digest, _)| there(&cache, *digest)).count(), 7);
    }
}
