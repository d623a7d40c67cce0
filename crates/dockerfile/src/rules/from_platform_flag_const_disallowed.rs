//! FromPlatformFlagConstDisallowed: `FROM --platform` with a constant, in a stage that is not named after it.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::instruction::Stage;

/// Judges a `--platform` that names no variable: `value` as expanded, `os` and `architecture` as parsed from it.
pub(crate) fn check(stage: &Stage<'_>, value: &str, os: &str, architecture: &str, lints: &mut Lints) {
    if stage.name.contains(os) || stage.name.contains(architecture) {
        return;
    }
    let message = format!("FROM --platform flag should not use constant value \"{value}\"");
    let span = stage.from.flags.first().map_or(stage.from.keyword.span, |flag| flag.span);
    let finding = finding(Code::FromPlatformFlagConstDisallowed, span, message);
    lints.report(finding.help("use $BUILDPLATFORM or $TARGETPLATFORM, or leave the flag out"));
}
