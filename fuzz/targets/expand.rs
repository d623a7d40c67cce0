//! Invariants, for any word, any variables and any way to read words:
//!
//! - expanding and splitting never panic;
//! - no value is longer than its cap, and no expansion makes more than the budget holds: what it costs is bounded by the
//!   caps, not by what the word says;
//! - the same word with the same variables gives the same answer;
//! - the names reported as used are names the environment has, or lacks, as it says.
//!
//! The input is lines: first a byte of switches, then `NAME=value` lines, then the word (all after the first empty line).
#![no_main]

use dockerfile::env::{Env, Variables};
use dockerfile::expand::Lexer;
use dockerfile::limits::{Budget, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let Some((&switches, _)) = input.as_bytes().split_first() else { return };
    let (variables, word) = input.split_once("\n\n").unwrap_or(("", input));
    let env = environment(variables);
    let lexer = lexer(switches);
    let limits = Limits {
        value_bytes_max: 4 << 10,
        expanded_bytes_max: 32 << 10,
        pattern_steps_max: 1 << 20,
        ..Limits::default()
    };
    let first = lexer.expand(word, &env, &mut Budget::new(limits));
    assert_eq!(first, lexer.expand(word, &env, &mut Budget::new(limits)), "the same word gives the same answer");
    if let Ok(expanded) = &first {
        // A word that holds nothing to expand is handed back as it is, and costs nothing.
        let cap = limits.value_bytes_max.max(word.len());
        assert!(expanded.text.len() <= cap, "{} bytes", expanded.text.len());
        expanded.matched.iter().for_each(|name| assert!(env.get(name).is_some(), "{name} is not set"));
        expanded.unmatched.iter().for_each(|name| assert!(env.get(name).is_none(), "{name} is set"));
    }
    if let Ok(words) = lexer.split(word, &env, &mut Budget::new(limits)) {
        let bytes: usize = words.iter().map(String::len).sum();
        assert!(bytes <= limits.expanded_bytes_max.max(word.len()), "{bytes} bytes in words");
    }
});

fn environment(lines: &str) -> Env {
    let mut env = Env::new();
    for (name, value) in lines.lines().skip(1).filter_map(|line| line.split_once('=')) {
        env.set(name, value);
    }
    env
}

fn lexer(switches: u8) -> Lexer {
    let on = |bit: u8| switches & (1 << bit) != 0;
    Lexer {
        escape: if on(0) { '`' } else { '\\' },
        raw_quotes: on(1),
        raw_escapes: on(2),
        skip_quotes: on(3),
        skip_unset: on(4),
    }
}
