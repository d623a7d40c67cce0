//! The tables of the guide are those of the code. `DRYDOCK_BLESS=1` writes the ones that are made from it anew.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    let path = workspace().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs the binary, with `input` as its standard input, and gives its standard output.
fn drydock(args: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock"));
    command.args(args).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
}

/// Holds what stands between the markers of `name` in a page against `made`.
fn made_part(page: &str, name: &str, made: &str) {
    let text = read(page);
    let [begin, end] = ["", "/"].map(|slash| format!("<!-- {slash}made: {name} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no {begin}"));
    let (kept, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
    if std::env::var_os("DRYDOCK_BLESS").is_some() {
        std::fs::write(workspace().join(page), format!("{before}{begin}{made}{end}{after}")).expect("it is written");
    } else {
        assert!(kept == made, "'{name}' in {page} is not what the code says; run this test with DRYDOCK_BLESS=1");
    }
}

#[test]
fn the_configuration_is_what_serve_prints() {
    let printed = drydock(&["serve", "--print-config"], "");
    made_part("docs/guide/operating.md", "configuration", &format!("```toml\n{printed}```\n"));
}

#[test]
fn every_command_is_in_the_guide() {
    let guide = read("docs/guide/command-line.md");
    let mut missing = Vec::new();
    for command in commands(&["drydock"]) {
        if !guide.contains(&format!("`{command}`")) {
            missing.push(command);
        }
    }
    assert!(missing.is_empty(), "docs/guide/command-line.md lacks {missing:?}");
}

/// Every command below `path` that has no commands below it, by what `--help` says.
fn commands(path: &[&str]) -> Vec<String> {
    let help = drydock(&[&path[1..], &["--help"]].concat(), "");
    let Some((_, list)) = help.split_once("Commands:\n") else { return vec![path.join(" ")] };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then_some(name)
    });
    names.flat_map(|name| commands(&[path, &[name]].concat())).collect()
}

#[test]
fn what_the_table_of_instructions_says_is_what_check_says() {
    let page = read("docs/guide/dockerfile.md");
    let (mut keywords, mut problems) = (BTreeSet::new(), Vec::new());
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (example, rest) = row.split_once("` | ").expect("a row is an example, an answer and a remark");
        let (answer, _) = rest.split_once(" |").expect("a row is an example, an answer and a remark");
        let expected = answer.strip_prefix('[').and_then(|link| link.split_once(']')).map(|(code, _)| code);
        let text = if example.starts_with("FROM") || example.starts_with('#') {
            format!("{example}\nRUN true\n").replace("# escape=`\n", "# escape=`\nFROM nodeops/sandbox:debian\n")
        } else {
            format!("FROM nodeops/sandbox:debian\n{example}\n")
        };
        let text = text.replace('⏎', "\n");
        let said: Value = serde_json::from_str(&drydock(&["check", "-", "--format", "json"], &text)).expect("JSON");
        let found = said["diagnostics"].as_array().expect("a list");
        let errors: Vec<&str> =
            found.iter().filter(|one| one["severity"] == "error").filter_map(|one| one["code"].as_str()).collect();
        match expected {
            None if answer != "yes" => problems.push(format!("{example}: '{answer}' is neither yes nor a link")),
            None if !errors.is_empty() => problems.push(format!("{example}: refused with {errors:?}")),
            Some(code) if !errors.contains(&code) => problems.push(format!("{example}: {errors:?}, not {code}")),
            _ => {}
        }
        keywords.insert(example.split(' ').next().unwrap_or_default().to_lowercase());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for keyword in keywords_of_the_parser() {
        assert!(keywords.contains(&keyword), "the table has no {keyword}");
    }
}

fn keywords_of_the_parser() -> Vec<String> {
    let source = read("crates/dockerfile/src/ast.rs");
    let (_, list) = source.split_once("pub enum Keyword {\n").expect("the list of instructions");
    let (list, _) = list.split_once('}').expect("its end");
    let words: Vec<String> = list
        .lines()
        .map(|line| line.trim().trim_end_matches(',').to_lowercase())
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(words.len(), 18, "{words:?}");
    words
}

#[test]
fn the_limits_are_those_of_the_code() {
    let policy = dockerfile::policy::Policy::default();
    let (config, steps) = (templates::Config::new("data"), drydock::StepLimits::default());
    let structures: [(&str, &str, &str, &dyn Debug); 6] = [
        ("A Dockerfile, by the rules of the service", "crates/dockerfile/src/policy.rs", "Policy", &policy),
        ("A Dockerfile, while it is expanded", "crates/dockerfile/src/limits.rs", "Limits", &policy.limits),
        ("A layer, or a tar", "crates/fstree/src/limits.rs", "Limits", &fstree::Limits::default()),
        ("An image", "crates/ocilayers/src/limits.rs", "Limits", &ocilayers::Limits::default()),
        ("A RUN step", "crates/buildengine/src/limits.rs", "Limits", &steps),
        ("The service", "crates/templates/src/config.rs", "Config", &config),
    ];
    let mut made = String::new();
    for (title, file, name, values) in structures {
        let values = fields(values);
        write!(made, "\n### {title}\n\n| [`{name}`](../../{file}) | default | |\n|---|---|---|\n").expect("a text");
        for (field, meaning) in documented(&read(file), &format!("pub struct {name} {{")) {
            let value = values.iter().find(|(name, _)| *name == field).map(|(_, value)| shown(&field, value));
            if let Some(Some(value)) = value {
                writeln!(made, "| `{field}` | {value} | {meaning} |").expect("a text");
            }
        }
    }
    made += "\n### Fixed\n\n| | | |\n|---|---|---|\n";
    for (file, name) in FIXED {
        let (value, meaning) =
            constant(&read(file), name).unwrap_or_else(|| panic!("{file} has no {name} with a meaning"));
        writeln!(made, "| [`{name}`](../../{file}) | {value} | {meaning} |").expect("a text");
    }
    made_part("docs/guide/limits.md", "limits", &(made + "\n"));
}

/// What nobody can set.
const FIXED: [(&str, &str); 19] = [
    ("crates/server/src/listen.rs", "CONNECTIONS_MAX"),
    ("crates/server/src/listen.rs", "HEAD_TIMEOUT"),
    ("crates/server/src/listen.rs", "HEAD_BYTES_MAX"),
    ("crates/server/src/listen.rs", "UNREAD_TIMEOUT"),
    ("crates/server/src/listen.rs", "CLOSE_TIMEOUT"),
    ("crates/server/src/router.rs", "BODY_BYTES_MAX"),
    ("crates/server/src/router.rs", "REQUEST_TIMEOUT"),
    ("crates/server/src/lib.rs", "DRY_RUNS_MAX"),
    ("crates/server/src/routes/templates.rs", "DRY_RUN_TIMEOUT"),
    ("crates/server/src/routes/templates.rs", "LIMIT_MAX"),
    ("crates/server/src/routes/templates.rs", "KEY_BYTES_MAX"),
    ("crates/templates/src/service.rs", "IDEMPOTENCY_KEPT"),
    ("crates/templates/src/log.rs", "LINE_BYTES_MAX"),
    ("crates/buildengine/src/sandbox/network/rules.rs", "CONNECTIONS_MAX"),
    ("crates/buildengine/src/cache/store.rs", "FILES_MAX"),
    ("crates/buildengine/src/cache/space.rs", "DEPTH_MAX"),
    ("crates/dockerfile/src/limits.rs", "INSTRUCTIONS_MAX"),
    ("crates/dockerfile/src/limits.rs", "WORDS_MAX"),
    ("crates/ocilayers/src/registry/client.rs", "REDIRECTS_MAX"),
];

/// Names and values of the fields of a structure, by its `Debug`.
fn fields(value: &dyn Debug) -> Vec<(String, String)> {
    let text = format!("{value:#?}");
    let lines = text.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    lines
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The fields below `head` and the first sentence about each.
fn documented(source: &str, head: &str) -> Vec<(String, String)> {
    let (_, body) = source.split_once(head).unwrap_or_else(|| panic!("there is no {head}"));
    let (body, _) = body.split_once("\n}").expect("its end");
    let (mut found, mut comment) = (Vec::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = format!("{comment} {text}");
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
            found.push((name.to_owned(), meaning(&std::mem::take(&mut comment))));
        }
    }
    found
}

/// A comment without what it says of the default, which stands beside it.
fn meaning(comment: &str) -> String {
    let end = [" Default", ", or `None`"].iter().filter_map(|word| comment.find(word)).min().unwrap_or(comment.len());
    comment[..end].trim().trim_end_matches('.').replace("[`Self::", "`").replace("`]", "`")
}

/// A value for people; none where it is no number.
fn shown(field: &str, value: &str) -> Option<String> {
    if value == "None" {
        return (field.contains("bytes") || field.contains("operations")).then(|| "none".to_owned());
    }
    let Ok(number) = value.parse::<u64>() else {
        return value
            .ends_with('s')
            .then(|| value.trim_end_matches(".0s").trim_end_matches('s').parse::<u64>().ok())
            .flatten()
            .map(|seconds| format!("{seconds} s"));
    };
    Some(if field.to_lowercase().contains("bytes") { bytes(number) } else { grouped(number) })
}

fn bytes(number: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| number >= 1 << shift && number.trailing_zeros() >= *shift);
    unit.map_or_else(|| grouped(number), |(shift, name)| format!("{} {name}", number >> shift))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// The value of a constant and the comment above it.
fn constant(source: &str, name: &str) -> Option<(String, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let at = lines.iter().position(|line| line.contains(&format!("const {name}: ")))?;
    let begin = lines[..at].iter().rposition(|line| !line.starts_with("///"))? + 1;
    let comment: String = lines[begin..at].iter().map(|line| line.trim_start_matches("///")).collect();
    let (_, value) = lines[at].trim_end_matches(';').split_once(" = ")?;
    let seconds = value.strip_prefix("Duration::from_secs(").and_then(|rest| rest.strip_suffix(')'));
    let number = product(seconds.unwrap_or(value))?;
    let value = match seconds {
        Some(_) => format!("{} s", grouped(number)),
        None => shown(name, &number.to_string())?,
    };
    (!comment.is_empty()).then(|| (value, meaning(&comment)))
}

/// A number, or two joined by `<<` or `*`.
fn product(text: &str) -> Option<u64> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    if let Some((left, right)) = text.split_once("<<") {
        return Some(number(left)? << number(right)?);
    }
    text.split('*').map(number).try_fold(1, |product, factor| Some(product * factor?))
}
