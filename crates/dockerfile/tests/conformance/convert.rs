//! The third stage: verdict and message, config, history, operations.

use dockerfile::config::ImageConfig;
use dockerfile::convert::{Conversion, ConvertOptions, convert};
use dockerfile::diagnostic::Diagnostic;
use dockerfile::limits::Limits;
use dockerfile::source::{LineIndex, Source};
use dockerfile::{Mode, instruction, parse_source};
use serde_json::{Map, Value, json};

use crate::rows::Row;

/// The base image that the reference was given for every row.
pub(crate) fn base() -> ImageConfig {
    let base = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["/bin/bash"],
    });
    serde_json::from_value(base).expect("a config")
}

/// Our third stage, and the reference's, when the first two accept the row.
fn converted(row: &Row) -> Option<(Conversion, &Map<String, Value>)> {
    let theirs = row.reference["convert"].as_object()?;
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    let options = ConvertOptions { limits: Limits::reference(), ..ConvertOptions::default() };
    Some((convert(&parsed, &typed.instructions, Some(&base()), &options), theirs))
}

/// As [`converted`], for rows that both sides accept.
fn accepted(row: &Row) -> Option<(Conversion, &Map<String, Value>)> {
    converted(row).filter(|(ours, theirs)| ours.errors.is_empty() && theirs["ok"] == true)
}

pub(crate) fn compare_verdict(row: &Row) -> Result<bool, String> {
    let Some((ours, theirs)) = converted(row) else { return Ok(false) };
    let message = |error: &Diagnostic| error.buildkit_message.as_deref().unwrap_or(&error.message).to_owned();
    let theirs = match &theirs["ok"] {
        Value::Bool(true) => None,
        _ => Some(without_suggestion(theirs["error"]["message"].as_str().unwrap_or_default())),
    };
    // Base images are looked at side by side there, and the first fault that is seen is reported.
    let side_by_side = theirs.as_ref().is_some_and(|theirs| theirs.starts_with("failed to parse stage name"));
    let first = if side_by_side { ours.errors.len() } else { 1 };
    let ours: Vec<String> = ours.errors.iter().take(first).map(message).collect();
    let agree = theirs.as_ref().map_or(ours.is_empty(), |theirs| ours.contains(theirs));
    if agree { Ok(true) } else { Err(format!("{ours:?}, not {theirs:?}")) }
}

/// The lines of the first error, where the reference has any.
pub(crate) fn compare_error_lines(row: &Row) -> Result<bool, String> {
    let Some((ours, theirs)) = converted(row) else { return Ok(false) };
    let Some(theirs) = theirs.get("error") else { return Ok(false) };
    let message = without_suggestion(theirs["message"].as_str().unwrap_or_default());
    let same = |error: &&Diagnostic| error.buildkit_message.as_deref() == Some(&message);
    let Some(lines) = theirs["lines"].as_array() else { return Ok(false) };
    let source = Source::decode(&row.source);
    let index = LineIndex::new(source.text());
    let ours: Vec<u32> = ours.errors.iter().filter(same).map(|error| index.line(error.span.start)).collect();
    if ours.is_empty() {
        return Ok(false);
    }
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let is_in =
        |line: &u32| lines.iter().any(|range| (number(&range[0])..=number(&range[1])).contains(&u64::from(*line)));
    let inside = ours.iter().any(is_in);
    if inside { Ok(true) } else { Err(format!("lines {ours:?}, not {lines:?}")) }
}

fn without_suggestion(message: &str) -> String {
    message.rfind(" (did you mean ").map_or(message, |at| &message[..at]).to_owned()
}

pub(crate) fn compare_config(row: &Row) -> Result<bool, String> {
    let Some((ours, theirs)) = accepted(row) else { return Ok(false) };
    let config = serde_json::to_value(&ours.config).expect("a config is JSON");
    same("config", &config, &theirs["config"])?;
    same("author", &json!(ours.author), &theirs["author"])?;
    Ok(true)
}

pub(crate) fn compare_history(row: &Row) -> Result<bool, String> {
    let Some((ours, theirs)) = accepted(row) else { return Ok(false) };
    let mut history: Vec<Value> =
        ours.history.iter().map(|entry| json!({"by": entry.created_by, "empty": entry.empty_layer})).collect();
    if ours.base.is_some() {
        history.insert(0, json!({"by": "base", "empty": false}));
    }
    let theirs = theirs["history"].as_array().cloned().unwrap_or_default();
    same("history", &Value::Array(history), &Value::Array(theirs))?;
    Ok(true)
}

pub(crate) fn compare_ops(row: &Row) -> Result<bool, String> {
    let Some((ours, theirs)) = accepted(row) else { return Ok(false) };
    let ours: Vec<Value> = ours.ops.iter().map(|op| reduced(&serde_json::to_value(op).expect("JSON"))).collect();
    let theirs = theirs.get("ops").and_then(Value::as_array).cloned().unwrap_or_default();
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        same(&format!("operation {index}"), ours, theirs)?;
    }
    if ours.len() == theirs.len() {
        return Ok(true);
    }
    Err(format!("{} operations, not {}", ours.len(), theirs.len()))
}

/// The default limits are out of the way of every real file.
pub(crate) fn compare_limits(row: &Row) -> Result<bool, String> {
    let is_real = row.name.contains('/');
    if !is_real || row.reference["convert"]["ok"] != true {
        return Ok(false);
    }
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    let made = convert(&parsed, &typed.instructions, Some(&base()), &ConvertOptions::default());
    made.errors.first().map_or(Ok(true), |error| Err(error.message.to_string()))
}

/// An operation with only what the corpus records of it, in its spelling.
fn reduced(op: &Value) -> Value {
    let keep = |value: &Value, keys: &[&str]| {
        let object = value.as_object().into_iter().flatten();
        let kept = object.filter(|(key, _)| keys.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>()
    };
    let list = |value: &Value, keys: &[&str]| {
        let items = value.as_array().into_iter().flatten();
        Value::Array(items.map(|item| Value::Object(keep(item, keys))).collect())
    };
    let mut out = match op["op"].as_str() {
        Some("merge") => return json!({"op": "*pb.Op_Merge"}),
        Some("source") => keep(op, &["op", "id"]),
        Some("exec") => keep(op, &["op", "args", "env", "cwd", "user", "network", "mounts", "secretEnv"]),
        _ => keep(op, &["op", "actions"]),
    };
    if let Some(mounts) = out.get_mut("mounts") {
        *mounts =
            list(mounts, &["dest", "readonly", "selector", "type", "cacheID", "sharing", "size", "secret", "ssh"]);
    }
    if let Some(actions) = out.get_mut("actions") {
        *actions = list(actions, &["copy", "dest", "mkfile", "data", "mkdir", "mode", "parents"]);
    }
    Value::Object(out)
}

fn same(what: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}:\n  ours   {}\n  theirs {}", short(ours), short(theirs))) }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(600).collect()
}
