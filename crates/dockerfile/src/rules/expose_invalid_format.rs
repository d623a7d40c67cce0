//! ExposeInvalidFormat: `EXPOSE 127.0.0.1:80:80`: only the container's port means anything.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::span::Span;

/// Reports an expanded port, `argument`, that has an address or a host port.
pub(crate) fn report(argument: &str, span: Span, lints: &mut Lints) {
    let message =
        format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{argument}'");
    let port = argument.rsplit(':').next().unwrap_or(argument);
    lints.report(finding(Code::ExposeInvalidFormat, span, message).help(format!("write {port}")));
}
