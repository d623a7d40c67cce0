//! MaintainerDeprecated: `MAINTAINER`, which a label has replaced.

use super::{Lints, finding, keyword_span};
use crate::diagnostic::Code;
use crate::instruction::Command;

pub(super) fn check(command: &Command<'_>, lints: &mut Lints) {
    let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
    let finding = finding(Code::MaintainerDeprecated, keyword_span(command.instruction), message);
    lints.report(finding.help("write LABEL org.opencontainers.image.authors=\"...\""));
}
