//! `FROM`.

use std::borrow::Cow;

use super::Stage;
use super::flag_set::Takes;
use super::read::{Faults, Result, doc_comment, end_of, flags};
use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic};
use crate::goformat::{quote, to_lower};
use crate::span::Text;

pub(super) fn read<'d>(instruction: &'d Instruction<'d>) -> Result<Stage<'d>> {
    let (base, name) = match instruction.args.as_slice() {
        [base] => (base, Cow::Borrowed("")),
        [base, word, name] if is_as(&word.value) => (base, stage_name(name)?),
        _ => return Err(Faults::from(wrong_arguments(instruction))),
    };
    let flags = flags(instruction, &[("platform", Takes::Value)])?;
    let doc = doc_comment(instruction, &name);
    Ok(Stage { from: instruction, base, name, platform: flags.value("platform"), doc, commands: Vec::new() })
}

/// Go's `EqualFold` with `as`: U+017F folds to `s`.
fn is_as(word: &str) -> bool {
    let mut chars = word.chars();
    matches!((chars.next(), chars.next(), chars.next()), (Some('a' | 'A'), Some('s' | 'S' | '\u{17F}'), None))
}

fn stage_name<'d>(text: &'d Text<'d>) -> Result<Cow<'d, str>> {
    let written = text.as_str();
    let lower = if written.is_ascii() && !written.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Borrowed(written)
    } else {
        Cow::Owned(to_lower(written))
    };
    let mut bytes = lower.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if valid {
        return Ok(lower);
    }
    Err(Faults::from(
        Diagnostic::new(Code::InvalidStageName, text.span, format!("`{written}` is no valid name for a stage"))
            .help("a name starts with a letter and goes on with letters, digits, `-`, `_` and `.`")
            .buildkit(format!(
                "invalid name for build stage: {}, name can't start with a number or contain symbols",
                quote(written)
            )),
    ))
}

fn wrong_arguments(instruction: &Instruction<'_>) -> Diagnostic {
    let args = &instruction.args;
    let span = match (args.get(1), args.last()) {
        (Some(second), Some(last)) => second.span.to(last.span),
        _ => args.first().map_or(end_of(instruction), |first| first.span),
    };
    let found = Diagnostic::new(Code::FromArguments, span, "`FROM` takes an image, and perhaps `AS` and a name")
        .buildkit("FROM requires either one or three arguments");
    let Some(comment) = args.iter().find(|arg| arg.value.starts_with('#')) else {
        return found.help(match args.get(1) {
            None => "write `FROM image`, for example `FROM debian:12`",
            Some(second) if is_as(&second.value) => "write `FROM image AS name`: one name follows the `AS`",
            Some(_) => "write `FROM image` or `FROM image AS name`",
        });
    };
    let tail = args.last().map_or(comment.span, |last| comment.span.to(last.span));
    found.help("a `#` starts a comment only at the start of a line: move the comment to its own line").fix(tail, "")
}
