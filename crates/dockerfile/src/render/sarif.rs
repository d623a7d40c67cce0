//! The form that code hosts and editors read: SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Place, Report, cut};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::source::LineIndex;
use crate::span::Span;

/// A log file (section 3.13), ready to be serialised.
#[derive(Clone, Debug, Serialize)]
pub struct SarifLog {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<SarifResult>,
    /// Not a part of the standard's vocabulary: its bag of extras (section 3.8).
    properties: RunProperties,
}

#[derive(Clone, Debug, Serialize)]
struct RunProperties {
    omitted: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    full_description: Message,
    help: Message,
    /// The standard wants an absolute address here, so a relative one is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    default_configuration: Configuration,
}

#[derive(Clone, Debug, Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Fix>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Clone, Debug, Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fix {
    description: Message,
    artifact_changes: [ArtifactChange; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactChange {
    artifact_location: ArtifactLocation,
    replacements: Vec<Replacement>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement {
    deleted_region: Region,
    inserted_content: Message,
}

/// A report on the way to a log.
struct Writer<'a> {
    report: &'a Report<'a>,
    index: LineIndex<'a>,
    uri: String,
    rules: Vec<Code>,
}

pub(super) fn log(report: &Report<'_>) -> SarifLog {
    let codes: BTreeSet<Code> = report.shown().iter().map(|one| one.code).collect();
    let writer = Writer {
        report,
        index: LineIndex::new(report.source),
        uri: uri(report.file),
        rules: codes.into_iter().collect(),
    };
    let driver = Driver {
        name: "drydock",
        semantic_version: env!("CARGO_PKG_VERSION"),
        rules: writer.rules.iter().map(|&code| writer.rule(code)).collect(),
    };
    SarifLog {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver },
            column_kind: "unicodeCodePoints",
            results: report.shown().iter().map(|one| writer.result(one)).collect(),
            properties: RunProperties { omitted: report.omitted() },
        }],
    }
}

impl Writer<'_> {
    fn rule(&self, code: Code) -> Rule {
        let page = code.page();
        let url = self.report.url(code);
        Rule {
            id: page.name,
            short_description: message(page.title),
            full_description: message(page.what),
            help: message(page.why),
            help_uri: url.contains("://").then_some(url),
            default_configuration: Configuration { level: level(page.severity) },
        }
    }

    fn result(&self, one: &Diagnostic) -> SarifResult {
        let text = match &one.help {
            Some(help) => format!("{}\n{}", cut(&one.message), cut(help)),
            None => cut(&one.message),
        };
        SarifResult {
            rule_id: one.code.name(),
            rule_index: self.rules.binary_search(&one.code).unwrap_or_default(),
            level: level(one.severity),
            message: message(&text),
            locations: [self.location(one.span, None)],
            related_locations: one.labels.iter().map(|label| self.location(label.span, Some(&label.message))).collect(),
            fixes: self.fix(one).into_iter().collect(),
        }
    }

    fn location(&self, span: Span, text: Option<&str>) -> Location {
        Location {
            physical_location: PhysicalLocation { artifact_location: self.artifact(), region: self.region(span) },
            message: text.map(|text| message(&cut(text))),
        }
    }

    fn artifact(&self) -> ArtifactLocation {
        ArtifactLocation { uri: self.uri.clone() }
    }

    fn region(&self, span: Span) -> Region {
        let Place { line, column, end_line, end_column } = Place::of(&self.index, span);
        Region { start_line: line, start_column: column, end_line, end_column }
    }

    fn fix(&self, one: &Diagnostic) -> Option<Fix> {
        if one.fix.is_empty() {
            return None;
        }
        let replacement = |edit: &crate::diagnostic::Edit| Replacement {
            deleted_region: self.region(edit.span),
            inserted_content: message(&edit.replacement),
        };
        Some(Fix {
            description: message(&cut(one.help.as_deref().unwrap_or(&one.message))),
            artifact_changes: [ArtifactChange {
                artifact_location: self.artifact(),
                replacements: one.fix.iter().map(replacement).collect(),
            }],
        })
    }
}

fn message(text: &str) -> Message {
    Message { text: text.to_owned() }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A file name as a relative or absolute URI reference (RFC 3986): everything but unreserved characters and `/` is escaped.
fn uri(file: &str) -> String {
    let mut uri = String::with_capacity(file.len());
    for byte in file.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(byte)),
            // Writing to a string never fails.
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}
