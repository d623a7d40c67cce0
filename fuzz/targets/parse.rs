//! Invariants, for any bytes and in both modes:
//!
//! - decoding, parsing and typing never panic;
//! - the decoded source gives its bytes back, and the tree prints its text back, byte for byte;
//! - every span lies inside the text on character borders, instructions follow one another, and a text that says it is
//!   verbatim is what stands at its span;
//! - what is made is bounded by what was read: problems and their messages by bytes;
//! - the strict subset is a subset: what BuildKit mode refuses, strict mode refuses.
#![no_main]

use dockerfile::ast::{Dockerfile, Instruction};
use dockerfile::diagnostic::Diagnostic;
use dockerfile::source::Source;
use dockerfile::span::{Span, Text};
use dockerfile::{Mode, parse_source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = Source::decode(bytes);
    assert_eq!(source.to_bytes(), bytes, "decoding keeps the bytes");
    let buildkit = check(&source, Mode::BuildKit);
    let strict = check(&source, Mode::Strict);
    assert!(buildkit || !strict, "strict mode accepts what BuildKit mode refuses");
});

/// Checks all that holds for one mode; says whether the file is accepted.
fn check(source: &Source<'_>, mode: Mode) -> bool {
    let text = source.text();
    let parsed = parse_source(source, mode);
    assert_eq!(parsed.dockerfile.print(), text, "printing gives the text back");
    tree(&parsed.dockerfile);
    let typed = dockerfile::instruction::read(&parsed.dockerfile);
    let mut diagnostics = parsed.diagnostics;
    diagnostics.extend(typed.diagnostics);
    for one in &diagnostics {
        diagnostic(text, one);
    }
    assert!(diagnostics.len() <= text.len() + 8, "{} problems in {} bytes", diagnostics.len(), text.len());
    !diagnostics.iter().any(Diagnostic::is_error)
}

fn tree(file: &Dockerfile<'_>) {
    let mut end = 0;
    for directive in &file.directives {
        inside(file.source, directive.span);
        assert_eq!(directive.span.of(file.source), directive.value);
    }
    for one in &file.instructions {
        inside(file.source, one.span);
        assert!(one.span.start >= end, "instructions overlap");
        assert!(1 <= one.start_line && one.start_line <= one.end_line);
        end = one.span.end;
        instruction(file.source, one);
    }
}

fn instruction(source: &str, one: &Instruction<'_>) {
    inside(source, one.head_span());
    let words = [&one.keyword].into_iter().chain(&one.flags).chain(&one.args).chain(&one.comments);
    words.for_each(|word| check_text(source, word));
    for trigger in &one.triggers {
        assert!(one.original.get(trigger.original.clone()).is_some(), "a trigger outside its instruction");
        let words = [&trigger.keyword].into_iter().chain(&trigger.flags).chain(&trigger.args);
        words.for_each(|word| check_text(source, word));
    }
    for heredoc in &one.heredocs {
        inside(source, heredoc.span);
        inside(source, heredoc.word_span);
        assert_eq!(heredoc.span.of(source), heredoc.content);
    }
    for at in 0..=one.original.len() {
        if one.original.is_char_boundary(at) {
            inside(source, Span::empty(one.pieces.source_offset(at)));
        }
    }
}

fn check_text(source: &str, text: &Text<'_>) {
    inside(source, text.span);
    if text.is_verbatim() {
        assert_eq!(text.span.of(source), text.as_str());
    }
}

fn diagnostic(source: &str, one: &Diagnostic) {
    inside(source, one.span);
    one.labels.iter().for_each(|label| inside(source, label.span));
    one.fix.iter().for_each(|edit| inside(source, edit.span));
    assert!(!one.message.is_empty() && one.message.len() < 4096 + 4 * source.len(), "an unbounded message");
}

fn inside(source: &str, span: Span) {
    assert!(
        span.start <= span.end && source.get(span.range()).is_some(),
        "span {span:?} outside {} bytes",
        source.len()
    );
}
