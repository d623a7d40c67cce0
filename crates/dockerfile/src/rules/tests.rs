use super::{CheckOptions, Lints, run};
use crate::{Mode, instruction, parse};

/// What the rules say about a file as written: name, the text pointed at.
fn lint(text: &str) -> Vec<(&'static str, &str)> {
    let parsed = parse(text, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    assert_eq!((parsed.diagnostics.len(), typed.diagnostics.len()), (0, 0), "{text}");
    let mut lints = Lints::new(CheckOptions::of_file(text).unwrap());
    run(&parsed.warnings, &typed.instructions, &mut lints);
    lints.into_found().iter().map(|one| (one.code.name(), one.span.of(text))).collect()
}

#[test]
fn stages_and_keywords() {
    for (text, expected) in [
        ("FROM a AS Foo", vec![("StageNameCasing", "Foo")]),
        ("FROM a as foo", vec![("FromAsCasing", "as")]),
        ("from a AS foo", vec![("FromAsCasing", "AS")]),
        ("From a aS foo", vec![("ConsistentInstructionCasing", "From")]),
        ("FROM a AS b\nFROM a AS b", vec![("DuplicateStageName", "b")]),
        ("FROM a AS context", vec![("ReservedStageName", "context")]),
        ("FROM a\nrun x\nRUN y", vec![("ConsistentInstructionCasing", "run")]),
        ("from a\nrun x\nRUN y", vec![("ConsistentInstructionCasing", "RUN")]),
        ("FROM a\nMAINTAINER x", vec![("MaintainerDeprecated", "MAINTAINER")]),
        ("FROM a AS b\nRUN x", vec![]),
        ("FROM a\nRUN x \\\n\n y", vec![("NoEmptyContinuation", "")]),
    ] {
        assert_eq!(lint(text), expected, "{text}");
    }
}

#[test]
fn directives_and_comments_silence_rules() {
    assert_eq!(lint("# check=skip=all\nFROM a AS Foo"), []);
    assert_eq!(lint("# check=skip=StageNameCasing\nFROM a as Foo"), [("FromAsCasing", "as")]);
    let above = "FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER x\nMAINTAINER y";
    assert_eq!(lint(above).len(), 1);
    assert_eq!(lint("# check=skip=apt-missing-yes\nFROM a\nRUN apt-get remove x"), []);
}

#[test]
fn descriptions_are_judged_only_on_request() {
    let text = "# check=experimental=all\n# b stage\nFROM a AS b\n# not it\nARG X Y\n# the X\n#\nARG X";
    assert_eq!(lint(text), [("InvalidDefinitionDescription", "not it")]);
    assert_eq!(lint(&text[25..]), []);
}

#[test]
fn apt() {
    const CLEAN: &str = "&& rm -rf /var/lib/apt/lists/*";
    for (run, expected) in [
        (format!("apt-get update && apt-get install -y git {CLEAN}"), vec![]),
        (format!("apt-get update \\\n && apt-get install git {CLEAN}"), vec![("apt-missing-yes", "install")]),
        ("apt-get install -y git".to_owned(), vec![("apt-update-separate", "install")]),
        ("apt-get install -y ./a.deb".to_owned(), vec![]),
        ("apt-get -qq update".to_owned(), vec![("apt-lists-left", "update")]),
        (format!("apt-get update {CLEAN}"), vec![]),
        (format!("apt-get update; DEBIAN_FRONTEND=x apt-get -yq install a {CLEAN}"), vec![]),
        (format!("apt-get update; apt-get install -o Dpkg::Use-Pty=0 -y a {CLEAN}"), vec![]),
        ("--mount=type=cache,target=/var/lib/apt apt update && apt install --yes a".to_owned(), vec![]),
        ("echo 'apt-get install x' # apt-get install y".to_owned(), vec![]),
        ("pip install apt".to_owned(), vec![]),
        ("apt-get install --update -y a && apt-get dist-clean".to_owned(), vec![]),
        ("apt-get update && bash -c \"rm -rf /var/lib/apt/lists/*\"".to_owned(), vec![]),
        ("apt-get autoremove".to_owned(), vec![]),
        ("[\"apt-get\", \"install\"]".to_owned(), vec![]),
        (
            "<<EOF\nset -e\napt-get update\napt-get install a\nEOF".to_owned(),
            vec![("apt-missing-yes", "install"), ("apt-lists-left", "update")],
        ),
    ] {
        assert_eq!(lint(&format!("FROM a\nRUN {run}\n")), expected, "{run}");
    }
}

#[test]
fn findings_ask_for_an_error_only_by_the_reference_s_own_rules() {
    let violation = |text: &str| {
        let parsed = parse(text, Mode::BuildKit);
        let typed = instruction::read(&parsed.dockerfile);
        let mut lints = Lints::new(CheckOptions::of_file(text).unwrap());
        run(&parsed.warnings, &typed.instructions, &mut lints);
        lints.violation()
    };
    assert_eq!(violation("# check=error=true\nFROM a\nRUN apt-get install x"), None);
    assert_eq!(
        violation("# check=error=true\nFROM a as B").as_deref(),
        Some("lint violation found for rules: FromAsCasing, StageNameCasing")
    );
    assert_eq!(violation("FROM a as B"), None);
}
