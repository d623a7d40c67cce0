//! DuplicateStageName: two stages have one name, and the later one hides the earlier.

use std::collections::HashMap;

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::quote;
use crate::instruction::Stage;

pub(super) fn check(stages: &[Stage<'_>], lints: &mut Lints) {
    let mut seen = HashMap::new();
    for stage in stages.iter().filter(|stage| !stage.name.is_empty()) {
        let span = stage.from.args.last().map_or(stage.from.keyword.span, |name| name.span);
        if let Some(first) = seen.insert(stage.name.as_ref(), span) {
            let message = format!("Duplicate stage name {}, stage names should be unique", quote(&stage.name));
            lints.report(finding(Code::DuplicateStageName, span, message).label(first, "the name is used here before"));
        }
    }
}
