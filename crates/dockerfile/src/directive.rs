//! Parser directives: `# name=value` lines at the top of a file, and which frontend `# syntax=` asks for.
//!
//! BuildKit has two readings (`frontend/dockerfile/parser/directives.go`). The parser's own (`DirectiveReader`) goes line by
//! line. [`detect_syntax`] runs before parsing and decides which image is started to read the file; it skips a `#!` line
//! and knows two more notations, so a check of the parser's reading alone could be bypassed.

use crate::ast::DirectiveName;
use crate::json;
use crate::lines::trim_line_end;
use crate::span::{Span, to_u32};

/// Reads directives until the first line that is none.
#[derive(Clone, Debug)]
pub(crate) struct DirectiveReader {
    prefix: &'static str,
    seen: [bool; 3],
    done: bool,
}

/// What a line is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// No directive, nor will a later line be one.
    Nothing,
    /// A directive and its value, a part of the line.
    Directive(DirectiveName, &'a str),
    /// A directive that was there before.
    Duplicate(DirectiveName),
}

impl DirectiveReader {
    pub(crate) fn new(prefix: &'static str) -> Self {
        Self { prefix, seen: [false; 3], done: false }
    }

    /// Looks at the next line, given without its line end.
    pub(crate) fn line<'a>(&mut self, line: &'a str) -> Found<'a> {
        let found = if self.done { None } else { line.strip_prefix(self.prefix).and_then(split) };
        let Some((name, value)) = found else {
            self.done = true;
            return Found::Nothing;
        };
        let seen = &mut self.seen[name.index()];
        if std::mem::replace(seen, true) { Found::Duplicate(name) } else { Found::Directive(name, value) }
    }
}

impl DirectiveName {
    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Syntax => 0,
            Self::Escape => 1,
            Self::Check => 2,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Syntax, Self::Escape, Self::Check].into_iter().find(|one| one.name().eq_ignore_ascii_case(word))
    }
}

/// Splits ` name = value `; the value must not be empty. An unknown name is no directive.
pub(crate) fn split(text: &str) -> Option<(DirectiveName, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = DirectiveName::from_word(name.trim_start().trim_end_matches(is_regex_space))?;
    let trimmed = value.trim_matches(is_regex_space);
    if !trimmed.is_empty() {
        return Some((name, trimmed));
    }
    // `=\s*(.+?)\s*$` needs one character and takes the last blank when there is nothing else.
    let last = value.char_indices().next_back()?;
    Some((name, &value[last.0..]))
}

/// `\s` of RE2.
fn is_regex_space(ch: char) -> bool {
    matches!(ch, '\t' | '\n' | '\x0C' | '\r' | ' ')
}

/// The frontend a file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax<'a> {
    /// The image reference.
    pub image: &'a str,
    /// Place of the reference, or of the whole file for the JSON notation.
    pub span: Span,
}

/// The image BuildKit would fetch and run to read this file, if the file asks for one.
///
/// Knows all of BuildKit's notations: `# syntax=`, `// syntax=` and a JSON object with a `syntax` string, each also after a first line
/// that starts with `#!`.
#[must_use]
pub fn detect_syntax(text: &str) -> Option<Syntax<'_>> {
    let body = after_shebang(text);
    let at = text.len() - body.len();
    let notation = |prefix| top_directive(body, prefix, DirectiveName::Syntax).map(|value| (value, at));
    if let Some((value, at)) = notation("#").or_else(|| notation("//")) {
        let start = at + (value.as_ptr().addr() - body.as_ptr().addr());
        let image = value.split(' ').next().unwrap_or_default();
        return Some(Syntax { image, span: Span::new(to_u32(start), to_u32(start + image.len())) });
    }
    let image = json::object_string(body, "syntax")?;
    let start = at + (image.as_ptr().addr() - body.as_ptr().addr());
    Some(Syntax { image, span: Span::new(to_u32(start), to_u32(start + image.len())) })
}

/// The options of `# check=` as BuildKit's linter finds them: also after a first line that starts with `#!`.
#[must_use]
pub fn detect_check(text: &str) -> Option<&str> {
    top_directive(after_shebang(text), "#", DirectiveName::Check)
}

fn after_shebang(text: &str) -> &str {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    match text.strip_prefix("#!") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, body)| body),
        None => text,
    }
}

/// The value of the directive `name` at the top of `text`; a duplicate ends the search.
fn top_directive<'a>(text: &'a str, prefix: &'static str, name: DirectiveName) -> Option<&'a str> {
    let mut reader = DirectiveReader::new(prefix);
    for line in text.split('\n') {
        // The scanner of this reading removes one CR, the expression's `\s*$` any others.
        match reader.line(trim_line_end(line)) {
            Found::Directive(found, value) if found == name => return Some(value),
            Found::Directive(..) => {}
            Found::Nothing | Found::Duplicate(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations_of_syntax_are_all_seen() {
        for (text, want) in [
            ("# syntax=a/b:1\nFROM x", Some("a/b:1")),
            ("#syntax = a/b --flag\nFROM x", Some("a/b")),
            ("#!/bin/sh\n# syntax=evil\nFROM x", Some("evil")),
            ("\u{FEFF}# syntax=a\n", Some("a")),
            ("// syntax=evil\n", Some("evil")),
            ("#!x\n//SYNTAX=evil\n", Some("evil")),
            ("{\"a\":[1,{\"syntax\":\"no\"}],\"syntax\":\"evil\"}", Some("evil")),
            ("# escape=`\n# syntax=evil\n", Some("evil")),
            ("# check=skip=all\r\n# syntax=evil\r\n", Some("evil")),
            ("\n# syntax=a\n", None),
            (" # syntax=a\n", None),
            ("# foo=bar\n# syntax=a\n", None),
            ("FROM x\n", None),
            ("", None),
            ("#!", None),
        ] {
            assert_eq!(detect_syntax(text).map(|syntax| syntax.image), want, "{text:?}");
        }
    }

    #[test]
    fn a_value_of_blanks_is_the_last_blank() {
        assert_eq!(split(" escape=  "), Some((DirectiveName::Escape, " ")));
        assert_eq!(split(" escape="), None);
        assert_eq!(split("x escape=a"), None);
    }
}
