//! The syntax tree, printed as the reference prints its own; and two properties of it that need no reference.

use dockerfile::ast::{Instruction, Trigger};
use dockerfile::source::Source;
use dockerfile::span::Text;
use dockerfile::{Mode, Parsed, parse_source};
use serde_json::{Map, Value, json};

use crate::rows::Row;

pub(crate) fn compare(row: &Row) -> Result<bool, String> {
    let theirs = &row.reference["parse"];
    let Value::Array(expected) = &theirs["ast"] else { return Ok(false) };
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    let escape = theirs["escape"].as_str().unwrap_or_default();
    if parsed.dockerfile.escape.to_string() != escape {
        return Err(format!("escape {:?}, not {escape:?}", parsed.dockerfile.escape));
    }
    let ours: Vec<Value> = parsed.dockerfile.instructions.iter().map(node).collect();
    for (ours, theirs) in ours.iter().zip(expected) {
        let theirs = without_bytes(theirs);
        if *ours != theirs {
            return Err(format!("{ours}\n  not {theirs}"));
        }
    }
    if ours.len() == expected.len() {
        Ok(true)
    } else {
        Err(format!("{} instructions, not {}", ours.len(), expected.len()))
    }
}

/// The reference adds the raw bytes where a text is not UTF-8; here they are kept by `Source`.
fn without_bytes(node: &Value) -> Value {
    let mut node = node.clone();
    if let Value::Object(fields) = &mut node {
        fields.remove("invalidUtf8");
        fields.remove("originalB64");
    }
    node
}

fn node(instruction: &Instruction<'_>) -> Value {
    let mut fields = Map::new();
    head(&mut fields, &instruction.keyword, &instruction.flags, &instruction.args, instruction.json);
    if let Some(sub) = triggers(instruction, &instruction.triggers) {
        fields.insert("sub".into(), sub);
    }
    let heredocs: Vec<Value> = instruction.heredocs.iter().map(|doc| {
        json!({"Name": doc.name, "Content": doc.content, "FD": doc.fd, "Expand": doc.expand, "Chomp": doc.chomp})
    }).collect();
    if !heredocs.is_empty() {
        fields.insert("heredocs".into(), heredocs.into());
    }
    let comments: Vec<&str> = instruction.comments.iter().map(Text::as_str).collect();
    if !comments.is_empty() {
        fields.insert("prevComment".into(), comments.into());
    }
    fields.insert("original".into(), instruction.original.clone().into());
    fields.insert("start".into(), instruction.start_line.into());
    fields.insert("end".into(), instruction.end_line.into());
    fields.into()
}

fn head(fields: &mut Map<String, Value>, keyword: &Text<'_>, flags: &[Text<'_>], args: &[Text<'_>], json: bool) {
    let texts = |all: &[Text<'_>]| all.iter().map(|one| Value::from(one.as_str())).collect::<Vec<_>>();
    fields.insert("value".into(), keyword.as_str().into());
    fields.insert("args".into(), texts(args).into());
    if !flags.is_empty() {
        fields.insert("flags".into(), texts(flags).into());
    }
    if json {
        fields.insert("json".into(), true.into());
    }
}

/// The triggers nested again, innermost first.
fn triggers(instruction: &Instruction<'_>, triggers: &[Trigger<'_>]) -> Option<Value> {
    triggers.iter().rev().fold(None, |inner, trigger| {
        let mut fields = Map::new();
        head(&mut fields, &trigger.keyword, &trigger.flags, &trigger.args, trigger.json);
        if let Some(inner) = inner {
            fields.insert("sub".into(), inner);
        }
        // A trigger has no lines of its own there.
        fields.insert("start".into(), 0.into());
        fields.insert("end".into(), 0.into());
        fields.insert("original".into(), instruction.original[trigger.original.clone()].into());
        Some(fields.into())
    })
}

pub(crate) fn compare_warnings(row: &Row) -> Result<bool, String> {
    let Value::Array(theirs) = &row.reference["parse"]["warnings"] else { return Ok(false) };
    let source = Source::decode(&row.source);
    let Parsed { dockerfile, warnings, .. } = parse_source(&source, Mode::BuildKit);
    let ours: Vec<Value> =
        warnings.iter().map(|one| json!({"line": one.line, "short": one.message(&dockerfile)})).collect();
    if ours == *theirs { Ok(true) } else { Err(format!("{ours:?}, not {theirs:?}")) }
}

/// Printing the tree gives the source back.
pub(crate) fn compare_print(row: &Row) -> Result<bool, String> {
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    if source.to_bytes() != row.source {
        return Err("decoding loses bytes".to_owned());
    }
    if parsed.dockerfile.print() == source.text() { Ok(true) } else { Err("prints something else".to_owned()) }
}

/// Every span lies on character borders, inside its instruction, and shows what verbatim text says it shows.
pub(crate) fn compare_spans(row: &Row) -> Result<bool, String> {
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::Strict);
    for found in &parsed.diagnostics {
        inside(&source, found.span).map_err(|how| format!("{}: {how}", found.code))?;
    }
    for instruction in &parsed.dockerfile.instructions {
        let texts = instruction.args.iter().chain(&instruction.flags).chain([&instruction.keyword]);
        for text in texts {
            inside(&source, text.span)?;
            let (outer, span) = (instruction.span, text.span);
            if span.start < outer.start || span.end > outer.end {
                return Err(format!("{span:?} of {:?} is outside its instruction {outer:?}", text.value));
            }
            if text.is_verbatim() && span.of(source.text()) != text.value {
                return Err(format!("{span:?} is not {:?}", text.value));
            }
        }
    }
    Ok(true)
}

fn inside(source: &Source<'_>, span: dockerfile::span::Span) -> Result<(), String> {
    match source.text().get(span.range()) {
        Some(_) => Ok(()),
        None => Err(format!("{span:?} is not a range of the source")),
    }
}
