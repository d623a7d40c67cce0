//! `drydock parse`: the syntax tree, of broken files too.

use std::fmt::Write as _;
use std::process::ExitCode;

use dockerfile::ast::{Directive, Dockerfile, Heredoc, Instruction, Trigger};
use dockerfile::diagnostic::Diagnostic;
use dockerfile::render::{JsonDiagnostic, Place, Report};
use dockerfile::source::{LineIndex, Source};
use dockerfile::span::Text;
use dockerfile::{instruction, parse_source};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{Format, Parse};
use crate::commands::check;
use crate::diagnostics;

/// How many triggers of triggers are printed; an instruction with more than one is refused anyway.
const TRIGGERS_MAX: usize = 16;

/// What is printed.
#[derive(Serialize)]
struct Tree<'a> {
    escape: char,
    directives: Vec<Value>,
    instructions: Vec<Node<'a>>,
    diagnostics: Vec<JsonDiagnostic>,
    omitted: usize,
}

/// An instruction as it is printed. Lines and columns count from 1, columns in characters.
#[derive(Serialize)]
struct Node<'a> {
    keyword: &'a str,
    flags: Vec<&'a str>,
    args: Vec<&'a str>,
    json: bool,
    heredocs: Vec<Value>,
    comments: Vec<&'a str>,
    start_line: u32,
    end_line: u32,
    column: u32,
    end_column: u32,
    trigger: Option<Value>,
}

pub(crate) fn run(args: &Parse) -> anyhow::Result<ExitCode> {
    let bytes = check::read_whole(&args.source)?;
    let source = Source::decode(&bytes);
    let parsed = parse_source(&source, check::mode(&args.source));
    let mut found = parsed.diagnostics;
    found.extend(instruction::read(&parsed.dockerfile).diagnostics);
    dockerfile::diagnostic::sort(&mut found);
    match args.format {
        Format::Json => {
            let name = diagnostics::name(&args.source.dockerfile);
            diagnostics::print_json(&tree(&parsed.dockerfile, &Report::new(&name, source.text(), &found)))?;
        }
        Format::Human => {
            diagnostics::print(&outline(&parsed.dockerfile))?;
            check::print_human(&args.source.dockerfile, &bytes, &found)?;
        }
    }
    let broken = found.iter().any(Diagnostic::is_error);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tree<'a>(file: &'a Dockerfile<'_>, report: &Report<'_>) -> Tree<'a> {
    let index = LineIndex::new(file.source);
    let answer = report.json();
    Tree {
        escape: file.escape,
        directives: file.directives.iter().map(directive).collect(),
        instructions: file.instructions.iter().map(|one| node(&index, one)).collect(),
        diagnostics: answer.diagnostics,
        omitted: answer.omitted,
    }
}

fn directive(one: &Directive<'_>) -> Value {
    json!({ "name": one.name.name(), "value": one.value, "line": one.line })
}

fn node<'a>(index: &LineIndex<'_>, one: &'a Instruction<'_>) -> Node<'a> {
    let place = Place::of(index, one.span);
    Node {
        keyword: one.keyword.as_str(),
        flags: texts(&one.flags),
        args: texts(&one.args),
        json: one.json,
        heredocs: one.heredocs.iter().map(heredoc).collect(),
        comments: texts(&one.comments),
        start_line: one.start_line,
        end_line: one.end_line,
        column: place.column,
        end_column: place.end_column,
        trigger: trigger(&one.triggers),
    }
}

fn texts<'a>(all: &'a [Text<'_>]) -> Vec<&'a str> {
    all.iter().map(Text::as_str).collect()
}

fn heredoc(one: &Heredoc<'_>) -> Value {
    json!({ "name": one.name, "content": one.content, "expand": one.expand, "chomp": one.chomp, "fd": one.fd })
}

/// The first trigger, with its own trigger in it, and so on: built from the inside, so that no depth costs stack.
fn trigger(all: &[Trigger<'_>]) -> Option<Value> {
    all.iter().take(TRIGGERS_MAX).rev().fold(None, |inner, one| {
        Some(json!({
            "keyword": one.keyword.as_str(),
            "flags": texts(&one.flags),
            "args": texts(&one.args),
            "json": one.json,
            "trigger": inner,
        }))
    })
}

/// The tree for people: one line an instruction, one for each of its parts.
fn outline(file: &Dockerfile<'_>) -> String {
    let mut out = String::new();
    for one in &file.directives {
        let _ = writeln!(out, "{}: # {}={}", one.line, one.name.name(), one.value.escape_debug());
    }
    for one in &file.instructions {
        let lines = if one.start_line == one.end_line { String::new() } else { format!("-{}", one.end_line) };
        let form = if one.json { " (exec form)" } else { "" };
        let _ = writeln!(out, "{}{lines}: {}{form}", one.start_line, one.keyword.as_str().escape_debug());
        parts(&mut out, "comment", &one.comments);
        parts(&mut out, "flag", &one.flags);
        parts(&mut out, "argument", &one.args);
        for heredoc in &one.heredocs {
            let _ = writeln!(out, "    heredoc {:?}, {} bytes", heredoc.name, heredoc.content.len());
        }
        for trigger in one.triggers.iter().take(TRIGGERS_MAX) {
            let _ = writeln!(out, "    trigger {}", trigger.keyword.as_str().escape_debug());
            parts(&mut out, "  flag", &trigger.flags);
            parts(&mut out, "  argument", &trigger.args);
        }
    }
    out
}

fn parts(out: &mut String, name: &str, texts: &[Text<'_>]) {
    for text in texts {
        // Writing to a string never fails.
        let _ = writeln!(out, "    {name} {:?}", text.as_str());
    }
}
