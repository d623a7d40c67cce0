//! Invariants, for the problems of any bytes taken for a Dockerfile, and for problems at any place of it:
//!
//! - drawing them for people, as JSON, as SARIF and as GitHub commands never panics;
//! - the text for people holds no character that a terminal would obey, and its lines are short;
//! - what is written is bounded by a constant, and counts what it leaves out.
#![no_main]

use dockerfile::diagnostic::{Code, Diagnostic};
use dockerfile::render::{Report, SHOWN_MAX, visible};
use dockerfile::source::Source;
use dockerfile::span::Span;
use dockerfile::{Mode, parse_source};
use libfuzzer_sys::fuzz_target;

/// How many of a file's own problems are drawn.
const OWN_MAX: usize = 8;

/// Longer inputs are cut: drawing is slow beside all else, and this is many lines, or a line far too long to be shown.
const BYTES_MAX: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let source = Source::decode(bytes);
    let parsed = parse_source(&source, Mode::Strict);
    let mut diagnostics = parsed.diagnostics;
    diagnostics.truncate(OWN_MAX);
    diagnostics.push(anywhere(bytes));
    let report = Report::new("Dockerfile", source.text(), &diagnostics);
    let human = report.human(false);
    assert!(human.chars().all(|ch| visible::replacement(ch).is_none()), "a control character for the terminal");
    assert!(human.len() < 1 << 20, "{} bytes of text", human.len());
    assert!(report.github().len() < 1 << 20, "unbounded commands");
    let json = serde_json::to_string(&report.json()).expect("JSON");
    assert!(serde_json::from_str::<serde_json::Value>(&visible::json_fragment(&json)).is_ok(), "escapes break JSON");
    serde_json::to_string(&report.sarif()).expect("SARIF");
    let many = vec![Diagnostic::new(Code::UnknownInstruction, Span::empty(0), "m"); SHOWN_MAX + 1];
    assert_eq!(Report { diagnostics: &many, ..report }.json().omitted, 1);
});

/// A problem with labels and an edit at places that the input chooses, outside the text and inside characters too.
fn anywhere(bytes: &[u8]) -> Diagnostic {
    let number = |at: usize| bytes.get(at..at + 2).map_or(0, |pair| u32::from(pair[0]) | u32::from(pair[1]) << 8);
    let span = |at: usize| Span::new(number(at) % 4096, number(at + 2) % 4096);
    let text = String::from_utf8_lossy(bytes).into_owned();
    Diagnostic::new(Code::UnknownInstruction, span(0), text.clone())
        .help(text.clone())
        .label(span(4), text.clone())
        .label(span(8), "b")
        .fix(span(12), text)
}
