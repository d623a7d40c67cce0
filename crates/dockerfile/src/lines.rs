//! Physical lines, and how they are joined to logical ones.
//!
//! Lines end at `\n` only. Every line loses its trailing `\r` and `\n` characters. A line longer than 65,535 bytes ends the
//! reading, as the buffer of BuildKit's scanner does (`frontend/dockerfile/parser/parser.go`).

use std::borrow::Cow;

use crate::ast::Pieces;
use crate::source::Replaced;
use crate::span::{Span, Text, to_u32, to_usize};

/// The longest line in bytes, its `\n` not counted.
pub(crate) const MAX_LINE_BYTES: usize = 65_535;

/// A cursor over the physical lines of a text.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    pub(crate) replaced: &'a [Replaced],
    at: usize,
    /// Number of lines read.
    pub(crate) line: u32,
    /// The line that was too long to read, if the reading ended there.
    pub(crate) too_long: Option<Span>,
}

/// A line with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhysicalLine<'a> {
    /// Offset of the first byte.
    pub(crate) start: usize,
    /// The line, its line end included.
    pub(crate) raw: &'a str,
}

impl<'a> PhysicalLine<'a> {
    /// The line without `\r` and `\n` characters at its end.
    pub(crate) fn content(self) -> &'a str {
        trim_line_end(self.raw)
    }

    /// Offset of the end of the content.
    pub(crate) fn end(self) -> usize {
        self.start + self.content().len()
    }
}

pub(crate) fn trim_line_end(line: &str) -> &str {
    let end = line.bytes().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &line[..end.map_or(0, |end| end + 1)]
}

/// The line without Unicode blanks at its start; most lines have none.
pub(crate) fn trim_start(line: &str) -> &str {
    if line.bytes().next().is_some_and(|first| first.is_ascii_graphic()) { line } else { line.trim_start() }
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str, replaced: &'a [Replaced]) -> Self {
        Self { text, replaced, at: 0, line: 0, too_long: None }
    }

    /// Offset of the next line.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Length in bytes as they were before decoding.
    fn undecoded_len(&self, start: usize, end: usize) -> usize {
        let within = |one: &&Replaced| (start..end).contains(&to_usize(one.offset));
        let count = self.replaced.iter().filter(within).count();
        end - start - count * (char::REPLACEMENT_CHARACTER.len_utf8() - 1)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = PhysicalLine<'a>;

    fn next(&mut self) -> Option<PhysicalLine<'a>> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty() && self.too_long.is_none())?;
        let line_end = memchr::memchr(b'\n', rest.as_bytes());
        let end = line_end.map_or(self.text.len(), |end| start + end);
        if end - start > MAX_LINE_BYTES && self.undecoded_len(start, end) > MAX_LINE_BYTES {
            self.too_long = Some(Span::new(to_u32(start), to_u32(end)));
            return None;
        }
        self.at = end + usize::from(line_end.is_some());
        self.line += 1;
        Some(PhysicalLine { start, raw: &self.text[start..self.at] })
    }
}

/// Whether the first character that is no blank is `#`.
pub(crate) fn is_comment(line: &str) -> bool {
    trim_start(line).starts_with('#')
}

/// The line without its continuation character and the blanks after it, if it is continued.
///
/// A continuation character directly after another one continues nothing (BuildKit's documented quirk).
pub(crate) fn continued(line: &str, escape: char) -> Option<&str> {
    let end = line.bytes().rposition(|byte| !matches!(byte, b' ' | b'\t'))?;
    let body = line[..=end].strip_suffix(escape)?;
    (!body.ends_with(escape)).then_some(body)
}

/// A logical line: the text of an instruction with continuation lines joined.
#[derive(Clone, Debug)]
pub(crate) struct LogicalLine<'a> {
    pub(crate) source: &'a str,
    pub(crate) text: Cow<'a, str>,
    pub(crate) pieces: Pieces,
    /// The bytes of the source that were not UTF-8.
    pub(crate) replaced: &'a [Replaced],
}

/// The bytes of a line as they were before decoding.
pub(crate) struct RawBytes<'l> {
    pub(crate) bytes: Cow<'l, [u8]>,
    /// For each byte its offset in the text, and the text's length; empty when the bytes are the text's.
    offsets: Vec<usize>,
}

impl RawBytes<'_> {
    pub(crate) fn text_offset(&self, raw: usize) -> usize {
        self.offsets.get(raw).copied().unwrap_or(raw)
    }

    pub(crate) fn raw_offset(&self, text: usize) -> usize {
        if self.offsets.is_empty() { text } else { self.offsets.partition_point(|&offset| offset < text) }
    }
}

impl<'a> LogicalLine<'a> {
    /// Begins with the source text at `start..start + len`.
    pub(crate) fn new(source: &'a str, start: usize, len: usize, replaced: &'a [Replaced]) -> Self {
        let pieces = Pieces { start: to_u32(start), rest: Vec::new() };
        Self { source, text: Cow::Borrowed(&source[start..start + len]), pieces, replaced }
    }

    /// What BuildKit's byte-wise scans see.
    pub(crate) fn raw(&self) -> RawBytes<'_> {
        if self.replaced.is_empty() || !self.text.contains(char::REPLACEMENT_CHARACTER) {
            return RawBytes { bytes: Cow::Borrowed(self.text.as_bytes()), offsets: Vec::new() };
        }
        let mut bytes = Vec::with_capacity(self.text.len());
        let mut offsets = Vec::with_capacity(self.text.len() + 1);
        for (at, ch) in self.text.char_indices() {
            let source = self.pieces.source_offset(at);
            match self.replaced.binary_search_by_key(&source, |one| one.offset) {
                Ok(index) => bytes.push(self.replaced[index].byte),
                Err(_) => bytes.extend_from_slice(&self.text.as_bytes()[at..at + ch.len_utf8()]),
            }
            offsets.extend(at..at + bytes.len() - offsets.len());
        }
        offsets.push(self.text.len());
        RawBytes { bytes: Cow::Owned(bytes), offsets }
    }

    /// Joins the source text at `start..start + len`.
    pub(crate) fn push(&mut self, start: usize, len: usize) {
        if self.text.is_empty() {
            *self = Self::new(self.source, start, len, self.replaced);
        } else if len > 0 {
            self.pieces.rest.push((to_u32(self.text.len()), to_u32(start)));
            if let Cow::Borrowed(first) = self.text {
                let mut joined = String::with_capacity(4 * (first.len() + len) + 64);
                joined.push_str(first);
                self.text = Cow::Owned(joined);
            }
            self.text.to_mut().push_str(&self.source[start..start + len]);
        }
    }

    /// A part of the line, borrowed from the source where it was not joined.
    pub(crate) fn part(&self, start: usize, end: usize) -> Text<'a> {
        let span = self.pieces.span(start..end);
        let value = match &self.text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[start..end]),
            Cow::Owned(_) if to_usize(span.len()) == end - start => Cow::Borrowed(&self.source[span.range()]),
            Cow::Owned(text) => Cow::Owned(text[start..end].to_owned()),
        };
        Text { value, span }
    }

    /// A part whose ends may lie within a character, as happens where BuildKit scans bytes: each byte of a broken character
    /// becomes U+FFFD.
    pub(crate) fn broken_part(&self, start: usize, end: usize) -> Text<'a> {
        if self.text.is_char_boundary(start) && self.text.is_char_boundary(end) {
            return self.part(start, end);
        }
        let mut value = String::new();
        for chunk in self.text.as_bytes()[start..end].utf8_chunks() {
            value.push_str(chunk.valid());
            value.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        let span = self.pieces.span(self.text.floor_char_boundary_at(start)..self.text.ceil_char_boundary_at(end));
        Text { value: Cow::Owned(value), span }
    }
}

trait CharBorder {
    fn floor_char_boundary_at(&self, index: usize) -> usize;
    fn ceil_char_boundary_at(&self, index: usize) -> usize;
}

impl CharBorder for str {
    fn floor_char_boundary_at(&self, index: usize) -> usize {
        (0..=index.min(self.len())).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }

    fn ceil_char_boundary_at(&self, index: usize) -> usize {
        (index..self.len()).find(|&at| self.is_char_boundary(at)).unwrap_or(self.len())
    }
}

/// Whether BuildKit's word splitting sees a blank: the regular expression `[\t\v\f\r ]`.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0B | 0x0C | b'\r' | b' ')
}

/// Whether a byte, taken for a Latin-1 character, is a blank: what BuildKit's byte-wise scans test.
pub(crate) fn is_latin1_space(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'\n' | 0x85 | 0xA0)
}

/// The ranges of the words of `text[start..end]`, split at [`is_blank`]; nothing for an empty range.
pub(crate) fn words(text: &str, start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let bytes = text.as_bytes();
    let mut at = start;
    std::iter::from_fn(move || {
        while at < end && is_blank(bytes[at]) {
            at += 1;
        }
        let begin = at;
        while at < end && !is_blank(bytes[at]) {
            at += 1;
        }
        (begin < at).then_some((begin, at))
    })
}

/// `start..end` of `text` without Unicode blanks at either end.
pub(crate) fn trim(text: &str, start: usize, end: usize) -> (usize, usize) {
    let part = &text[start..end];
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    if is_plain(part.as_bytes().first()) && is_plain(part.as_bytes().last()) {
        return (start, end);
    }
    let left = part.len() - part.trim_start().len();
    (start + left, (start + part.trim_end().len()).max(start + left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_character_is_the_last_one_and_not_doubled() {
        for (line, want) in [
            ("RUN a \\", Some("RUN a ")),
            ("RUN a \\ \t", Some("RUN a ")),
            ("\\", Some("")),
            ("RUN a \\\\", None),
            ("RUN a \\\\\\", None),
            ("RUN a \\\r ", None),
            ("RUN a", None),
        ] {
            assert_eq!(continued(line, '\\'), want, "{line:?}");
        }
        assert_eq!(continued("RUN a `", '`'), Some("RUN a "));
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_is_not() {
        let fits = "x".repeat(MAX_LINE_BYTES);
        assert_eq!(Lines::new(&fits, &[]).count(), 1);
        assert_eq!(Lines::new(&format!("{fits}\n"), &[]).count(), 1);
        let mut lines = Lines::new("x\n", &[]);
        assert!(lines.next().is_some() && lines.next().is_none() && lines.too_long.is_none());
        let long = format!("a\n{fits}x\nb\n");
        let mut lines = Lines::new(&long, &[]);
        assert_eq!(lines.by_ref().count(), 1);
        assert_eq!(lines.too_long, Some(Span::new(2, 2 + 65_536)));
    }

    #[test]
    fn parts_of_joined_lines_know_their_place() {
        let source = "ENV A=b \\\n  C=d";
        let mut line = LogicalLine::new(source, 0, 8, &[]);
        line.push(10, 5);
        assert_eq!(line.text, "ENV A=b   C=d");
        let part = line.part(10, 13);
        assert_eq!((part.as_str(), part.span), ("C=d", Span::new(12, 15)));
        assert!(part.is_verbatim());
        let across = line.part(4, 13);
        assert_eq!((across.as_str(), across.span), ("A=b   C=d", Span::new(4, 15)));
    }
}
