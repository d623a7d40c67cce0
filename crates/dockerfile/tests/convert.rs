//! What the corpus cannot show about conversions: triggers of the base, build arguments, targets, limits.

use dockerfile::config::ImageConfig;
use dockerfile::convert::{Conversion, ConvertOptions, Exec, ExecMountKind, FileAction, OpKind, convert};
use dockerfile::limits::Limits;
use dockerfile::platform::Platform;
use dockerfile::{Mode, instruction, parse};

fn convert_with(text: &str, base: &ImageConfig, options: &ConvertOptions) -> Conversion {
    let parsed = parse(text, Mode::BuildKit);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let typed = instruction::read(&parsed.dockerfile);
    assert!(typed.diagnostics.is_empty(), "{:?}", typed.diagnostics);
    convert(&parsed, &typed.instructions, Some(base), options)
}

fn converted(text: &str) -> Conversion {
    convert_with(text, &ImageConfig::default(), &ConvertOptions::default())
}

fn with_args(text: &str, args: &[(&str, &str)]) -> Conversion {
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    convert_with(text, &ImageConfig::default(), &ConvertOptions { build_args, ..ConvertOptions::default() })
}

fn with_triggers(text: &str, triggers: &[&str]) -> Conversion {
    let on_build = triggers.iter().map(|trigger| (*trigger).to_owned()).collect();
    convert_with(text, &ImageConfig { on_build, ..ImageConfig::default() }, &ConvertOptions::default())
}

fn first_error(made: &Conversion) -> String {
    made.errors.first().map(|error| error.message.to_string()).unwrap_or_default()
}

fn execs(made: &Conversion) -> Vec<&Exec> {
    let kinds = made.ops.iter().map(|op| &op.kind);
    kinds.filter_map(|kind| if let OpKind::Exec(exec) = kind { Some(exec) } else { None }).collect()
}

fn history(made: &Conversion) -> Vec<&str> {
    made.history.iter().map(|entry| entry.created_by.as_str()).collect()
}

#[test]
fn triggers_of_the_base_run_first_and_are_gone() {
    let made = with_triggers("FROM a\nRUN own\n", &["RUN first", "ENV A=1", "# escape=`\nRUN a `\n b"]);
    assert!(made.errors.is_empty(), "{:?}", made.errors);
    let runs: Vec<_> = execs(&made).iter().map(|exec| exec.args[2].clone()).collect();
    assert_eq!(runs, ["first", "a  b", "own"]);
    assert!(made.config.on_build.is_empty());
    let origin = made.ops[1].origin;
    assert!(origin.on_build && origin.line == 1 && origin.instruction == 0);
}

#[test]
fn a_trigger_that_sets_a_trigger_reaches_the_next_stage() {
    let made = with_triggers("FROM a AS x\nFROM x\n", &["ONBUILD RUN later"]);
    assert_eq!(execs(&made).len(), 1);
    let made = converted("FROM a AS x\nONBUILD RUN own\nFROM x AS y\nFROM y\n");
    assert_eq!(history(&made), ["RUN /bin/sh -c own # buildkit"]);
}

#[test]
fn bad_triggers_are_refused_at_the_from() {
    for (trigger, message) in [
        ("FOO x", "unknown instruction: FOO"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("FROM b", "*instructions.Stage is not a command type"),
        ("ENV A", "ENV must have two arguments"),
        ("COPY --from=$X a b", "variable expansion is not supported for --from"),
        ("ENV A=it's", "failed to process \"it's\""),
    ] {
        let made = with_triggers("\n\nFROM a\n", &[trigger]);
        let error = first_error(&made);
        assert!(error.starts_with(message), "{trigger}: {error}");
        assert_eq!(made.errors[0].span.start, 2, "{trigger}");
    }
}

#[test]
fn build_arguments_win_over_defaults_and_reach_no_config() {
    let text = "ARG V=1\nFROM a:$V\nARG V\nARG W=w\nARG N\nRUN x\n";
    let made = with_args(text, &[("V", "2"), ("W", "given"), ("HTTP_PROXY", "http://p")]);
    assert_eq!(made.base.as_deref(), Some("docker.io/library/a:2"));
    let exec = execs(&made)[0];
    assert!(exec.env.iter().any(|entry| entry == "W=given") && exec.env.iter().any(|entry| entry == "V=2"));
    assert_eq!(exec.proxy, ["HTTP_PROXY=http://p", "http_proxy=http://p"]);
    assert_eq!(made.config.env.len(), 1);
    assert_eq!(history(&made), ["ARG V=2", "ARG W=given", "ARG N", "RUN |3 V=2 W=given N= /bin/sh -c x # buildkit"]);
}

#[test]
fn only_what_the_target_needs_is_built() {
    let text = "FROM a AS x\nRUN x\nFROM b AS y\nRUN y\nFROM scratch\nCOPY --from=x /a /b\n";
    let made = converted(text);
    assert_eq!(execs(&made).len(), 1);
    assert_eq!((made.base.clone(), made.root), (None, Some(2)));
    let target = Some("Y".to_owned());
    let made = convert_with(text, &ImageConfig::default(), &ConvertOptions { target, ..ConvertOptions::default() });
    assert_eq!(made.base.as_deref(), Some("docker.io/library/b:latest"));
    let target = Some("z".to_owned());
    let made = convert_with(text, &ImageConfig::default(), &ConvertOptions { target, ..ConvertOptions::default() });
    assert_eq!(first_error(&made), "target stage \"z\" could not be found");
}

#[test]
fn stages_that_need_each_other_are_refused() {
    let circle = converted("FROM a AS x\nCOPY --from=y /a /b\nFROM a AS y\nCOPY --from=x /a /b\n");
    assert_eq!(first_error(&circle), "circular dependency detected on stage: x");
    let later = converted("FROM a AS x\nCOPY --from=y /a /b\nFROM a AS y\nFROM x\n");
    assert_eq!(first_error(&later), "cannot copy from stage \"y\", it needs to be defined before current stage \"x\"");
    assert_eq!(first_error(&converted("FROM a\nCOPY --from=7 a b\n")), "invalid stage index 7");
}

#[test]
fn all_errors_are_found_and_the_first_is_the_reference_s() {
    let made = converted("FROM a\nENV A=it's\nEXPOSE x\nSTOPSIGNAL y\nRUN z\n");
    let messages: Vec<_> =
        made.errors.iter().map(|error| error.message.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(messages, ["failed to process \"it's\"", "invalid containerPort", "invalid signal"]);
}

#[test]
fn a_script_with_a_first_line_of_its_own_is_mounted() {
    let made = converted("FROM a\nRUN <<S\n#!/bin/x\ny\nS\n");
    let exec = execs(&made)[0];
    assert_eq!(exec.args, ["/bin/sh", "-c", "/dev/pipes/S"]);
    assert!(exec.mounts[0].readonly && exec.mounts[0].kind == ExecMountKind::Bind);
    let input = exec.mounts[0].input.expect("the script");
    let OpKind::File(file) = &made.ops[input].kind else { panic!("no file: {:?}", made.ops[input]) };
    assert_eq!(
        file.actions,
        [FileAction::Mkfile { mkfile: "/S".to_owned(), data: "#!/bin/x\ny\n".to_owned(), mode: 0o755 }]
    );
}

#[test]
fn caches_of_different_owners_are_apart() {
    let options = ConvertOptions { cache_namespace: "tenant".to_owned(), ..ConvertOptions::default() };
    let made = convert_with("FROM a\nRUN --mount=type=cache,target=/c x\n", &ImageConfig::default(), &options);
    let ExecMountKind::Cache { cache_id, .. } = &execs(&made)[0].mounts[0].kind else { panic!("no cache") };
    assert_eq!(cache_id, "tenant//c");
}

#[test]
fn another_platform_than_the_base_s_is_noticed() {
    let base_platform = Platform::new("linux", "arm64");
    let options = ConvertOptions { base_platform, ..ConvertOptions::default() };
    let made = convert_with("FROM a\n", &ImageConfig::default(), &options);
    assert_eq!(made.lints[0].code.name(), "InvalidBaseImagePlatform");
}

#[test]
fn every_cap_is_an_error_of_its_own_and_ends_the_work() {
    let many = |unit: &str, count: usize| (0..count).map(|i| unit.replace('#', &i.to_string())).collect::<String>();
    for (text, message) in [
        (format!("FROM a\nENV A=xxxxxxxx\n{}", "ENV A=$A$A\n".repeat(20)), "a value expands to more than"),
        (format!("FROM a\nENV A={}\n{}", "x".repeat(60_000), "ENV B=$A\n".repeat(30)), "the file expands to more than"),
        (format!("FROM a\nENV A={}\n{}", "a".repeat(30_000), "ENV B=${A%b*}\n".repeat(30)), "matching patterns takes"),
        (format!("FROM a\nENV A={}x{}\n", "${B:-".repeat(65), "}".repeat(65)), "substitutions nest deeper than 64"),
        (format!("FROM a\nENV {}\n", many("A#=x ", 5000)), "more than 4096 environment variables"),
        ("FROM a\nEXPOSE 0-65535\n".to_owned(), "more than 1024 exposed ports"),
        (format!("FROM a\n{}", many("ENV A#=x\nRUN x\n", 2000)), "history and operations hold more than"),
        (format!("FROM a\n{}", many("COPY --from=i# a b\n", 9000)), "more than 16384 operations"),
        (format!("FROM a AS x\n{}FROM x\n", many("ONBUILD RUN #\n", 300)), "more than 256 triggers"),
    ] {
        let made = converted(&text);
        assert_eq!(made.errors.len(), 1, "{message}: {:?}", made.errors.first());
        assert!(first_error(&made).starts_with(message), "{}", first_error(&made));
        assert!(made.errors[0].buildkit_message.is_none());
    }
    let options = ConvertOptions { limits: Limits::reference(), ..ConvertOptions::default() };
    assert!(convert_with("FROM a\nEXPOSE 0-65535\n", &ImageConfig::default(), &options).errors.is_empty());
}
