use super::*;
#[cfg(feature = "render")]
use crate::diagnostic::Label;
#[cfg(feature = "render")]
use crate::span::to_u32;

const FILE: &str = "FROM debian:12\nRUNN make \\\n  all\nENV A=b C\nEXPOSE 80\n";

fn problems() -> Vec<Diagnostic> {
    vec![
        Diagnostic::new(Code::UnknownInstruction, Span::new(15, 19), "unknown instruction `RUNN`")
            .help("did you mean `RUN`?")
            .fix(Span::new(15, 19), "RUN")
            .label(Span::new(0, 4), "the stage starts here")
            .buildkit("unknown instruction: RUNN"),
        Diagnostic::new(Code::MissingEquals, Span::new(41, 42), "`C` has no `=`").buildkit("can't find = in \"C\""),
    ]
}

#[test]
fn json_has_places_in_characters_and_bytes() {
    let problems = problems();
    let report = Report { base: Some("docker.io/library/debian:12"), ..Report::new("Dockerfile", FILE, &problems) };
    let json = serde_json::to_value(report.json()).expect("serialises");
    assert_eq!(json["accepted"], false);
    assert_eq!(json["base"], "docker.io/library/debian:12");
    assert_eq!(json["omitted"], 0);
    let expected = serde_json::json!({
        "code": "unknown-instruction", "severity": "error",
        "message": "unknown instruction `RUNN`", "help": "did you mean `RUN`?",
        "line": 2, "column": 1, "end_line": 2, "end_column": 5, "span": {"start": 15, "end": 19},
        "labels": [{"message": "the stage starts here", "line": 1, "column": 1, "end_line": 1, "end_column": 5,
                    "span": {"start": 0, "end": 4}}],
        "fix": [{"replacement": "RUN", "line": 2, "column": 1, "end_line": 2, "end_column": 5, "span": {"start": 15, "end": 19}}],
        "url": "docs/diagnostics/unknown-instruction.md", "buildkit_message": "unknown instruction: RUNN",
    });
    assert_eq!(json["diagnostics"][0], expected);
    assert!(json["diagnostics"][1]["help"].is_null());
}

#[test]
fn columns_count_characters() {
    let source = "é漢x\n";
    let problem = [Diagnostic::new(Code::MissingEquals, Span::new(5, 6), "x")];
    let json = serde_json::to_value(Report::new("f", source, &problem).json()).expect("serialises");
    assert_eq!((&json["diagnostics"][0]["column"], &json["diagnostics"][0]["end_column"]), (&3.into(), &4.into()));
}

#[test]
fn github_commands_are_escaped() {
    let problem = [
        Diagnostic::new(Code::MissingEquals, Span::new(41, 42), "100%: a,\r\nb\x1b").help("mend\nit"),
        Diagnostic::new(Code::MissingEquals, Span::new(15, 32), "two lines"),
    ];
    let report = Report::new("a,b:c%", FILE, &problem);
    assert_eq!(
        report.github(),
        "::error file=a%2Cb%3Ac%25,line=4,endLine=4,col=9,endColumn=9,title=missing-equals::100%25: a,␍%0Ab␛%0Ahelp: mend%0Ait\n\
         ::error file=a%2Cb%3Ac%25,line=2,endLine=3,title=missing-equals::two lines\n"
    );
}

#[test]
fn sarif_has_rules_results_and_fixes() {
    let problems = problems();
    let report = Report { docs: "https://docs.invalid/", ..Report::new("dir/my file", FILE, &problems) };
    let log = serde_json::to_value(report.sarif()).expect("serialises");
    let run = &log["runs"][0];
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    for result in run["results"].as_array().expect("results") {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("index")).expect("small");
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    }
    let result = &run["results"][0];
    assert_eq!(result["message"]["text"], "unknown instruction `RUNN`\ndid you mean `RUN`?");
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "dir/my%20file");
    assert_eq!(result["relatedLocations"][0]["message"]["text"], "the stage starts here");
    let replacement = &result["fixes"][0]["artifactChanges"][0]["replacements"][0];
    assert_eq!(replacement["insertedContent"]["text"], "RUN");
    assert_eq!(replacement["deletedRegion"]["startLine"], 2);
    let help = run["tool"]["driver"]["rules"][0]["helpUri"].as_str().expect("absolute, so there");
    assert!(help.starts_with("https://docs.invalid/"), "{help}");
}

#[test]
#[cfg_attr(miri, ignore = "more than 90 s there")]
fn many_problems_and_long_texts_are_bounded() {
    let many: Vec<_> =
        (0..5000).map(|_| Diagnostic::new(Code::MissingEquals, Span::new(0, 60_000), "é".repeat(9000))).collect();
    let source = "x".repeat(60_000);
    let report = Report::new("f", &source, &many);
    let json = report.json();
    assert_eq!((json.diagnostics.len(), json.omitted), (SHOWN_MAX, 4800));
    assert_eq!(json.diagnostics.first().map(|one| one.message.chars().count()), Some(TEXT_CHARS_MAX + 1));
    assert!(report.github().ends_with("::notice file=f::and 4800 more\n"));
    assert_eq!(report.summary(), "5000 errors");
    let sarif = serde_json::to_value(report.sarif()).expect("serialises");
    assert_eq!(sarif["runs"][0]["properties"]["omitted"], 4800);
    #[cfg(feature = "render")]
    {
        let text = report.human(false);
        assert!(text.ends_with("... and 4800 more\n"));
        assert!(text.len() < 2 << 20, "{}", text.len());
    }
}

#[test]
fn summaries_count() {
    let one = |severity| Diagnostic { severity, ..Diagnostic::new(Code::MissingEquals, Span::empty(0), "x") };
    let (error, warning) = (crate::diagnostic::Severity::Error, crate::diagnostic::Severity::Warning);
    let summary = |all: &[Diagnostic]| Report::new("f", "", all).summary();
    assert_eq!(summary(&[]), "no problems");
    assert_eq!(summary(&[one(warning)]), "1 warning");
    assert_eq!(summary(&[one(error), one(warning), one(warning)]), "1 error, 2 warnings");
}

#[cfg(feature = "render")]
#[test]
fn people_see_lines_carets_help_and_the_edit() {
    let problems = problems();
    let text = Report::new("Dockerfile", FILE, &problems).human(false);
    let expected = r"error[unknown-instruction]: unknown instruction `RUNN`
 --> Dockerfile:2:1
  |
1 | FROM debian:12
  | ---- the stage starts here
2 | RUNN make \
  | ^^^^
  |
  = help: did you mean `RUN`?
  = see: docs/diagnostics/unknown-instruction.md
help: this mends it
  |
2 - RUNN make \
2 + RUN make \
  |

error[missing-equals]: `C` has no `=`
 --> Dockerfile:4:9
  |
4 | ENV A=b C
  |         ^
  |
  = see: docs/diagnostics/missing-equals.md

";
    assert_eq!(text, expected, "got\n{text}");
}

#[cfg(feature = "render")]
#[test]
fn places_are_those_of_the_source_where_a_line_is_cut() {
    let source = format!("FROM a\n{}\n", "é".repeat(3000));
    let far = Span::new(to_u32(7 + 2 * 2000), to_u32(7 + 2 * 2001));
    let problem = [Diagnostic::new(Code::MissingEquals, far, "m")];
    let text = Report::new("f", &source, &problem).human(false);
    assert!(text.contains("--> f:2:2001\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
}

#[cfg(feature = "render")]
#[test]
fn nothing_of_the_source_commands_the_terminal() {
    let source = "FROM a\x1b]0;x\x07\u{9b}2J\u{202e}\r\nRUN b\r\n";
    let label = Label { span: Span::new(0, 4), message: "\x1b[31m".into() };
    let mut problem = Diagnostic::new(Code::MissingEquals, Span::new(5, 20), "m\x1b[2J\u{9b}").help("h\x1b\nsecond");
    problem.labels.push(label);
    let problem = [problem.fix(Span::new(5, 6), "\x1b[0m")];
    let text = Report::new("f\x1b\n", source, &problem).human(false);
    let bad = text.chars().find(|&ch| visible::replacement(ch).is_some());
    assert_eq!(bad, None, "{text:?}");
    let coloured = Report::new("f", source, &problem).human(true);
    assert!(coloured.contains("\x1b["));
    let styles = coloured.split("\x1b[").skip(1).map(|rest| rest.find(|ch: char| !ch.is_ascii_digit() && ch != ';'));
    assert!(
        coloured
            .split("\x1b[")
            .skip(1)
            .zip(styles)
            .all(|(rest, end)| end.and_then(|end| rest.get(end..=end)) == Some("m"))
    );
}

#[cfg(feature = "render")]
#[test]
fn spans_outside_the_text_are_no_trouble() {
    for source in ["", "\n", "é", "a\r\n\r\n", "x\n\n\n"] {
        for (start, end) in [(0, 0), (0, 900), (1, 2), (1, 1), (2, 2), (3, 3), (900, 901), (u32::MAX, u32::MAX)] {
            let span = Span::new(start, end);
            let problem = [Diagnostic::new(Code::MissingEquals, span, "m").fix(span, "new").label(span, "l")];
            let report = Report::new("f", source, &problem);
            assert!(report.human(false).contains("missing-equals"));
            assert!(!report.github().is_empty());
            assert_eq!(report.json().diagnostics.len(), 1);
        }
    }
}
