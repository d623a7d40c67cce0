//! Places in a Dockerfile: byte ranges, and values that remember where they were written.
//!
//! Offsets count bytes of the decoded text (`Source::text`) and are `u32`: a source is never longer than
//! [`MAX_SOURCE_BYTES`](crate::source::MAX_SOURCE_BYTES).

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

/// A half-open byte range `start..end` of the source text; both ends lie on character borders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`; an end before the start gives the empty range at `start`.
    #[must_use]
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The empty range at `offset`.
    #[must_use]
    pub fn empty(offset: u32) -> Self {
        Self { start: offset, end: offset }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether nothing is covered.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The smallest range that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The same range for slicing the source text.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        to_usize(self.start)..to_usize(self.end)
    }

    /// What the range covers in `text`; empty when it lies outside.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or_default()
    }
}

/// An offset as an index; `u32` always fits the address spaces Rust's standard library supports here.
pub(crate) fn to_usize(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// An index as an offset; lengths are bounded by `MAX_SOURCE_BYTES` before they get here.
pub(crate) fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A value and the place it was written at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value, with continuations joined and, where the grammar says so, quotes removed.
    pub value: T,
    /// The source range it came from, which may span several lines.
    pub span: Span,
}

/// Text as the parser hands it out: borrowed from the source unless it had to be joined or unquoted.
pub type Text<'a> = Spanned<Cow<'a, str>>;

impl<'a> Text<'a> {
    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Whether the value is exactly what stands at `span`, so that offsets into one are offsets into the other.
    #[must_use]
    pub fn is_verbatim(&self) -> bool {
        matches!(self.value, Cow::Borrowed(_)) && to_usize(self.span.len()) == self.value.len()
    }

    /// Where bytes `range` of the value were written: exact for verbatim text, else the whole span.
    #[must_use]
    pub fn slice_span(&self, range: Range<usize>) -> Span {
        if !self.is_verbatim() || range.end > self.value.len() {
            return self.span;
        }
        let start = self.span.start.saturating_add(to_u32(range.start));
        Span::new(start, self.span.start.saturating_add(to_u32(range.end)))
    }

    /// Where `part`, a slice of this value, was written.
    #[must_use]
    pub fn part_span(&self, part: &str) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(self.value.as_ptr().addr());
        if start > self.value.len() { self.span } else { self.slice_span(start..start + part.len()) }
    }

    /// A borrowed view with the same place.
    #[must_use]
    pub fn as_spanned_str(&'a self) -> Spanned<&'a str> {
        Spanned { value: &self.value, span: self.span }
    }
}
