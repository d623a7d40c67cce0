//! What a command writes: two streams in the order in which they were read, bounded by a head and a tail.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How much of the end is kept once the head is full, in bytes.
pub(crate) const TAIL_BYTES: usize = 64 << 10;
/// The most pieces that the tail may be in: what two streams write in turns, byte by byte, costs no more than this.
const TAIL_PIECES: usize = 4_096;
/// A piece of the tail takes further output of its stream up to this size, in bytes.
const PIECE_BYTES: usize = 4 << 10;
/// How many of the last lines an error carries.
const TAIL_LINES: usize = 20;
/// What is shown of one of them, in characters.
const LINE_CHARACTERS: usize = 2_000;

/// Where a command wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of what a command wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Bytes as they came: a piece may end anywhere, and need not be text.
    Bytes {
        /// Where it was written.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// Here is left out what was more than [`crate::Limits::output_bytes`].
    Omitted {
        /// How much, in bytes.
        bytes: u64,
    },
}

/// Passes the head of the output on, counts the middle, keeps the tail.
#[derive(Debug)]
pub(crate) struct Clip {
    head_left: u64,
    tail_max: usize,
    omitted: u64,
    tail: VecDeque<(Stream, Vec<u8>)>,
    tail_bytes: usize,
}

impl Clip {
    /// Passes on at most `limit` bytes, the tail among them.
    pub(crate) fn new(limit: u64) -> Self {
        let tail_max = usize::try_from(limit / 2).unwrap_or(TAIL_BYTES).min(TAIL_BYTES);
        let head_left = limit - u64::try_from(tail_max).expect("usize fits in u64");
        Self { head_left, tail_max, omitted: 0, tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// Whether the head is full: from here on only the last [`TAIL_BYTES`] matter.
    pub(crate) fn is_full(&self) -> bool {
        self.head_left == 0
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8], pass: &mut dyn FnMut(Output<'_>)) {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(head);
        if !head.is_empty() {
            pass(Output::Bytes { stream, bytes: head });
            self.head_left -= u64::try_from(head.len()).expect("usize fits in u64");
        }
        if !rest.is_empty() {
            self.keep(stream, rest);
        }
    }

    /// Counts bytes that nobody looked at. At least [`TAIL_BYTES`] more must follow.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.omitted += bytes + u64::try_from(self.tail_bytes).expect("usize fits in u64");
        self.tail.clear();
        self.tail_bytes = 0;
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        self.tail_bytes += bytes.len();
        match self.tail.back_mut() {
            Some((last, piece)) if *last == stream && piece.len() + bytes.len() <= PIECE_BYTES => {
                piece.extend_from_slice(bytes);
            }
            _ => self.tail.push_back((stream, bytes.to_vec())),
        }
        while let Some((_, first)) = self.tail.front()
            && (self.tail_bytes - first.len() >= self.tail_max || self.tail.len() > TAIL_PIECES)
        {
            self.omit(first.len());
            self.tail.pop_front();
        }
    }

    fn omit(&mut self, bytes: usize) {
        self.omitted += u64::try_from(bytes).expect("usize fits in u64");
        self.tail_bytes -= bytes;
    }

    /// Ends the output: says what was left out and passes the tail on.
    pub(crate) fn finish(mut self, pass: &mut dyn FnMut(Output<'_>)) {
        let excess = self.tail_bytes.saturating_sub(self.tail_max);
        self.omit(excess);
        if let Some((_, first)) = self.tail.front_mut() {
            first.drain(..excess);
        }
        if self.omitted > 0 {
            pass(Output::Omitted { bytes: self.omitted });
        }
        for (stream, piece) in &self.tail {
            pass(Output::Bytes { stream: *stream, bytes: piece });
        }
    }
}

/// The last bytes that went by, for an error.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Remembers a piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 4 * TAIL_BYTES {
            self.0.drain(..self.0.len() - TAIL_BYTES);
        }
    }

    /// The last lines; of a very long one its beginning.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0[self.0.len().saturating_sub(TAIL_BYTES)..]);
        let lines: Vec<&str> = text.lines().collect();
        let shown = |line: &&str| match line.char_indices().nth(LINE_CHARACTERS) {
            Some((at, _)) => format!("{} [...]", &line[..at]),
            None => (*line).to_owned(),
        };
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Stream = Stream::Stdout;
    const ERR: Stream = Stream::Stderr;

    /// What passes, and how much was said to be left out.
    fn run(limit: u64, chunks: &[(Stream, &[u8])]) -> (Vec<(Stream, Vec<u8>)>, Option<u64>) {
        let (mut passed, mut omitted) = (Vec::new(), None);
        let mut pass = |output: Output<'_>| match output {
            Output::Bytes { stream, bytes } => passed.push((stream, bytes.to_vec())),
            Output::Omitted { bytes } => omitted = Some(bytes),
        };
        let mut clip = Clip::new(limit);
        for (stream, bytes) in chunks {
            clip.push(*stream, bytes, &mut pass);
        }
        clip.finish(&mut pass);
        (passed, omitted)
    }

    #[test]
    fn under_the_limit_everything_passes_unchanged_and_in_order() {
        let chunks: [(Stream, &[u8]); 3] = [(OUT, b"one\ntw"), (ERR, b"oh\n"), (OUT, b"o\n\xff\n")];
        let (passed, omitted) = run(100, &chunks);
        let expected: Vec<_> = chunks.iter().map(|(stream, bytes)| (*stream, bytes.to_vec())).collect();
        assert_eq!((passed, omitted), (expected, None));
    }

    #[test]
    fn over_the_limit_head_and_tail_pass_and_the_middle_is_counted() {
        let middle = vec![b'm'; 1 << 20];
        for limit in [1, 10, 4_000, 100_000, 500_000] {
            let (passed, omitted) = run(limit, &[(OUT, b"head\n"), (ERR, &middle), (OUT, b"\nlast line\n")]);
            let kept: usize = passed.iter().map(|(_, bytes)| bytes.len()).sum();
            let omitted = omitted.unwrap();
            assert_eq!(u64::try_from(kept).unwrap(), limit, "no more than was asked for passes");
            assert_eq!(omitted + limit, 5 + (1 << 20) + 11, "every byte is passed or counted");
            if limit >= 4_000 {
                assert_eq!(passed.first().unwrap(), &(OUT, b"head\n".to_vec()));
                assert!(passed.last().unwrap().1.ends_with(b"\nlast line\n"));
            }
        }
    }

    #[test]
    fn two_streams_in_turns_cost_no_more_than_the_tail() {
        let mut clip = Clip::new(1 << 20);
        for turn in 0..2_000_000_u32 {
            clip.push(if turn % 2 == 0 { OUT } else { ERR }, b"x", &mut |_| ());
        }
        assert!(clip.tail.len() <= TAIL_PIECES + 1 && clip.tail_bytes <= 2 * TAIL_BYTES);
        clip.skip(7);
        let mut said = None;
        clip.finish(&mut |output| said = Some(output == Output::Omitted { bytes: 2_000_000 - (1 << 20) + 65_536 + 7 }));
        assert_eq!(said, Some(true));
    }

    #[test]
    fn the_tail_is_the_last_twenty_lines() {
        let mut tail = Tail::default();
        for number in 0..100_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 99980", "line 99999"));
        tail.push(&[b'z'; 1 << 20]);
        assert_eq!(tail.lines().len(), 1);
        assert!(tail.lines()[0].len() < 3_000 && tail.lines()[0].ends_with(" [...]"));
        let mut tail = Tail::default();
        tail.push(b"\xff\r\nend");
        assert_eq!(tail.lines(), ["\u{fffd}", "end"]);
    }
}
