//! An image that is not there yet, read by offset.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Chunk, Manifest};
use crate::read::{Wanted, batches};
use crate::source::Source;

/// Bytes of chunks that are kept in memory, so that small reads in a row take each chunk apart once.
const MEMORY_BYTES: usize = 4 << 20;

/// How far behind a read chunks are fetched with it, where reads come one after the other. Only what the same request of the source can
/// give.
const AHEAD_BYTES: u64 = 1 << 20;

/// An image that is read without being there: each read takes what it needs from the cache, or from the source and puts it there, and with
/// it what comes next if the read before ended where this one begins.
#[derive(Debug)]
pub struct Lazy<S> {
    manifest: Manifest,
    source: S,
    cache: Arc<Cache>,
    /// Chunks that were used last, the latest at the end.
    recent: Mutex<VecDeque<(Digest, Arc<Vec<u8>>)>>,
    /// Where the last read ended.
    end: AtomicU64,
}

impl<S: Source> Lazy<S> {
    /// Nothing is read yet.
    pub fn new(manifest: Manifest, source: S, cache: Arc<Cache>) -> Self {
        Self { manifest, source, cache, recent: Mutex::default(), end: AtomicU64::new(u64::MAX) }
    }

    /// Of which image.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads the bytes from `offset` on into `buffer`, up to the end of the image, and gives their number. Any number of threads may.
    ///
    /// # Errors
    /// A chunk can't be had, or is another one.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        let rest = self.manifest.image_bytes().saturating_sub(offset);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..len];
        let end = offset.saturating_add(u64::try_from(len).expect("usize fits in u64"));
        let goes_on = self.end.swap(end, Ordering::Relaxed) == offset;
        let mut missing = Vec::new();
        buffer.fill(0);
        for piece in pieces(&self.manifest, offset, len) {
            match self.here(&piece.chunk) {
                Some(content) => piece.copy(&content, buffer),
                None => missing.push(piece),
            }
        }
        self.fetch(&missing, goes_on, buffer)?;
        Ok(len)
    }

    /// Chunks of this read that are nowhere here, neighbours with one read of the source; and those behind them that come with it.
    fn fetch(&self, missing: &[Piece], goes_on: bool, buffer: &mut [u8]) -> Result<(), Error> {
        let Some(last) = missing.last() else { return Ok(()) };
        let ahead = goes_on.then(|| self.ahead(&last.chunk)).into_iter().flatten();
        let chunks = missing.iter().map(|piece| piece.chunk).chain(ahead);
        let wanted = chunks.map(|chunk| Wanted { chunk, places: vec![chunk.place] }).collect();
        let asked = |wanted: &Wanted| missing.iter().any(|piece| wanted.places.contains(&piece.chunk.place));
        for batch in batches(wanted).into_iter().filter(|batch| batch.wanted.iter().any(asked)) {
            batch.read(&self.manifest, &self.source, &mut |wanted, frame, content| {
                self.cache.put(wanted.chunk.digest, frame);
                let of_it = missing.iter().filter(|piece| wanted.places.contains(&piece.chunk.place));
                of_it.for_each(|piece| piece.copy(&content, buffer));
                self.remember(wanted.chunk.digest, Arc::new(content));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Chunks behind that one which are not here.
    fn ahead(&self, last: &Chunk) -> impl Iterator<Item = Chunk> {
        let end = last.end() + AHEAD_BYTES;
        let behind = self.manifest.chunks()[self.manifest.first_from(last.end())..].iter();
        let near = behind.take_while(move |chunk| chunk.place < end);
        near.filter(|chunk| !self.cache.has(chunk.digest)).copied()
    }

    fn here(&self, chunk: &Chunk) -> Option<Arc<Vec<u8>>> {
        let (digest, len) = (chunk.digest, chunk.len_usize());
        let recent = || {
            let recent = self.recent.lock().expect("nobody panics with it");
            let found = recent.iter().find(|(one, content)| *one == digest && content.len() == len);
            found.map(|(_, content)| Arc::clone(content))
        };
        recent().or_else(|| {
            let content = Arc::new(self.cache.get(digest, len)?);
            self.remember(digest, Arc::clone(&content));
            Some(content)
        })
    }

    fn remember(&self, digest: Digest, content: Arc<Vec<u8>>) {
        let mut recent = self.recent.lock().expect("nobody panics with it");
        recent.push_back((digest, content));
        let mut bytes: usize = recent.iter().map(|(_, content)| content.len()).sum();
        while bytes > MEMORY_BYTES && recent.len() > 1 {
            bytes -= recent.pop_front().map_or(0, |(_, content)| content.len());
        }
    }
}

/// The part of a read that is in one chunk.
#[derive(Clone, Copy, Debug)]
struct Piece {
    chunk: Chunk,
    /// Where the part begins in the chunk.
    from: usize,
    /// Where it goes in the buffer.
    to: usize,
    len: usize,
}

impl Piece {
    fn copy(&self, content: &[u8], buffer: &mut [u8]) {
        buffer[self.to..self.to + self.len].copy_from_slice(&content[self.from..self.from + self.len]);
    }
}

/// The parts of the `len` bytes from `offset` on that are in chunks.
fn pieces(manifest: &Manifest, offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let end = offset + u64::try_from(len).expect("usize fits in u64");
    let within = |from: u64, to: u64| usize::try_from(to - from).expect("as large as a chunk or the buffer");
    let chunks = manifest.chunks()[manifest.first_from(offset)..].iter();
    chunks.take_while(move |chunk| chunk.place < end).map(move |chunk| {
        let (first, last) = (chunk.place.max(offset), chunk.end().min(end));
        Piece { chunk: *chunk, from: within(chunk.place, first), to: within(offset, first), len: within(first, last) }
    })
}
