//! The strict subset: what BuildKit accepts but nobody means is refused, each with its own reason.
//!
//! These checks only ever add errors to those of BuildKit's own rules, so what the strict mode accepts, BuildKit accepts with the
//! same result. A few are warnings: they say that something is not what it seems, and refuse nothing.

mod arguments;
mod characters;
mod heredocs;
mod json_form;

pub(crate) use heredocs::is_shift;

use crate::ast::{DirectiveName, Dockerfile, Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic, MAX_DIAGNOSTICS, Severity};
use crate::directive;
use crate::lines::{self, trim_line_end};
use crate::parse::{EmptyContinuation, Parsed};
use crate::source::Replaced;
use crate::span::{Span, to_u32, to_usize};

/// Adds what the strict mode has against a parsed file.
pub(crate) fn check(parsed: &mut Parsed<'_>, replaced: &[Replaced]) {
    let Parsed { dockerfile, diagnostics, warnings } = parsed;
    characters::check(dockerfile, replaced, diagnostics);
    for warning in warnings.iter() {
        if diagnostics.len() > MAX_DIAGNOSTICS {
            break;
        }
        diagnostics.extend(swallowed(dockerfile, *warning));
    }
    let mut ahead = heredocs::Ahead::default();
    for instruction in &dockerfile.instructions {
        if diagnostics.len() > MAX_DIAGNOSTICS {
            break;
        }
        ignored_directives(instruction, dockerfile.escape, diagnostics);
        if instruction.faulty {
            continue;
        }
        arguments::check(instruction, diagnostics);
        json_form::check(instruction, diagnostics);
        heredocs::check(instruction, dockerfile, &mut ahead, diagnostics);
    }
    let last = dockerfile.instructions.last().filter(|last| !last.faulty);
    diagnostics.extend(last.and_then(|last| trailing_continuation(last, dockerfile)));
}

/// An empty line after a continuation, before what looks like a new instruction.
fn swallowed(dockerfile: &Dockerfile<'_>, warning: EmptyContinuation) -> Option<Diagnostic> {
    let instruction = dockerfile.instructions.get(warning.instruction)?;
    let rest = Span::new(warning.span.end, instruction.head_span().end).of(dockerfile.source);
    let mut at = to_usize(warning.span.end);
    for line in rest.split_inclusive('\n') {
        let content = trim_line_end(line).trim_start();
        let start = at + trim_line_end(line).len() - content.len();
        at += line.len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if !starts_instruction(content) {
            return None;
        }
        let word = content.split([' ', '\t']).next().unwrap_or_default();
        let span = Span::new(to_u32(start), to_u32(start + word.len()));
        let message = format!("this `{word}` is part of the `{}` above, not an instruction", instruction.keyword.value);
        return Some(
            Diagnostic::new(Code::EmptyContinuation, span, message)
                .help("an empty line does not end an instruction: remove the continuation character before it")
                .label(warning.span, "this empty line follows a continued one"),
        );
    }
    None
}

/// Whether a line begins with an instruction in capitals, as a line of a script hardly does.
pub(crate) fn starts_instruction(line: &str) -> bool {
    let word = line.split([' ', '\t']).next().unwrap_or_default();
    Keyword::from_word(word).is_some_and(|keyword| keyword.name() == word) && word.len() < line.len()
}

/// `# escape=` and `# syntax=` where they are mere comments.
fn ignored_directives(instruction: &Instruction<'_>, escape: char, diagnostics: &mut Vec<Diagnostic>) {
    for comment in &instruction.comments {
        let Some((name, value)) = directive::split(&comment.value) else { continue };
        let severity = match name {
            // `# check=` has a meaning directly above an instruction.
            DirectiveName::Check => continue,
            DirectiveName::Escape if value.chars().eq([escape]) => continue,
            DirectiveName::Escape => Severity::Error,
            DirectiveName::Syntax => Severity::Warning,
        };
        let message = format!("`# {}=` has no effect here", name.name());
        let mut found = Diagnostic::new(Code::DirectiveIgnored, comment.span, message)
            .help("parser directives count only at the top of the file, before any empty line or other comment");
        found.severity = severity;
        diagnostics.push(found);
    }
}

/// A continuation character on the last line of the file.
fn trailing_continuation(instruction: &Instruction<'_>, dockerfile: &Dockerfile<'_>) -> Option<Diagnostic> {
    if !instruction.heredocs.is_empty() {
        return None;
    }
    let text = instruction.span.of(dockerfile.source);
    let last = text.lines().rfind(|line| !line.trim().is_empty() && !lines::is_comment(line))?;
    let body = lines::continued(trim_line_end(last), dockerfile.escape)?;
    let at = instruction.span.start + to_u32(body.as_ptr().addr() - text.as_ptr().addr() + body.len());
    let span = Span::new(at, at + 1);
    Some(
        Diagnostic::new(Code::TrailingContinuation, span, "the file ends in the middle of a continued instruction")
            .help("remove the continuation character, or add what is missing")
            .fix(span, ""),
    )
}
