//! RedundantTargetPlatform: `FROM --platform=$TARGETPLATFORM`, which is the default.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::expand::Expanded;
use crate::instruction::Stage;

/// Judges the `--platform` of a stage: `expanded` is its value, `target` the value of `TARGETPLATFORM`.
pub(crate) fn check(stage: &Stage<'_>, expanded: &Expanded<'_>, target: &str, lints: &mut Lints) {
    let only_target =
        expanded.matched.len() == 1 && expanded.unmatched.is_empty() && expanded.matched.contains(&"TARGETPLATFORM");
    if !only_target || expanded.text != target {
        return;
    }
    let message = format!(
        "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
        stage.platform
    );
    let span = stage.from.flags.first().map_or(stage.from.keyword.span, |flag| flag.span);
    lints.report(finding(Code::RedundantTargetPlatform, span, message).help("remove the flag"));
}
