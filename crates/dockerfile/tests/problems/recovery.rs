//! After an error the parser goes on at the next instruction.

use super::{places, problems};
use dockerfile::diagnostic::MAX_DIAGNOSTICS;

#[test]
fn every_problem_of_a_file_is_reported_in_order() {
    let text =
        "FROM debian # base\nRUM make\nENV A=1 B\nCMD [\"a\", 1]\nEXPOSE\nHEALTHCHECK --interval=30 CMD true\nUSER\n";
    let want = [
        "1:from-arguments",
        "2:unknown-instruction",
        "3:missing-equals",
        "4:json-not-strings",
        "5:missing-argument",
        "6:invalid-duration",
        "7:missing-argument",
    ];
    // The FROM is faulty, so what follows stands before any FROM; that is not reported for each instruction.
    let found: Vec<_> = places(text).into_iter().filter(|one| !one.ends_with("instruction-before-from")).collect();
    assert_eq!(found, want);
}

#[test]
fn all_wrong_flags_of_an_instruction_are_reported() {
    let text = "FROM a\nCOPY --form=x --chwon=a --link=maybe a b\n";
    assert_eq!(places(text), ["2:unknown-flag", "2:unknown-flag", "2:invalid-flag-value"]);
}

#[test]
fn a_heredoc_without_end_does_not_hide_what_follows() {
    let text = "FROM a\nRUN <<EOF\necho a\n  EOF\nRUM x\nRUN <<END\nmake\nUSER\nUSER root\n";
    assert_eq!(places(text), ["2:unterminated-heredoc", "5:unknown-instruction", "6:unterminated-heredoc"]);
    let text = "FROM a\nRUN <<END\nmake\nUSER root\nEXPOSE\n";
    assert_eq!(places(text), ["2:unterminated-heredoc", "5:missing-argument"]);
}

#[test]
fn a_broken_directive_does_not_hide_what_follows() {
    let text = "# escape=x\n# escape=`\nFROM a\nRUM b\n";
    assert_eq!(places(text), ["1:invalid-escape-directive", "2:duplicate-directive", "4:unknown-instruction"]);
}

#[test]
fn a_report_has_a_bound() {
    for unit in ["X\n", "ENV A=1 B\n", "CMD ['a']\n", "USER\n", "RUN --x --y --z a\n"] {
        let text = format!("FROM a\n{}", unit.repeat(20_000));
        let found = problems(text.as_bytes());
        assert!(found.len() > MAX_DIAGNOSTICS && found.len() <= 2 * (MAX_DIAGNOSTICS + 1), "{unit}: {}", found.len());
        assert!(found.iter().any(|one| one.code.name() == "too-many-problems"), "{unit}");
    }
}

#[test]
fn deep_nesting_needs_no_stack() {
    for text in [
        format!(
            "FROM a\n{}RUN x",
            "ONBUILD ".repeat(200_000 / 8).replace("ONBUILD ONBUILD ONBUILD ", "ONBUILD ONBUILD ONBUILD \\\n")
        ),
        format!("FROM a\nRUN {}", "[\\\n".repeat(100_000)),
        format!("FROM a\nRUN <<A {}\nA\n", "${a:-\\\n".repeat(30_000)),
    ] {
        let handle = std::thread::Builder::new().stack_size(256 << 10).spawn(move || problems(text.as_bytes()).len());
        handle.expect("a thread can be started").join().expect("no stack overflow and no panic");
    }
}
