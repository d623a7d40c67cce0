//! The source text: decoding bytes as BuildKit's Go code sees them, and finding lines and columns.

use std::borrow::Cow;

use serde::Serialize;

use crate::span::{Span, to_u32, to_usize};

/// The longest source that is looked at, in bytes (64 MiB); a longer one is refused with `source-too-large`.
pub const MAX_SOURCE_BYTES: usize = 64 << 20;

/// A Dockerfile's text, decoded from bytes.
///
/// Every byte that is not part of valid UTF-8 becomes one U+FFFD, which is what Go's rune decoding does; the bytes are
/// kept, so [`Source::to_bytes`] gives the input back exactly. All spans refer to [`Source::text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    text: Cow<'a, str>,
    replaced: Vec<Replaced>,
}

/// A byte that was not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Offset in the decoded text of the U+FFFD that stands for it.
    pub offset: u32,
    /// The byte itself.
    pub byte: u8,
}

impl<'a> Source<'a> {
    /// Decodes `bytes`; borrows when they are UTF-8.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::from(text),
            Err(_) => Self::decode_lossy(bytes),
        }
    }

    fn decode_lossy(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len() + 16);
        let mut replaced = Vec::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for &byte in chunk.invalid() {
                replaced.push(Replaced { offset: to_u32(text.len()), byte });
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Self { text: Cow::Owned(text), replaced }
    }

    /// The decoded text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes that were not UTF-8, in order.
    #[must_use]
    pub fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// The bytes this was decoded from.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.text.len());
        let mut rest = 0;
        for one in &self.replaced {
            let offset = to_usize(one.offset);
            bytes.extend_from_slice(&self.text.as_bytes()[rest..offset]);
            bytes.push(one.byte);
            rest = offset + char::REPLACEMENT_CHARACTER.len_utf8();
        }
        bytes.extend_from_slice(&self.text.as_bytes()[rest..]);
        bytes
    }
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), replaced: Vec::new() }
    }
}

/// A place for people: line and column, both from 1; the column counts characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character within the line, from 1.
    pub column: u32,
}

/// Where each line of a text starts; made once a text, when places are to be shown.
#[derive(Clone, Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<u32>,
}

impl<'a> LineIndex<'a> {
    /// Indexes `text`; lines end at `\n` only, as in BuildKit.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        let starts = std::iter::once(0).chain(ends.map(|end| to_u32(end + 1))).collect();
        Self { text, starts }
    }

    /// The line, from 1, that holds byte `offset`; offsets past the end give the last line.
    #[must_use]
    pub fn line(&self, offset: u32) -> u32 {
        to_u32(self.starts.partition_point(|&start| start <= offset))
    }

    /// Line and column of byte `offset`.
    #[must_use]
    pub fn position(&self, offset: u32) -> Position {
        let line = self.line(offset);
        let start = self.starts.get(to_usize(line) - 1).copied().unwrap_or_default();
        let before = Span::new(start, offset.min(to_u32(self.text.len()))).of(self.text);
        Position { line, column: to_u32(before.chars().count()) + 1 }
    }

    /// The byte range of line `line` (from 1), its line end included; empty for a line that is not there.
    #[must_use]
    pub fn line_span(&self, line: u32) -> Span {
        let len = to_u32(self.text.len());
        let at = |line: u32| self.starts.get(to_usize(line)).copied().unwrap_or(len);
        if line == 0 { Span::empty(0) } else { Span::new(at(line - 1), at(line)) }
    }
}
