//! The JSON form.

use serde::Serialize;

use super::{Place, Report, cut};
use crate::diagnostic::{Code, Diagnostic, Edit, Label, Severity};
use crate::source::LineIndex;
use crate::span::Span;

/// The answer to "is this file accepted".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonAnswer {
    /// Whether it is.
    pub accepted: bool,
    /// The base image in normalised form; null when it is not known.
    pub base: Option<String>,
    /// The problems, in source order.
    pub diagnostics: Vec<JsonDiagnostic>,
    /// How many more problems there are than are listed.
    pub omitted: usize,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonDiagnostic {
    /// The stable name of its kind.
    pub code: Code,
    /// `error` or `warning`.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where, in lines and characters.
    #[serde(flatten)]
    pub place: Place,
    /// Where, in bytes of the decoded text.
    pub span: Span,
    /// Other places that matter.
    pub labels: Vec<JsonLabel>,
    /// Edits that, all made together, mend it; empty when that is not certain.
    pub fix: Vec<JsonEdit>,
    /// The page of the code.
    pub url: String,
    /// BuildKit's wording; null where BuildKit has no objection.
    pub buildkit_message: Option<String>,
}

/// A place that helps to understand a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonLabel {
    /// What is to be seen there.
    pub message: String,
    /// Where, in lines and characters.
    #[serde(flatten)]
    pub place: Place,
    /// Where, in bytes of the decoded text.
    pub span: Span,
}

/// A replacement of a range of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonEdit {
    /// The new text.
    pub replacement: String,
    /// What is replaced, in lines and characters; empty for an insertion.
    #[serde(flatten)]
    pub place: Place,
    /// What is replaced, in bytes of the decoded text.
    pub span: Span,
}

pub(super) fn answer(report: &Report<'_>) -> JsonAnswer {
    let index = LineIndex::new(report.source);
    JsonAnswer {
        accepted: report.accepted,
        base: report.base.map(str::to_owned),
        diagnostics: report.shown().iter().map(|one| diagnostic(report, &index, one)).collect(),
        omitted: report.omitted(),
    }
}

fn diagnostic(report: &Report<'_>, index: &LineIndex<'_>, one: &Diagnostic) -> JsonDiagnostic {
    JsonDiagnostic {
        code: one.code,
        severity: one.severity,
        message: cut(&one.message),
        help: one.help.as_deref().map(cut),
        place: Place::of(index, one.span),
        span: one.span,
        labels: one.labels.iter().map(|it| label(index, it)).collect(),
        // An edit is made by a machine, so it is never cut.
        fix: one.fix.iter().map(|it| edit(index, it)).collect(),
        url: report.url(one.code),
        buildkit_message: one.buildkit_message.as_deref().map(cut),
    }
}

fn label(index: &LineIndex<'_>, label: &Label) -> JsonLabel {
    JsonLabel { message: cut(&label.message), place: Place::of(index, label.span), span: label.span }
}

fn edit(index: &LineIndex<'_>, edit: &Edit) -> JsonEdit {
    JsonEdit { replacement: edit.replacement.to_string(), place: Place::of(index, edit.span), span: edit.span }
}
