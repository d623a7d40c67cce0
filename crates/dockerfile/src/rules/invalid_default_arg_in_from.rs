//! InvalidDefaultArgInFrom: with the defaults of the global `ARG`s, the base of a stage is empty or no valid reference.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::instruction::Stage;

/// Reports the stage.
pub(crate) fn report(stage: &Stage<'_>, lints: &mut Lints) {
    let message = format!("Default value for ARG {} results in empty or invalid base image name", stage.base.as_str());
    let finding = finding(Code::InvalidDefaultArgInFrom, stage.base.span, message);
    lints.report(finding.help("give the ARG a default with which the file builds"));
}
