//! The layer store: uncompressed layers, each verified once, then kept by its diff_id as an index and its contents.
//!
//! ```text
//!   blob ──read, hash──▶ ring ──inflate──▶ ring ──hash, read entries, split──▶ content, index ──fsync, rename──▶ Layer
//! ```

mod dir;
mod early;
mod gather;
mod index;
mod ingest;
mod layer;
mod ring;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;

use fstree::Diff;
use rayon::prelude::*;

use self::dir::{Dir, Partial};
use self::early::early;
use self::ingest::{Ingested, ingest};
use self::ring::{Chunks, Inline, ring};
use crate::decompress::{self, Bounded, Compression};
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::image::{Image, LayerBlob};
use crate::limits::Limits;
use crate::source::{Blob, What, check_digest, check_size};
use crate::whiteout;

pub use self::layer::Layer;

/// A directory of layers. A layer is there whole or not at all; several processes may use one store.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
    limits: Limits,
}

/// A layer on its way into the store.
enum Fetched {
    /// It was there.
    Known(Layer),
    /// It is verified, and still without a name.
    New(Partial, Ingested),
}

impl Store {
    /// The store in `dir`, made if needed. `limits` hold for all layers that come in.
    ///
    /// # Errors
    /// The directory can't be made, or what an ended process left in it not removed.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, Error> {
        Ok(Self { dir: Dir::open(dir).map_err(Error::file(dir))?, limits })
    }

    /// The layer of that diff_id, if the store has it. One that is damaged it has not.
    ///
    /// # Errors
    /// It is there and can't be opened.
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, Error> {
        let kept = self.dir.find(diff_id).map_err(Error::file(self.dir.path()))?;
        Ok(kept.map(|kept| Layer::of_kept(*diff_id, kept)))
    }

    /// All layers of `image`, lowest first, those that are missing verified, uncompressed and kept; `threads` at a time.
    ///
    /// # Errors
    /// A layer that is not what its digests and size say, that can't be decompressed, that is no archive, or that passes a
    /// limit.
    pub fn layers(&self, image: &Image, threads: Option<usize>) -> Result<Vec<Layer>, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build().map_err(Error::Threads)?;
        let layers = image.layers();
        // The largest first: whoever begins with it at the end works alone.
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(layers[at].blob.map_or(0, |(_, size)| size)));
        let threads = pool.current_num_threads();
        let (passed, to_keep) = std::sync::mpsc::channel();
        let mut kept = std::thread::scope(|scope| {
            // Waiting for the disk keeps no thread from the next layer.
            let keeper = scope.spawn(|| to_keep.into_iter().map(|(at, layer)| Ok((at, self.keep(layer)?))).collect());
            let fetched = pool.install(|| {
                order.iter().enumerate().par_bridge().try_for_each_with(passed, |passed, (turn, &at)| {
                    let busy = order.len() - turn >= threads;
                    // When the keeper has failed, it knows why.
                    let _ = passed.send((at, self.fetch(image, &layers[at], busy)?));
                    Ok(())
                })
            });
            let kept: Result<Vec<(usize, Layer)>, Error> = keeper.join().expect("keeping does not panic");
            fetched.and(kept)
        })?;
        self.dir.evict(self.limits.store_bytes).map_err(Error::file(self.dir.path()))?;
        kept.sort_by_key(|(at, _)| *at);
        Ok(kept.into_iter().map(|(_, layer)| layer).collect())
    }

    /// A layer that is there, or one that is verified and not kept yet. `busy` says that the other threads have layers
    /// of their own.
    fn fetch(&self, image: &Image, layer: &LayerBlob, busy: bool) -> Result<Fetched, Error> {
        if let Some(known) = self.get(&layer.diff_id)? {
            return Ok(Fetched::Known(known));
        }
        let blob = match (&layer.blob, &layer.member) {
            (Some((digest, size)), _) => image.source.open(What::Blob(digest), Some(*size))?,
            (None, member) => image.source.open(What::File(member.as_deref().unwrap_or_default()), None)?,
        };
        let digest = layer.blob.map_or(layer.diff_id, |(digest, _)| digest);
        if let Some((_, size)) = layer.blob {
            check_size(&format!("layer {digest}"), size, blob.len())?;
        }
        let partial = self.partial()?;
        let pass = if busy { Self::pass_inline } else { Self::pass_staged };
        let (found, ingested) = pass(self, layer, blob, &partial, &digest)?;
        if layer.blob.is_some() {
            check_digest(&format!("the digest of layer {digest}"), &digest, &found)?;
        }
        check_digest(&format!("the diff_id of layer {digest}"), &layer.diff_id, &ingested.diff_id)?;
        Ok(Fetched::New(partial, ingested))
    }

    /// A blob through all its stages on this thread: the digest of the blob, and what came of the tar. What was inflated
    /// is hashed and written while it is in the cache, which costs the least.
    fn pass_inline(
        &self,
        layer: &LayerBlob,
        blob: Blob,
        partial: &Partial,
        digest: &Digest,
    ) -> Result<(Digest, Ingested), Error> {
        let wrong = |source| Error::reading(source, |source| Error::Decompress { digest: *digest, source });
        let blob_bytes = blob.len();
        let mut blob = Hashing::new(blob);
        let (reader, compression) = decompress::reader(&mut blob).map_err(wrong)?;
        warn_of_media_type(layer, compression);
        let mut plain = Inline::new(Bounded::new(reader, blob_bytes, &self.limits));
        let ingested = self.ingest(&mut plain, partial)?;
        plain.finish().map_err(wrong)?;
        // What follows the archive in the blob is part of what was announced.
        io::copy(&mut blob, &mut io::sink()).map_err(wrong)?;
        Ok((blob.finish().1, ingested))
    }

    /// The same with each stage on a thread: sooner done, where there are threads with nothing else to do.
    fn pass_staged(
        &self,
        layer: &LayerBlob,
        blob: Blob,
        partial: &Partial,
        digest: &Digest,
    ) -> Result<(Digest, Ingested), Error> {
        let wrong = |source| Error::reading(source, |source| Error::Decompress { digest: *digest, source });
        let blob_bytes = blob.len();
        let (compressed, mut to_inflate) = ring();
        let (plain, mut to_ingest) = ring();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut blob = Hashing::new(blob);
                compressed.send_all(&mut blob).map(|()| blob.finish().1)
            });
            let writer = scope.spawn(move || self.ingest(&mut to_ingest, partial));
            let inflate = || -> io::Result<()> {
                let (reader, compression) = decompress::reader(&mut to_inflate)?;
                warn_of_media_type(layer, compression);
                plain.send_all(&mut Bounded::new(reader, blob_bytes, &self.limits))?;
                // What follows the archive in the blob is part of what was announced.
                io::copy(&mut to_inflate, &mut io::sink()).map(drop)
            };
            let inflated = inflate();
            drop(to_inflate);
            let found = reader.join().expect("reading does not panic");
            let ingested = writer.join().expect("writing does not panic");
            let found = found.map_err(wrong)?;
            inflated.map_err(wrong)?;
            Ok((found, ingested?))
        })
    }

    /// Keeps the layer of that diff_id, which `blob` holds compressed or not, if it is not there: the whole of the file, verified.
    ///
    /// # Errors
    /// The blob is another layer or none, passes a limit, or the store can't be written. Nothing is kept then.
    pub fn insert(&self, diff_id: &Digest, blob: File) -> Result<Layer, Error> {
        if let Some(known) = self.get(diff_id)? {
            return Ok(known);
        }
        let bytes = blob.metadata().map_err(Error::file(self.dir.path()))?.len();
        let layer = LayerBlob { diff_id: *diff_id, blob: None, media_type: None, member: None };
        let partial = self.partial()?;
        let (_, ingested) = self.pass_inline(&layer, Blob::new(blob, bytes), &partial, diff_id)?;
        check_digest("the diff_id of a layer", diff_id, &ingested.diff_id)?;
        let layer = self.keep(Fetched::New(partial, ingested))?;
        self.dir.evict(self.limits.store_bytes).map_err(Error::file(self.dir.path()))?;
        Ok(layer)
    }

    /// Keeps a change as a layer.
    ///
    /// # Errors
    /// A content can't be read, the store can't be written, or the change passes a limit.
    pub fn commit(&self, diff: &Diff) -> Result<Layer, Error> {
        let marks = whiteout::marks(&diff.removals)?;
        let partial = self.partial()?;
        let (mut plain, mut to_ingest) = ring();
        let ingested = std::thread::scope(|scope| {
            let partial = &partial;
            let writer = scope.spawn(move || self.ingest(&mut to_ingest, partial));
            let written = fstree::tar::write_additions(marks.iter().chain(&diff.additions), &diff.sources, &mut plain)
                .and_then(|()| io::Write::flush(&mut plain).map_err(Into::into))
                .map_err(|source| Error::Archive { layer: "of the step".to_owned(), source });
            drop(plain);
            // When the other side has failed, it knows why.
            let ingested = writer.join().expect("writing does not panic")?;
            written.map(|()| ingested)
        })?;
        let layer = self.keep(Fetched::New(partial, ingested))?;
        self.dir.evict(self.limits.store_bytes).map_err(Error::file(self.dir.path()))?;
        Ok(layer)
    }

    fn partial(&self) -> Result<Partial, Error> {
        self.dir.partial().map_err(Error::file(self.dir.path()))
    }

    /// Takes a tar in, and brings its contents to the disk meanwhile.
    fn ingest(&self, plain: &mut dyn Chunks, partial: &Partial) -> Result<Ingested, Error> {
        let (written, syncer) = early();
        std::thread::scope(|scope| {
            let syncer = scope.spawn(move || syncer.run(&partial.content));
            let ingested = ingest(plain, &partial.content, &partial.index, written, &self.limits.tree);
            let synced = syncer.join().expect("a sync does not panic");
            ingested.and_then(|ingested| synced.map(|()| ingested)).map_err(Error::file(self.dir.path()))
        })
    }

    fn keep(&self, fetched: Fetched) -> Result<Layer, Error> {
        let (partial, Ingested { diff_id, archive }) = match fetched {
            Fetched::Known(layer) => return Ok(layer),
            Fetched::New(partial, ingested) => (partial, ingested),
        };
        archive.map_err(|source| Error::Archive { layer: diff_id.to_string(), source })?;
        let kept = self.dir.keep(partial, &diff_id).map_err(Error::file(self.dir.path()))?;
        Ok(Layer::of_kept(diff_id, kept))
    }
}

fn warn_of_media_type(layer: &LayerBlob, found: Compression) {
    let said = layer.media_type.as_deref().and_then(Compression::of_media_type);
    if said.is_some_and(|said| said != found) {
        tracing::warn!(diff_id = %layer.diff_id, media_type = ?layer.media_type, ?found, "the media type of a layer is wrong; its bytes decide");
    }
}
