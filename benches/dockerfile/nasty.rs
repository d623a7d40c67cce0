//! Files of 64 KiB that are made to be slow: each repeats what some stage does most work for.

use std::fmt::Write;

/// Length of each file, in bytes.
pub(crate) const BYTES: usize = 64 << 10;

/// A name and a file.
pub(crate) type Named = (&'static str, String);

/// All of them.
pub(crate) fn files() -> Vec<Named> {
    let mut files = lines();
    files.extend(words());
    files.extend(heredocs());
    files.extend(expansions());
    files.extend(stages());
    files.extend(options());
    files.extend(mistakes());
    files
}

/// `head`, then as many lines as fit; `line` is given their numbers.
fn repeated(head: &str, line: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let line = line(number);
        if text.len() + line.len() > BYTES {
            return text;
        }
        text.push_str(&line);
    }
    text
}

/// `head`, then as many pieces as fit, then `tail`.
fn filled(head: &str, tail: &str, piece: impl Fn(usize) -> String) -> String {
    let mut text = repeated(&format!("{tail}{head}"), piece).split_off(tail.len());
    text.push_str(tail);
    text
}

fn same(piece: &'static str) -> impl Fn(usize) -> String {
    move |_| piece.to_owned()
}

const FROM: &str = "FROM debian\n";

/// Many lines, long lines, joined lines.
fn lines() -> Vec<Named> {
    vec![
        ("blank-lines", repeated(FROM, same("\n"))),
        ("one-letter-lines", repeated("", same("a\n"))),
        ("comments", repeated(FROM, same("#\n"))),
        ("comments-before-one", repeated("", same("# a\n")) + FROM),
        ("directives", repeated("", |number| format!("# k{number}=v\n"))),
        ("carriage-returns", repeated(FROM, same("RUN a\r\r\r\r\n"))),
        ("one-long-line", filled("FROM debian\nRUN ", "\n", same("x"))),
        ("continued-lines", filled("FROM debian\nRUN a", "\n", same(" \\\nb"))),
        ("empty-continuations", filled("FROM debian\nRUN a \\\n", "b\n", same("\n"))),
        ("continuations-with-comments", filled("FROM debian\nRUN a \\\n", "b\n", same("#\n"))),
        ("backslashes", filled("FROM debian\nRUN ", "\n", same("\\"))),
        ("invalid-runs", repeated(FROM, same("RUN\n"))),
    ]
}

/// Many instructions and many words in one.
fn words() -> Vec<Named> {
    vec![
        ("short-runs", repeated(FROM, same("RUN a\n"))),
        ("workdirs", repeated(FROM, same("WORKDIR a\n"))),
        ("labels-in-one", filled("FROM debian\nLABEL", "\n", |number| format!(" l{number}=v"))),
        ("envs", repeated(FROM, |number| format!("ENV E{number}=v\n"))),
        ("envs-in-one", filled("FROM debian\nENV", "\n", |number| format!(" E{number}=v"))),
        ("args", repeated(FROM, |number| format!("ARG A{number}=v\n"))),
        ("envs-then-runs", env_then_runs()),
        ("copy-sources", filled("FROM debian\nCOPY", " /d/\n", |number| format!(" s{number}"))),
        ("copies", repeated(FROM, same("COPY a b\n"))),
        ("adds-from-afar", repeated(FROM, |number| format!("ADD http://a/{number} b\n"))),
        ("json-strings", filled("FROM debian\nCMD [\"a\"", "]\n", same(",\"b\""))),
        ("json-escapes", filled("FROM debian\nCMD [\"", "\"]\n", same("\\u0041"))),
        ("json-brackets", filled("FROM debian\nCMD ", "\n", same("["))),
        ("ports", filled("FROM debian\nEXPOSE", "\n", |number| format!(" {}", 1 + number % 65_535))),
        ("volumes", filled("FROM debian\nVOLUME", "\n", |number| format!(" /v{number}"))),
        ("exposes", repeated(FROM, |number| format!("EXPOSE {}/TCP\n", 1 + number % 65_535))),
        ("apt", repeated(FROM, same("RUN apt install a\n"))),
        ("apt-in-one", filled("FROM debian\nRUN a", "\n", same("&&apt install a"))),
    ]
}

fn env_then_runs() -> String {
    let mut head = FROM.to_owned();
    for number in 0..2_000 {
        writeln!(head, "ENV E{number}=v").expect("a String takes everything");
    }
    repeated(&head, same("RUN a\n"))
}

fn heredocs() -> Vec<Named> {
    vec![
        ("heredocs", repeated(FROM, same("RUN <<E\nE\n"))),
        ("heredocs-chomped", repeated(FROM, same("RUN <<-E\n\tE\n"))),
        ("heredocs-in-one", filled("FROM debian\nRUN", "\n", same(" <<E")) + "E\n"),
        ("heredocs-without-end", repeated(FROM, |number| format!("RUN <<E{number}\n"))),
        ("heredoc-of-variables", filled("FROM debian\nCOPY <<E /d\n", "\nE\n", same("$A"))),
        ("heredoc-lines", filled("FROM debian\nRUN <<E\n", "E\n", same("a\n"))),
    ]
}

fn expansions() -> Vec<Named> {
    vec![
        ("doubling", repeated(FROM, same("ENV A=$A$A\n"))),
        ("nested-defaults", filled("FROM debian\nENV A=", "\n", same("${B:-"))),
        ("undefined-variables", filled("FROM debian\nENV A=", "\n", |number| format!("$V{number}"))),
        ("undefined-in-runs", repeated(FROM, |number| format!("WORKDIR $V{number}\n"))),
        ("global-args", repeated("", |number| format!("ARG A{number}=$B{number}\n")) + FROM),
        ("global-args-and-undefined", global_args_and_undefined()),
        (
            "patterns",
            repeated(
                "FROM debian\nENV A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
                same("ENV B=${A%%*a*a*a*b}\n"),
            ),
        ),
        ("quotes", filled("FROM debian\nENV A=", "\n", same("\"'\"'"))),
    ]
}

fn global_args_and_undefined() -> String {
    let mut head = String::new();
    for number in 0..2_500 {
        writeln!(head, "ARG A{number}").expect("a String takes everything");
    }
    repeated(&head, |number| format!("FROM $X{number}\n"))
}

fn stages() -> Vec<Named> {
    vec![
        ("stages", repeated("", same("FROM a\n"))),
        ("stages-by-name", repeated("FROM a as s\n", |number| format!("FROM s as s{number}\n"))),
        ("stages-of-one-name", repeated("", same("FROM a AS b\n"))),
        ("copies-from-images", repeated(FROM, |number| format!("COPY --from=i{number} a b\n"))),
        ("stage-chain", stage_chain()),
        ("triggers", repeated(FROM, same("ONBUILD RUN a\n"))),
        ("mounts", repeated(FROM, |number| format!("RUN --mount=type=cache,target=/c{number} a\n"))),
        (
            "mounts-in-one",
            filled("FROM debian\nRUN", " a\n", |number| format!(" --mount=target=/m{number},from=i{number}")),
        ),
    ]
}

fn stage_chain() -> String {
    let head = "FROM a as s0\nENV A=b\nRUN a\n";
    repeated(head, |number| format!("FROM s{number} as s{}\nRUN a\n", number + 1))
}

fn options() -> Vec<Named> {
    vec![
        ("flags", filled("FROM debian\nRUN", " a\n", same(" --a=b"))),
        ("check-comments", repeated(FROM, same("# check=skip=all\nRUN a\n"))),
        ("healthchecks", repeated(FROM, same("HEALTHCHECK CMD a\n"))),
        ("users", repeated(FROM, same("USER a\n"))),
        ("shells", repeated(FROM, same("SHELL [\"a\"]\nRUN b\n"))),
    ]
}

fn mistakes() -> Vec<Named> {
    vec![
        ("unknown-instructions", repeated(FROM, same("RNU a\n"))),
        ("lost-continuations", repeated(FROM, same("&& a\n"))),
        ("json-mistakes", repeated(FROM, same("CMD ['a']\n"))),
        ("mount-mistakes", repeated(FROM, same("RUN --mount=type=cach a\n"))),
        ("bad-ports", filled("FROM debian\nEXPOSE", "\n", same(" 99999"))),
        ("non-ascii-blanks", filled("FROM debian\nRUN ", "a\n", same("\u{a0}"))),
        ("bidirectional", repeated(FROM, same("RUN \u{202e}\n"))),
    ]
}
