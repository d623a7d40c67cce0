//! Characters that deceive: bytes that are no text, controls nobody sees, blanks that are none.

use crate::ast::Dockerfile;
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Replaced;
use crate::span::{Span, to_u32, to_usize};

/// At most this many problems of one kind are reported.
const REPORTED_MAX: usize = 16;

pub(super) fn check(dockerfile: &Dockerfile<'_>, replaced: &[Replaced], diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.extend(not_utf8(replaced));
    let text = dockerfile.source;
    let nul =
        |at| Diagnostic::new(Code::NulByte, one_at(text, at), "a NUL byte").help("remove it; save the file as UTF-8");
    diagnostics.extend(memchr::memchr_iter(0, text.as_bytes()).take(REPORTED_MAX).map(nul));
    carriage_returns(dockerfile, diagnostics);
    if !text.is_ascii() {
        outside_ascii(dockerfile, diagnostics);
    }
}

fn not_utf8(replaced: &[Replaced]) -> Option<Diagnostic> {
    let first = replaced.first()?;
    let span = Span::new(first.offset, first.offset + to_u32(char::REPLACEMENT_CHARACTER.len_utf8()));
    let message = match replaced.len() {
        1 => format!("the byte 0x{:02X} is not UTF-8", first.byte),
        more => format!("the byte 0x{:02X} is not UTF-8, nor are {} others", first.byte, more - 1),
    };
    Some(Diagnostic::new(Code::InvalidUtf8, span, message).help("save the file as UTF-8"))
}

fn one_at(text: &str, at: usize) -> Span {
    let len = text[at..].chars().next().map_or(0, char::len_utf8);
    Span::new(to_u32(at), to_u32(at + len))
}

/// A CR that is not at the end of its line, in an instruction's own text.
fn carriage_returns(dockerfile: &Dockerfile<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if memchr::memchr(b'\r', dockerfile.source.as_bytes()).is_none() {
        return;
    }
    let found = dockerfile.instructions.iter().flat_map(|instruction| {
        let inside = memchr::memchr_iter(b'\r', instruction.original.trim_end().as_bytes());
        inside.map(|at| instruction.pieces.span(at..at + 1)).collect::<Vec<_>>()
    });
    diagnostics.extend(found.take(REPORTED_MAX).map(|span| {
        Diagnostic::new(Code::CarriageReturn, span, "a carriage return within the line")
            .help("remove it: it is invisible and ends no line")
            .fix(span, "")
    }));
}

fn outside_ascii(dockerfile: &Dockerfile<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let text = dockerfile.source;
    let mut counts = [0; 2];
    for (at, ch) in text.char_indices().filter(|(_, ch)| !ch.is_ascii()) {
        let (kind, found) = match ch {
            '\u{FEFF}' if at > 0 => (0, mark(one_at(text, at))),
            _ if is_bidi_control(ch) => (1, bidi(ch, one_at(text, at))),
            _ => continue,
        };
        counts[kind] += 1;
        if counts[kind] <= REPORTED_MAX {
            diagnostics.push(found);
        }
    }
    spaces(dockerfile, diagnostics);
}

fn mark(span: Span) -> Diagnostic {
    Diagnostic::new(Code::ByteOrderMark, span, "a byte order mark within the file")
        .help("remove it: it is invisible")
        .fix(span, "")
}

fn bidi(ch: char, span: Span) -> Diagnostic {
    let message = format!("U+{:04X} changes the direction in which the text is shown", u32::from(ch));
    Diagnostic::new(Code::BidiControl, span, message)
        .help("remove it: the file is not what it looks like")
        .fix(span, "")
}

/// The embeddings, overrides, isolates and marks of the bidirectional algorithm.
fn is_bidi_control(ch: char) -> bool {
    matches!(ch, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Blanks outside ASCII in instructions; in comments and heredoc bodies they do no harm.
fn spaces(dockerfile: &Dockerfile<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut found = 0;
    for instruction in dockerfile.instructions.iter().filter(|one| !one.original.is_ascii()) {
        for (at, ch) in instruction.original.char_indices().filter(|(_, ch)| !ch.is_ascii() && ch.is_whitespace()) {
            found += 1;
            if found > REPORTED_MAX {
                return;
            }
            let span = instruction.pieces.span(at..at + ch.len_utf8());
            let message = format!("U+{:04X} looks like a blank and is none", u32::from(ch));
            let help = "replace it with a plain blank";
            diagnostics.push(Diagnostic::new(Code::NonAsciiSpace, span, message).help(help).fix(span, " "));
        }
    }
    leading_space(dockerfile, diagnostics);
}

/// A blank outside ASCII before an instruction; it is not part of the instruction's text.
fn leading_space(dockerfile: &Dockerfile<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for instruction in &dockerfile.instructions {
        let start = to_usize(instruction.span.start);
        let line_start = dockerfile.source[..start].rfind('\n').map_or(0, |at| at + 1);
        let indent = dockerfile.source[line_start..start].trim_start_matches('\u{FEFF}');
        if !indent.is_ascii() {
            let span = Span::new(to_u32(start - indent.len()), to_u32(start));
            let message = "the indentation holds a blank outside ASCII";
            diagnostics.push(Diagnostic::new(Code::NonAsciiSpace, span, message).fix(span, ""));
        }
    }
}
