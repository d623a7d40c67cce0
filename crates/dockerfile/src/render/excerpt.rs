//! A few source lines made fit to show: cut where they are long, without characters that a terminal would obey, and with a
//! map from source offsets to offsets of what is shown.

use std::ops::Range;

use super::visible;
use crate::source::LineIndex;
use crate::span::{Span, to_u32, to_usize};

/// The most characters of one line that are shown.
const LINE_CHARS_MAX: usize = 160;

/// How many characters of a long line are shown before the place that matters.
const LEAD_CHARS: usize = 60;

/// Consecutive source lines as they are shown.
#[derive(Debug)]
pub(super) struct Excerpt {
    /// What is shown.
    pub(super) text: String,
    /// Number of the first line, from 1.
    pub(super) first_line: u32,
    /// Whether a line was cut.
    pub(super) is_cut: bool,
    /// Source offset and shown offset of every character and line end, ascending in both.
    borders: Vec<(u32, usize)>,
}

impl Excerpt {
    /// Lines `lines` of `source`, cut so that the first of `spans` in each line is seen.
    pub(super) fn new(source: &str, index: &LineIndex<'_>, lines: Range<u32>, spans: &[Span]) -> Self {
        let mut excerpt = Self { text: String::new(), first_line: lines.start, is_cut: false, borders: Vec::new() };
        for number in lines {
            let line = index.line_span(number);
            let focus = spans.iter().map(|span| span.start).filter(|&at| index.line(at) == number).min();
            excerpt.push_line(source, line, focus.unwrap_or(line.start));
        }
        excerpt
    }

    /// Where `span` is shown; what was cut away counts as being at the cut.
    pub(super) fn shown(&self, span: Span) -> Range<usize> {
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        start..end.max(start)
    }

    fn offset(&self, source_offset: u32) -> usize {
        let after = self.borders.partition_point(|&(source, _)| source <= source_offset);
        self.borders.get(after.saturating_sub(1)).map_or(0, |&(_, shown)| shown)
    }

    fn push_line(&mut self, source: &str, line: Span, focus: u32) {
        let content = line.of(source).trim_end_matches(['\r', '\n']);
        let content = Span::new(line.start, line.start + to_u32(content.len()));
        let window = window(source, content, focus);
        if window.start > content.start {
            self.borders.push((content.start, self.text.len()));
            self.text.push('…');
        }
        for (at, ch) in window.of(source).char_indices() {
            self.borders.push((window.start + to_u32(at), self.text.len()));
            match visible::replacement(ch) {
                Some(instead) => self.text.push_str(&instead),
                None => self.text.push(ch),
            }
        }
        self.borders.push((window.end, self.text.len()));
        if window.end < content.end {
            self.text.push('…');
        }
        self.is_cut |= window != content;
        self.borders.push((content.end, self.text.len()));
        self.text.push('\n');
    }
}

/// The part of a line that is shown: all of it when it is short, else what surrounds `focus`.
fn window(source: &str, line: Span, focus: u32) -> Span {
    let text = line.of(source);
    if text.len() <= LINE_CHARS_MAX {
        return line;
    }
    let (before, _) =
        text.split_at_checked(to_usize(focus.clamp(line.start, line.end) - line.start)).unwrap_or((text, ""));
    let start = before.char_indices().rev().take(LEAD_CHARS).last().map_or(before.len(), |(at, _)| at);
    let rest = text.get(start..).unwrap_or_default();
    let len = rest.char_indices().nth(LINE_CHARS_MAX).map_or(rest.len(), |(at, _)| at);
    Span::new(line.start + to_u32(start), line.start + to_u32(start + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(source: &str, lines: Range<u32>, span: Span) -> Excerpt {
        Excerpt::new(source, &LineIndex::new(source), lines, &[span])
    }

    #[test]
    fn short_lines_are_shown_whole() {
        let excerpt = excerpt("a\nbc\r\nd\n", 2..4, Span::new(3, 4));
        assert_eq!(excerpt.text, "bc\nd\n");
        assert_eq!(excerpt.shown(Span::new(3, 4)), 1..2);
        assert_eq!(excerpt.shown(Span::new(6, 7)), 3..4);
        assert!(!excerpt.is_cut);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = format!("{}X{}", "a".repeat(5000), "é".repeat(5000));
        let excerpt = excerpt(&source, 1..2, Span::new(5000, 5001));
        assert!(excerpt.is_cut);
        assert!(excerpt.text.starts_with("…aaa") && excerpt.text.ends_with("é…\n"), "{}", excerpt.text);
        assert_eq!(excerpt.text.chars().count(), LINE_CHARS_MAX + 3);
        assert_eq!(excerpt.text.get(excerpt.shown(Span::new(5000, 5001))), Some("X"));
        let all = excerpt.shown(Span::new(0, to_u32(source.len())));
        assert_eq!(all, 0..excerpt.text.len() - 1);
    }

    #[test]
    fn a_focus_inside_a_character_or_outside_the_text_is_no_trouble() {
        let source = "é".repeat(400);
        for start in [1, 799, 800, 5000] {
            let excerpt = excerpt(&source, 1..2, Span::new(start, start + 1));
            let shown = excerpt.shown(Span::new(start, start + 1));
            assert!(excerpt.text.get(shown).is_some());
        }
    }

    #[test]
    fn controls_are_replaced_and_places_follow() {
        let excerpt = excerpt("a\x1b[2Jb", 1..2, Span::new(5, 6));
        assert_eq!(excerpt.text, "a␛[2Jb\n");
        assert_eq!(excerpt.text.get(excerpt.shown(Span::new(5, 6))), Some("b"));
    }
}
