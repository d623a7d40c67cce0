//! The shapes of arguments: JSON, words, pairs, or the whole text (`frontend/dockerfile/parser/line_parsers.go`).

use std::borrow::Cow;
use std::ops::Range;

use crate::ast::Keyword;
use crate::diagnostic::{Code, Diagnostic};
use crate::goformat::quote;
use crate::json::{self, Fault};
use crate::lines::{self, LogicalLine};
use crate::span::Text;

/// What a shape gives.
#[derive(Debug, Default)]
pub(super) struct Args<'a> {
    pub(super) args: Vec<Text<'a>>,
    pub(super) json: bool,
}

impl<'a> Args<'a> {
    fn plain(args: Vec<Text<'a>>) -> Self {
        Self { args, json: false }
    }
}

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// Reads the arguments `line[rest]` of an instruction of this kind.
pub(super) fn read<'a>(
    kind: Option<Keyword>,
    line: &LogicalLine<'a>,
    rest: Range<usize>,
    escape: char,
) -> Result<Args<'a>> {
    if !line.text.is_char_boundary(rest.start) {
        return read_broken(kind, line, rest, escape);
    }
    let shape = Shape { line, start: rest.start, end: rest.end, escape };
    match kind {
        None => Ok(Args::plain(vec![line.part(rest.end, rest.end)])),
        Some(kind) => shape.read(kind),
    }
}

/// Reads arguments that begin inside a character, where a flag ended: what is left of that is not text, so the rest is read
/// as a line of its own, and its places are those of the whole.
fn read_broken<'a>(
    kind: Option<Keyword>,
    line: &LogicalLine<'a>,
    rest: Range<usize>,
    escape: char,
) -> Result<Args<'a>> {
    let Text { value, span } = line.broken_part(rest.start, rest.end);
    let line = LogicalLine::new(&value, 0, value.len(), &[]);
    let read = read(kind, &line, 0..value.len(), escape).map_err(|mut found| {
        found.span = span;
        found.labels.clear();
        found.fix.clear();
        found
    })?;
    let owned = |arg: Text<'_>| Text { value: Cow::Owned(arg.value.into_owned()), span };
    Ok(Args { args: read.args.into_iter().map(owned).collect(), json: read.json })
}

/// The text to read: `line[start..end]`, trimmed.
struct Shape<'l, 'a> {
    line: &'l LogicalLine<'a>,
    start: usize,
    end: usize,
    escape: char,
}

impl<'a> Shape<'_, 'a> {
    fn read(&self, kind: Keyword) -> Result<Args<'a>> {
        match kind {
            Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Shell => self.json_or_text(self.start),
            Keyword::Add | Keyword::Copy | Keyword::Volume => self.json_or_words(),
            Keyword::From | Keyword::Expose => Ok(Args::plain(self.words())),
            Keyword::Env | Keyword::Label => self.pairs(kind).map(Args::plain),
            Keyword::Arg => Ok(Args::plain(self.quoted_words())),
            Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir => {
                Ok(Args::plain(self.text(self.start)))
            }
            Keyword::Healthcheck => self.healthcheck(),
            // The caller takes the triggers apart.
            Keyword::Onbuild => Ok(Args::default()),
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Everything from `start`, unless that is nothing.
    fn text(&self, start: usize) -> Vec<Text<'a>> {
        if start == self.end { Vec::new() } else { vec![self.line.part(start, self.end)] }
    }

    fn words(&self) -> Vec<Text<'a>> {
        lines::words(&self.line.text, self.start, self.end).map(|(start, end)| self.line.part(start, end)).collect()
    }

    /// The elements of the JSON array at `start`; `None` when it is no valid array.
    fn json(&self, start: usize) -> Result<Option<Args<'a>>> {
        let text = &self.line.text[start..self.end];
        let elements = match json::array_of_strings(text) {
            Ok(elements) => elements,
            Err(Fault::NotAnArray | Fault::Invalid(_)) => return Ok(None),
            Err(Fault::NotStrings(at)) => return Err(Box::new(self.not_strings(start + at))),
        };
        let args = elements.into_iter().map(|one| {
            let part = self.line.part(start + one.start, start + one.end);
            match one.value {
                Cow::Borrowed(_) => part,
                Cow::Owned(value) => Text { value: Cow::Owned(value), span: part.span },
            }
        });
        Ok(Some(Args { args: args.collect(), json: true }))
    }

    fn not_strings(&self, at: usize) -> Diagnostic {
        let text = &self.line.text[at..self.end];
        let scalar = text.find([',', ']', ' ', '\t']).unwrap_or(text.len());
        let scalar = if text.starts_with(['[', '{']) { 1 } else { scalar.max(1) };
        let span = self.line.pieces.span(at..at + scalar);
        let found = Diagnostic::new(Code::JsonNotStrings, span, "the array may hold strings only")
            .buildkit("when using JSON array syntax, arrays must be comprised of strings only");
        if text.starts_with(['[', '{']) {
            return found.help("write one flat array of strings, such as [\"program\", \"argument\"]");
        }
        let quoted = format!("\"{}\"", &text[..scalar]);
        found.help(format!("put it in double quotes: {quoted}")).fix(span, quoted)
    }

    fn json_or_text(&self, start: usize) -> Result<Args<'a>> {
        if start == self.end {
            return Ok(Args::default());
        }
        Ok(self.json(start)?.unwrap_or_else(|| Args::plain(self.text(start))))
    }

    fn json_or_words(&self) -> Result<Args<'a>> {
        Ok(self.json(self.start)?.unwrap_or_else(|| Args::plain(self.words())))
    }

    /// A first word, then JSON or text. Blanks are found by bytes, as in BuildKit.
    fn healthcheck(&self) -> Result<Args<'a>> {
        let raw = self.line.raw();
        let bytes = &raw.bytes[..raw.raw_offset(self.end)];
        let find = |from: usize, space: bool| {
            let from = raw.raw_offset(from);
            let found = bytes[from..].iter().position(|&byte| lines::is_latin1_space(byte) == space);
            found.map_or(self.end, |at| raw.text_offset(from + at))
        };
        let word_end = find(self.start, true);
        if word_end == self.start {
            return Ok(Args::default());
        }
        let command = find(word_end, false);
        let word = self.line.broken_part(self.start, word_end);
        let mut read = if self.line.text.is_char_boundary(command) {
            self.json_or_text(command)?
        } else {
            Args::plain(vec![self.line.broken_part(command, self.end)])
        };
        read.args.insert(0, word);
        Ok(read)
    }

    /// Words that keep their quotes and escapes: a quoted blank does not separate.
    fn quoted_words(&self) -> Vec<Text<'a>> {
        let text = &self.line.text[..self.end];
        let mut words = Vec::new();
        let mut at = self.start;
        while let Some(skip) = text[at..].find(|ch: char| !ch.is_whitespace()) {
            let (start, word) = (at + skip, Word::scan(text, at + skip, self.escape));
            if word.value_end > start {
                words.push(self.line.part(start, word.value_end));
            }
            at = word.end;
        }
        words
    }

    fn pairs(&self, kind: Keyword) -> Result<Vec<Text<'a>>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let words = self.quoted_words();
        let Some(first) = words.first() else { return Ok(Vec::new()) };
        if !first.value.contains('=') {
            return self.legacy_pair(kind);
        }
        let mut args = Vec::with_capacity(words.len() * 3);
        for word in &words {
            let Some(at) = word.value.find('=') else { return Err(Box::new(Self::no_equals(&words, word))) };
            args.push(part_of(word, 0..at));
            args.push(part_of(word, at + 1..word.value.len()));
            args.push(part_of(word, at..at + 1));
        }
        Ok(args)
    }

    /// `KEY value`: the value is everything after the first blanks.
    fn legacy_pair(&self, kind: Keyword) -> Result<Vec<Text<'a>>> {
        let (start, end) = lines::words(&self.line.text, self.start, self.end).next().unwrap_or((self.start, self.end));
        let rest = &self.line.text.as_bytes()[end..self.end];
        let Some(skip) = rest.iter().position(|&byte| !lines::is_blank(byte)) else {
            return Err(Box::new(self.no_value(kind)));
        };
        let empty = self.line.part(end, end);
        Ok(vec![self.line.part(start, end), self.line.part(end + skip, self.end), empty])
    }

    fn no_value(&self, kind: Keyword) -> Diagnostic {
        let span = self.line.pieces.span(self.start..self.end);
        let name = &self.line.text[self.start..self.end];
        let message = format!("`{name}` has no value");
        let buildkit = format!("{kind} must have two arguments");
        let found = Diagnostic::new(Code::MissingValue, span, message).buildkit(buildkit);
        if kind == Keyword::Env {
            return found
                .help(format!("write `{name}=` for an empty value, or `ARG {name}` to declare a build argument"));
        }
        found.help(format!("write `{name}=` for an empty value"))
    }

    fn no_equals(words: &[Text<'a>], word: &Text<'a>) -> Diagnostic {
        let text = word.value.as_ref();
        let buildkit = format!("Syntax error - can't find = in {}. Must be of the form: name=value", quote(text));
        let found = Diagnostic::new(Code::MissingEquals, word.span, format!("`{text}` has no `=`")).buildkit(buildkit);
        if text.starts_with('#') {
            let help = "a `#` starts a comment only at the start of a line: move the comment to its own line";
            return found.help(help);
        }
        if text == "=" || words.iter().any(|word| word.value.starts_with('=')) {
            return found.help("write `name=value` without blanks around the `=`");
        }
        let before = words.iter().take_while(|other| other.span != word.span).last();
        match before {
            Some(before) => {
                let (name, value) = before.value.split_once('=').unwrap_or((before.value.as_ref(), "..."));
                let value = value.trim_matches(['"', '\'']);
                found.help(format!("a value with blanks needs double quotes: `{name}=\"{value} {text}\"`"))
            }
            None => found.help("write `name=value`"),
        }
    }
}

/// A part of a word, with its own place where that is known.
fn part_of<'a>(word: &Text<'a>, range: Range<usize>) -> Text<'a> {
    let span = word.slice_span(range.clone());
    let value = match &word.value {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    };
    Text { value, span }
}

/// A word of the quote-aware scan.
struct Word {
    /// Where the scan goes on.
    end: usize,
    /// Where the word's value ends: before an escape character at the very end of the text.
    value_end: usize,
}

impl Word {
    fn scan(text: &str, start: usize, escape: char) -> Self {
        let mut quote = None;
        let mut chars = text[start..].char_indices();
        while let Some((at, ch)) = chars.next() {
            match quote {
                None if ch.is_whitespace() => return Self { end: start + at, value_end: start + at },
                None if matches!(ch, '\'' | '"') => quote = Some(ch),
                Some(open) if ch == open => quote = None,
                // An escape protects the next character; at the very end it is dropped.
                _ if ch == escape && quote != Some('\'') && chars.next().is_none() => {
                    return Self { end: text.len(), value_end: start + at };
                }
                _ => {}
            }
        }
        Self { end: text.len(), value_end: text.len() }
    }
}
