//! `check`, `parse` and `plan` as they are called: what they print, and how they end.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs the binary with `text` as its standard input.
fn drydock(args: &[&str], text: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// What it prints as JSON, and its exit status.
fn json_of(args: &[&str], text: &str) -> (Value, Option<i32>) {
    let output = drydock(args, text);
    let value = serde_json::from_slice(&output.stdout);
    (value.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
}

#[test]
fn an_accepted_file_names_its_base_in_normal_form() {
    let check = ["check", "-", "--format", "json", "--allow-base", "docker.io/library/debian:12"];
    let (said, status) = json_of(&check, "FROM debian:12\nRUN make\n");
    assert_eq!(status, Some(0));
    assert_eq!(said["accepted"], json!(true));
    assert_eq!(said["base"], json!("docker.io/library/debian:12"));
    assert_eq!(said["diagnostics"], json!([]));
}

#[test]
fn every_problem_of_a_refused_file_has_its_place() {
    let (said, status) = json_of(&["check", "-", "--format", "json"], "FROM debian:12\nRUM make\nEXPOSE 99999\n");
    assert_eq!(status, Some(1));
    assert_eq!(said["accepted"], json!(false));
    let problems = said["diagnostics"].as_array().expect("a list");
    let lines: Vec<_> = problems.iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [1, 2, 3].map(|line| json!(line)), "{said:#}");
    let unknown = &problems[1];
    assert_eq!((&unknown["code"], &unknown["severity"]), (&json!("unknown-instruction"), &json!("error")));
    let place = [&unknown["column"], &unknown["end_line"], &unknown["end_column"]];
    assert_eq!(place, [&json!(1), &json!(2), &json!(4)], "the keyword");
    assert!(unknown["message"].as_str().is_some_and(|text| text.contains("RUM")), "{unknown}");
    assert!(unknown["help"].as_str().is_some_and(|text| text.contains("RUN")), "{unknown}");
}

#[test]
fn buildkit_mode_knows_no_policy_and_no_strictness() {
    let text = "ARG X=debian\nFROM $X AS b\nCOPY a b\nFROM scratch\nCOPY --from=b /a /b\nCMD ['x']\n";
    let (strict, status) = json_of(&["check", "-", "--format", "json"], text);
    assert_eq!((&strict["accepted"], status), (&json!(false), Some(1)));
    let (free, status) = json_of(&["check", "-", "--format", "json", "--mode", "buildkit"], text);
    assert_eq!((&free["accepted"], status), (&json!(true), Some(0)), "{free}");
}

#[test]
fn the_tree_is_printed_whole() {
    let text = "# about\nFROM debian:12 AS base\nRUN --network=none cat <<-'EOF' && cat <<E\n\tone\n\tEOF\ntwo\nE\n\
                CMD [\"a\", \"b\"]\nONBUILD RUN x\n";
    let (tree, status) = json_of(&["parse", "-", "--format", "json", "--mode", "buildkit"], text);
    assert_eq!(status, Some(0));
    let all = tree["instructions"].as_array().expect("a list");
    let keywords: Vec<_> = all.iter().map(|one| one["keyword"].clone()).collect();
    assert_eq!(keywords, ["FROM", "RUN", "CMD", "ONBUILD"].map(|keyword| json!(keyword)));
    assert_eq!((&all[0]["args"], &all[0]["comments"]), (&json!(["debian:12", "AS", "base"]), &json!(["about"])));
    let run = &all[1];
    assert_eq!(run["flags"], json!(["--network=none"]));
    assert_eq!((&run["start_line"], &run["end_line"]), (&json!(3), &json!(7)));
    let [first, second] = [0, 1].map(|at| &run["heredocs"][at]);
    let expected = json!({"name": "EOF", "content": "\tone\n", "expand": false, "chomp": true, "fd": 0});
    let same = |heredoc: &Value, expected: &Value| {
        expected.as_object().expect("an object").iter().all(|(name, value)| heredoc[name] == *value)
    };
    assert!(same(first, &expected), "{first}");
    let expected = json!({"name": "E", "content": "two\n", "expand": true, "chomp": false, "fd": 0});
    assert!(same(second, &expected), "{second}");
    assert_eq!((&all[2]["json"], &all[2]["args"]), (&json!(true), &json!(["a", "b"])));
    assert_eq!((&all[3]["trigger"]["keyword"], &all[3]["trigger"]["args"]), (&json!("RUN"), &json!(["x"])));
}

#[test]
fn reports_for_code_hosts() {
    let text = "FROM debian:12\nRUM make\n";
    let (sarif, status) = json_of(&["check", "-", "--format", "sarif", "--mode", "buildkit"], text);
    assert_eq!((&sarif["version"], status), (&json!("2.1.0"), Some(1)));
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], json!("unknown-instruction"));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], json!(2));
    let github = drydock(&["check", "-", "--format", "github", "--mode", "buildkit"], text);
    let said = String::from_utf8(github.stdout).expect("text");
    assert!(said.starts_with("::error ") && said.contains("line=2"), "{said}");
}

#[test]
fn for_people_there_is_the_line_with_carets_and_no_colour_in_a_pipe() {
    let output = drydock(&["check", "-", "--mode", "buildkit"], "FROM debian:12\nRUM make\n");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("RUM make") && said.contains("^^^") && said.contains("refused"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_plan_is_steps_and_a_config() {
    let text = "FROM debian:12\nENV A=1\nRUN make $A\nCMD [\"x\"]\n";
    let (plan, status) = json_of(&["plan", "-", "--format", "json", "--mode", "buildkit"], text);
    assert_eq!(status, Some(0));
    assert!(plan["config"]["Env"].as_array().is_some_and(|env| env.contains(&json!("A=1"))), "{plan}");
    assert_eq!(plan["config"]["Cmd"], json!(["x"]));
}

#[test]
fn the_command_line_is_wrong_or_the_file_is_not_there() {
    assert_eq!(drydock(&["check"], "").status.code(), Some(2));
    assert_eq!(drydock(&["check", "-", "--format", "xml"], "").status.code(), Some(2));
    let missing = drydock(&["check", "/nowhere/Dockerfile"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/Dockerfile"), "{missing:?}");
}
