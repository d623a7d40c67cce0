//! CopyIgnoredFile: `COPY` or `ADD` names a file that `.dockerignore` keeps out of the build context.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::quote;
use crate::span::Text;

/// Reports `source`, which is excluded; `verb` is `Copy` or `Add`, `path` the cleaned path.
pub(crate) fn report(verb: &str, source: &Text<'_>, path: &str, lints: &mut Lints) {
    let message = format!("Attempting to {verb} file {} that is excluded by .dockerignore", quote(path));
    lints.report(finding(Code::CopyIgnoredFile, source.span, message));
}
