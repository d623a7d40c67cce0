//! ConsistentInstructionCasing: a keyword is not in the case that most keywords of the file are in.

use super::{Lints, finding};
use crate::ast::Instruction;
use crate::diagnostic::Code;
use crate::goformat::{to_lower, to_upper};
use crate::instruction::Stage;

pub(super) fn check(stages: &[Stage<'_>], lints: &mut Lints) {
    let (mut lower, mut upper) = (0_usize, 0_usize);
    for instruction in instructions(stages) {
        match Case::of(instruction.keyword.as_str()) {
            Case::Lower => lower += 1,
            Case::Upper => upper += 1,
            Case::Mixed => {}
        }
    }
    let (wanted, name) = if lower > upper { (Case::Lower, "lowercase") } else { (Case::Upper, "uppercase") };
    for instruction in instructions(stages) {
        let (keyword, span) = (instruction.keyword.as_str(), instruction.keyword.span);
        if Case::of(keyword) != wanted {
            let fitting = if wanted == Case::Lower { to_lower(keyword) } else { to_upper(keyword) };
            let message = format!("Command '{keyword}' should match the case of the command majority ({name})");
            lints.report(finding(Code::ConsistentInstructionCasing, span, message).fix(span, fitting));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

impl Case {
    /// Case of a keyword, which has at least one letter.
    fn of(keyword: &str) -> Self {
        let (is_lower, is_upper) = match keyword.is_ascii() {
            true => (
                !keyword.bytes().any(|byte| byte.is_ascii_uppercase()),
                !keyword.bytes().any(|byte| byte.is_ascii_lowercase()),
            ),
            false => (to_lower(keyword) == keyword, to_upper(keyword) == keyword),
        };
        match (is_lower, is_upper) {
            (true, _) => Case::Lower,
            (_, true) => Case::Upper,
            _ => Case::Mixed,
        }
    }
}

fn instructions<'s>(stages: &'s [Stage<'_>]) -> impl Iterator<Item = &'s Instruction<'s>> {
    stages.iter().flat_map(|stage| std::iter::once(stage.from).chain(stage.commands.iter().map(|c| c.instruction)))
}
