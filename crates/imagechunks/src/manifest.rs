//! What an image is made of, and its one encoding.
//!
//! ```text
//!   magic      8 bytes   "ddchunks"
//!   version    u8        2
//!   image      varint    bytes of the image
//!   digest     32 bytes  SHA-256 of the image
//!   packs      varint    number of packs, then each, as chunks first need them: u8 length, name
//!   chunks     varint    number of chunks, then each in order: varint blocks of zeros before it, varint blocks, 32 bytes SHA-256,
//!                        varint pack, varint zigzag (offset - end of the chunk before it in that pack), varint bytes
//! ```
//!
//! A block has 4 KiB. What is behind the last chunk is zeros. Numbers are LEB128. An image in these chunks has one encoding alone, so
//! that a manifest is known by the SHA-256 of its bytes: what reads as a manifest of this version and would be written otherwise is refused.
//! Memory to decode grows with the bytes, never with what they claim.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::cut::{BLOCK_LOG2, BLOCKS_MAX};
use crate::digest::Digest;
use crate::error::Error;

/// The most packs of one image.
pub const PACKS_MAX: usize = 64;

/// The most bytes of a manifest that is read.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"ddchunks";
const VERSION: u8 = 2;
/// The version before, whose chunks all have one size. It is read, and written no more.
const FIXED_VERSION: u8 = 1;
const FIXED_LOG2: Range<u8> = 12..25;
const FIXED_ENTRY_BYTES_MIN: usize = Digest::BYTES + 3;
const NAME_BYTES_MAX: usize = 200;
/// As large as an image of ext4 can be at all.
const IMAGE_BYTES_MAX: u64 = 1 << 60;
const PACK_BYTES_MAX: u64 = 1 << 60;
/// Bytes of a chunk in a manifest, at the least.
const ENTRY_BYTES_MIN: usize = Digest::BYTES + 5;
const BLOCK: u64 = 1 << BLOCK_LOG2;

/// A part of an image: what it is, and where it is in the image and in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Where it begins in the image, in bytes.
    pub place: u64,
    /// Bytes of it in the image.
    pub len: u32,
    /// SHA-256 of its bytes, uncompressed.
    pub digest: Digest,
    /// The number of its pack among [`Manifest::packs`].
    pub pack: usize,
    /// Where it begins in the pack.
    pub offset: u64,
    /// Bytes of it in the pack, compressed.
    pub bytes: u32,
}

impl Chunk {
    /// The bytes of the pack that hold it.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.bytes)
    }

    /// Where it ends in the image.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.place + u64::from(self.len)
    }

    pub(crate) fn len_usize(&self) -> usize {
        usize::try_from(self.len).expect("u32 fits in usize")
    }
}

/// What an image is made of. It is valid: see [`Manifest::decode`].
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    image_bytes: u64,
    image_digest: Digest,
    packs: Vec<String>,
    chunks: Vec<Chunk>,
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut show = f.debug_struct("Manifest");
        show.field("image_digest", &self.image_digest).field("image_bytes", &self.image_bytes);
        show.field("packs", &self.packs).field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

impl Manifest {
    /// Made of chunks in the order of the image.
    pub(crate) fn new(
        image_bytes: u64,
        image_digest: Digest,
        packs: Vec<String>,
        chunks: Vec<Chunk>,
    ) -> Result<Self, Error> {
        let made = Self { image_bytes, image_digest, packs, chunks };
        let bytes = made.encode().len();
        if bytes > MANIFEST_BYTES_MAX { Err(Error::TooManyChunks { bytes }) } else { Ok(made) }
    }

    /// Reads a manifest. It may be anybody's bytes: what comes back refers to packs of sound names alone, to no place beyond any
    /// pack, and covers its image.
    ///
    /// # Errors
    /// They are no manifest of this version, or not in the one way it is written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Error::manifest(format!(
                "it has {} bytes, at most {MANIFEST_BYTES_MAX} are read",
                bytes.len()
            )));
        }
        let mut reader = Reader { rest: bytes };
        let made = reader.manifest()?;
        made.check()?;
        // Numbers of needless length: a manifest has one digest. Nobody makes those of the version before any more.
        if bytes.get(MAGIC.len()) == Some(&VERSION) && made.encode() != bytes {
            return Err(Error::manifest("it is not written in the one way that is allowed"));
        }
        Ok(made)
    }

    fn check(&self) -> Result<(), Error> {
        let refused = |why: &str| Err(Error::manifest(why));
        let names: BTreeSet<&String> = self.packs.iter().collect();
        if names.len() != self.packs.len() {
            return refused("a pack is named twice");
        }
        let mut used = 0;
        for chunk in &self.chunks {
            used += usize::from(chunk.pack == used);
            if chunk.pack >= used {
                return refused("its packs are not in the order of its chunks");
            }
        }
        if used != self.packs.len() {
            return refused("it names a pack that none of its chunks is in");
        }
        let fits = |chunk: &Chunk| {
            let bytes = usize::try_from(chunk.bytes).unwrap_or(usize::MAX);
            (1..=zstd::zstd_safe::compress_bound(chunk.len_usize())).contains(&bytes) && chunk.offset <= PACK_BYTES_MAX
        };
        if !self.chunks.iter().all(fits) {
            return refused("a chunk lies where none can");
        }
        Ok(())
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.chunks.len() * (ENTRY_BYTES_MIN + 3));
        out.extend(MAGIC);
        out.push(VERSION);
        put(&mut out, self.image_bytes);
        out.extend(self.image_digest.as_bytes());
        put_len(&mut out, self.packs.len());
        for name in &self.packs {
            out.push(u8::try_from(name.len()).expect("a checked name is short"));
            out.extend(name.as_bytes());
        }
        put_len(&mut out, self.chunks.len());
        let (mut end, mut ends) = (0, vec![0; self.packs.len()]);
        for chunk in &self.chunks {
            put(&mut out, (chunk.place - end) / BLOCK);
            put(&mut out, u64::from(chunk.len).div_ceil(BLOCK));
            out.extend(chunk.digest.as_bytes());
            put_len(&mut out, chunk.pack);
            put(&mut out, zigzag(chunk.offset, ends[chunk.pack]));
            put(&mut out, u64::from(chunk.bytes));
            (end, ends[chunk.pack]) = (chunk.end(), chunk.range().end);
        }
        out
    }

    /// SHA-256 of its bytes: its name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// Bytes of the image.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.image_bytes
    }

    /// SHA-256 of the image.
    #[must_use]
    pub fn image_digest(&self) -> Digest {
        self.image_digest
    }

    /// The names of the packs that hold its chunks; each is used, and none is there twice.
    #[must_use]
    pub fn packs(&self) -> &[String] {
        &self.packs
    }

    /// The chunks, in the order of the image. What lies between them is zeros.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The chunk that holds a byte of the image; none if it is one of zeros.
    #[must_use]
    pub fn chunk_at(&self, offset: u64) -> Option<&Chunk> {
        self.chunks.get(self.first_from(offset)).filter(|chunk| chunk.place <= offset)
    }

    /// The number of the first chunk that ends behind a byte of the image.
    pub(crate) fn first_from(&self, offset: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.end() <= offset)
    }

    /// How many bytes, compressed, each of its packs gives it; chunks that are there several times count once.
    #[must_use]
    pub fn bytes_of_packs(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.packs.len()];
        let mut seen = HashMap::new();
        for chunk in &self.chunks {
            if seen.insert((chunk.pack, chunk.offset), ()).is_none() {
                bytes[chunk.pack] += u64::from(chunk.bytes);
            }
        }
        bytes
    }
}

/// Checks the name of a pack: it becomes a part of paths and addresses.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(sound) && !name.starts_with('.') {
        return Ok(());
    }
    Err(Error::PackName(name.chars().filter(|one| !one.is_control()).take(NAME_BYTES_MAX).collect()))
}

/// The difference of two places as a number that is small when they are close.
fn zigzag(to: u64, from: u64) -> u64 {
    if to >= from { (to - from) << 1 } else { ((from - to) << 1) - 1 }
}

fn unzigzag(difference: u64, from: u64) -> Option<u64> {
    if difference & 1 == 0 { from.checked_add(difference >> 1) } else { from.checked_sub((difference >> 1) + 1) }
}

/// Adds a number: seven bits a byte, the lowest first, the highest bit set in all but the last.
fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_len(out: &mut Vec<u8>, number: usize) {
    put(out, u64::try_from(number).expect("usize fits in u64"));
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn manifest(&mut self) -> Result<Manifest, Error> {
        if self.bytes(MAGIC.len())? != MAGIC {
            return Err(Error::manifest("it does not begin as one"));
        }
        let [version] = self.array()?;
        let chunk_bytes = match version {
            VERSION => None,
            FIXED_VERSION => Some(self.fixed_chunk_bytes()?),
            _ => {
                return Err(Error::manifest(format!(
                    "it has version {version}, and this program reads up to {VERSION}"
                )));
            }
        };
        let image_bytes = self.number()?;
        if image_bytes > IMAGE_BYTES_MAX {
            return Err(Error::manifest("its image is larger than any can be"));
        }
        let image_digest = Digest::from_bytes(self.array()?);
        let packs = self.packs()?;
        let chunks = match chunk_bytes {
            None => self.chunks(image_bytes, packs.len())?,
            Some(chunk_bytes) => self.fixed_chunks(image_bytes, chunk_bytes, packs.len())?,
        };
        if !self.rest.is_empty() {
            return Err(Error::manifest("there is more after its end"));
        }
        Ok(Manifest { image_bytes, image_digest, packs, chunks })
    }

    fn packs(&mut self) -> Result<Vec<String>, Error> {
        let count = self.number()?;
        if !usize::try_from(count).is_ok_and(|count| count <= PACKS_MAX) {
            return Err(Error::manifest(format!("it has {count} packs, at most {PACKS_MAX} may be")));
        }
        let name = |_| {
            let [len] = self.array()?;
            let name = String::from_utf8_lossy(self.bytes(usize::from(len))?).into_owned();
            check_name(&name)?;
            Ok(name)
        };
        (0..count).map(name).collect()
    }

    fn chunks(&mut self, image_bytes: u64, packs: usize) -> Result<Vec<Chunk>, Error> {
        // Claims are bounded by what is there to back them.
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= self.rest.len() / ENTRY_BYTES_MIN);
        let count = count.ok_or_else(|| Error::manifest("it breaks off"))?;
        let (mut end, mut ends) = (0, vec![0; packs]);
        let chunk = |_| {
            let (place, len) = self.place(end, image_bytes)?;
            let chunk = self.chunk(place, len, &mut ends)?;
            end = chunk.end();
            Ok(chunk)
        };
        (0..count).map(chunk).collect()
    }

    /// The chunks of a manifest of version 1: behind the version it has log2 of the bytes of every chunk, and before them, to the end of the
    /// image, how many chunks are zeros and how many have content, in turns.
    fn fixed_chunks(&mut self, image_bytes: u64, chunk_bytes: u64, packs: usize) -> Result<Vec<Chunk>, Error> {
        let mut places: Vec<u64> = Vec::new();
        let (mut index, all) = (0_u64, image_bytes.div_ceil(chunk_bytes));
        while index < all {
            let (zeros, content) = (self.number()?, self.number()?);
            let begin = index.checked_add(zeros).ok_or_else(|| Error::manifest("its chunks do not fit its image"))?;
            let end = begin.checked_add(content).filter(|end| *end > index && *end <= all);
            let end = end.ok_or_else(|| Error::manifest("its chunks do not fit its image"))?;
            // All of them are still to come: what backs one run of chunks backs no other.
            let backed = (self.rest.len() / FIXED_ENTRY_BYTES_MIN).saturating_sub(places.len());
            if content > u64::try_from(backed).expect("usize fits in u64") {
                return Err(Error::manifest("it breaks off"));
            }
            places.extend((begin..end).map(|index| index * chunk_bytes));
            index = end;
        }
        let mut ends = vec![0; packs];
        let len = |place| u32::try_from(chunk_bytes.min(image_bytes - place)).expect("at most 16 MiB");
        places.into_iter().map(|place| self.chunk(place, len(place), &mut ends)).collect()
    }

    fn fixed_chunk_bytes(&mut self) -> Result<u64, Error> {
        let [log2] = self.array()?;
        if FIXED_LOG2.contains(&log2) {
            Ok(1 << log2)
        } else {
            Err(Error::manifest("its chunks have a size that none can have"))
        }
    }

    /// What a chunk at that place is, and where it lies; `ends` says for each pack where the chunk before it ends there.
    fn chunk(&mut self, place: u64, len: u32, ends: &mut [u64]) -> Result<Chunk, Error> {
        let digest = Digest::from_bytes(self.array()?);
        let lost = || Error::manifest("a chunk lies where none can");
        let pack = usize::try_from(self.number()?).ok().filter(|pack| *pack < ends.len()).ok_or_else(lost)?;
        let offset = unzigzag(self.number()?, ends[pack]).filter(|at| *at <= PACK_BYTES_MAX).ok_or_else(lost)?;
        let bytes = u32::try_from(self.number()?).map_err(|_| lost())?;
        let chunk = Chunk { place, len, digest, pack, offset, bytes };
        ends[pack] = chunk.range().end;
        Ok(chunk)
    }

    /// Where a chunk is in the image, and its length: the one before ended at `end`.
    fn place(&mut self, end: u64, image_bytes: u64) -> Result<(u64, u32), Error> {
        let (zeros, blocks) = (self.number()?, self.number()?);
        let place = zeros.checked_mul(BLOCK).and_then(|zeros| zeros.checked_add(end)).unwrap_or(u64::MAX);
        let blocks_max = u64::try_from(BLOCKS_MAX).expect("usize fits in u64");
        let blocks_left = image_bytes.saturating_sub(place).div_ceil(BLOCK);
        if !(1..=blocks_max.min(blocks_left)).contains(&blocks) {
            return Err(Error::manifest("its chunks do not fit its image"));
        }
        let len = (blocks * BLOCK).min(image_bytes - place);
        Ok((place, u32::try_from(len).expect("at most so many blocks")))
    }

    fn bytes(&mut self, count: usize) -> Result<&[u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| Error::manifest("it breaks off"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.bytes(N)?.try_into().expect("as many as asked for"))
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::manifest("a number in it is too large"))
    }
}
