//! Buffers that go round between two threads, or back to the same one: a few full ones wait, used ones come back. No more
//! memory is ever needed.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a buffer that goes to another thread.
const CHUNK: usize = 256 << 10;
/// Bytes of a buffer that stays on its thread: it is inflated into, hashed and written without leaving the cache.
const INLINE_CHUNK: usize = 64 << 10;
/// Buffers on their way.
const BUFFERS: usize = 4;

/// The two ends of a ring.
pub(super) fn ring() -> (Producer, Consumer) {
    let (full, to_use) = sync_channel(BUFFERS);
    let (used, to_fill) = sync_channel(BUFFERS);
    (Producer { full, to_fill, filling: Vec::new() }, Consumer { to_use, used, using: Vec::new(), at: 0 })
}

/// Fills buffers. When it goes away the consumer finds the end.
#[derive(Debug)]
pub(super) struct Producer {
    full: SyncSender<Vec<u8>>,
    to_fill: Receiver<Vec<u8>>,
    /// What was written and is not full yet.
    filling: Vec<u8>,
}

impl Producer {
    /// Hands on all that `reader` gives; ends early when the consumer went away, which knows why.
    pub(super) fn send_all(self, reader: &mut dyn Read) -> io::Result<()> {
        loop {
            let mut buffer = self.to_fill.try_recv().unwrap_or_default();
            buffer.resize(CHUNK, 0);
            let len = fill(reader, &mut buffer)?;
            buffer.truncate(len);
            if len == 0 || self.full.send(buffer).is_err() {
                return Ok(());
            }
        }
    }
}

/// What is written is handed on in full buffers; [`Write::flush`] hands on the rest.
impl Write for Producer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.len() == CHUNK {
            self.flush()?;
        }
        let len = bytes.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut next = self.to_fill.try_recv().unwrap_or_default();
        next.clear();
        let full = std::mem::replace(&mut self.filling, next);
        if full.is_empty() {
            return Ok(());
        }
        self.full.send(full).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Where buffers come from.
pub(super) trait Chunks {
    /// The next buffer, not empty, in exchange for one that was used; `None` at the end.
    fn next(&mut self, used: Vec<u8>) -> Option<Vec<u8>>;
}

/// Fills buffers on the thread that uses them: while they are still in its cache.
#[derive(Debug)]
pub(super) struct Inline<R> {
    reader: R,
    failed: io::Result<()>,
}

impl<R: Read> Inline<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, failed: Ok(()) }
    }

    /// Reads what is left, and says what went wrong on the way.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(used) = self.next(std::mem::take(&mut buffer)) {
            buffer = used;
        }
        self.failed
    }
}

impl<R: Read> Chunks for Inline<R> {
    fn next(&mut self, mut used: Vec<u8>) -> Option<Vec<u8>> {
        if self.failed.is_err() {
            return None;
        }
        used.resize(INLINE_CHUNK, 0);
        match fill(&mut self.reader, &mut used) {
            Ok(len) => used.truncate(len),
            Err(error) => {
                self.failed = Err(error);
                return None;
            }
        }
        (!used.is_empty()).then_some(used)
    }
}

/// Takes buffers from another thread.
#[derive(Debug)]
pub(super) struct Consumer {
    to_use: Receiver<Vec<u8>>,
    used: SyncSender<Vec<u8>>,
    /// What is being read, and how much of it has been.
    using: Vec<u8>,
    at: usize,
}

impl Chunks for Consumer {
    fn next(&mut self, used: Vec<u8>) -> Option<Vec<u8>> {
        // The other side may have come to its end.
        let _ = self.used.try_send(used);
        self.to_use.recv().ok()
    }
}

impl Read for Consumer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.using.len() {
            let used = std::mem::take(&mut self.using);
            self.at = 0;
            self.using = self.next(used).unwrap_or_default();
        }
        let len = buffer.len().min(self.using.len() - self.at);
        buffer[..len].copy_from_slice(&self.using[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Reads until the buffer is full or the end has come: hashing and writing like large pieces.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 17).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for written in [false, true] {
            let (mut producer, mut consumer) = ring();
            let found = std::thread::scope(|scope| {
                let bytes = &bytes;
                scope.spawn(move || {
                    if written {
                        producer.write_all(bytes).and_then(|()| producer.flush()).unwrap();
                    } else {
                        producer.send_all(&mut &bytes[..]).unwrap();
                    }
                });
                let mut found = Vec::new();
                consumer.read_to_end(&mut found).map(|_| found).unwrap()
            });
            assert!(found == bytes);
        }
    }

    #[test]
    fn a_consumer_that_went_away_is_noticed() {
        let (mut producer, consumer) = ring();
        drop(consumer);
        assert!(producer.write_all(&vec![0; 2 * CHUNK]).is_err());
        let (producer, consumer) = ring();
        drop(consumer);
        producer.send_all(&mut io::repeat(0)).unwrap();
    }
}
