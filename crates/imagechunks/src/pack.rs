//! An image into a manifest and a pack of what is new in it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use zstd::bulk::Compressor;

use crate::cut::{BLOCK_BYTES, Mark, Rule};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Chunk, Manifest, PACKS_MAX, check_name};
use crate::read::pool;

/// Bytes of a chunk in the mean, unless something else is asked for. `docs/decisions/chunks.md` has the measurements.
pub const CHUNK_BYTES: u32 = 64 << 10;

/// Bytes of an image that are worked on at a time: this, or two of the longest chunks.
const WINDOW_BYTES: usize = 16 << 20;

/// Bytes that a thread reads at a time: it looks at them while they are in its cache.
const READ_BYTES: usize = 64 << 10;

/// How a pack is made.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// Bytes of a chunk in the mean, where contents have no zeros: a multiple of 4 KiB up to 4 MiB. The longest have four times as many.
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
    /// Chunks of the image.
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
/// others are packed again. The image is read about once, and large holes are not; same input, same bytes, at any number of threads,
/// whatever of the zeros is a hole.
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
    let image = Image {
        file: image,
        bytes: image.metadata().map_err(Error::Image)?.len(),
        rule: Rule::new(options.chunk_bytes)?,
    };
    let mut packer = Packer::new(known, pack_name, out, options)?;
    let mut window = Vec::new();
    let mut at = 0;
    while let Some(range) = image.window(at)? {
        window.resize(usize::try_from(range.end - range.start).expect("at most so large"), 0);
        let marks = packer.pool.install(|| image.read(&mut window, range.start)).map_err(Error::Image)?;
        let (chunks, done) = image.rule.cut(&marks, range.end == image.bytes);
        let bytes = |blocks: Range<usize>| blocks.start * BLOCK_BYTES..(blocks.end * BLOCK_BYTES).min(window.len());
        let contents: Vec<Range<usize>> = chunks.into_iter().map(bytes).collect();
        packer.add(range.start, &window, &contents)?;
        // A chunk that has no end here begins the next window.
        at = range.start + length(done * BLOCK_BYTES);
    }
    packer.finish(image.bytes, image_digest)
}

/// What is packed.
#[derive(Clone, Copy)]
struct Image<'a> {
    file: &'a File,
    bytes: u64,
    rule: Rule,
}

impl Image<'_> {
    /// What is looked at next, if there is any content from `at` on: whole blocks, the longest chunk at least, or all up to the end.
    fn window(self, at: u64) -> Result<Option<Range<u64>>, Error> {
        let failed = |errno: Errno| Error::Image(errno.into());
        if at >= self.bytes {
            return Ok(None);
        }
        let data = match seek(self.file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(None),
            data => data.map_err(failed)?,
        };
        if data >= self.bytes {
            return Ok(None);
        }
        let hole = seek(self.file, SeekFrom::Hole(data)).map_err(failed)?;
        let (block, longest) = (length(BLOCK_BYTES), length(self.rule.max_bytes()));
        let start = data / block * block;
        let end = (hole.next_multiple_of(block) + longest).min(start + (2 * longest).max(length(WINDOW_BYTES)));
        Ok(Some(start..end.min(self.bytes)))
    }

    /// Reads what is at `at`, and says what each of its blocks is.
    fn read(self, window: &mut [u8], at: u64) -> io::Result<Vec<Mark>> {
        let read = |(number, piece): (usize, &mut [u8])| {
            self.file.read_exact_at(piece, at + length(number * READ_BYTES))?;
            Ok(piece.chunks(BLOCK_BYTES).map(|block| self.rule.mark(block)).collect())
        };
        let marks: io::Result<Vec<Vec<Mark>>> = window.par_chunks_mut(READ_BYTES).enumerate().map(read).collect();
        Ok(marks?.concat())
    }
}

/// Where a content lies.
#[derive(Clone, Copy)]
struct Stored {
    /// A number in [`Packer::packs`].
    pack: usize,
    offset: u64,
    bytes: u32,
}

struct Packer<'a> {
    options: &'a PackOptions,
    pool: rayon::ThreadPool,
    /// Names of packs; the last is that of the new one.
    packs: Vec<&'a str>,
    there: HashMap<Digest, Stored>,
    out: &'a mut dyn Write,
    chunks: Vec<Chunk>,
    packed: Packed,
}

impl<'a> Packer<'a> {
    fn new(
        known: &'a [Manifest],
        pack_name: &'a str,
        out: &'a mut dyn Write,
        options: &'a PackOptions,
    ) -> Result<Self, Error> {
        let mut packs = usable(known);
        packs.retain(|name| *name != pack_name);
        let mut there = HashMap::new();
        for manifest in known {
            let number = |name: &String| packs.iter().position(|used| used == name);
            let numbers: Vec<Option<usize>> = manifest.packs().iter().map(number).collect();
            for Chunk { digest, pack, offset, bytes, .. } in manifest.chunks() {
                if let Some(pack) = numbers[*pack] {
                    there.entry(*digest).or_insert(Stored { pack, offset: *offset, bytes: *bytes });
                }
            }
        }
        packs.push(pack_name);
        let pool = pool(options.threads)?;
        Ok(Self { options, pool, packs, there, out, chunks: Vec::new(), packed: Packed::default() })
    }

    /// The chunks of a window that begins at `at`: all are hashed at once, then those that are new are compressed at once, and written in
    /// order.
    fn add(&mut self, at: u64, window: &[u8], contents: &[Range<usize>]) -> Result<(), Error> {
        let hash = |content: &Range<usize>| Digest::of(&window[content.clone()]);
        let digests: Vec<Digest> = self.pool.install(|| contents.par_iter().map(hash).collect());
        let with_digests = || digests.iter().copied().zip(contents);
        let mut taken = HashSet::new();
        let mut new: Vec<(Digest, &[u8])> = Vec::new();
        for (digest, content) in with_digests() {
            if !self.there.contains_key(&digest) && taken.insert(digest) {
                new.push((digest, &window[content.clone()]));
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
        self.chunks.extend(with_digests().map(|(digest, content)| {
            let Stored { pack, offset, bytes } = self.there[&digest];
            let len = u32::try_from(content.len()).expect("at most 16 MiB");
            Chunk { place: at + length(content.start), len, digest, pack, offset, bytes }
        }));
        Ok(())
    }

    fn write(&mut self, digest: Digest, frame: &[u8]) -> Result<(), Error> {
        self.out.write_all(frame).map_err(Error::Pack)?;
        let bytes = u32::try_from(frame.len()).expect("a chunk of 16 MiB is compressed to less than 4 GiB");
        let stored = Stored { pack: self.packs.len() - 1, offset: self.packed.pack_bytes, bytes };
        self.there.insert(digest, stored);
        self.packed.new_chunks += 1;
        self.packed.pack_bytes += u64::from(bytes);
        Ok(())
    }

    fn finish(mut self, image_bytes: u64, image_digest: Digest) -> Result<(Manifest, Packed), Error> {
        self.out.flush().map_err(Error::Pack)?;
        self.packed.chunks = length(self.chunks.len());
        let mut names = Vec::new();
        let mut numbers = vec![None; self.packs.len()];
        for chunk in &mut self.chunks {
            chunk.pack = *numbers[chunk.pack].get_or_insert_with(|| {
                names.push(self.packs[chunk.pack].to_owned());
                names.len() - 1
            });
        }
        let manifest = Manifest::new(image_bytes, image_digest, names, self.chunks)?;
        Ok((manifest, self.packed))
    }
}

/// The packs of known images that a new one may refer to: of each image, in order, those first that give it most.
fn usable(known: &[Manifest]) -> Vec<&str> {
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

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize fits in u64")
}
