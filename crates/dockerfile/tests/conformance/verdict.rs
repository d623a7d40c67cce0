//! Verdict and message of the first two stages.

use dockerfile::diagnostic::{Code, Diagnostic, Group};
use dockerfile::source::Source;
use dockerfile::{Mode, Parsed, instruction, parse_source};
use serde_json::Value;

use crate::rows::Row;

/// What stages one and two say: the verdict, and BuildKit's message.
fn ours(row: &Row) -> (&'static str, String) {
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    if let Some(message) = first(&parsed.diagnostics, Group::Parse) {
        return ("parse-error", message);
    }
    let typed = instruction::read(&parsed.dockerfile);
    match first(&typed.diagnostics, Group::Instruction) {
        Some(message) => ("instruction-error", message),
        None => ("ok", String::new()),
    }
}

fn first(diagnostics: &[Diagnostic], group: Group) -> Option<String> {
    let mut errors = diagnostics.iter().filter(|one| one.is_error() && one.code.group() == group);
    errors.find_map(|one| one.buildkit_message.as_ref()).map(|message| message.to_string())
}

fn theirs(row: &Row) -> &str {
    match row.reference["verdict"].as_str() {
        // Stages one and two accept it.
        Some("convert-error") | None => "ok",
        Some(verdict) => verdict,
    }
}

pub(crate) fn compare(row: &Row) -> Result<bool, String> {
    let (ours, message) = ours(row);
    let theirs = theirs(row);
    if ours == theirs { Ok(true) } else { Err(format!("{ours} ({message}), not {theirs} ({})", their_message(row))) }
}

pub(crate) fn compare_message(row: &Row) -> Result<bool, String> {
    let (verdict, ours) = ours(row);
    if verdict == "ok" || verdict != theirs(row) {
        return Ok(false);
    }
    let theirs = their_message(row);
    if ours == theirs { Ok(true) } else { Err(format!("{ours:?}, not {theirs:?}")) }
}

/// The reference's message without its suggestion, which varies from run to run.
fn their_message(row: &Row) -> String {
    let message = |stage: &str| match &row.reference[stage]["error"]["message"] {
        Value::String(message) => Some(message.clone()),
        _ => None,
    };
    let message = message("parse").or_else(|| message("instructions")).unwrap_or_default();
    match message.rfind(" (did you mean ") {
        Some(at) => message[..at].to_owned(),
        None => message,
    }
}

/// What the strict mode accepts, BuildKit's rules accept, with the same tree; of a file over the limits it reads the start.
pub(crate) fn compare_strict(row: &Row) -> Result<bool, String> {
    let source = Source::decode(&row.source);
    let (strict, buildkit) = (parse_source(&source, Mode::Strict), parse_source(&source, Mode::BuildKit));
    let stopped = strict.diagnostics.iter().any(|found| found.code == Code::LimitReached);
    let same_start = || buildkit.dockerfile.instructions.starts_with(&strict.dockerfile.instructions);
    if (stopped && !same_start()) || (!stopped && strict.dockerfile != buildkit.dockerfile) {
        return Err("the modes read different trees".to_owned());
    }
    let refuses = |parsed: &Parsed<'_>| {
        let typed = instruction::read(&parsed.dockerfile);
        parsed.diagnostics.iter().chain(&typed.diagnostics).any(Diagnostic::is_error)
    };
    match (refuses(&strict), theirs(row)) {
        (false, verdict) if verdict != "ok" || refuses(&buildkit) => {
            Err(format!("accepted, but BuildKit says {verdict}"))
        }
        _ => Ok(true),
    }
}
