//! UndefinedVar: an instruction names a variable that nothing sets.

use std::collections::BTreeSet;

use super::{Lints, finding};
use crate::diagnostic::{Code, suggest};
use crate::instruction::Command;
use crate::span::Span;

/// So many names are compared with a misspelt one at most; a file with more gets no suggestion.
const OPTIONS_MAX: usize = 256;
/// So many misspelt names get a suggestion.
const SUGGESTIONS_MAX: usize = 16;

/// Reports the names in `unmatched`. `known` are the variables that are set.
pub(crate) fn report(command: &Command<'_>, unmatched: &BTreeSet<String>, known: &[&str], lints: &mut Lints) {
    for (index, name) in unmatched.iter().enumerate() {
        let near = if index < SUGGESTIONS_MAX && known.len() <= OPTIONS_MAX { suggest(name, known) } else { None };
        let message = format!("Usage of undefined variable '${name}'");
        let mut finding = finding(Code::UndefinedVar, reference_span(command, name), message);
        if let Some(near) = near {
            finding = finding.help(format!("did you mean ${near}?"));
        }
        lints.report(finding);
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
