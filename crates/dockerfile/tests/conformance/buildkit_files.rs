//! BuildKit's own test files: those it reads, with the tree it prints for them, and those it refuses.

use std::path::Path;

use dockerfile::ast::{Instruction, Keyword};
use dockerfile::diagnostic::Diagnostic;
use dockerfile::source::Source;
use dockerfile::span::Text;
use dockerfile::{Mode, instruction, parse_source};

use crate::rows::corpus;

#[test]
fn files_that_buildkit_reads_give_the_tree_it_prints() {
    let Some(corpus) = corpus() else { return };
    let files = dockerfiles(&corpus.join("buildkit-positive"));
    assert!(files.len() > 20, "the folder holds {} files", files.len());
    for file in files {
        let result = file.with_extension("result");
        let bytes = std::fs::read(&file).expect("the file can be read");
        let source = Source::decode(&bytes);
        let parsed = parse_source(&source, Mode::BuildKit);
        assert!(!parsed.diagnostics.iter().any(Diagnostic::is_error), "{}: {:?}", file.display(), parsed.diagnostics);
        assert_eq!(parsed.dockerfile.print(), source.text(), "{}", file.display());
        if let Ok(want) = std::fs::read_to_string(&result) {
            let ours: Vec<String> = parsed.dockerfile.instructions.iter().map(dump).collect();
            assert_eq!(ours.join("\n"), want.trim_end(), "{}", file.display());
        }
    }
}

#[test]
fn files_that_buildkit_refuses_are_refused() {
    let Some(corpus) = corpus() else { return };
    let files = dockerfiles(&corpus.join("buildkit-negative"));
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).expect("the file can be read");
        let source = Source::decode(&bytes);
        let parsed = parse_source(&source, Mode::BuildKit);
        let typed = instruction::read(&parsed.dockerfile);
        let all = parsed.diagnostics.iter().chain(&typed.diagnostics);
        assert!(all.into_iter().any(Diagnostic::is_error), "{}", file.display());
    }
}

fn dockerfiles(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"));
    files.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('_')));
    files.sort();
    files
}

/// The tree as BuildKit's `Node.Dump` prints it.
fn dump(instruction: &Instruction<'_>) -> String {
    let mut out = format!("({}", head(&instruction.keyword, &instruction.flags));
    for trigger in &instruction.triggers {
        out += &format!(" ({}", head(&trigger.keyword, &trigger.flags));
    }
    let args = instruction.triggers.last().map_or(&instruction.args, |last| &last.args);
    if instruction.kind.is_none_or(|kind| kind != Keyword::Onbuild) || !instruction.triggers.is_empty() {
        for arg in args {
            out += &format!(" {}", quoted(&arg.value));
        }
    }
    for _ in &instruction.triggers {
        out.push(')');
    }
    out + ")"
}

fn head(keyword: &Text<'_>, flags: &[Text<'_>]) -> String {
    let mut out = keyword.value.to_lowercase();
    if !flags.is_empty() {
        let flags: Vec<String> = flags.iter().map(|flag| quoted(&flag.value)).collect();
        out += &format!(" [{}]", flags.join(" "));
    }
    out
}

/// Go's `%q`, for the characters these files hold.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\t' => out += "\\t",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\0' => out += "\\x00",
            other => out.push(other),
        }
    }
    out + "\""
}
