//! The service's restrictions.

use dockerfile::config::ImageConfig;
use dockerfile::policy::{Feature, Policy, check};
use dockerfile::reference::Reference;
use dockerfile::{Mode, instruction, parse};

fn policy() -> Policy {
    let bases = ["nodeops/sandbox:debian", "nodeops/sandbox:alpine", "debian"];
    let allowed_bases = bases.iter().map(|base| Reference::parse(base).expect("a reference")).collect();
    Policy { allowed_bases, ..Policy::default() }
}

fn refused(policy: &Policy, text: &str) -> Vec<&'static str> {
    let parsed = parse(text, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    check(policy, &parsed, &typed.instructions, None).iter().map(|one| one.code.name()).collect()
}

#[test]
fn the_default_is_the_specification() {
    for (text, want) in [
        ("FROM nodeops/sandbox:debian\nRUN a\n", &[][..]),
        ("FROM debian\nFROM debian\n", &["multiple-stages"]),
        ("FROM debian AS a\nFROM a\nFROM ubuntu\n", &["multiple-stages", "multiple-stages"]),
        ("FROM ubuntu\n", &["base-not-allowed"]),
        ("ARG B=debian\nFROM $B\n", &["base-not-literal"]),
        ("FROM ${B:-debian}\n", &["base-not-literal"]),
        ("FROM \"debian\"\n", &["base-not-literal"]),
        ("FROM deb\\ian\n", &["base-not-literal"]),
        ("# escape=`\nFROM deb`ian\n", &["base-not-literal"]),
        ("FROM --platform=linux/arm64 debian\n", &["platform-not-available"]),
        ("RUN a\n", &["missing-from"]),
        ("FROM debian\nCOPY a b\nADD a b\n", &["copy-not-available", "add-not-available"]),
        ("FROM debian\nCOPY <<EOF /a\nx\nEOF\n", &["copy-not-available"]),
        ("FROM debian\nRUN --mount=target=/a x\n", &["mount-not-available"]),
        ("FROM debian\nRUN --mount=type=secret,id=a x\n", &["mount-not-available"]),
        ("FROM debian\nRUN --mount=type=SSH x\n", &["mount-not-available"]),
        ("FROM debian\nRUN --mount=type=$T,target=/a x\n", &["mount-not-available"]),
        ("FROM debian\nRUN --mount=type=cache,target=/a x\n", &[]),
        ("FROM debian\nRUN --mount=type=cache,type=bind,target=/a x\n", &["mount-not-available"]),
        ("FROM debian\nRUN --mount=type=cache,from=ubuntu,target=/a x\n", &["mount-from"]),
        ("FROM debian\nRUN --mount=type=tmpfs,target=/a/../.. x\n", &["mount-target"]),
        ("FROM debian\nRUN --mount=type=tmpfs,dst=/. x\n", &["mount-target"]),
        ("FROM debian\nRUN --security=insecure x\n", &["security-not-available"]),
        ("FROM debian\nRUN --network=host x\n", &["host-network-not-available"]),
        ("FROM debian\nRUN --network=none x\n", &[]),
        ("FROM debian\nRUN --device=a x\n", &["device-not-available"]),
        ("FROM debian\nONBUILD RUN x\n", &["onbuild-not-available"]),
        ("FROM debian\nEXPOSE 1-100\nEXPOSE 200-400\n", &["too-many-ports"]),
        ("# syntax=docker/dockerfile:1\nFROM debian\n", &[]),
        ("# syntax=docker.io/docker/dockerfile:1.7\nFROM debian\n", &[]),
        ("# syntax=docker/dockerfile:1-labs\nFROM debian\n", &["syntax-not-allowed"]),
        ("# syntax=evil/docker/dockerfile:1\nFROM debian\n", &["syntax-not-allowed"]),
        ("#!x\n# syntax=evil\nFROM debian\n", &["syntax-not-allowed"]),
        ("// syntax=evil\nFROM debian\n", &["syntax-not-allowed"]),
        ("# check=error=true\nFROM debian\n", &["check-not-allowed"]),
        ("# check=skip=all\nFROM debian\n", &[]),
    ] {
        assert_eq!(refused(&policy(), text), want, "{text:?}");
    }
}

#[test]
fn bases_are_compared_in_normal_form() {
    for base in ["debian:latest", "docker.io/debian", "index.docker.io/library/debian:latest", "library/debian"] {
        assert_eq!(refused(&policy(), &format!("FROM {base}\n")), [""; 0], "{base}");
    }
    for base in ["debian:12", "example.com/library/debian", "docker.io/other/debian", "nodeops/sandbox"] {
        assert_eq!(refused(&policy(), &format!("FROM {base}\n")), ["base-not-allowed"], "{base}");
    }
    assert_eq!(refused(&Policy::default(), "FROM debian\n"), ["base-not-allowed"], "an empty allowlist allows nothing");
}

#[test]
fn sizes_have_caps() {
    let text = format!("FROM debian\n#{}\n", "x".repeat(64 << 10));
    assert_eq!(refused(&policy(), &text), ["dockerfile-too-large"]);
    let exact = format!("FROM debian\n#{}", "x".repeat((64 << 10) - 13));
    assert_eq!((exact.len(), refused(&policy(), &exact)), (64 << 10, vec![]));
    let many = format!("FROM debian\n{}", "RUN x\n".repeat(1000));
    assert_eq!(refused(&policy(), &many), ["too-many-instructions"]);
}

#[test]
fn each_restriction_can_be_lifted() {
    for (feature, text) in [
        (Feature::MultipleStages, "FROM debian AS a\nFROM a\n"),
        (Feature::AnyBase, "FROM ubuntu\n"),
        (Feature::ComputedBase, "FROM $B\n"),
        (Feature::Platform, "FROM --platform=linux/arm64 debian\n"),
        (Feature::CopyHeredoc, "FROM debian\nCOPY <<EOF /a\nx\nEOF\n"),
        (Feature::Copy, "FROM debian\nCOPY a b\n"),
        (Feature::Add, "FROM debian\nADD a b\n"),
        (Feature::AnySyntax, "# syntax=x\nFROM debian\n"),
        (Feature::CheckErrors, "# check=error=true\nFROM debian\n"),
        (Feature::BindMount, "FROM debian\nRUN --mount=target=/a x\n"),
        (Feature::SecretMount, "FROM debian\nRUN --mount=type=secret,id=a x\n"),
        (Feature::SshMount, "FROM debian\nRUN --mount=type=ssh x\n"),
        (Feature::MountFrom, "FROM debian\nRUN --mount=type=cache,from=a,target=/a x\n"),
        (Feature::HostNetwork, "FROM debian\nRUN --network=host x\n"),
        (Feature::Insecure, "FROM debian\nRUN --security=insecure x\n"),
        (Feature::Devices, "FROM debian\nRUN --device=a x\n"),
        (Feature::Onbuild, "FROM debian\nONBUILD RUN x\n"),
    ] {
        assert_ne!(refused(&policy(), text), [""; 0], "{feature:?}");
        let mut loose = policy();
        loose.features.insert(feature);
        assert_eq!(refused(&loose, text), [""; 0], "{feature:?}");
    }
    let mut tight = policy();
    tight.features.clear();
    assert_eq!(refused(&tight, "FROM debian\nRUN --mount=type=cache,target=/a --network=none x\n").len(), 2);
    assert_eq!(refused(&tight, "# check=skip=all\nFROM debian\n"), ["check-not-allowed"]);
}

#[test]
fn triggers_are_held_to_the_policy_too() {
    let mut loose = policy();
    loose.features.extend([Feature::Onbuild, Feature::InheritedTriggers]);
    assert_eq!(refused(&loose, "FROM debian\nONBUILD COPY a b\n"), ["copy-not-available"]);
    let base =
        ImageConfig { on_build: vec!["RUN --security=insecure x".into(), "RUN y".into()], ..ImageConfig::default() };
    let parsed = parse("FROM debian\n", Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    let codes = |policy: &Policy| -> Vec<&'static str> {
        check(policy, &parsed, &typed.instructions, Some(&base)).iter().map(|one| one.code.name()).collect()
    };
    assert_eq!(codes(&policy()), ["inherited-trigger", "inherited-trigger"]);
    assert_eq!(codes(&loose), ["security-not-available"]);
}

#[test]
fn help_names_what_to_do_instead() {
    let help = |text: &str| {
        let parsed = parse(text, Mode::BuildKit);
        let typed = instruction::read(&parsed.dockerfile);
        let found = check(&policy(), &parsed, &typed.instructions, None);
        found.first().and_then(|one| one.help.clone()).expect("a help").into_owned()
    };
    assert!(help("FROM debian\nCOPY a /b\n").contains("RUN cat <<'EOF'"));
    assert!(help("FROM nodeops/sandbox:debain\n").contains("did you mean `nodeops/sandbox:debian`?"));
    assert!(help("FROM x\n").contains("`nodeops/sandbox:debian`"));
    assert!(help("FROM debian\nADD https://a.b/c /d\n").contains("curl -fsSL https://a.b/c"));
}
