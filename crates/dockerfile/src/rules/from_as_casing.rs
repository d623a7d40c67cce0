//! FromAsCasing: `FROM` and `AS` are written in different case. A `From` in mixed case is left to another rule.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::{to_lower, to_upper};
use crate::instruction::Stage;

pub(super) fn check(stage: &Stage<'_>, lints: &mut Lints) {
    let [_, as_word, _] = stage.from.args.as_slice() else { return };
    let (from, written) = (stage.from.keyword.as_str(), as_word.as_str());
    let fitting = match from {
        _ if to_lower(from) == from => to_lower(written),
        _ if to_upper(from) == from => to_upper(written),
        _ => return,
    };
    if fitting == written {
        return;
    }
    let message = format!("'{written}' and '{from}' keywords' casing do not match");
    lints.report(finding(Code::FromAsCasing, as_word.span, message).fix(as_word.span, fitting));
}
