//! What diagnostics look like: for people ([`Report::human`], feature `render`), as one JSON object ([`Report::json`]), as
//! SARIF 2.1.0 ([`Report::sarif`]) and as GitHub workflow commands ([`Report::github`]).
//!
//! Lines and columns count from 1, and columns count characters (Unicode code points), not bytes; an end column is that of
//! the first character past the end. Byte offsets, where they are given, are those of [`Diagnostic::span`].
//!
//! Every form is bounded, whatever the file: it shows [`SHOWN_MAX`] problems and counts the rest, and long lines and texts
//! are cut. No form for the terminal holds a control character of the source: see [`visible`].

#[cfg(feature = "render")]
mod excerpt;
mod github;
#[cfg(feature = "render")]
mod human;
mod json;
pub mod page;
mod sarif;
pub mod visible;

use serde::Serialize;

pub use json::{JsonAnswer, JsonDiagnostic, JsonEdit, JsonLabel};
pub use sarif::SarifLog;

use crate::diagnostic::{Code, Diagnostic};
use crate::source::LineIndex;
use crate::span::Span;

/// How many problems of one file are shown; the rest is counted.
pub const SHOWN_MAX: usize = 200;

/// The most characters of one message, help or label that are shown.
pub const TEXT_CHARS_MAX: usize = 2000;

/// Where the pages of the codes are, relative to the project.
pub const DOCS: &str = "docs/diagnostics/";

/// Everything there is to say about one checked file.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The file's name, as the user wrote it.
    pub file: &'a str,
    /// The decoded text that the spans refer to.
    pub source: &'a str,
    /// The problems, in the order they are to be shown in.
    pub diagnostics: &'a [Diagnostic],
    /// Whether the file is accepted.
    pub accepted: bool,
    /// The base image in normalised form, if it is known.
    pub base: Option<&'a str>,
    /// What the address of a code's page begins with; [`DOCS`] unless the pages are published elsewhere.
    pub docs: &'a str,
}

/// A range as people and other programs count it; lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// First line.
    pub line: u32,
    /// First character.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// One past the last character.
    pub end_column: u32,
}

impl Place {
    /// The place of `span`; offsets past the end of the text give its end.
    #[must_use]
    pub fn of(index: &LineIndex<'_>, span: Span) -> Self {
        let (start, end) = (index.position(span.start), index.position(span.end));
        Self { line: start.line, column: start.column, end_line: end.line, end_column: end.column }
    }
}

impl<'a> Report<'a> {
    /// A report on `diagnostics` of the text `source`, accepted if none of them is an error.
    #[must_use]
    pub fn new(file: &'a str, source: &'a str, diagnostics: &'a [Diagnostic]) -> Self {
        let accepted = !diagnostics.iter().any(Diagnostic::is_error);
        Self { file, source, diagnostics, accepted, base: None, docs: DOCS }
    }

    /// One object: `accepted`, `base`, `diagnostics`, and `omitted`, the number of problems left out.
    #[must_use]
    pub fn json(&self) -> JsonAnswer {
        json::answer(self)
    }

    /// A log of the Static Analysis Results Interchange Format, version 2.1.0, with one run and the rules it names.
    #[must_use]
    pub fn sarif(&self) -> SarifLog {
        sarif::log(self)
    }

    /// Workflow commands of GitHub Actions, one a line.
    #[must_use]
    pub fn github(&self) -> String {
        github::commands(self)
    }

    /// Text for people in the manner of a compiler: message, place, source lines with carets, help, and the edit that mends it.
    ///
    /// `colour` switches ANSI styles on; whether the output is a terminal is for the caller to find out.
    #[cfg(feature = "render")]
    #[must_use]
    pub fn human(&self, colour: bool) -> String {
        human::text(self, colour)
    }

    /// One line that counts errors and warnings, without a line end: `2 errors, 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let errors = self.diagnostics.iter().filter(|one| one.is_error()).count();
        let warnings = self.diagnostics.len() - errors;
        let part = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        match (errors, warnings) {
            (0, 0) => "no problems".to_owned(),
            (errors, 0) => part(errors, "error"),
            (0, warnings) => part(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", part(errors, "error"), part(warnings, "warning")),
        }
    }

    /// The address of a code's page.
    #[must_use]
    pub fn url(&self, code: Code) -> String {
        format!("{}{}.md", self.docs, code.name())
    }

    fn shown(&self) -> &'a [Diagnostic] {
        self.diagnostics.get(..SHOWN_MAX).unwrap_or(self.diagnostics)
    }

    fn omitted(&self) -> usize {
        self.diagnostics.len() - self.shown().len()
    }
}

/// `text`, cut after [`TEXT_CHARS_MAX`] characters.
fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
