//! Arrays that are not valid JSON: BuildKit takes them for shell commands or words.

use std::borrow::Cow;

use crate::ast::{Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic};
use crate::json::{self, Fault};
use crate::span::{Span, Text};

pub(super) fn check(instruction: &Instruction<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let (kind, args, json) = match instruction.triggers.last() {
        Some(trigger) => (trigger.kind, &trigger.args, trigger.json),
        None => (instruction.kind, &instruction.args, instruction.json),
    };
    if json {
        return;
    }
    let looks_like_json = match kind {
        Some(Keyword::Run | Keyword::Cmd | Keyword::Entrypoint) => args.first().filter(|text| is_array(&text.value)),
        Some(Keyword::Healthcheck) => args.get(1).filter(|text| is_array(&text.value)),
        Some(Keyword::Add | Keyword::Copy | Keyword::Volume) => {
            args.first().filter(|word| is_array_of_words(&word.value))
        }
        _ => None,
    };
    let Some(first) = looks_like_json else { return };
    let last = args.last().unwrap_or(first);
    diagnostics.push(explain(&whole_text(instruction, first, last)));
}

/// The arguments from `first` to the end of the instruction as one text.
fn whole_text<'a>(instruction: &'a Instruction<'_>, first: &Text<'_>, last: &'a Text<'_>) -> Text<'a> {
    if first.span == last.span {
        return Text { value: Cow::Borrowed(&last.value), span: last.span };
    }
    let text = instruction.original.trim_end();
    let start = text.find('[').unwrap_or(0);
    let value = &text[start..];
    Text { value: Cow::Borrowed(value), span: instruction.pieces.span(start..text.len()) }
}

/// Whether text that starts with `[` is meant as an array, and not as the shell's `[ ... ]` or `[[ ... ]]`.
fn is_array(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('[') else { return false };
    let inner = rest.trim_start();
    let Some(quote) = inner.chars().next() else { return true };
    if inner.len() == rest.len() {
        return quote != '[';
    }
    // `[ "a", "b"` is an array, `[ "$a" = b ]` a command.
    matches!(quote, '"' | '\'')
        && inner[1..].split_once(quote).is_some_and(|(_, after)| after.trim_start().starts_with(','))
}

/// The first word of a list of paths; `[a-z]*` is a pattern.
fn is_array_of_words(word: &str) -> bool {
    word == "[" || ["[\"", "['", "[\u{201C}", "[\u{2018}"].iter().any(|start| word.starts_with(start))
}

fn explain(text: &Text<'_>) -> Diagnostic {
    let value = text.value.as_ref();
    let at = match json::array_of_strings(value) {
        Err(Fault::Invalid(at)) => at,
        _ => 0,
    };
    let next = value[at.min(value.len())..].chars().next();
    let place = text.slice_span(at..at + next.map_or(0, char::len_utf8));
    let place = if place.is_empty() { Span::empty(text.span.end) } else { place };
    let found = |message: &'static str| Diagnostic::new(Code::JsonFallback, place, message);
    let before = value[..at].trim_end();
    match next {
        Some('\'') => single_quotes(text, found("a JSON string is in double quotes, not in single ones")),
        Some('\u{201C}' | '\u{201D}' | '\u{2018}' | '\u{2019}') => {
            found("a JSON string is in plain double quotes, not in typographic ones").help("replace them with \"")
        }
        None => found("the array is not closed").help("add the missing `\"` or `]`"),
        Some(']') if before.ends_with(',') => found("there is a comma before the `]`").help("remove the comma"),
        Some('"') if before.ends_with('"') => found("a comma is missing between two strings")
            .help("put a comma before this string")
            .fix(Span::empty(place.start), ", "),
        Some('#') if before.ends_with(']') => {
            found("a `#` starts a comment only at the start of a line").help("move the comment to its own line")
        }
        Some(_) if before.ends_with(']') => found("nothing may follow the array").help("put everything into the array"),
        Some(_) if in_string(value, at) => {
            found("this escape or character is not allowed in a JSON string").help("a backslash is written `\\\\`")
        }
        Some(_) => found("this is no JSON string").help("every element is a string in double quotes"),
    }
}

/// Whether byte `at` lies after an odd number of quotes.
fn in_string(value: &str, at: usize) -> bool {
    value[..at].bytes().filter(|byte| *byte == b'"').count() % 2 == 1
}

/// The fix is certain when the quotes are all there is to change.
fn single_quotes(text: &Text<'_>, found: Diagnostic) -> Diagnostic {
    let array = text.value.trim_end();
    let fixed = array.replace('\'', "\"");
    let found = found.help("put the strings in double quotes");
    if array.contains(['"', '\\', '$']) || json::array_of_strings(&fixed).is_err() || !text.is_verbatim() {
        return found;
    }
    found.fix(text.slice_span(0..array.len()), fixed)
}
