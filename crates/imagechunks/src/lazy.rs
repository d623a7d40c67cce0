//! An image that is not there yet, read by offset.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::read::{Wanted, batches};
use crate::source::Source;

/// Bytes of chunks that are kept in memory, so that small reads in a row take each chunk apart once.
const MEMORY_BYTES: usize = 4 << 20;

/// An image that is read without being there: each read takes what it needs from the cache, or from the source and puts it there.
#[derive(Debug)]
pub struct Lazy<S> {
    manifest: Manifest,
    source: S,
    cache: Arc<Cache>,
    /// Chunks that were used last, the latest at the end.
    recent: Mutex<VecDeque<(Digest, Arc<Vec<u8>>)>>,
}

impl<S: Source> Lazy<S> {
    /// Nothing is read yet.
    pub fn new(manifest: Manifest, source: S, cache: Arc<Cache>) -> Self {
        Self { manifest, source, cache, recent: Mutex::default() }
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
        let mut missing = Vec::new();
        let pieces = Pieces { manifest: &self.manifest, at: offset, done: 0, len };
        for piece in pieces {
            let part = &mut buffer[piece.to..piece.to + piece.len];
            let Some(chunk) = self.manifest.chunk_at(piece.chunk) else {
                part.fill(0);
                continue;
            };
            let wanted = Wanted { chunk: *chunk, len: self.manifest.len_at(piece.chunk), places: vec![piece.chunk] };
            match self.here(&wanted) {
                Some(content) => part.copy_from_slice(&content[piece.from..piece.from + piece.len]),
                None => missing.push((wanted, piece)),
            }
        }
        self.fetch(&missing, buffer)?;
        Ok(len)
    }

    /// Chunks of this read that are nowhere here, neighbours with one read of the source.
    fn fetch(&self, missing: &[(Wanted, Piece)], buffer: &mut [u8]) -> Result<(), Error> {
        for batch in batches(missing.iter().map(|(wanted, _)| wanted.clone()).collect()) {
            batch.read(&self.manifest, &self.source, &mut |wanted, frame, content| {
                self.cache.put(wanted.chunk.digest, frame);
                let of_it = missing.iter().filter(|(_, piece)| wanted.places.contains(&piece.chunk));
                for (_, piece) in of_it {
                    let part = &mut buffer[piece.to..piece.to + piece.len];
                    part.copy_from_slice(&content[piece.from..piece.from + piece.len]);
                }
                self.remember(wanted.chunk.digest, Arc::new(content));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn here(&self, wanted: &Wanted) -> Option<Arc<Vec<u8>>> {
        let digest = wanted.chunk.digest;
        let recent = || {
            let recent = self.recent.lock().expect("nobody panics with it");
            let found = recent.iter().find(|(one, content)| *one == digest && content.len() == wanted.len);
            found.map(|(_, content)| Arc::clone(content))
        };
        recent().or_else(|| {
            let content = Arc::new(self.cache.get(digest, wanted.len)?);
            self.remember(digest, Arc::clone(&content));
            Some(content)
        })
    }

    fn remember(&self, digest: Digest, content: Arc<Vec<u8>>) {
        let mut recent = self.recent.lock().expect("nobody panics with it");
        let kept = MEMORY_BYTES / self.manifest.chunk_bytes_usize();
        recent.push_back((digest, content));
        while recent.len() > kept.max(1) {
            recent.pop_front();
        }
    }
}

/// The part of a read that is in one chunk.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where the chunk begins in the image.
    chunk: u64,
    /// Where the part begins in the chunk.
    from: usize,
    /// Where it goes in the buffer.
    to: usize,
    len: usize,
}

struct Pieces<'a> {
    manifest: &'a Manifest,
    at: u64,
    done: usize,
    len: usize,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.done == self.len {
            return None;
        }
        let within = self.at % u64::from(self.manifest.chunk_bytes());
        let from = usize::try_from(within).expect("less than a chunk");
        let len = (self.manifest.chunk_bytes_usize() - from).min(self.len - self.done);
        let piece = Piece { chunk: self.at - within, from, to: self.done, len };
        self.at += u64::try_from(len).expect("usize fits in u64");
        self.done += len;
        Some(piece)
    }
}
