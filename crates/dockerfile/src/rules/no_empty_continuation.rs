//! NoEmptyContinuation: a blank line inside a continued instruction. The parser finds it; this words it.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::span::Span;

/// Reports the blank line at `span`.
pub(crate) fn report(span: Span, lints: &mut Lints) {
    let finding = finding(Code::NoEmptyContinuation, span, "Empty continuation line".to_owned());
    lints.report(finding.help("remove the line, or end the instruction by removing the continuation before it"));
}
