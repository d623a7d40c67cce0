//! `ONBUILD`.

use std::borrow::Cow;

use super::read::{Faults, Result, flags, missing_argument};
use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic};
use crate::goformat::to_upper;

/// The text of the trigger: what follows the word `ONBUILD`, then the bodies of its heredocs.
pub(super) fn read<'d>(instruction: &'d Instruction<'d>) -> Result<Cow<'d, str>> {
    let Some(trigger) = instruction.triggers.first() else { return Err(Faults::from(missing_argument(instruction))) };
    flags(instruction, &[])?;
    let name = to_upper(trigger.keyword.value.trim());
    let fault = |message: &'static str, buildkit: String| {
        Faults::from(Diagnostic::new(Code::InvalidTrigger, trigger.keyword.span, message).buildkit(buildkit))
    };
    match name.as_str() {
        "ONBUILD" => {
            let buildkit = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned();
            Err(fault("`ONBUILD` cannot follow `ONBUILD`", buildkit))
        }
        "FROM" | "MAINTAINER" => Err(fault(
            "this instruction cannot follow `ONBUILD`",
            format!("{name} isn't allowed as an ONBUILD trigger"),
        )),
        _ => Ok(expression(instruction)),
    }
}

fn expression<'d>(instruction: &'d Instruction<'d>) -> Cow<'d, str> {
    let text = without_keyword(&instruction.original);
    if instruction.heredocs.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut whole = text.to_owned();
    for heredoc in &instruction.heredocs {
        whole.push('\n');
        whole.push_str(heredoc.content);
        whole.push_str(&heredoc.name);
    }
    Cow::Owned(whole)
}

/// Removes `^\s*ONBUILD\s*` in any case. `\s` is ASCII, but case folding is not quite: `K` has another letter, `ONBUILD` none.
fn without_keyword(text: &str) -> &str {
    let space = [' ', '\t', '\n', '\x0C', '\r'];
    let trimmed = text.trim_start_matches(space);
    match trimmed.get(..7) {
        Some(word) if word.eq_ignore_ascii_case("ONBUILD") => trimmed[7..].trim_start_matches(space),
        _ => text,
    }
}
