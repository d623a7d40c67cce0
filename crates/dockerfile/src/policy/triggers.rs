//! `ONBUILD` triggers: the file's own, and those the base image brings. A trigger is held to the same policy as an instruction.

use super::{Feature, Policy, command_allowed, shown};
use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic};
use crate::instruction::{CommandKind, read_command};
use crate::parse::{Mode, parse};
use crate::span::Span;

/// A trigger of the file itself.
pub(super) fn own(policy: &Policy, text: &str, instruction: &Instruction<'_>, found: &mut Vec<Diagnostic>) {
    if !policy.allows(Feature::Onbuild) {
        let message = "`ONBUILD` is not available: no other build starts from the result";
        let found_one = Diagnostic::new(Code::OnbuildNotAvailable, instruction.keyword.span, message);
        found.push(found_one.help("write the instruction without `ONBUILD` to have it run"));
        return;
    }
    found.extend(held_to(policy, text).into_iter().map(|one| at(one, instruction.keyword.span)));
}

/// The triggers of the base image, placed at the `FROM`.
pub(super) fn inherited(policy: &Policy, triggers: &[String], from: Span, found: &mut Vec<Diagnostic>) {
    for text in triggers {
        if policy.allows(Feature::InheritedTriggers) {
            found.extend(held_to(policy, text).into_iter().map(|one| at(one, from)));
            continue;
        }
        let message =
            format!("the base image would run a trigger here: `{}`", shown(text.lines().next().unwrap_or_default()));
        let one = Diagnostic::new(Code::InheritedTrigger, from, message);
        found.push(one.help("choose a base image without `ONBUILD` triggers"));
    }
}

/// A problem inside a trigger, shown where the trigger comes from: its own places mean nothing there.
fn at(mut found: Diagnostic, span: Span) -> Diagnostic {
    found.span = span;
    found.fix.clear();
    found.labels.clear();
    found
}

/// What the policy has against the instruction in `text`; one that cannot be read is left to the conversion.
fn held_to(policy: &Policy, text: &str) -> Vec<Diagnostic> {
    let parsed = parse(text, Mode::BuildKit);
    let mut found = Vec::new();
    for instruction in parsed.dockerfile.instructions.iter().filter(|instruction| !instruction.faulty) {
        match read_command(instruction) {
            // The trigger of a trigger is out of reach here: it runs in the build after the next.
            Ok(Some(command)) if matches!(command.kind, CommandKind::Onbuild(_)) => {
                if !policy.allows(Feature::Onbuild) {
                    let message = "a trigger within a trigger is not available";
                    found.push(Diagnostic::new(Code::OnbuildNotAvailable, instruction.keyword.span, message));
                }
            }
            Ok(Some(command)) => command_allowed(policy, &command, &mut found),
            Ok(None) | Err(_) => {}
        }
    }
    found
}
