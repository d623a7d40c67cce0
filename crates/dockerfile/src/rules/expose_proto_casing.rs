//! ExposeProtoCasing: `EXPOSE 80/TCP`.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::to_lower;
use crate::span::Span;

/// Judges an expanded port, `argument`, with the protocol as written.
pub(crate) fn check(argument: &str, protocol: &str, span: Span, lints: &mut Lints) {
    if to_lower(protocol) != protocol {
        let message = format!("Defined protocol '{argument}' in EXPOSE instruction should be lowercase");
        lints.report(finding(Code::ExposeProtoCasing, span, message).help(format!("write {}", to_lower(argument))));
    }
}
