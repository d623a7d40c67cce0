//! Workflow commands of GitHub Actions: `::error file=...,line=...,...::message`.
//!
//! The escapes are those of the runner (actions/toolkit, packages/core/src/command.ts): `%`, CR and LF everywhere, `:` and
//! `,` within properties too. The runner takes `col` and `endColumn` only for ranges of one line.

use std::fmt::Write as _;

use super::{Place, Report, cut, visible};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::LineIndex;

pub(super) fn commands(report: &Report<'_>) -> String {
    let index = LineIndex::new(report.source);
    let mut out: String = report.shown().iter().map(|one| command(report, &index, one)).collect();
    if report.omitted() > 0 {
        // Writing to a string never fails.
        let _ = writeln!(out, "::notice file={}::and {} more", property(report.file), report.omitted());
    }
    out
}

fn command(report: &Report<'_>, index: &LineIndex<'_>, one: &Diagnostic) -> String {
    let level = match one.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = Place::of(index, one.span);
    let mut command =
        format!("::{level} file={},line={},endLine={}", property(report.file), place.line, place.end_line);
    if place.line == place.end_line {
        let last = place.end_column.saturating_sub(1).max(place.column);
        let _ = write!(command, ",col={},endColumn={last}", place.column);
    }
    let mut message = cut(&one.message);
    if let Some(help) = &one.help {
        let _ = write!(message, "\nhelp: {}", cut(help));
    }
    let _ = writeln!(command, ",title={}::{}", property(one.code.name()), data(&message));
    command
}

fn data(text: &str) -> String {
    visible::lines(text).replace('%', "%25").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
