//! UndefinedArgInFrom: `FROM` names a variable that no `ARG` before the first `FROM` declares.

use super::{Lints, finding};
use crate::diagnostic::{Code, suggest};
use crate::instruction::Stage;

/// Reports the names in `unmatched` that are not declared. `declared` lists the names that are.
pub(crate) fn report<'k>(
    stage: &Stage<'_>,
    unmatched: &[&str],
    declared: impl Fn() -> Vec<&'k str>,
    lints: &mut Lints,
) {
    if unmatched.is_empty() || !lints.wants(Code::UndefinedArgInFrom) {
        return;
    }
    let declared = declared();
    for name in unmatched.iter().filter(|name| !declared.contains(name)) {
        let near = if lints.may_search() { suggest(name, &declared) } else { None };
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("declare it before the first FROM: ARG {name}=..."),
        };
        let message = format!("FROM argument '{name}' is not declared");
        lints.report(finding(Code::UndefinedArgInFrom, stage.base.span, message).help(help));
    }
}
