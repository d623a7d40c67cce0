//! The flags between an instruction's name and its arguments: words that start with `--`.
//!
//! BuildKit scans them byte by byte (`frontend/dockerfile/parser/split_command.go`), taking each byte for a Latin-1 character: a byte
//! 0x85 or 0xA0 inside a UTF-8 character ends the word, and other bytes outside ASCII come out garbled. Both are copied here; the
//! strict mode refuses such flags.

use std::borrow::Cow;

use crate::lines::{LogicalLine, RawBytes, is_latin1_space};
use crate::span::Text;

/// The flags of `line[start..end]`, and the offset where the arguments begin.
///
/// The offset may lie inside a character, when a flag ended at one of its bytes.
pub(crate) fn take<'a>(line: &LogicalLine<'a>, start: usize, end: usize, escape: char) -> (Vec<Text<'a>>, usize) {
    let raw = line.raw();
    let bytes = &raw.bytes[..raw.raw_offset(end)];
    let mut flags = Vec::new();
    let mut at = raw.raw_offset(start);
    loop {
        while at < bytes.len() && is_latin1_space(bytes[at]) {
            at += 1;
        }
        if !bytes[at..].starts_with(b"--") {
            return (flags, raw.text_offset(at));
        }
        let word = Word::read(bytes, at, escape);
        at = word.end;
        if word.is(bytes, b"--") {
            return (flags, raw.text_offset(at));
        }
        flags.push(word.text(line, &raw));
    }
}

/// A word of the scan.
struct Word {
    start: usize,
    end: usize,
    /// The value, when it is not just the bytes from start to end.
    value: Option<String>,
}

impl Word {
    fn read(bytes: &[u8], start: usize, escape: char) -> Self {
        let plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'\'' | b'"') && char::from(*byte) != escape;
        let is_end = |byte: &u8| is_latin1_space(*byte);
        let stop = bytes[start..].iter().position(|byte| is_end(byte) || !plain(byte));
        match stop.map(|stop| start + stop) {
            Some(stop) if !is_end(&bytes[stop]) => Self::read_quoted(bytes, start, stop, escape),
            stop => Self { start, end: stop.unwrap_or(bytes.len()), value: None },
        }
    }

    /// Goes on at `at`, where the first quote, escape or byte outside ASCII stands.
    fn read_quoted(bytes: &[u8], start: usize, mut at: usize, escape: char) -> Self {
        let mut value: String = bytes[start..at].iter().copied().map(char::from).collect();
        let mut quote = None;
        while at < bytes.len() {
            let byte = bytes[at];
            match quote {
                None if is_latin1_space(byte) => break,
                None if matches!(byte, b'\'' | b'"') => quote = Some(byte),
                Some(open) if open == byte => quote = None,
                _ if char::from(byte) == escape => {
                    at += 1;
                    // An escape at the very end is dropped.
                    value.extend(bytes.get(at).copied().map(char::from));
                }
                _ => value.push(char::from(byte)),
            }
            at += 1;
        }
        Self { start, end: at.min(bytes.len()), value: Some(value) }
    }

    fn is(&self, bytes: &[u8], word: &[u8]) -> bool {
        self.value.as_ref().map_or(&bytes[self.start..self.end], |value| value.as_bytes()) == word
    }

    fn text<'a>(self, line: &LogicalLine<'a>, raw: &RawBytes<'_>) -> Text<'a> {
        let (start, end) = (raw.text_offset(self.start), raw.text_offset(self.end));
        match self.value {
            None => line.part(start, end),
            Some(value) => Text { value: Cow::Owned(value), span: line.broken_part(start, end).span },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> (Vec<String>, usize) {
        let line = LogicalLine::new(line, 0, line.len(), &[]);
        let (flags, at) = take(&line, 0, line.text.len(), '\\');
        (flags.into_iter().map(|flag| flag.value.into_owned()).collect(), at)
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        assert_eq!(split("--a=b  --c d --e"), (vec!["--a=b".into(), "--c".into()], 11));
        assert_eq!(split("--a -- --b"), (vec!["--a".into()], 6));
        assert_eq!(split("--a --"), (vec!["--a".into()], 6));
        assert_eq!(split("\"--a\" b"), (vec![], 0));
        assert_eq!(split("-a"), (vec![], 0));
        assert_eq!(split(""), (vec![], 0));
    }

    #[test]
    fn quotes_and_escapes_go() {
        assert_eq!(split(r#"--a="b c"\ d'e'f x"#), (vec!["--a=b c def".into()], 17));
        assert_eq!(split(r#"--a='b\'c' x"#), (vec!["--a=b'c".into()], 11));
        assert_eq!(split(r"--a=b\"), (vec!["--a=b".into()], 6));
        assert_eq!(split(r#"--a="b"#), (vec!["--a=b".into()], 6));
    }

    #[test]
    fn bytes_are_latin1() {
        assert_eq!(split("--a=/é x").0, ["--a=/Ã©"]);
        let (flags, at) = split("--a=à x");
        assert_eq!((flags, at), (vec!["--a=Ã".to_owned()], 7), "0xA0 ends the word");
    }
}
