//! WorkdirRelativePath: the first `WORKDIR` of a stage is relative to whatever the base image says.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::quote;
use crate::instruction::Command;

/// Judges the first `WORKDIR`, whose expanded path is `path`.
pub(crate) fn check(command: &Command<'_>, path: &str, lints: &mut Lints) {
    if path.starts_with('/') {
        return;
    }
    let span = command.instruction.args.first().map_or(command.instruction.keyword.span, |arg| arg.span);
    let message = format!("Relative workdir {} can have unexpected results if the base image changes", quote(path));
    lints.report(finding(Code::WorkdirRelativePath, span, message).help("begin the path with `/`"));
}
