//! InvalidDefinitionDescription (experimental): the comment above a stage or an `ARG` does not begin with its name.

use super::{Lints, finding, keyword_span};
use crate::ast::Instruction;
use crate::diagnostic::Code;
use crate::instruction::{Arg, Command, Stage};

pub(super) fn check_stage(stage: &Stage<'_>, lints: &mut Lints) {
    if !stage.name.is_empty() {
        check("FROM", &[&stage.name], stage.from, lints);
    }
}

pub(super) fn check_args(command: &Command<'_>, args: &[Arg<'_>], lints: &mut Lints) {
    if lints.wants(Code::InvalidDefinitionDescription) {
        let keys: Vec<&str> = args.iter().map(|arg| arg.key).collect();
        check("ARG", &keys, command.instruction, lints);
    }
}

fn check(keyword: &str, names: &[&str], instruction: &Instruction<'_>, lints: &mut Lints) {
    let (Some(comment), Some(first)) = (instruction.comments.last(), names.first()) else { return };
    let word = comment.as_str().split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    let finding = finding(Code::InvalidDefinitionDescription, comment.span, message);
    lints.report(
        finding
            .label(keyword_span(instruction), "the comment is taken for the description of this")
            .help("an empty line or an empty comment between them makes it an ordinary comment"),
    );
}
