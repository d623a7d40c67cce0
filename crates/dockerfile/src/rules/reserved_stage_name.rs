//! ReservedStageName: a stage is called `context` or `scratch`, which mean something else in `FROM` and `--from`.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::quote;
use crate::instruction::Stage;

pub(super) fn check(stage: &Stage<'_>, lints: &mut Lints) {
    if !matches!(stage.name.as_ref(), "context" | "scratch") {
        return;
    }
    let span = stage.from.args.last().map_or(stage.from.keyword.span, |name| name.span);
    let message = format!("Stage name should not use the same name as reserved stage {}", quote(&stage.name));
    lints.report(finding(Code::ReservedStageName, span, message).help("choose another name"));
}
