//! The layer store: uncompressed layers, each verified once, then kept by its diff_id as an index and its contents.
//!
//! ```text
//!   blob ──read, hash──▶ ring ──inflate──▶ ring ──hash, read entries, split──▶ content, index ──fsync, rename──▶ Layer
//! ```

mod dir;
mod index;
mod ingest;
mod layer;
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use fstree::Diff;
use rayon::prelude::*;

use self::dir::{Dir, Partial};
use self::ingest::{Ingested, ingest};
use self::ring::{Consumer, ring};
use crate::blobs::{Blob, check_digest, check_size};
use crate::decompress::{self, Bounded, Compression};
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::image::{Image, LayerBlob};
use crate::limits::Limits;
use crate::whiteout;

pub use self::layer::Layer;

/// A directory of layers. A layer is there whole or not at all; several processes may use one store.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
    limits: Limits,
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
        let fetch = |at| Ok((at, self.fetch(image, &layers[at])?));
        let fetched: Result<Vec<_>, Error> = pool.install(|| order.into_iter().par_bridge().map(fetch).collect());
        let mut fetched = fetched?;
        self.dir.evict(self.limits.store_bytes).map_err(Error::file(self.dir.path()))?;
        fetched.sort_by_key(|(at, _)| *at);
        Ok(fetched.into_iter().map(|(_, layer)| layer).collect())
    }

    fn fetch(&self, image: &Image, layer: &LayerBlob) -> Result<Layer, Error> {
        if let Some(known) = self.get(&layer.diff_id)? {
            return Ok(known);
        }
        let blob = match (&layer.blob, &layer.member) {
            (Some((digest, _)), _) => image.blobs.blob(digest)?,
            (None, member) => image.blobs.open(member.as_deref().unwrap_or_default())?,
        };
        let digest = layer.blob.map_or(layer.diff_id, |(digest, _)| digest);
        if let Some((_, size)) = layer.blob {
            check_size(&format!("layer {digest}"), size, blob.len())?;
        }
        let partial = self.partial()?;
        let (found, ingested) = self.pass(layer, blob, &partial, &digest)?;
        if layer.blob.is_some() {
            check_digest(&format!("the digest of layer {digest}"), &digest, &found)?;
        }
        check_digest(&format!("the diff_id of layer {digest}"), &layer.diff_id, &ingested.diff_id)?;
        self.keep(partial, ingested)
    }

    /// A blob through all its stages, each on a thread: the digest of the blob, and what came of the tar.
    fn pass(
        &self,
        layer: &LayerBlob,
        blob: Blob,
        partial: &Partial,
        digest: &Digest,
    ) -> Result<(Digest, Ingested), Error> {
        let wrong = |source| Error::Decompress { digest: *digest, source };
        let blob_bytes = blob.len();
        let (compressed, mut to_inflate) = ring();
        let (plain, to_ingest) = ring();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut blob = Hashing::new(blob);
                compressed.send_all(&mut blob).map(|()| blob.finish().1)
            });
            let writer = scope.spawn(|| self.ingest(to_ingest, partial));
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

    /// Keeps a change as a layer.
    ///
    /// # Errors
    /// A content can't be read, the store can't be written, or the change passes a limit.
    pub fn commit(&self, diff: &Diff) -> Result<Layer, Error> {
        let layer = whiteout::join(diff)?;
        let partial = self.partial()?;
        let (mut plain, to_ingest) = ring();
        let ingested = std::thread::scope(|scope| {
            let writer = scope.spawn(|| self.ingest(to_ingest, &partial));
            let written = fstree::tar::write_diff(&layer, &mut plain)
                .and_then(|()| io::Write::flush(&mut plain).map_err(Into::into))
                .map_err(|source| Error::Archive { layer: "of the step".to_owned(), source });
            drop(plain);
            // When the other side has failed, it knows why.
            let ingested = writer.join().expect("writing does not panic")?;
            written.map(|()| ingested)
        })?;
        let layer = self.keep(partial, ingested)?;
        self.dir.evict(self.limits.store_bytes).map_err(Error::file(self.dir.path()))?;
        Ok(layer)
    }

    fn partial(&self) -> Result<Partial, Error> {
        self.dir.partial().map_err(Error::file(self.dir.path()))
    }

    fn ingest(&self, plain: Consumer, partial: &Partial) -> Result<Ingested, Error> {
        let ingested = ingest(plain, &partial.content, &partial.index, &self.limits.tree);
        ingested.map_err(Error::file(self.dir.path()))
    }

    fn keep(&self, partial: Partial, ingested: Ingested) -> Result<Layer, Error> {
        let Ingested { diff_id, archive } = ingested;
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
