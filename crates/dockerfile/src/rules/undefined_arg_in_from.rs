//! UndefinedArgInFrom: `FROM` names a variable that no `ARG` before the first `FROM` declares.

use std::collections::BTreeSet;

use super::{Lints, finding};
use crate::diagnostic::{Code, suggest};
use crate::instruction::Stage;

/// As many names as are compared with an undeclared one at most.
const OPTIONS_MAX: usize = 256;

/// Reports the names in `unmatched` that are not in `declared`.
pub(crate) fn report(stage: &Stage<'_>, unmatched: &BTreeSet<String>, declared: &[&str], lints: &mut Lints) {
    for name in unmatched.iter().filter(|name| !declared.contains(&name.as_str())) {
        let message = format!("FROM argument '{name}' is not declared");
        let mut finding = finding(Code::UndefinedArgInFrom, stage.base.span, message);
        let near = if declared.len() <= OPTIONS_MAX { suggest(name, declared) } else { None };
        finding = match near {
            Some(near) => finding.help(format!("did you mean {near}?")),
            None => finding.help(format!("declare it before the first FROM: ARG {name}=...")),
        };
        lints.report(finding);
    }
}
