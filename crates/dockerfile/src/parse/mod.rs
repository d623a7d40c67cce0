//! Text to syntax tree: BuildKit's first stage (`frontend/dockerfile/parser/parser.go`), with recovery.
//!
//! BuildKit stops at the first error; here the parser notes it and goes on with the next instruction. Nothing recurses, and each
//! byte is looked at a bounded number of times.

mod args;
mod body;

use std::borrow::Cow;
use std::ops::Range;

use crate::ast::{Directive, DirectiveName, Dockerfile, Instruction, Keyword, Trigger};
use crate::diagnostic::{self, Code, Diagnostic, MAX_DIAGNOSTICS};
use crate::directive::{DirectiveReader, Found};
use crate::flags;
use crate::limits::{FLAGS_MAX, INSTRUCTIONS_MAX, WORDS_MAX};
use crate::lines::{self, Lines, LogicalLine, PhysicalLine};
use crate::source::{MAX_SOURCE_BYTES, Replaced, Source};
use crate::span::{Span, Text, to_u32};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What BuildKit accepts, quirks included.
    BuildKit,
    /// The subset without the quirks; what it accepts, BuildKit accepts with the same result.
    #[default]
    Strict,
}

/// A file as read: always a tree, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The tree, with everything that could be read.
    pub dockerfile: Dockerfile<'a>,
    /// The problems, in source order.
    pub diagnostics: Vec<Diagnostic>,
    /// BuildKit's parser warnings, in source order.
    pub warnings: Vec<EmptyContinuation>,
}

/// BuildKit's only parser warning: an empty line among continued ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyContinuation {
    /// Index of the instruction in [`Dockerfile::instructions`].
    pub instruction: usize,
    /// The line, from 1, that BuildKit names: the last one of the instruction, before any heredoc.
    pub line: u32,
    /// The first empty line.
    pub span: Span,
}

impl EmptyContinuation {
    /// BuildKit's wording.
    #[must_use]
    pub fn message(&self, dockerfile: &Dockerfile<'_>) -> String {
        let text = dockerfile.instructions.get(self.instruction).map_or("", |one| one.original.as_ref());
        format!("Empty continuation line found in: {text}")
    }
}

/// Reads a Dockerfile from text.
///
/// ```
/// use dockerfile::{Mode, parse};
///
/// let parsed = parse("FROM debian:12\nRUM make\n", Mode::Strict);
/// assert_eq!(parsed.dockerfile.instructions.len(), 2);
/// ```
#[must_use]
pub fn parse(text: &str, mode: Mode) -> Parsed<'_> {
    parse_decoded(text, &[], mode)
}

/// Reads a Dockerfile from a decoded source, which may have held bytes that are not UTF-8.
#[must_use]
pub fn parse_source<'a>(source: &'a Source<'_>, mode: Mode) -> Parsed<'a> {
    parse_decoded(source.text(), source.replaced(), mode)
}

fn parse_decoded<'a>(text: &'a str, replaced: &'a [Replaced], mode: Mode) -> Parsed<'a> {
    let mut parser = Parser::new(text, replaced, mode);
    if text.len() > MAX_SOURCE_BYTES {
        parser.diagnostics.push(too_large(text));
        return parser.parsed();
    }
    parser.run();
    let mut parsed = parser.parsed();
    if mode == Mode::Strict {
        crate::strict::check(&mut parsed, replaced);
    }
    diagnostic::sort(&mut parsed.diagnostics);
    diagnostic::cap(&mut parsed.diagnostics);
    parsed
}

fn too_large(text: &str) -> Diagnostic {
    let message = format!("the file has {} bytes; at most {MAX_SOURCE_BYTES} are read", text.len());
    Diagnostic::new(Code::SourceTooLarge, Span::empty(0), message)
}

/// How often the parser goes on after a heredoc without end; each time it has searched the rest of the file.
const MAX_LOST_HEREDOCS: u32 = 8;

/// Room for this many instructions at most is reserved before they are seen.
const RESERVED_MAX: usize = 256;

struct Parser<'a> {
    mode: Mode,
    lines: Lines<'a>,
    text: &'a str,
    directive_reader: DirectiveReader,
    directives: Vec<Directive<'a>>,
    escape: char,
    comments: Vec<Text<'a>>,
    instructions: Vec<Instruction<'a>>,
    warnings: Vec<EmptyContinuation>,
    diagnostics: Vec<Diagnostic>,
    lost_heredocs: u32,
}

/// An instruction's lines, joined.
struct Joined<'a> {
    line: LogicalLine<'a>,
    start_line: u32,
    /// End of the last line that belongs to it.
    end: usize,
    empty_continuation: Option<Span>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, replaced: &'a [Replaced], mode: Mode) -> Self {
        Self {
            mode,
            lines: Lines::new(text, replaced),
            text,
            directive_reader: DirectiveReader::new("#"),
            directives: Vec::new(),
            escape: '\\',
            comments: Vec::new(),
            instructions: Vec::with_capacity((text.len() / 64).min(RESERVED_MAX)),
            warnings: Vec::new(),
            diagnostics: Vec::new(),
            lost_heredocs: 0,
        }
    }

    fn parsed(self) -> Parsed<'a> {
        let dockerfile = Dockerfile {
            source: self.text,
            escape: self.escape,
            directives: self.directives,
            instructions: self.instructions,
        };
        Parsed { dockerfile, diagnostics: self.diagnostics, warnings: self.warnings }
    }

    /// Notes a problem, as long as there are not too many.
    fn report(&mut self, found: Diagnostic) {
        if self.diagnostics.len() <= MAX_DIAGNOSTICS {
            self.diagnostics.push(found);
        }
    }

    fn run(&mut self) {
        while let Some(mut line) = self.lines.next() {
            if line.start == 0 {
                line = without_byte_order_mark(line);
            }
            self.line(line);
            if let Some(found) = self.instructions.last().and_then(|last| self.over_limit(last)) {
                self.report(found);
                return;
            }
        }
        if self.lines.too_long.is_some() || self.instructions.is_empty() {
            self.end_of_file();
        }
    }

    /// What ends the reading in strict mode, so that the cost of what follows is bounded.
    fn over_limit(&self, last: &Instruction<'_>) -> Option<Diagnostic> {
        let (max, what) = match self.mode {
            Mode::BuildKit => return None,
            _ if self.instructions.len() > INSTRUCTIONS_MAX => (INSTRUCTIONS_MAX, "instructions in the file"),
            _ if last.args.len() > WORDS_MAX => (WORDS_MAX, "words in one instruction"),
            _ if last.flags.len() > FLAGS_MAX => (FLAGS_MAX, "flags in one instruction"),
            _ if last.heredocs.len() > FLAGS_MAX => (FLAGS_MAX, "heredocs in one instruction"),
            _ => return None,
        };
        let message = format!("more than {max} {what}; it is not read on from here");
        let found = Diagnostic::new(Code::LimitReached, last.keyword.span, message);
        Some(found.help("BuildKit has no such limit; here it keeps one file from using up the machine"))
    }

    /// A line outside of any instruction.
    fn line(&mut self, line: PhysicalLine<'a>) {
        let content = line.content();
        let body = lines::trim_start(content);
        let start = line.start + content.len() - body.len();
        if body.starts_with('#') {
            self.comment(line);
        }
        self.directive(body, start);
        if body.is_empty() || body.starts_with('#') {
            return;
        }
        let joined = self.join(start, body);
        self.instruction(joined);
    }

    /// Notes a comment for the next instruction; an empty one forgets those before.
    fn comment(&mut self, line: PhysicalLine<'a>) {
        // BuildKit drops the first byte of the line, also when that is the first byte of a blank outside ASCII.
        let first = line.raw.chars().next().map_or(1, char::len_utf8);
        let (broken, from) = (first - 1, line.start + first);
        let (start, end) = lines::trim(self.text, from, line.start + line.raw.len());
        let span = Span::new(to_u32(start), to_u32(end));
        if broken > 0 {
            let lost = char::REPLACEMENT_CHARACTER.to_string().repeat(broken);
            self.comments.push(Text { value: Cow::Owned(lost + self.text[from..end].trim_end()), span });
        } else if start == end {
            self.comments.clear();
        } else {
            self.comments.push(Text { value: Cow::Borrowed(&self.text[start..end]), span });
        }
    }

    /// Looks for a parser directive in a line that starts at `start`.
    fn directive(&mut self, line: &'a str, start: usize) {
        match self.directive_reader.line(line) {
            Found::Nothing => {}
            Found::Directive(name, value) => {
                let at = start + (value.as_ptr().addr() - line.as_ptr().addr());
                let span = Span::new(to_u32(at), to_u32(at + value.len()));
                self.comments.pop();
                if name == DirectiveName::Escape {
                    self.set_escape(value, span);
                }
                self.directives.push(Directive { name, value, span, line: self.lines.line });
            }
            Found::Duplicate(name) => {
                self.comments.pop();
                let span = Span::new(to_u32(start), to_u32(start + line.len()));
                let message = format!("only one `{}` directive can be used", name.name());
                self.report(
                    Diagnostic::new(Code::DuplicateDirective, span, message)
                        .help("remove this line or the earlier one")
                        .buildkit(format!("only one {} parser directive can be used", name.name())),
                );
            }
        }
    }

    fn set_escape(&mut self, value: &str, span: Span) {
        match value {
            "\\" => self.escape = '\\',
            "`" => self.escape = '`',
            _ => self.report(
                Diagnostic::new(Code::InvalidEscapeDirective, span, "the escape character must be ` or \\")
                    .buildkit(format!("invalid escape token '{value}' does not match ` or \\")),
            ),
        }
    }

    /// Joins the line `body`, which starts at `start`, with those that continue it.
    fn join(&mut self, start: usize, body: &'a str) -> Joined<'a> {
        let start_line = self.lines.line;
        let mut next = lines::continued(body, self.escape);
        let line = LogicalLine::new(self.text, start, next.unwrap_or(body).len(), self.lines.replaced);
        let mut joined = Joined { line, start_line, end: start + body.len(), empty_continuation: None };
        while next.is_some() {
            let Some(line) = self.lines.next() else { break };
            let content = line.content();
            let blank = lines::trim_start(content);
            if blank.is_empty() {
                joined.empty_continuation.get_or_insert(Span::new(to_u32(line.start), to_u32(line.end())));
            } else if !blank.starts_with('#') {
                next = lines::continued(content, self.escape);
                joined.line.push(line.start, next.unwrap_or(content).len());
            }
            joined.end = line.end();
        }
        joined
    }

    fn instruction(&mut self, joined: Joined<'a>) {
        let Joined { line, start_line, end, empty_continuation } = joined;
        if let Some(span) = empty_continuation {
            let warning = EmptyContinuation { instruction: self.instructions.len(), line: self.lines.line, span };
            self.warnings.push(warning);
        }
        let (mut instruction, fault) = read_instruction(line, self.escape);
        instruction.faulty = fault.is_some();
        if let Some(fault) = fault {
            self.report(fault);
        }
        instruction.comments = std::mem::take(&mut self.comments);
        instruction.start_line = start_line;
        instruction.span.end = to_u32(end);
        self.heredocs(&mut instruction);
        instruction.end_line = self.lines.line;
        self.instructions.push(instruction);
    }

    /// Reports what ended the reading, or that there was nothing to read.
    fn end_of_file(&mut self) {
        let empty = self.instructions.is_empty();
        let nothing = "file with no instructions";
        if let Some(span) = self.lines.too_long {
            let message = format!("this line is longer than {} bytes", lines::MAX_LINE_BYTES);
            let buildkit = format!("dockerfile line greater than max allowed size of {}", lines::MAX_LINE_BYTES);
            self.report(
                Diagnostic::new(Code::LineTooLong, span, message)
                    .help(format!("break it with `{}` at the end of a line", self.escape))
                    .buildkit(if empty { nothing.to_owned() } else { buildkit }),
            );
        } else if empty {
            let span = Span::empty(to_u32(self.text.len()));
            let help = "begin with `FROM` and a base image";
            let found = Diagnostic::new(Code::NoInstructions, span, "the file has no instructions");
            self.report(found.help(help).buildkit(nothing));
        }
    }
}

fn without_byte_order_mark(line: PhysicalLine<'_>) -> PhysicalLine<'_> {
    match line.raw.strip_prefix('\u{FEFF}') {
        Some(raw) => PhysicalLine { start: line.start + line.raw.len() - raw.len(), raw },
        None => line,
    }
}

/// One level of an instruction: `ONBUILD` has more.
struct Node<'a> {
    keyword: Text<'a>,
    kind: Option<Keyword>,
    flags: Vec<Text<'a>>,
    /// The whole of it in the line.
    original: Range<usize>,
    /// What follows the flags, trimmed; may begin inside a character.
    rest: Range<usize>,
}

impl<'a> Node<'a> {
    fn read(line: &LogicalLine<'a>, range: Range<usize>, escape: char) -> Self {
        let text = line.text.as_ref();
        let (start, end) = if text.is_char_boundary(range.start) {
            lines::trim(text, range.start, range.end)
        } else {
            (range.start, range.end)
        };
        let bytes = text.as_bytes();
        let word_end = bytes[start..end].iter().position(|&byte| lines::is_blank(byte)).map_or(end, |at| start + at);
        let keyword = line.broken_part(start, word_end);
        let kind = Keyword::from_word(&keyword.value);
        let (flags, rest) = flags::take(line, word_end, end, escape);
        let rest = if text.is_char_boundary(rest) { lines::trim(text, rest, end) } else { (rest, end) };
        Self { keyword, kind, flags, original: start..end, rest: rest.0..rest.1 }
    }
}

/// Reads an instruction from its joined line; the fault is the parser's, its place known.
fn read_instruction<'a>(line: LogicalLine<'a>, escape: char) -> (Instruction<'a>, Option<Diagnostic>) {
    let head = Node::read(&line, 0..line.text.len(), escape);
    let mut triggers = Vec::new();
    let mut rest = head.rest.clone();
    let mut kind = head.kind;
    while kind == Some(Keyword::Onbuild) && !rest.is_empty() {
        let node = Node::read(&line, rest, escape);
        (kind, rest) = (node.kind, node.rest.clone());
        triggers.push(trigger(node));
    }
    let (read, fault) = match kind {
        Some(Keyword::Onbuild) => (args::Args::default(), None),
        kind => match args::read(kind, &line, rest, escape) {
            Ok(read) => (read, None),
            Err(fault) => (args::Args::default(), Some(*fault)),
        },
    };
    let (own, json) = match triggers.last_mut() {
        Some(last) => {
            (last.args, last.json) = (read.args, read.json);
            (Vec::new(), false)
        }
        None => (read.args, read.json),
    };
    let instruction = Instruction {
        keyword: head.keyword,
        kind: head.kind,
        flags: head.flags,
        args: own,
        json,
        heredocs: Vec::new(),
        comments: Vec::new(),
        triggers,
        span: Span::empty(line.pieces.start),
        start_line: 0,
        end_line: 0,
        original: line.text,
        pieces: line.pieces,
        faulty: false,
    };
    (instruction, fault)
}

fn trigger(node: Node<'_>) -> Trigger<'_> {
    let Node { keyword, kind, flags, original, .. } = node;
    Trigger { keyword, kind, flags, args: Vec::new(), json: false, original }
}
