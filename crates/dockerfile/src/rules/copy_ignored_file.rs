//! CopyIgnoredFile: `COPY` or `ADD` names a file that `.dockerignore` keeps out of the build context.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::dockerignore::DockerIgnore;
use crate::goformat::{clean_path, quote};
use crate::limits::{Budget, LimitReached};
use crate::span::Span;

/// Judges one source from the build context, expanded. `verb` is `Copy` or `Add`.
///
/// A file with `!` patterns is not judged: a folder may be left out and a file in it not.
pub(crate) fn check(
    verb: &str,
    source: &str,
    span: Span,
    ignore: &DockerIgnore,
    budget: &mut Budget,
    lints: &mut Lints,
) -> Result<(), LimitReached> {
    let path = clean_path(source);
    let is_root = matches!(path.as_str(), "." | "/");
    if ignore.has_exclusions() || (is_root && !ignore.ignores_all()) || !ignore.ignores(&path, budget)? {
        return Ok(());
    }
    let message = format!("Attempting to {verb} file {} that is excluded by .dockerignore", quote(&path));
    lints.report(finding(Code::CopyIgnoredFile, span, message));
    Ok(())
}
