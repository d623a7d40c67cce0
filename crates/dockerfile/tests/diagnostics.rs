//! The pages of `docs/diagnostics/` say what the table of codes says, and its examples are true.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dockerfile::Mode;
use dockerfile::analysis::{AnalysisOptions, analyze};
use dockerfile::config::ImageConfig;
use dockerfile::diagnostic::{Code, Diagnostic, Group};
use dockerfile::dockerignore::DockerIgnore;
use dockerfile::limits::Limits;
use dockerfile::policy::Policy;
use dockerfile::reference::Reference;
use dockerfile::render::page;
use dockerfile::source::Source;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics")
}

#[test]
fn pages_are_up_to_date() {
    let stale = "stale: run `cargo run -p dockerfile --example diagnostics-docs`";
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap_or_default();
    assert!(read("README.md") == page::index(), "the index is {stale}");
    for &code in Code::ALL {
        assert!(read(&format!("{code}.md")) == page::page(code), "the page of {code} is {stale}");
    }
    let mut there: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    there.remove("README.md");
    let meant: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(there, meant, "pages of codes that are gone are {stale}");
}

/// An example as the file it stands for.
struct Example {
    file: Vec<u8>,
    options: AnalysisOptions,
}

#[test]
fn every_bad_example_gives_its_code() {
    let mut wrong = Vec::new();
    for &code in Code::ALL {
        // A file over the size that the policy takes is not looked at further.
        let restricted = !matches!(code, Code::SourceTooLarge | Code::LineTooLong);
        let found = codes(&bad(code), Mode::Strict, restricted);
        if !found.contains(&code) {
            wrong.push(format!("{code}: its bad example gives {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_good_example_gives_its_code_or_is_refused_by_buildkit() {
    let mut wrong = Vec::new();
    for &code in Code::ALL {
        // Devices are for the experimental version only, which has its own code.
        if code == Code::InvalidDevice {
            continue;
        }
        let example = good(code);
        if codes(&example, Mode::Strict, true).contains(&code) {
            wrong.push(format!("{code}: its good example gives it"));
        }
        if let Some(error) = errors(&example, Mode::BuildKit).first() {
            wrong.push(format!("{code}: BuildKit refuses its good example: {}", error.message));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the groups say of BuildKit is true.
#[test]
fn buildkit_refuses_what_its_groups_say() {
    let mut wrong = Vec::new();
    for &code in Code::ALL {
        let errors = errors(&bad(code), Mode::BuildKit);
        let said = match code {
            // What follows a heredoc that is not recognised is hardly ever an instruction.
            Code::IgnoredHeredoc => true,
            // Here BuildKit has an objection too, in other words or only in its stable version.
            Code::MissingFrom | Code::DeviceNotAvailable => true,
            // Lints beside an error, in a build without build arguments.
            Code::UndefinedArgInFrom | Code::InvalidDefaultArgInFrom => true,
            // Too many problems are as bad as the first of them.
            Code::TooManyProblems => true,
            _ => matches!(code.group(), Group::Parse | Group::Instruction | Group::Convert),
        };
        if errors.is_empty() == said {
            wrong.push(format!("{code}: {:?}", errors.first().map(|error| &error.message)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn codes(example: &Example, mode: Mode, with_policy: bool) -> BTreeSet<Code> {
    found(example, mode, with_policy).into_iter().map(|one| one.code).collect()
}

fn errors(example: &Example, mode: Mode) -> Vec<Diagnostic> {
    found(example, mode, false).into_iter().filter(Diagnostic::is_error).collect()
}

fn found(example: &Example, mode: Mode, with_policy: bool) -> Vec<Diagnostic> {
    let allowed = |name| Reference::parse(name).expect("a reference");
    let allowed_bases = ["nodeops/sandbox:debian", "debian:12"].map(allowed).into();
    let policy = with_policy.then(|| Policy { allowed_bases, ..Policy::default() });
    let mut options = AnalysisOptions { mode, policy, ..example.options.clone() };
    if mode == Mode::BuildKit {
        options.convert.limits = Limits::reference();
    }
    analyze(&Source::decode(&example.file), &options).diagnostics
}

/// The bad example of a code. Those that are described in words are made here.
fn bad(code: Code) -> Example {
    let run = |times: usize| format!("FROM debian:12\n{}", "RUN a\n".repeat(times)).into_bytes();
    let mut options = AnalysisOptions::default();
    let file = match code {
        Code::SourceTooLarge => vec![b'#'; 70 << 20],
        Code::DockerfileTooLarge => format!("FROM debian:12\nRUN {}\n", "a \\\n".repeat(20 << 10)).into_bytes(),
        Code::TooManyInstructions => run(2000),
        Code::LineTooLong => format!("FROM debian:12\nRUN echo {}\n", "a".repeat(70_000)).into_bytes(),
        Code::InvalidUtf8 => b"FROM debian:12\nRUN echo caf\xe9\n".to_vec(),
        Code::NulByte => b"FROM debian:12\nRUN echo \0\n".to_vec(),
        Code::LimitReached => format!("FROM debian:12\nENV A=text\n{}", "ENV A=$A$A\n".repeat(40)).into_bytes(),
        Code::TooManyProblems => b"FROM debian:12\nif [ -e a ]; then\nfi\n".repeat(300),
        Code::InheritedTrigger => {
            let on_build = vec!["COPY . /app".to_owned()];
            options.base_config = Some(ImageConfig { on_build, ..ImageConfig::default() });
            b"FROM debian:12\n".to_vec()
        }
        _ => whole(code, code.page().bad),
    };
    options.convert.dockerignore = dockerignore(code);
    Example { file, options }
}

/// The good example of a code. Where it is only described, there is nothing to say but that a plain file is fine.
fn good(code: Code) -> Example {
    let text = code.page().good;
    let file = if text.starts_with('(') { b"FROM debian:12\n".to_vec() } else { whole(code, text) };
    let mut options = AnalysisOptions::default();
    options.convert.dockerignore = dockerignore(code);
    Example { file, options }
}

fn dockerignore(code: Code) -> Option<DockerIgnore> {
    (code == Code::CopyIgnoredFile).then(|| DockerIgnore::parse("tmp\n").expect("a pattern"))
}

/// An example with a base where it has none, and with the characters that it can only name.
fn whole(code: Code, text: &str) -> Vec<u8> {
    let text = text.replace("(CR)", "\r");
    let mut named = text.split("(U+");
    let mut text = named.next().unwrap_or_default().to_owned();
    for part in named {
        let (code_point, rest) = part.split_once(')').expect("a code point in brackets");
        let code_point = u32::from_str_radix(code_point, 16).expect("hexadecimal");
        text.push(char::from_u32(code_point).expect("a character"));
        text.push_str(rest);
    }
    let is_from = |line: &str| line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("FROM "));
    if text.lines().any(is_from) || matches!(code, Code::MissingFrom | Code::NoInstructions) {
        text.into_bytes()
    } else if text.starts_with("# syntax=") || text.starts_with("# check=") {
        format!("{text}\nFROM debian:12\n").into_bytes()
    } else {
        format!("FROM debian:12\n{text}").into_bytes()
    }
}
