//! Images among the objects: a manifest of chunks and the packs that hold them, so that what images of an owner have in common is stored
//! once, and sent once to each host.
//!
//! ```text
//!   image ──pack──▶ references in the database ──▶ pack ──▶ manifest ──▶ the template is ready
//! ```
//!
//! Each step needs only those before it, so a kill between two leaves nothing that somebody counts on; the collector removes the rest.
//! Packs are an owner's own. If they were shared, a manifest would tell one owner what others have, and a range of a pack could be theirs.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use drydock::explain;
use imagechunks::{Cache, Digest, FetchOptions, Fetched, Manifest, PackOptions, Packed, Source};

use crate::artifact::{Images, remove_file};
use crate::error::Error;
use crate::objects::{ImageObject, Objects, Origin, PackObject, create};
use crate::shared::Shared;
use crate::store::{ManifestRow, Referred};
use crate::template::{Owner, Template};

/// How many images are looked at for chunks that a new one has too.
const KNOWN_MAX: u32 = 8;

/// The most bytes of a pack that are read at once.
const RANGE_BYTES_MAX: u64 = 16 << 20;

/// Ranges that are read at once: most of the time of one is the way to the store and back.
const FETCH_THREADS: usize = 8;

/// Chunks that this host has.
#[derive(Debug)]
pub(crate) struct Chunks {
    cache: Cache,
}

impl Chunks {
    /// Opens the cache in `dir`, which may hold so many bytes.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> Result<Self, Error> {
        Ok(Self { cache: Cache::open(dir, bytes_max)? })
    }
}

/// The packs among the objects.
struct Packs<'a>(&'a Objects);

impl Source for Packs<'_> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        match self.0.read_pack(pack, range) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, "there is no such pack")),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Shared {
    /// Puts the image that the attempt of `template` made where all hosts find it.
    pub(crate) fn put_image(&self, template: &Template, digest: &str, image: &Path) -> Result<(), Error> {
        let pack = self.objects.temporary();
        let put = self.pack_and_put(template, digest, image, &pack);
        remove_file(&pack)?;
        put
    }

    /// The chunks of an image that none of the known ones has, to a file that is emptied before.
    fn pack(
        &self,
        image: &File,
        digest: &str,
        known: &[Manifest],
        name: &str,
        out: &mut File,
    ) -> Result<Manifest, Error> {
        out.set_len(0).and_then(|()| out.rewind()).map_err(Error::file("a pack"))?;
        let begun = Instant::now();
        let (manifest, packed) = imagechunks::pack(image, digest.parse()?, known, name, out, &PackOptions::default())?;
        let Packed { chunks, new_chunks, pack_bytes, .. } = packed;
        tracing::info!(chunks, new_chunks, pack_bytes, milliseconds = begun.elapsed().as_millis(), "packed");
        Ok(manifest)
    }

    fn pack_and_put(&self, template: &Template, digest: &str, image: &Path, path: &Path) -> Result<(), Error> {
        let mut known = self.known(template)?;
        let origin = Origin::of(template);
        let pack = PackObject::of(&origin);
        let image = File::open(image).map_err(Error::file(image))?;
        let mut out = create(path)?;
        // Every further turn leaves out an image that is going.
        loop {
            let manifest = self.pack(&image, digest, &known, &pack.name, &mut out)?;
            let object = ImageObject { digest: digest.to_owned(), origin: origin.clone() };
            let row = ManifestRow { object, sha256: manifest.digest().to_string() };
            match self.store.refer(template, &row, &pack.name, manifest.packs())? {
                Referred::Held => {
                    if manifest.packs().contains(&pack.name) {
                        self.objects.put_pack(&pack, &out)?;
                    }
                    return self.objects.put_manifest(&row.object, &manifest.encode());
                }
                // Ending it will find the same.
                Referred::Lost => return Ok(()),
                Referred::Gone(gone) => known.retain(|one| !one.packs().iter().any(|pack| gone.contains(pack))),
            }
        }
    }

    /// Manifests of images of the same owner that have much in common with this one, perhaps.
    fn known(&self, template: &Template) -> Result<Vec<Manifest>, Error> {
        let mut known = Vec::new();
        for row in self.store.manifests_like(template, KNOWN_MAX)? {
            match self.manifest(&row) {
                Ok(manifest) => known.push(manifest),
                // Its chunks are stored anew.
                Err(error) => {
                    tracing::warn!(error = %explain(&error), "the chunks of an earlier image are not used");
                    // A store that does not answer is not asked for the others too.
                    if matches!(error, Error::Object { .. }) {
                        break;
                    }
                }
            }
        }
        Ok(known)
    }

    /// A manifest, verified.
    fn manifest(&self, row: &ManifestRow) -> Result<Manifest, Error> {
        let bytes = self.manifest_bytes(row)?;
        let manifest = Manifest::decode(&bytes)?;
        if manifest.image_digest().to_string() != row.object.digest {
            return Err(Error::ImageGone { digest: row.object.digest.clone() });
        }
        Ok(manifest)
    }

    fn manifest_bytes(&self, row: &ManifestRow) -> Result<Vec<u8>, Error> {
        let bytes_max = imagechunks::MANIFEST_BYTES_MAX.try_into().expect("usize fits in u64");
        let bytes = self.objects.manifest(&row.object, bytes_max)?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes).to_string() == row.sha256);
        bytes.ok_or_else(|| Error::ImageGone { digest: row.object.digest.clone() })
    }

    /// Gets an image of at most that size which this host lacks, and marks it as used.
    pub(crate) fn fetch_image(&self, digest: &str, size_bytes: u64, images: &Images) -> Result<(), Error> {
        self.fetches.one(digest, || {
            // It came while somebody was about to ask for it.
            if !images.mark_used(digest)? {
                self.fetch_to(digest, size_bytes, images)?;
                images.mark_used(digest)?;
            }
            Ok(())
        })
    }

    fn fetch_to(&self, digest: &str, size_bytes: u64, images: &Images) -> Result<(), Error> {
        for row in self.store.manifests_of(digest, None)? {
            match self.fetch_chunks(&row, size_bytes, images) {
                Ok(()) => return Ok(()),
                // Another attempt may have made the same image, and its objects may be whole.
                Err(error) => {
                    tracing::error!(digest, origin = %row.object.origin, error = %explain(&error), "an image can't be put together")
                }
            }
        }
        self.fetch_whole(digest, size_bytes, images)
    }

    fn fetch_chunks(&self, row: &ManifestRow, size_bytes: u64, images: &Images) -> Result<(), Error> {
        let manifest = self.manifest(row)?;
        let digest = &row.object.digest;
        if manifest.image_bytes() > size_bytes {
            let why = format!("its image has {} bytes, more than it can have", manifest.image_bytes());
            return Err(Error::Object { name: format!("the manifest of {}", row.object.origin), why });
        }
        let out = images.fetching(digest);
        let cancel = AtomicBool::new(false);
        let options = FetchOptions { threads: FETCH_THREADS, cancel: &cancel, progress: &|_| (), complete: &|| Ok(()) };
        let begun = Instant::now();
        let fetched = imagechunks::fetch(&manifest, &Packs(&self.objects), &self.chunks.cache, &out, &options)?;
        if let Some(error) = self.chunks.cache.take_failure() {
            tracing::warn!(error = %explain(&error), "fetched chunks can't be kept");
        }
        let Fetched { chunks_fetched, bytes_fetched, chunks_cached, .. } = fetched;
        let milliseconds = begun.elapsed().as_millis();
        tracing::info!(digest, chunks_fetched, bytes_fetched, chunks_cached, milliseconds, "fetched");
        let kept = images.keep(&out, digest);
        if kept.is_err() {
            remove_file(&out)?;
        }
        kept.map(drop)
    }

    /// One that was put by a version before chunks.
    fn fetch_whole(&self, digest: &str, size_bytes: u64, images: &Images) -> Result<(), Error> {
        let temporary = images.fetching(digest);
        let fetched = self.objects.fetch_image(digest, size_bytes, &temporary).and_then(|there| match there {
            true => images.keep(&temporary, digest).map(drop),
            false => Err(Error::ImageGone { digest: digest.to_owned() }),
        });
        if fetched.is_err() {
            remove_file(&temporary)?;
        }
        fetched
    }

    /// The manifest of an owner's image, as it was put.
    pub(crate) fn manifest_for(&self, owner: &Owner, digest: &str) -> Result<Vec<u8>, Error> {
        let mut failed = None;
        for row in self.store.manifests_of(digest, Some(owner))? {
            match self.manifest_bytes(&row) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(Error::NoManifest))
    }

    /// A range of a pack that this owner's image needs.
    pub(crate) fn pack_range(
        &self,
        owner: &Owner,
        digest: &str,
        pack: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let bytes = range.end.checked_sub(range.start).filter(|&bytes| bytes <= RANGE_BYTES_MAX);
        if bytes.is_none() {
            return Err(Error::PackRange { max: RANGE_BYTES_MAX });
        }
        if !self.store.refers(owner, digest, pack)? {
            return Err(Error::NotFound);
        }
        self.objects.read_pack(pack, range)?.ok_or_else(|| Error::ImageGone { digest: digest.to_owned() })
    }
}
