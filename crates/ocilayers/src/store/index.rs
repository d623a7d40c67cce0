//! The index of a layer: all of its tar but the contents of files, and where those went.
//!
//! ```text
//!   tar      H data pad H H data pad ... 0 0 rest     the bytes that the diff_id names
//!   content    data──────▶|data─────▶|       rest     runs, large files from a multiple of 4 KiB on
//!   index    H      pad H H      pad ... 0 0 │ runs │ footer        the first part, the skeleton, as a frame of zstd
//! ```
//!
//! Headers are kept as they are, so that the tar can be given again byte for byte, and so that there is one reader of
//! entries, which sees hostile bytes first. They are a kilobyte or two an entry, nearly all of it zeros: compressed, a twentieth
//! has to be written and read. All numbers are little-endian.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::Crc;
use fstree::tar::Input;
use zstd::stream::{read::Decoder, write::Encoder};

use crate::digest::Digest;

/// First bytes of the footer: what it is and which version.
const MAGIC: [u8; 16] = *b"drydock layer 2\n";
/// Bytes of the footer: magic, diff_id, four lengths, checksum.
const FOOTER: usize = 16 + 32 + 4 * 8 + 4;
/// Bytes of a run.
const RUN: u64 = 24;
/// Bytes read at a time.
const CHUNK: usize = 128 << 10;
/// How hard zstd tries: what there is to gain it finds at once.
const LEVEL: i32 = 1;

/// A piece of the tar that is in the content file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// First byte in the tar.
    pub(super) tar_offset: u64,
    /// First byte in the content file.
    pub(super) content_offset: u64,
    /// Length in bytes, not 0.
    pub(super) len: u64,
}

/// An index that was found sound.
#[derive(Debug)]
pub(super) struct Index {
    file: Arc<File>,
    /// In the order of the tar.
    runs: Vec<Run>,
    /// Bytes of the skeleton, compressed.
    skeleton: u64,
    /// Length of the tar.
    pub(super) tar_bytes: u64,
    /// Length of the content file.
    pub(super) content_bytes: u64,
}

impl Index {
    /// Reads and checks an index. `None` when it is not one of this version, of that layer, or damaged.
    pub(super) fn open(file: File, diff_id: &Digest) -> io::Result<Option<Self>> {
        let len = file.metadata()?.len();
        let Some(body) = len.checked_sub(length(FOOTER)) else { return Ok(None) };
        let mut footer = [0; FOOTER];
        FileExt::read_exact_at(&file, &mut footer, body)?;
        let (checked, checksum) = footer.split_at(FOOTER - 4);
        let number = |at: usize| u64::from_le_bytes(checked[at..at + 8].try_into().expect("eight bytes"));
        let (skeleton, count, tar_bytes, content_bytes) = (number(48), number(56), number(64), number(72));
        let adds_up = count.checked_mul(RUN).and_then(|runs| runs.checked_add(skeleton)) == Some(body);
        if checked[..16] != MAGIC || checked[16..48] != *diff_id.bytes() || !adds_up {
            return Ok(None);
        }
        let file = Arc::new(file);
        let mut reader = BufReader::with_capacity(CHUNK, FileReader::new(&file, 0).take(body));
        let mut crc = Crc::new();
        copy_through(&mut (&mut reader).take(skeleton), |bytes| crc.update(bytes))?;
        let mut runs = Vec::new();
        let mut bytes = [0; 24];
        for _ in 0..count {
            reader.read_exact(&mut bytes)?;
            crc.update(&bytes);
            let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            runs.push(Run { tar_offset: number(0), content_offset: number(8), len: number(16) });
        }
        crc.update(checked);
        let sound = crc.sum().to_le_bytes() == checksum;
        Ok(sound.then_some(Self { file, runs, skeleton, tar_bytes, content_bytes }))
    }

    /// Where the run that starts at `tar_offset` of the tar is in the content file.
    pub(super) fn place(&self, tar_offset: u64) -> Option<u64> {
        let at = self.runs.binary_search_by_key(&tar_offset, |run| run.tar_offset).ok()?;
        Some(self.runs[at].content_offset)
    }

    /// The headers of the tar, for a reader of entries.
    pub(super) fn headers(&self) -> Headers<'_> {
        let reader = BufReader::with_capacity(CHUNK, self.skeleton());
        Headers { index: self, reader, offset: 0, next_run: 0 }
    }

    /// What of the tar is here, from its start.
    pub(super) fn skeleton(&self) -> Skeleton {
        let file = FileReader::new(&self.file, 0).take(self.skeleton);
        let decoder = Decoder::new(file).expect("a decoder without a dictionary");
        Skeleton(decoder.single_frame())
    }

    /// The pieces of the tar in order: so many bytes from here, then such a run.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, Option<Run>)> + use<> {
        let mut at = 0;
        let (runs, tar_bytes) = (self.runs.clone(), self.tar_bytes);
        runs.into_iter().map(Some).chain([None]).map(move |run| {
            let skeleton = run.map_or(tar_bytes, |run| run.tar_offset) - at;
            at += skeleton + run.map_or(0, |run| run.len);
            (skeleton, run)
        })
    }
}

/// Reads the skeleton to its end.
pub(super) struct Skeleton(Decoder<'static, BufReader<io::Take<FileReader>>>);

impl Read for Skeleton {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl fmt::Debug for Skeleton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Skeleton").field(self.0.get_ref()).finish()
    }
}

/// The headers of an indexed tar: contents can be stepped over, not read.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    index: &'a Index,
    reader: BufReader<Skeleton>,
    /// How much of the tar has passed.
    offset: u64,
    /// The first run that has not.
    next_run: usize,
}

impl Input for Headers<'_> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(run) = self.index.runs.get(self.next_run).filter(|run| run.tar_offset < offset) {
            self.step_to(run.tar_offset)?;
            self.offset = run.tar_offset.saturating_add(run.len);
            self.next_run += 1;
        }
        self.step_to(offset)?;
        let mut len = 0;
        while len < buffer.len() {
            match self.reader.read(&mut buffer[len..])? {
                0 => break,
                read => len += read,
            }
        }
        self.offset += length(len);
        Ok(len)
    }
}

impl Headers<'_> {
    fn step_to(&mut self, offset: u64) -> io::Result<()> {
        let gap = offset.checked_sub(self.offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        let passed = copy_through(&mut (&mut self.reader).take(gap), |_| ())?;
        if passed < gap {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset = offset;
        Ok(())
    }
}

/// Writes an index from its start to its end.
pub(super) struct Writer<W: Write> {
    skeleton: Encoder<'static, Checked<W>>,
    runs: Vec<Run>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> io::Result<Self> {
        let checked = Checked { out, crc: Crc::new(), len: 0 };
        Ok(Self { skeleton: Encoder::new(checked, LEVEL)?, runs: Vec::new() })
    }

    /// Bytes of the tar that stay here.
    pub(super) fn skeleton(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.skeleton.write_all(bytes)
    }

    /// A piece of the tar that goes to the content file. Pieces come in order.
    pub(super) fn run(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Writes runs and footer.
    pub(super) fn finish(self, diff_id: &Digest, tar_bytes: u64, content_bytes: u64) -> io::Result<W> {
        let mut out = self.skeleton.finish()?;
        let skeleton = out.len;
        for run in &self.runs {
            for number in [run.tar_offset, run.content_offset, run.len] {
                out.write_all(&number.to_le_bytes())?;
            }
        }
        out.write_all(&MAGIC)?;
        out.write_all(diff_id.bytes())?;
        for number in [skeleton, length(self.runs.len()), tar_bytes, content_bytes] {
            out.write_all(&number.to_le_bytes())?;
        }
        let checksum = out.crc.sum().to_le_bytes();
        out.out.write_all(&checksum)?;
        Ok(out.out)
    }
}

/// Knows the checksum and the length of what it has written.
struct Checked<W> {
    out: W,
    crc: Crc,
    len: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.crc.update(&bytes[..len]);
        self.len += length(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads an open file by offset: clones of one file do not share a position.
#[derive(Debug)]
pub(super) struct FileReader {
    file: Arc<File>,
    offset: u64,
}

impl FileReader {
    pub(super) fn new(file: &Arc<File>, offset: u64) -> Self {
        Self { file: Arc::clone(file), offset }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.offset)?;
        self.offset += length(len);
        Ok(len)
    }
}

/// Reads to the end; says how much there was.
fn copy_through(reader: &mut io::Take<impl io::BufRead>, mut see: impl FnMut(&[u8])) -> io::Result<u64> {
    use io::BufRead;
    let mut passed = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(passed);
        }
        see(bytes);
        reader.consume(len);
        passed += length(len);
    }
}

pub(super) fn length(len: usize) -> u64 {
    u64::try_from(len).expect("usize fits in u64")
}
