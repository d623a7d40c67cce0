//! Where an archive comes from: a file that can be read anywhere, or bytes that pass once.

use std::io;
use std::sync::Arc;

use crate::content::ReadAt;

/// Bytes read at a time where headers are: a page, since most of what follows a header is the data of its file.
const WINDOW: usize = 4_096;

/// The bytes of an archive as its [`Reader`](super::Reader) asks for them: once, from the start to the end. File data is
/// stepped over.
pub trait Input {
    /// Fills `buffer` from byte `offset` of the archive on, never below the end of the call before. Answers with the bytes
    /// there were: fewer than asked for only at the end of the archive.
    ///
    /// # Errors
    /// `UnexpectedEof` when the archive ends before `offset`, and whatever reading gives.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// An archive that can be read anywhere.
pub(super) struct Random {
    source: Arc<dyn ReadAt>,
    len: u64,
    /// The bytes read last, from `window_offset` on: headers of directories, links and small files stand side by side.
    window: Vec<u8>,
    window_offset: u64,
}

impl Random {
    pub(super) fn new(source: Arc<dyn ReadAt>, len: u64) -> Self {
        Self { source, len, window: Vec::new(), window_offset: 0 }
    }

    fn in_window(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.window_offset)?).ok()?;
        self.window.get(start..start.checked_add(len)?)
    }
}

impl Input for Random {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.checked_sub(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        if len > WINDOW {
            self.source.read_exact_at(&mut buffer[..len], offset)?;
            return Ok(len);
        }
        if self.in_window(offset, len).is_none() {
            self.window.resize(left.min(WINDOW), 0);
            self.window_offset = offset;
            self.source.read_exact_at(&mut self.window, offset)?;
        }
        buffer[..len].copy_from_slice(self.in_window(offset, len).expect("read just now"));
        Ok(len)
    }
}
