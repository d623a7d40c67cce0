//! An image into a manifest and a pack of what is new in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use zstd::bulk::Compressor;

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Chunk, Manifest, PACKS_MAX, check_name, log2};
use crate::read::pool;

/// The size of chunks, in bytes, unless something else is asked for. `docs/decisions/chunks.md` has the measurements.
pub const CHUNK_BYTES: u32 = 64 << 10;

/// Bytes of an image that are worked on at a time.
const BATCH_BYTES: usize = 16 << 20;

/// How a pack is made.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// Bytes of a chunk: a power of two from 4 KiB to 16 MiB.
    pub chunk_bytes: u32,
    /// Level of zstd.
    pub level: i32,
    /// How many threads work; 0 for as many as there are cores. The result is the same.
    pub threads: usize,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { chunk_bytes: CHUNK_BYTES, level: 3, threads: 0 }
    }
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Chunks of the image with content.
    pub chunks: u64,
    /// Chunks in the pack. If none is, there is no need for the pack, and the manifest does not name it.
    pub new_chunks: u64,
    /// Bytes of the pack.
    pub pack_bytes: u64,
}

/// Makes the manifest of an image, and writes those of its chunks that none of the `known` images has to `out`, which becomes the pack
/// `pack_name`. `image_digest` is the SHA-256 of the image, which nobody else may write to meanwhile; it is passed on, and believed
/// here: who fetches the image checks it.
///
/// Of the known images those named first are used first; a manifest refers to [`PACKS_MAX`] packs at the most, and chunks that lie in still
/// others are packed again. Manifests of another chunk size do not count. The image is read once, and its holes are not read; same input,
/// same bytes, at any number of threads.
///
/// # Errors
/// The name or the size of chunks can't be, the image has too many chunks, or it can't be read, or the pack not written.
pub fn pack(
    image: &File,
    image_digest: Digest,
    known: &[Manifest],
    pack_name: &str,
    out: &mut dyn Write,
    options: &PackOptions,
) -> Result<(Manifest, Packed), Error> {
    check_name(pack_name)?;
    log2(options.chunk_bytes)?;
    let image_bytes = image.metadata().map_err(Error::Image)?.len();
    let mut packer = Packer::new(known, pack_name, out, options)?;
    let mut batch = Vec::new();
    let mut places = Places { image, chunk_bytes: options.chunk_bytes.into(), image_bytes, next: 0, data_end: 0 };
    let batch_len = BATCH_BYTES / packer.chunk_bytes;
    while let Some(index) = places.next()? {
        batch.push(index);
        if batch.len() == batch_len.max(1) {
            packer.add(image, image_bytes, &batch)?;
            batch.clear();
        }
    }
    packer.add(image, image_bytes, &batch)?;
    packer.finish(image_bytes, image_digest)
}

/// The numbers of the chunks that the file system has content of, in order.
struct Places<'a> {
    image: &'a File,
    chunk_bytes: u64,
    image_bytes: u64,
    /// The chunk that is looked at next.
    next: u64,
    /// Where the content ends that was found last.
    data_end: u64,
}

impl Places<'_> {
    fn next(&mut self) -> Result<Option<u64>, Error> {
        let at = self.next * self.chunk_bytes;
        if at >= self.image_bytes {
            return Ok(None);
        }
        if at >= self.data_end {
            let data = match seek(self.image, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => return Ok(None),
                data => data.map_err(|errno| Error::Image(errno.into()))?,
            };
            if data >= self.image_bytes {
                return Ok(None);
            }
            self.data_end = seek(self.image, SeekFrom::Hole(data)).map_err(|errno| Error::Image(errno.into()))?;
            self.next = data / self.chunk_bytes;
        }
        self.next += 1;
        Ok(Some(self.next - 1))
    }
}

struct Packer<'a> {
    options: &'a PackOptions,
    chunk_bytes: usize,
    pool: rayon::ThreadPool,
    /// Names of packs; the last is that of the new one.
    packs: Vec<&'a str>,
    /// Where chunks lie already, by number in `packs`.
    there: HashMap<Digest, Chunk>,
    out: &'a mut dyn Write,
    chunks: Vec<(u64, Chunk)>,
    packed: Packed,
}

impl<'a> Packer<'a> {
    fn new(
        known: &'a [Manifest],
        pack_name: &'a str,
        out: &'a mut dyn Write,
        options: &'a PackOptions,
    ) -> Result<Self, Error> {
        let known: Vec<&Manifest> = known.iter().filter(|one| one.chunk_bytes() == options.chunk_bytes).collect();
        let mut packs = usable(&known);
        packs.retain(|name| *name != pack_name);
        let mut there = HashMap::new();
        for manifest in known {
            let number = |name: &String| packs.iter().position(|used| used == name);
            let numbers: Vec<Option<usize>> = manifest.packs().iter().map(number).collect();
            for (_, chunk) in manifest.chunks() {
                if let Some(pack) = numbers[chunk.pack] {
                    there.entry(chunk.digest).or_insert(Chunk { pack, ..*chunk });
                }
            }
        }
        packs.push(pack_name);
        let chunk_bytes = usize::try_from(options.chunk_bytes).expect("u32 fits in usize");
        let pool = pool(options.threads)?;
        Ok(Self { options, chunk_bytes, pool, packs, there, out, chunks: Vec::new(), packed: Packed::default() })
    }

    /// Chunks of these numbers: all are read and hashed at once, then those that are new are compressed at once, and written in order.
    fn add(&mut self, image: &File, image_bytes: u64, batch: &[u64]) -> Result<(), Error> {
        let chunk_bytes = self.chunk_bytes;
        let read = |index: &u64| read(image, *index, chunk_bytes, image_bytes).map_err(Error::Image);
        let read: Vec<Option<(u64, Digest, Vec<u8>)>> =
            self.pool.install(|| batch.par_iter().map(read).collect::<Result<_, _>>())?;
        let read: Vec<(u64, Digest, Vec<u8>)> = read.into_iter().flatten().collect();
        let mut new: Vec<(Digest, &[u8])> = Vec::new();
        let mut taken = HashMap::new();
        for (_, digest, content) in &read {
            if !self.there.contains_key(digest) && taken.insert(*digest, ()).is_none() {
                new.push((*digest, content));
            }
        }
        let level = self.options.level;
        let compress = |compressor: &mut io::Result<Compressor<'_>>, (_, content): &(Digest, &[u8])| match compressor {
            Ok(compressor) => compressor.compress(content),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let frames: Vec<Vec<u8>> = self.pool.install(|| {
            let frames = new.par_iter().map_init(|| Compressor::new(level), compress);
            frames.collect::<io::Result<_>>().map_err(Error::Pack)
        })?;
        for ((digest, _), frame) in new.iter().zip(&frames) {
            self.write(*digest, frame)?;
        }
        let numbered = read.iter().map(|(index, digest, _)| (*index, self.there[digest]));
        self.chunks.extend(numbered);
        Ok(())
    }

    fn write(&mut self, digest: Digest, frame: &[u8]) -> Result<(), Error> {
        self.out.write_all(frame).map_err(Error::Pack)?;
        let bytes = u32::try_from(frame.len()).expect("a chunk of 16 MiB is compressed to less than 4 GiB");
        let chunk = Chunk { digest, pack: self.packs.len() - 1, offset: self.packed.pack_bytes, bytes };
        self.there.insert(digest, chunk);
        self.packed.new_chunks += 1;
        self.packed.pack_bytes += u64::from(bytes);
        Ok(())
    }

    fn finish(mut self, image_bytes: u64, image_digest: Digest) -> Result<(Manifest, Packed), Error> {
        self.out.flush().map_err(Error::Pack)?;
        self.packed.chunks = u64::try_from(self.chunks.len()).expect("usize fits in u64");
        let mut names = Vec::new();
        let mut numbers = vec![None; self.packs.len()];
        for (_, chunk) in &mut self.chunks {
            chunk.pack = *numbers[chunk.pack].get_or_insert_with(|| {
                names.push(self.packs[chunk.pack].to_owned());
                names.len() - 1
            });
        }
        let manifest = Manifest::new(self.options.chunk_bytes, image_bytes, image_digest, names, self.chunks)?;
        Ok((manifest, self.packed))
    }
}

/// The packs of known images that a new one may refer to: of each image, in order, those first that give it most.
fn usable<'a>(known: &[&'a Manifest]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for manifest in known {
        let mut packs: Vec<(u64, &String)> = manifest.bytes_of_packs().into_iter().zip(manifest.packs()).collect();
        packs.sort_by(|one, other| other.cmp(one));
        for (_, name) in packs {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names.truncate(PACKS_MAX - 1);
    names
}

/// A chunk and its digest; none if it is all zeros.
fn read(image: &File, index: u64, chunk_bytes: usize, image_bytes: u64) -> io::Result<Option<(u64, Digest, Vec<u8>)>> {
    let at = index * u64::try_from(chunk_bytes).expect("usize fits in u64");
    let len = usize::try_from(image_bytes - at).unwrap_or(usize::MAX).min(chunk_bytes);
    let mut content = vec![0; len];
    image.read_exact_at(&mut content, at)?;
    let zeros = content.iter().all(|&byte| byte == 0);
    Ok((!zeros).then(|| (index, Digest::of(&content), content)))
}
