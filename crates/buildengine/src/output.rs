//! The output of a command on its way to the host: clipped in the middle, its last lines remembered for the error.

/// How much of the end is kept once the limit is passed, in bytes.
const TAIL_BYTES: usize = 64 << 10;
/// How many of the last lines an error carries.
const TAIL_LINES: usize = 20;

/// Passes the head of a stream on, counts the middle, keeps the tail.
#[derive(Debug)]
pub(crate) struct Clip {
    head_left: u64,
    omitted: u64,
    /// The last bytes seen; at most twice [`TAIL_BYTES`].
    tail: Vec<u8>,
    /// How many bytes at the end of `tail` were not passed on.
    tail_held: usize,
}

impl Clip {
    /// Passes on at most `limit` bytes before it starts to omit.
    pub(crate) fn new(limit: u64) -> Self {
        Self { head_left: limit, omitted: 0, tail: Vec::new(), tail_held: 0 }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8], pass: &mut dyn FnMut(&[u8])) {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        if head > 0 {
            pass(&bytes[..head]);
            self.head_left -= u64::try_from(head).unwrap_or(u64::MAX);
        }
        self.tail.extend_from_slice(bytes);
        self.tail_held += bytes.len() - head;
        if self.tail.len() > 2 * TAIL_BYTES {
            let excess = self.tail.len() - TAIL_BYTES;
            self.tail.drain(..excess);
            let lost = self.tail_held.saturating_sub(TAIL_BYTES);
            self.omitted += u64::try_from(lost).unwrap_or(u64::MAX);
            self.tail_held -= lost;
        }
    }

    /// Ends the stream: says what was omitted and passes the held tail on. Returns the last lines, for an error.
    pub(crate) fn finish(self, pass: &mut dyn FnMut(&[u8])) -> Vec<String> {
        let held = &self.tail[self.tail.len() - self.tail_held..];
        if self.omitted > 0 {
            pass(format!("\n[... {} bytes of output omitted ...]\n", self.omitted).as_bytes());
        }
        if !held.is_empty() {
            pass(held);
        }
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(limit: u64, chunks: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let mut out = Vec::new();
        let mut clip = Clip::new(limit);
        for chunk in chunks {
            clip.push(chunk, &mut |bytes| out.extend_from_slice(bytes));
        }
        let lines = clip.finish(&mut |bytes| out.extend_from_slice(bytes));
        (out, lines)
    }

    #[test]
    fn under_the_limit_everything_passes_unchanged() {
        let (out, lines) = run(100, &[b"one\ntw", b"o\n\xff\n"]);
        assert_eq!(out, b"one\ntwo\n\xff\n");
        assert_eq!(lines, ["one", "two", "\u{fffd}"]);
    }

    #[test]
    fn over_the_limit_head_and_tail_pass_and_the_middle_is_counted() {
        let middle = vec![b'm'; 1 << 20];
        let (out, lines) = run(5, &[b"head\n", &middle, b"\nlast line\n"]);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("head\n"));
        assert!(text.ends_with("\nlast line\n"));
        let omitted: usize = text.split("[... ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let kept = text.len() - format!("\n[... {omitted} bytes of output omitted ...]\n").len();
        assert_eq!(omitted + kept, 5 + (1 << 20) + 11, "every byte is passed or counted");
        assert_eq!(lines.last().unwrap(), "last line");
    }

    #[test]
    fn the_tail_is_the_last_twenty_lines() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let (_, lines) = run(u64::MAX, &[text.as_bytes()]);
        assert_eq!((lines.len(), lines[0].as_str()), (20, "line 80"));
    }
}
