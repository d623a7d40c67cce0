//! Diagnostics: what is wrong with a file, where, and what to do about it.
//!
//! A [`Diagnostic`] is plain data. Its [`Code`] says what kind of problem it is and carries the text of its page in
//! `docs/diagnostics/`. Nothing here prints.

use std::borrow::Cow;

use serde::Serialize;

pub use crate::code::{Code, Group};
use crate::span::Span;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look; never refuses a file.
    Warning,
    /// Refuses the file.
    Error,
}

/// One problem at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of problem.
    pub code: Code,
    /// How bad; the code's own severity unless a `# check=` directive or the caller changed it.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong here, one sentence without a full stop at the end.
    pub message: Cow<'static, str>,
    /// What to do about it, if there is more to say than the message.
    pub help: Option<Cow<'static, str>>,
    /// Edits that mend it, when that is certain.
    pub fix: Vec<Edit>,
    /// Other places that matter.
    pub labels: Vec<Label>,
    /// What BuildKit says about it, without suggestions; `None` where BuildKit has no objection.
    pub buildkit_message: Option<Cow<'static, str>>,
}

/// A replacement of a range of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// What is replaced; empty for an insertion.
    pub span: Span,
    /// The new text.
    pub replacement: Cow<'static, str>,
}

/// A place that helps to understand a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is to be seen there.
    pub message: Cow<'static, str>,
}

impl Diagnostic {
    /// A problem of kind `code` at `span`, with the code's severity.
    #[must_use]
    pub fn new(code: Code, span: Span, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            severity: code.severity(),
            span,
            message: message.into(),
            help: None,
            fix: Vec::new(),
            labels: Vec::new(),
            buildkit_message: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With an edit that mends it.
    #[must_use]
    pub fn fix(mut self, span: Span, replacement: impl Into<Cow<'static, str>>) -> Self {
        self.fix.push(Edit { span, replacement: replacement.into() });
        self
    }

    /// With another place that matters.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<Cow<'static, str>>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }

    /// With BuildKit's wording.
    #[must_use]
    pub fn buildkit(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.buildkit_message = Some(message.into());
        self
    }

    /// Whether it refuses the file.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The most problems that one look at a file reports; a file with more gets `too-many-problems` as the last one.
pub const MAX_DIAGNOSTICS: usize = 256;

/// Cuts the list at [`MAX_DIAGNOSTICS`] and says so.
pub(crate) fn cap(diagnostics: &mut Vec<Diagnostic>) {
    let Some(first_left_out) = diagnostics.get(MAX_DIAGNOSTICS).map(|one| one.span) else { return };
    diagnostics.truncate(MAX_DIAGNOSTICS);
    let message = format!("there are more problems; only the first {MAX_DIAGNOSTICS} are shown");
    diagnostics.push(Diagnostic::new(Code::TooManyProblems, first_left_out, message));
}

/// Sorts problems into source order; those at the same place keep the order they were found in.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|one| (one.span.start, one.span.end));
}

/// The option nearest to `word`: at most two edits (insert, delete, replace) away, compared without case.
///
/// Of equally near options the one that shares the longer prefix wins, then the alphabetically first: the answer depends on nothing else.
#[must_use]
pub fn suggest<'o>(word: &str, options: &[&'o str]) -> Option<&'o str> {
    const FAR: usize = 3;
    if word.len() > 64 {
        return None;
    }
    let rank = |option: &&'o str| {
        let distance = distance(word, option);
        (distance < FAR).then_some((distance, usize::MAX - common_prefix(word, option), *option))
    };
    let best = options.iter().filter_map(rank).min()?;
    let exact = options.iter().any(|option| option.eq_ignore_ascii_case(word));
    (!exact).then_some(best.2)
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

/// Levenshtein distance without case; quadratic, so both sides must be short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_and_deterministic() {
        let options = ["RUN", "ENV", "ARG", "USER", "COPY"];
        assert_eq!(suggest("RNU", &options), Some("RUN"));
        assert_eq!(suggest("coppy", &options), Some("COPY"));
        assert_eq!(suggest("ENV", &options), None);
        assert_eq!(suggest("ENTIRELY", &options), None);
        assert_eq!(suggest("AR", &["ARX", "ARB"]), Some("ARB"));
        assert_eq!(suggest("AX", &["XX", "AB"]), Some("AB"), "a shared prefix comes first");
    }

    #[test]
    fn source_order_is_kept_for_equal_places() {
        let at = |start, message: &'static str| Diagnostic::new(Code::UnknownInstruction, Span::empty(start), message);
        let mut all = vec![at(5, "c"), at(1, "a"), at(1, "b")];
        sort(&mut all);
        let order: Vec<_> = all.iter().map(|one| one.message.as_ref()).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }
}
