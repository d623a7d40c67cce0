//! ConsistentInstructionCasing: a keyword is not in the case that most keywords of the file are in.

use super::{Lints, finding};
use crate::ast::Instruction;
use crate::diagnostic::Code;
use crate::goformat::{to_lower, to_upper};
use crate::instruction::Stage;

pub(super) fn check(stages: &[Stage<'_>], lints: &mut Lints) {
    let (mut lower, mut upper) = (0_usize, 0_usize);
    for instruction in instructions(stages) {
        let keyword = instruction.keyword.as_str();
        if to_lower(keyword) == keyword {
            lower += 1;
        } else if to_upper(keyword) == keyword {
            upper += 1;
        }
    }
    let (fit, name): (fn(&str) -> String, _) =
        if lower > upper { (to_lower, "lowercase") } else { (to_upper, "uppercase") };
    for instruction in instructions(stages) {
        let keyword = instruction.keyword.as_str();
        let fitting = fit(keyword);
        if fitting != keyword {
            let message = format!("Command '{keyword}' should match the case of the command majority ({name})");
            let span = instruction.keyword.span;
            lints.report(finding(Code::ConsistentInstructionCasing, span, message).fix(span, fitting));
        }
    }
}

fn instructions<'s>(stages: &'s [Stage<'_>]) -> impl Iterator<Item = &'s Instruction<'s>> {
    stages.iter().flat_map(|stage| std::iter::once(stage.from).chain(stage.commands.iter().map(|c| c.instruction)))
}
