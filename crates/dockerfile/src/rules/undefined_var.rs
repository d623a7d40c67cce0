//! UndefinedVar: an instruction names a variable that nothing sets.

use std::collections::BTreeSet;

use super::{Lints, finding};
use crate::diagnostic::{Code, suggest};
use crate::instruction::Command;
use crate::span::Span;

/// Reports the names in `unmatched`. `known` lists the variables that are set; it is asked only while suggestions are made.
pub(crate) fn report<'k>(
    command: &Command<'_>,
    unmatched: &BTreeSet<&str>,
    known: impl Fn() -> Vec<&'k str>,
    lints: &mut Lints,
) {
    if unmatched.is_empty() || !lints.wants(Code::UndefinedVar) {
        return;
    }
    for name in unmatched {
        let searches = lints.may_search();
        let span = if searches { reference_span(command, name) } else { command.instruction.keyword.span };
        let near = if searches { suggest(name, &known()).map(str::to_owned) } else { None };
        let finding = finding(Code::UndefinedVar, span, format!("Usage of undefined variable '${name}'"));
        lints.report(match near {
            Some(near) => finding.help(format!("did you mean ${near}?")),
            None => finding,
        });
    }
}

/// Where the instruction names the variable, or its keyword if that is not to be found.
fn reference_span(command: &Command<'_>, name: &str) -> Span {
    let instruction = command.instruction;
    let text = instruction.original.as_ref();
    let place = text.match_indices('$').find_map(|(dollar, _)| {
        let rest = &text[dollar + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest).strip_prefix(name)?;
        let ends = !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric());
        ends.then(|| instruction.pieces.span(dollar..text.len() - rest.len()))
    });
    place.unwrap_or(instruction.keyword.span)
}
