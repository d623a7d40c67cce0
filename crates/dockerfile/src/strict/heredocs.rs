//! Heredocs that BuildKit does not see, and those it sees where there are none.

use crate::ast::{Dockerfile, Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic};
use crate::heredoc;
use crate::lines::trim_line_end;
use crate::span::to_usize;

/// How many lines ahead a terminator is looked for.
const AHEAD_MAX: usize = 64;

/// Lines left to look at for the whole file.
pub(super) struct Ahead(usize);

impl Default for Ahead {
    fn default() -> Self {
        Self(4096)
    }
}

pub(super) fn check(
    instruction: &Instruction<'_>,
    dockerfile: &Dockerfile<'_>,
    ahead: &mut Ahead,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if !instruction.original.contains("<<") {
        return;
    }
    for heredoc in &instruction.heredocs {
        if is_shift(&heredoc.name) {
            let message = "BuildKit takes this shift for a heredoc";
            let found = Diagnostic::new(Code::HeredocInArithmetic, heredoc.word_span, message);
            diagnostics.push(found.help("write the operator without a blank before it, as in `$((1<<2))`"));
        }
    }
    diagnostics.extend(ignored(instruction, dockerfile, ahead));
}

/// Whether the name of a heredoc is an operand.
pub(crate) fn is_shift(name: &str) -> bool {
    name.trim_end_matches(')').bytes().all(|byte| byte.is_ascii_digit())
}

/// A `<<NAME` without a heredoc, whose terminator follows.
fn ignored(instruction: &Instruction<'_>, dockerfile: &Dockerfile<'_>, ahead: &mut Ahead) -> Option<Diagnostic> {
    if !instruction.heredocs.is_empty() {
        return None;
    }
    let text = instruction.original.as_ref();
    let (at, name, spaced) = shell_heredoc(text)?;
    let rest = &dockerfile.source[to_usize(instruction.span.end)..];
    let lines = AHEAD_MAX.min(ahead.0);
    ahead.0 -= lines;
    let body = rest.split_inclusive('\n').skip(1).take(lines);
    let closed = body.map(|line| trim_line_end(line).trim_start_matches('\t')).any(|line| line == name);
    if !closed {
        return None;
    }
    let span = instruction.pieces.span(at..at + 2);
    let found = |message: String| Diagnostic::new(Code::IgnoredHeredoc, span, message);
    let kind = instruction.triggers.first().map_or(instruction.kind, |trigger| trigger.kind);
    if !matches!(kind, Some(Keyword::Run | Keyword::Copy | Keyword::Add)) {
        let name = kind.map_or("this instruction", Keyword::name);
        return Some(found(format!("`{name}` has no heredocs")).help("only `RUN`, `COPY` and `ADD` have them"));
    }
    if instruction.json {
        return Some(found("the JSON form has no heredocs".to_owned()).help("write the command without brackets"));
    }
    if let Err(error) = heredoc::lex_line(text) {
        let message = format!("this heredoc is not recognised: {}", error.cause);
        return Some(found(message).help("close the quote or brace, or quote it"));
    }
    if spaced {
        let blanks = text[at + 3..].len() - text[at + 3..].trim_start().len();
        let gap = instruction.pieces.span(at + 3..at + 3 + blanks);
        let found = found("a blank after `<<-` keeps the heredoc from being recognised".to_owned());
        return Some(found.help(format!("write `<<-{name}`")).fix(gap, ""));
    }
    Some(found("this heredoc is not recognised".to_owned()).help("write `<<NAME` as a word of its own, outside quotes"))
}

/// The first `<<NAME` or `<<-NAME` as a shell reads it: its offset, the name, and whether blanks follow a `<<-`.
fn shell_heredoc(text: &str) -> Option<(usize, &str, bool)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("<<") {
        let at = from + found;
        let rest = &text[at + 2..];
        let (dash, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let word = rest.trim_start_matches([' ', '\t']);
        let spaced = dash && word.len() < rest.len();
        let word = word.trim_start_matches(['\'', '"', '\\']);
        let end = word.find(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_').unwrap_or(word.len());
        if end > 0 && !word.starts_with(|ch: char| ch.is_ascii_digit()) {
            return Some((at, &word[..end], spaced));
        }
        from = at + 2;
    }
    None
}
