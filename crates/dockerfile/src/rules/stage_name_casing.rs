//! StageNameCasing: the name after `AS` has capitals, which BuildKit folds away.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::to_lower;
use crate::instruction::Stage;

pub(super) fn check(stage: &Stage<'_>, lints: &mut Lints) {
    let [_, _, name] = stage.from.args.as_slice() else { return };
    if stage.name == name.as_str() {
        return;
    }
    let lower = to_lower(name.as_str());
    let message = format!("Stage name '{}' should be lowercase", name.as_str());
    lints.report(finding(Code::StageNameCasing, name.span, message).fix(name.span, lower));
}
