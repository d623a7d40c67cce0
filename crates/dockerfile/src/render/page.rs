//! The pages of `docs/diagnostics/`, in Markdown: one for each code, and an index. The table of codes is their source.

use std::fmt::Write as _;

use crate::diagnostic::{Code, Group, Severity};

/// The page of a code.
#[must_use]
pub fn page(code: Code) -> String {
    let page = code.page();
    format!(
        "# {name}\n\n{severity}, {group}: {title}.\n\n{what}\n\n## Why\n\n{why}\n\n## Bad\n\n{bad}\n## Good\n\n{good}",
        name = page.name,
        severity = severity(page.severity),
        group = group(page.group).0,
        title = page.title,
        what = page.what,
        why = page.why,
        bad = example(page.bad),
        good = example(page.good),
    )
}

/// The index: every code by group, in the order of the table.
#[must_use]
pub fn index() -> String {
    let mut text = "# Diagnostics\n\nMade from the table of codes (`crates/dockerfile/src/code.rs`) by \
                    `cargo run -p dockerfile --example diagnostics-docs`; edit the table, not these pages.\n"
        .to_owned();
    let groups = [Group::Parse, Group::Instruction, Group::Convert, Group::Strict, Group::Policy, Group::Lint];
    for one in groups {
        let (name, about) = group(one);
        // Writing to a string never fails.
        let _ = write!(text, "\n## {name}\n\n{about}\n\n| code | |\n|---|---|\n");
        for code in Code::ALL.iter().filter(|code| code.group() == one) {
            let _ = writeln!(text, "| [{0}]({0}.md) | {1} |", code.name(), code.page().title);
        }
    }
    text
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    }
}

/// Name and description of a group.
fn group(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Parse => {
            ("syntax", "The text cannot be read as instructions. BuildKit refuses the file while it parses it.")
        }
        Group::Instruction => {
            ("instructions", "An instruction is not what its grammar asks for. BuildKit refuses the file too.")
        }
        Group::Convert => {
            ("conversion", "A value is wrong once variables are expanded. BuildKit refuses the file before it builds.")
        }
        Group::Strict => {
            ("strict subset", "BuildKit accepts the file but does something nobody means; strict mode refuses it.")
        }
        Group::Policy => ("policy", "BuildKit accepts the file; the service restricts what a template may do."),
        Group::Lint => {
            ("advice", "Warnings never refuse a file. `# check=skip=NAME` at the top of the file switches one off.")
        }
    }
}

/// A Dockerfile in a fence, or a description in its own words: those stand in brackets.
fn example(text: &str) -> String {
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(description) if !description.contains(['(', '\n']) => format!("({description})\n"),
        _ => format!("```dockerfile\n{text}\n```\n"),
    }
}
