//! The content file on its way: parts of buffers, written from where they are.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::ops::Range;

use super::early::Written;
use super::index::length;

/// What large files are aligned to in the content file: the unit in which file systems share blocks between files.
const BLOCK: u64 = 4_096;
/// Parts written at a time (readv(2): `IOV_MAX` is 1,024).
const PARTS_MAX: usize = 1_000;
static ZEROS: [u8; 4_096] = [0; 4_096];

/// Appends parts of a buffer to a file: they are noted, and written together once the buffer is to be used again.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    file: &'a File,
    /// Bytes of the file, those that are only noted among them.
    len: u64,
    parts: Vec<Part>,
    /// Is told what was written.
    early: Written,
}

/// What comes next in the file.
#[derive(Debug)]
enum Part {
    /// That part of the buffer.
    Buffer(Range<usize>),
    /// So many zeros, less than a block.
    Zeros(usize),
}

impl<'a> Gather<'a> {
    pub(super) fn new(file: &'a File, early: Written) -> Self {
        Self { file, len: 0, parts: Vec::new(), early }
    }

    /// How long the file is once everything is written.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Zeros up to a multiple of a block: the last block of a file has nothing of the next one.
    pub(super) fn align(&mut self) {
        let zeros = self.len.next_multiple_of(BLOCK) - self.len;
        if zeros > 0 {
            self.parts.push(Part::Zeros(usize::try_from(zeros).expect("less than a block")));
            self.len += zeros;
        }
    }

    /// Notes a part of `buffer`, which stays as it is until [`Self::flush`].
    pub(super) fn push(&mut self, buffer: &[u8], part: Range<usize>) -> io::Result<()> {
        self.len += length(part.len());
        match self.parts.last_mut() {
            Some(Part::Buffer(last)) if last.end == part.start => last.end = part.end,
            _ => self.parts.push(Part::Buffer(part)),
        }
        if self.parts.len() < PARTS_MAX { Ok(()) } else { self.flush(buffer) }
    }

    /// Writes what was noted of `buffer`.
    pub(super) fn flush(&mut self, buffer: &[u8]) -> io::Result<()> {
        let slice = |part: Part| match part {
            Part::Buffer(range) => IoSlice::new(&buffer[range]),
            Part::Zeros(len) => IoSlice::new(&ZEROS[..len]),
        };
        let mut slices: Vec<IoSlice<'_>> = self.parts.drain(..).map(slice).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut left, written);
                    self.early.add(length(written));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
