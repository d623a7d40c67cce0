//! What is said about files with problems: which, where, in which order, and what to do about it.

mod help;
mod policy;
mod recovery;
mod strict;

use dockerfile::diagnostic::{Diagnostic, Group, sort};
use dockerfile::source::Source;
use dockerfile::{Mode, instruction, parse_source};

/// The problems of the first two stages in the strict mode, in source order.
fn problems(bytes: &[u8]) -> Vec<Diagnostic> {
    problems_in(bytes, Mode::Strict)
}

fn problems_in(bytes: &[u8], mode: Mode) -> Vec<Diagnostic> {
    let source = Source::decode(bytes);
    let parsed = parse_source(&source, mode);
    let mut all = parsed.diagnostics.clone();
    all.extend(instruction::read(&parsed.dockerfile).diagnostics);
    sort(&mut all);
    all
}

/// `line:code` of each problem that refuses the file.
fn places(text: &str) -> Vec<String> {
    let line =
        |at: u32| text.as_bytes()[..usize::try_from(at).unwrap_or(0)].iter().filter(|b| **b == b'\n').count() + 1;
    let errors = problems(text.as_bytes()).into_iter().filter(Diagnostic::is_error);
    errors.map(|one| format!("{}:{}", line(one.span.start), one.code)).collect()
}

/// The text with the edits of its problems made.
fn mended(text: &str) -> String {
    let mut edits: Vec<_> = problems(text.as_bytes()).into_iter().flat_map(|one| one.fix).collect();
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.span));
    let mut out = text.to_owned();
    for edit in edits {
        out.replace_range(edit.span.range(), &edit.replacement);
    }
    out
}

/// Whether BuildKit's own rules refuse the file.
fn buildkit_refuses(bytes: &[u8]) -> bool {
    let is_theirs = |one: &Diagnostic| matches!(one.code.group(), Group::Parse | Group::Instruction);
    problems_in(bytes, Mode::BuildKit).iter().any(|one| one.is_error() && is_theirs(one))
}
