//! A tar on its way into the store: hashed, read entry by entry and split into index and content while it passes.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use fstree::tar::{Input, Reader, TarError};
use fstree::{Addition, Kind, Segment, Sources};
use sha2::{Digest as _, Sha256};

use super::early::Written;
use super::gather::Gather;
use super::index::{self, Run, length};
use super::ring::Chunks;
use crate::digest::Digest;

/// A file of fewer bytes is copied into an image, also where blocks could be shared: that costs less.
const SHARED_BYTES_MIN: u64 = 64 << 10;

/// What came of a tar.
#[derive(Debug)]
pub(super) struct Ingested {
    pub(super) diff_id: Digest,
    /// What is wrong with the archive. Asked for only once the digest is known to be right.
    pub(super) archive: Result<(), TarError>,
}

/// Takes the pieces of a tar to the end.
///
/// # Errors
/// A file can't be written.
pub(super) fn ingest(
    chunks: &mut dyn Chunks,
    content: &File,
    index: &File,
    early: Written,
    limits: &fstree::Limits,
) -> io::Result<Ingested> {
    let id = Sources::default().add(std::sync::Arc::new(Vec::new()));
    let mut reader = Reader::new(Splitter::new(chunks, content, index, early)?, id, limits);
    let archive = loop {
        match reader.next_addition() {
            Ok(None) => break Ok(()),
            Ok(Some(Addition::Entry { node, .. })) => {
                if let Kind::File(content) = &node.kind {
                    reader.input_mut().expect(content.segments());
                }
            }
            Ok(Some(Addition::Link { .. })) => {}
            Err(error) => break Err(error),
        }
    };
    let mut splitter = reader.into_input();
    if let Some(error) = splitter.failed.take() {
        return Err(error);
    }
    // Also what is no archive is hashed to its end: a wrong digest is the better message.
    let diff_id = if archive.is_ok() { splitter.finish()? } else { splitter.hash_rest()? };
    Ok(Ingested { diff_id, archive })
}

/// The input of the reader of entries: all that passes is hashed; what the reader says is content goes to the one file,
/// everything else to the other.
struct Splitter<'a> {
    chunks: &'a mut dyn Chunks,
    chunk: Vec<u8>,
    /// How much of the chunk has passed.
    used: usize,
    /// How much of the tar has passed.
    offset: u64,
    hash: Sha256,
    content: Gather<'a>,
    index: index::Writer<BufWriter<&'a File>>,
    /// A write that failed: the reader of entries would call it a failed read.
    failed: Option<io::Error>,
    /// Runs that are still to come, the last one first.
    expected: Vec<Segment>,
}

impl<'a> Splitter<'a> {
    fn new(chunks: &'a mut dyn Chunks, content: &'a File, index: &'a File, early: Written) -> io::Result<Self> {
        Ok(Self {
            chunks,
            chunk: Vec::new(),
            used: 0,
            offset: 0,
            hash: Sha256::new(),
            content: Gather::new(content, early),
            index: index::Writer::new(BufWriter::new(index))?,
            failed: None,
            expected: Vec::new(),
        })
    }

    /// Runs that come next.
    fn expect(&mut self, segments: &[Segment]) {
        self.expected.extend(segments.iter().rev());
    }

    /// The bytes at hand; none at the end.
    fn at_hand(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() {
            self.content.flush(&self.chunk)?;
            self.chunk = self.chunks.next(std::mem::take(&mut self.chunk)).unwrap_or_default();
            self.used = 0;
            self.hash.update(&self.chunk);
        }
        Ok(&self.chunk[self.used..])
    }

    fn passed(&mut self, len: usize) {
        self.used += len;
        self.offset += length(len);
    }

    /// Lets bytes of the skeleton pass up to `end`; says whether there were so many.
    fn skeleton_to(&mut self, end: u64) -> io::Result<bool> {
        while self.offset < end {
            let len = self.at_hand()?.len().min(usize::try_from(end - self.offset).unwrap_or(usize::MAX));
            if len == 0 {
                return Ok(false);
            }
            self.index.skeleton(&self.chunk[self.used..self.used + len])?;
            self.passed(len);
        }
        Ok(true)
    }

    /// Lets a run pass into the content file; says whether it was all there.
    ///
    /// A whole file that is worth sharing starts at a multiple of a block. All else is one behind the other: what is not written need not
    /// be waited for, and millions of short runs of a sparse file would fill a disk.
    fn run(&mut self, run: &Segment) -> io::Result<bool> {
        if run.file_offset == 0 && run.len_bytes >= SHARED_BYTES_MIN {
            self.content.align();
        }
        let placed = Run { tar_offset: self.offset, content_offset: self.content.len(), len: run.len_bytes };
        let end = self.offset.saturating_add(run.len_bytes);
        while self.offset < end {
            let len = self.at_hand()?.len().min(usize::try_from(end - self.offset).unwrap_or(usize::MAX));
            if len == 0 {
                return Ok(false);
            }
            self.content.push(&self.chunk, self.used..self.used + len)?;
            self.passed(len);
        }
        self.index.run(placed);
        Ok(true)
    }

    fn advance(&mut self, offset: u64) -> io::Result<bool> {
        while let Some(run) = self.expected.pop_if(|run| run.source_offset < offset) {
            if !(self.skeleton_to(run.source_offset)? && self.run(&run)?) {
                return Ok(false);
            }
        }
        self.skeleton_to(offset)
    }

    fn copy_out(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            let some = self.at_hand()?.len().min(buffer.len() - len);
            if some == 0 {
                break;
            }
            buffer[len..len + some].copy_from_slice(&self.chunk[self.used..self.used + some]);
            self.index.skeleton(&buffer[len..len + some])?;
            self.passed(some);
            len += some;
        }
        Ok(len)
    }

    /// Keeps a write error for whoever asked for the whole.
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    /// What follows the end of the archive is content of nothing. Then the files are complete.
    fn finish(mut self) -> io::Result<Digest> {
        self.content.align();
        let (tar_offset, content_offset) = (self.offset, self.content.len());
        while !self.at_hand()?.is_empty() {
            self.content.push(&self.chunk, self.used..self.chunk.len())?;
            self.passed(self.chunk.len() - self.used);
        }
        let len = self.content.len() - content_offset;
        if len > 0 {
            self.index.run(Run { tar_offset, content_offset, len });
        }
        self.content.flush(&self.chunk)?;
        let diff_id = Digest::from(self.hash);
        self.index.finish(&diff_id, self.offset, self.content.len())?.flush()?;
        Ok(diff_id)
    }

    fn hash_rest(mut self) -> io::Result<Digest> {
        while let len @ 1.. = self.at_hand()?.len() {
            self.passed(len);
        }
        Ok(Digest::from(self.hash))
    }
}

impl Input for Splitter<'_> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.advance(offset);
        if !self.note(there)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let copied = self.copy_out(buffer);
        self.note(copied)
    }
}
