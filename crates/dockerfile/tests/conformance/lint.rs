//! The lints: rule, message and instruction, up to the first error, where the reference stops.

use dockerfile::config::ImageConfig;
use dockerfile::convert::{ConvertOptions, convert};
use dockerfile::diagnostic::Diagnostic;
use dockerfile::limits::Limits;
use dockerfile::source::{LineIndex, Source};
use dockerfile::{Mode, instruction, parse_source};
use serde_json::Value;

use crate::rows::Row;

/// Rule, message, first and last line.
type Finding = (String, String, u64, u64);

pub(crate) fn compare(row: &Row) -> Result<bool, String> {
    let Value::Array(theirs) = &row.reference["convert"]["lint"] else { return Ok(false) };
    let mut theirs: Vec<Finding> = theirs.iter().map(their_finding).collect();
    let mut ours = our_findings(row);
    theirs.sort();
    ours.sort();
    let names = |all: &[Finding]| all.iter().map(|one| format!("{} {} {}", one.0, one.1, one.2)).collect::<Vec<_>>();
    let agree = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(ours, theirs)| same(ours, theirs));
    if agree { Ok(true) } else { Err(format!("{:?}\n  not {:?}", names(&ours), names(&theirs))) }
}

/// Ours may point at a part of the instruction; of a blank continuation line we name that line, not the last one.
fn same(ours: &Finding, theirs: &Finding) -> bool {
    let place = (theirs.2..=theirs.3).contains(&ours.2) || (ours.0 == "NoEmptyContinuation" && ours.2 <= theirs.2);
    (&ours.0, &ours.1) == (&theirs.0, &theirs.1) && place
}

fn their_finding(finding: &Value) -> Finding {
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let line = |key: &str| finding[key].as_u64().unwrap_or_default();
    let message = text("msg");
    // Suggestions vary from run to run there.
    let message = message.split(" (did you mean ").next().unwrap_or_default().to_owned();
    (text("rule"), message, line("start"), line("end"))
}

fn our_findings(row: &Row) -> Vec<Finding> {
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    let base = ImageConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cmd: vec!["/bin/bash".to_owned()],
        ..ImageConfig::default()
    };
    let options = ConvertOptions { limits: Limits::reference(), ..ConvertOptions::default() };
    let made = convert(&parsed, &typed.instructions, Some(&base), &options);
    let lines = LineIndex::new(source.text());
    let before_error = &made.lints[..made.lints_before_error.min(made.lints.len())];
    let theirs = before_error.iter().filter(|one| is_of_reference(one));
    theirs.map(|one| our_finding(one, &lines)).collect()
}

/// Whether BuildKit has the rule; names of ours are spelt with hyphens.
fn is_of_reference(finding: &Diagnostic) -> bool {
    !finding.code.name().contains('-')
}

fn our_finding(finding: &Diagnostic, lines: &LineIndex<'_>) -> Finding {
    let line = u64::from(lines.line(finding.span.start));
    (finding.code.name().to_owned(), finding.message.to_string(), line, line)
}
