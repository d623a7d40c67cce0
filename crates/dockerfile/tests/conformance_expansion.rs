//! The word tables of the reference, row by row: one word expanded, and words split.

use std::io::Write as _;
use std::path::PathBuf;

use dockerfile::env::Env;
use dockerfile::expand::Lexer;
use dockerfile::limits::{Budget, Limits};

/// The shared corpora, or `None` with a loud line when their place is not known.
fn corpora() -> Option<PathBuf> {
    if let Some(shared) = std::env::var_os("DRYDOCK_SHARED") {
        return Some(PathBuf::from(shared).join("corpora/dockerfile/buildkit-positive"));
    }
    let required = std::env::var_os("DRYDOCK_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "DRYDOCK_SHARED is not set, and DRYDOCK_REQUIRE_ALL is");
    // Past the test harness's capture, so that a skip is always seen.
    let _written = std::io::stderr().write_all(b"SKIPPED: the reference's word tables: DRYDOCK_SHARED is not set\n");
    None
}

fn read(name: &str) -> Option<String> {
    let path = corpora()?.join(name);
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

#[test]
fn words_expand_as_in_the_table() {
    let Some(table) = read("_shell-envVarTest.txt") else { return };
    let env: Env = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")].into_iter().collect();
    let mut rows = 0;
    for (number, line) in table.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [platform, word, expected] = columns[..] else { panic!("line {}: {line}", number + 1) };
        if platform == "W" {
            continue;
        }
        let result = Lexer::new('\\').expand(word, &env, &mut Budget::new(Limits::default()));
        match result {
            Ok(expanded) => assert_eq!(expanded.text, expected, "line {}: {word}", number + 1),
            Err(error) => assert_eq!(expected, "error", "line {}: {word}: {error}", number + 1),
        }
        rows += 1;
    }
    assert!(rows > 150, "only {rows} rows were read");
}

#[test]
fn words_split_as_in_the_table() {
    let Some(table) = read("_shell-wordsTest.txt") else { return };
    let mut env = Env::new();
    let mut rows = 0;
    for (number, line) in table.lines().enumerate() {
        if let Some(variable) = line.strip_prefix("ENV ") {
            let (name, value) = variable.trim_start().split_once('=').expect("a variable has a value");
            env.set(name, value);
            continue;
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (text, expected) = line.split_once('|').expect("a row has two columns");
        let expected: Vec<&str> = expected.trim_start_matches(' ').split(',').collect();
        let result = Lexer::new('\\').split(text.trim(), &env, &mut Budget::new(Limits::default()));
        match result {
            Ok(words) => assert_eq!(words, expected, "line {}: {text}", number + 1),
            Err(error) => assert_eq!(expected, ["error"], "line {}: {text}: {error}", number + 1),
        }
        rows += 1;
    }
    assert!(rows > 15, "only {rows} rows were read");
}
