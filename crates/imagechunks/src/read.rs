//! Chunks out of packs: neighbours in one read, every one verified.

use std::io;
use std::ops::Range;

use zstd::bulk::Decompressor;

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Chunk, Manifest};
use crate::source::Source;

/// Bytes that are read at once, unless one chunk has more.
const READ_BYTES: u64 = 2 << 20;

/// Bytes between two chunks that are read with them: about what a request costs.
const GAP_BYTES: u64 = 32 << 10;

/// A chunk that is wanted, and its places in the image: it may be there more than once.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) chunk: Chunk,
    pub(crate) places: Vec<u64>,
}

/// Takes a chunk that was verified: as it was wanted, compressed, and its content.
type Each<'a> = &'a mut dyn FnMut(&Wanted, &[u8], Vec<u8>) -> Result<(), Error>;

/// Chunks that lie close to each other in one pack.
#[derive(Debug)]
pub(crate) struct Batch {
    pack: usize,
    range: Range<u64>,
    pub(crate) wanted: Vec<Wanted>,
}

/// A pool of so many threads; 0 for as many as there are cores.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("chunks-{number}"));
    builder.build().map_err(|error| Error::Threads(io::Error::other(error)))
}

/// Which chunks are read together.
pub(crate) fn batches(mut wanted: Vec<Wanted>) -> Vec<Batch> {
    wanted.sort_by_key(|wanted| (wanted.chunk.pack, wanted.chunk.offset));
    let mut batches: Vec<Batch> = Vec::new();
    for wanted in wanted {
        let range = wanted.chunk.range();
        match batches.last_mut() {
            Some(batch)
                if batch.pack == wanted.chunk.pack
                    && range.start <= batch.range.end + GAP_BYTES
                    && range.end.max(batch.range.end) - batch.range.start <= READ_BYTES =>
            {
                batch.range.end = batch.range.end.max(range.end);
                batch.wanted.push(wanted);
            }
            _ => batches.push(Batch { pack: wanted.chunk.pack, range, wanted: vec![wanted] }),
        }
    }
    batches
}

impl Batch {
    /// Bytes that are read.
    pub(crate) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Reads and verifies its chunks, and hands each over, compressed and not.
    pub(crate) fn read(&self, manifest: &Manifest, source: &dyn Source, each: Each<'_>) -> Result<(), Error> {
        let pack = &manifest.packs()[self.pack];
        let bytes = source.read(pack, self.range.clone()).map_err(|source| Error::Source {
            pack: pack.clone(),
            range: self.range.clone(),
            source,
        })?;
        if u64::try_from(bytes.len()).ok() != Some(self.bytes()) {
            return Err(Error::Short { pack: pack.clone(), range: self.range.clone(), got: bytes.len() });
        }
        for wanted in &self.wanted {
            let within = |at: u64| usize::try_from(at - self.range.start).expect("as large as what was read");
            let range = wanted.chunk.range();
            let frame = &bytes[within(range.start)..within(range.end)];
            let Chunk { digest, offset, .. } = wanted.chunk;
            let content = content(frame, digest, wanted.chunk.len_usize());
            let content = content.ok_or_else(|| Error::Chunk { digest, pack: pack.clone(), offset })?;
            each(wanted, frame, content)?;
        }
        Ok(())
    }
}

/// The content of a frame, if it is the chunk of that digest and length. It may be anybody's bytes: no more than `len` are made of it.
pub(crate) fn content(frame: &[u8], digest: Digest, len: usize) -> Option<Vec<u8>> {
    let content = Decompressor::new().ok()?.decompress(frame, len).ok()?;
    (content.len() == len && Digest::of(&content) == digest).then_some(content)
}
