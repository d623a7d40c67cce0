//! MultipleInstructionsDisallowed: a stage has a second `CMD`, `ENTRYPOINT` or `HEALTHCHECK`. The earlier one is pointed
//! at, since it is the one without effect.

use super::{Lints, finding, keyword_span};
use crate::ast::Instruction;
use crate::diagnostic::Code;

/// Reports `earlier`, which `later` makes void.
pub(crate) fn report(earlier: &Instruction<'_>, later: &Instruction<'_>, lints: &mut Lints) {
    let keyword = later.keyword.as_str();
    let message = format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
    );
    let finding = finding(Code::MultipleInstructionsDisallowed, keyword_span(earlier), message);
    lints.report(finding.label(keyword_span(later), "this one counts"));
}
