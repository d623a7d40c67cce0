//! JSONArgsRecommended: `CMD` or `ENTRYPOINT` in shell form, while no `SHELL` was chosen.

use super::{Lints, finding, keyword_span};
use crate::diagnostic::Code;
use crate::instruction::Command;

/// Reports a shell form; call it when the image's config has no `Shell`.
pub(crate) fn report(command: &Command<'_>, lints: &mut Lints) {
    let keyword = command.instruction.keyword.as_str();
    let message =
        format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals");
    let finding = finding(Code::JSONArgsRecommended, keyword_span(command.instruction), message);
    lints.report(
        finding.help(format!("write {keyword} [\"program\", \"argument\"], so that signals reach the program")),
    );
}
