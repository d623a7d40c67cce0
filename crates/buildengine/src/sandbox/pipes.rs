//! The output of a command on its way out of the sandbox: two pipes, one thread that reads them.
//!
//! A command that floods its output must neither wait for us nor cost us a core. So the pipes are as large as the kernel
//! lets them be, and once the head is full, what will not be part of the tail is dropped by the kernel (splice(2) to
//! `/dev/null` moves pages, it copies nothing): it never enters this program.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use crate::output::{Clip, Output, Stream, TAIL_BYTES};

/// What a pipe holds at most, in bytes: the most that the kernel gives by default (`/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// How often the reader looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// How long a pipe may fill before it is looked at again, once only the tail matters.
const FILL: Duration = Duration::from_millis(1);
/// What is still in the pipes when the command has ended is read to its end, but not for ever: somebody may have kept one.
const REST: Duration = Duration::from_secs(2);

/// A piece of output that waits to be passed on.
#[derive(Debug)]
enum Piece {
    Bytes(Stream, Vec<u8>),
    Omitted(u64),
}

impl Piece {
    fn of(output: Output<'_>) -> Self {
        match output {
            Output::Bytes { stream, bytes } => Self::Bytes(stream, bytes.to_vec()),
            Output::Omitted { bytes } => Self::Omitted(bytes),
        }
    }

    fn as_output(&self) -> Output<'_> {
        match self {
            Self::Bytes(stream, bytes) => Output::Bytes { stream: *stream, bytes },
            Self::Omitted(bytes) => Output::Omitted { bytes: *bytes },
        }
    }
}

/// The reading ends, and who reads them.
#[derive(Debug)]
pub(super) struct Pipes {
    pieces: Receiver<Piece>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Pipes {
    /// Two fresh pipes that pass at most `limit` bytes on. Returns the writing ends for standard output and error, too;
    /// the output ends when nobody holds them any more.
    pub(super) fn start(limit: u64) -> io::Result<(Self, PipeWriter, PipeWriter)> {
        let (out, out_writer) = io::pipe()?;
        let (err, err_writer) = io::pipe()?;
        for writer in [&out_writer, &err_writer] {
            // A smaller pipe is slower, and nothing else.
            let _ = fcntl_setpipe_size(writer, PIPE_BYTES);
        }
        // Bounded: who listens slowly makes the command wait, but for no more than the limit.
        let (sender, pieces) = sync_channel(64);
        let stop = Arc::new(AtomicBool::new(false));
        let mut pump = Pump {
            open: vec![(Stream::Stdout, out), (Stream::Stderr, err)],
            clip: Clip::new(limit),
            null: File::options().write(true).open("/dev/null")?,
            sender,
            stop: Arc::clone(&stop),
            buffer: vec![0; READ_BYTES],
        };
        let reader = thread::spawn(move || {
            if let Err(error) = pump.run() {
                tracing::warn!(%error, "reading the output of a command failed");
            }
            let Pump { clip, sender, .. } = pump;
            clip.finish(&mut |output| drop(sender.send(Piece::of(output))));
        });
        Ok((Self { pieces, stop, reader: Some(reader) }, out_writer, err_writer))
    }

    /// Passes the next piece on, if one comes in time. `false` when there is no more.
    pub(super) fn next(&self, patience: Duration, output: &mut dyn FnMut(Output<'_>)) -> bool {
        match self.pieces.recv_timeout(patience) {
            Ok(piece) => output(piece.as_output()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Passes on what is left once the command has ended.
    pub(super) fn finish(mut self, output: &mut dyn FnMut(Output<'_>)) {
        self.stop.store(true, Ordering::Relaxed);
        for piece in &self.pieces {
            output(piece.as_output());
        }
        if let Some(reader) = self.reader.take() {
            // It has nothing to say but what it said.
            let _ = reader.join();
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The reading thread's own.
struct Pump {
    open: Vec<(Stream, PipeReader)>,
    clip: Clip,
    null: File,
    sender: SyncSender<Piece>,
    stop: Arc<AtomicBool>,
    buffer: Vec<u8>,
}

impl Pump {
    /// Reads until both pipes end, or are empty after the command has ended.
    fn run(&mut self) -> io::Result<()> {
        let mut stopped: Option<Instant> = None;
        while !self.open.is_empty() {
            if self.stop.load(Ordering::Relaxed) {
                stopped.get_or_insert_with(Instant::now);
            }
            let patience = if stopped.is_some() { Duration::ZERO } else { TICK };
            let ready = self.ready(patience)?;
            if stopped.is_some_and(|at| at.elapsed() > REST || !ready.contains(&true)) {
                break;
            }
            let mut still_open = Vec::with_capacity(2);
            for ((stream, mut reader), ready) in std::mem::take(&mut self.open).into_iter().zip(ready) {
                if !ready || self.read(stream, &mut reader)? {
                    still_open.push((stream, reader));
                }
            }
            self.open = still_open;
            if self.clip.is_full() && stopped.is_none() {
                thread::sleep(FILL);
            }
        }
        Ok(())
    }

    /// Which of the open pipes have something to read, or have ended.
    fn ready(&self, patience: Duration) -> io::Result<Vec<bool>> {
        let mut polled: Vec<_> = self.open.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
        let patience = Timespec::try_from(patience).expect("a short time");
        match poll(&mut polled, Some(&patience)) {
            Ok(_) => Ok(polled.iter().map(|one| !one.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(vec![false; self.open.len()]),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads a pipe that is ready. `false` when it has ended.
    fn read(&mut self, stream: Stream, reader: &mut PipeReader) -> io::Result<bool> {
        if self.clip.is_full() {
            self.drop_middle(reader);
        }
        let len = match reader.read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        let sender = &self.sender;
        // Nobody listens any more: the command is being ended, and waits for nothing.
        self.clip.push(stream, &self.buffer[..len], &mut |output| drop(sender.send(Piece::of(output))));
        Ok(true)
    }

    /// Lets the kernel drop what at least a tail of further output follows.
    fn drop_middle(&mut self, reader: &PipeReader) {
        let Ok(waiting) = rustix::io::ioctl_fionread(reader.as_fd()) else { return };
        let tail = u64::try_from(TAIL_BYTES).expect("usize fits in u64");
        let Ok(middle) = usize::try_from(waiting.saturating_sub(tail)) else { return };
        if middle < TAIL_BYTES {
            return;
        }
        if let Ok(dropped) = splice(reader, None, &self.null, None, middle, SpliceFlags::NONBLOCK) {
            self.clip.skip(u64::try_from(dropped).expect("usize fits in u64"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn collect(limit: u64, write: impl FnOnce(PipeWriter, PipeWriter) + Send + 'static) -> (Vec<Piece>, Duration) {
        let (pipes, out, err) = Pipes::start(limit).unwrap();
        let begun = Instant::now();
        let writer = thread::spawn(move || write(out, err));
        let mut pieces = Vec::new();
        while pipes.next(Duration::from_secs(5), &mut |output| pieces.push(Piece::of(output))) {}
        writer.join().unwrap();
        pipes.finish(&mut |output| pieces.push(Piece::of(output)));
        (pieces, begun.elapsed())
    }

    fn sizes(pieces: &[Piece]) -> (u64, u64) {
        let mut sizes = (0, 0);
        for piece in pieces {
            match piece {
                Piece::Bytes(_, bytes) => sizes.0 += u64::try_from(bytes.len()).unwrap(),
                Piece::Omitted(bytes) => sizes.1 += bytes,
            }
        }
        sizes
    }

    #[test]
    fn streams_are_told_apart() {
        let (pieces, _) = collect(1 << 20, |mut out, mut err| {
            out.write_all(b"to out\xff").unwrap();
            err.write_all(b"to err").unwrap();
        });
        let text = |wanted: Stream| -> Vec<u8> {
            let of = |piece: &Piece| match piece {
                Piece::Bytes(stream, bytes) if *stream == wanted => bytes.clone(),
                _ => Vec::new(),
            };
            pieces.iter().flat_map(of).collect()
        };
        assert_eq!(
            (text(Stream::Stdout).as_slice(), text(Stream::Stderr).as_slice()),
            (&b"to out\xff"[..], &b"to err"[..])
        );
    }

    #[test]
    fn of_a_flood_every_byte_is_passed_or_counted_and_the_end_is_kept() {
        let (pieces, _) = collect(1 << 20, |mut out, mut err| {
            for _ in 0..4_096 {
                out.write_all(&[b'y'; 65_536]).unwrap();
            }
            err.write_all(b"the end").unwrap();
        });
        let (passed, omitted) = sizes(&pieces);
        assert_eq!((passed, passed + omitted), (1 << 20, 4_096 * 65_536 + 7));
        assert!(pieces.iter().any(|piece| matches!(piece, Piece::Bytes(Stream::Stderr, bytes) if bytes == b"the end")));
    }

    #[test]
    fn a_pipe_that_somebody_keeps_does_not_hold_the_end_up() {
        let (pipes, mut out, _err) = Pipes::start(1 << 20).unwrap();
        out.write_all(b"last words").unwrap();
        let mut said = Vec::new();
        let begun = Instant::now();
        pipes.finish(&mut |output| said.push(Piece::of(output)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(sizes(&said), (10, 0));
    }
}
