//! The syntax tree: what BuildKit's first stage (`frontend/dockerfile/parser`) makes of the text, with spans.
//!
//! A [`Dockerfile`] is a list of [`Instruction`]s. Nothing is expanded or judged here. Text is borrowed from the source
//! unless a continuation was joined or quotes were removed. Comments, blank lines and line ends are not copied: they are
//! what lies between the spans, so [`Dockerfile::print`] gives the source back byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::span::{Span, Text, to_u32, to_usize};

/// A parsed file: parser directives, then instructions in source order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile<'a> {
    /// The text all spans refer to.
    pub source: &'a str,
    /// The escape character in force: `` ` `` or `\`.
    pub escape: char,
    /// `# syntax=`, `# escape=` and `# check=` lines at the top.
    pub directives: Vec<Directive<'a>>,
    /// The instructions.
    pub instructions: Vec<Instruction<'a>>,
}

/// A parser directive: `# name=value` at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive<'a> {
    /// Which directive.
    pub name: DirectiveName,
    /// Its value, without surrounding whitespace.
    pub value: &'a str,
    /// Place of the value.
    pub span: Span,
    /// Line, from 1.
    pub line: u32,
}

/// The directives that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectiveName {
    /// `# syntax=`: the frontend image.
    Syntax,
    /// `# escape=`: the escape character.
    Escape,
    /// `# check=`: options of the build checks.
    Check,
}

/// The instructions that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the instruction of that name in the Dockerfile reference")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

/// One instruction, continuations joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction<'a> {
    /// The first word as written, for example `Run`.
    pub keyword: Text<'a>,
    /// What the first word means; `None` for an unknown instruction.
    pub kind: Option<Keyword>,
    /// Words starting `--` between the keyword and the arguments, quotes and escapes removed.
    pub flags: Vec<Text<'a>>,
    /// The arguments in BuildKit's shape: the elements of a JSON array; words for `FROM`, `EXPOSE`, `COPY` and so on;
    /// the whole text for a shell form; key, value and `=` (or an empty string for the legacy form) for each pair of `ENV` and
    /// `LABEL`; one empty word for an unknown instruction; nothing for `ONBUILD` (see [`Instruction::triggers`]).
    pub args: Vec<Text<'a>>,
    /// Whether the arguments were a JSON array.
    pub json: bool,
    /// Here-documents, in order.
    pub heredocs: Vec<Heredoc<'a>>,
    /// The comment lines directly before (blank lines do not separate, an empty comment does), in BuildKit's reading.
    pub comments: Vec<Text<'a>>,
    /// The instruction's text with continuation lines joined and comments in it dropped; heredoc bodies are not part.
    pub original: Cow<'a, str>,
    /// What follows `ONBUILD`: the trigger, and when that is `ONBUILD` again, its trigger, and so on (flat, so that no depth
    /// of nesting can exhaust a stack). Empty for every other instruction and for a bare `ONBUILD`.
    pub triggers: Vec<Trigger<'a>>,
    /// From the first byte of the keyword's line (leading blanks not included) to the end of the last heredoc
    /// terminator or of the last line, its line end not included.
    pub span: Span,
    /// First line, from 1.
    pub start_line: u32,
    /// Last line, from 1, heredocs included.
    pub end_line: u32,
    /// How offsets of `original` map to the source.
    pub pieces: Pieces,
    /// Whether the parser found an error in it, so that its arguments say nothing.
    pub faulty: bool,
}

/// The instruction after `ONBUILD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger<'a> {
    /// As in [`Instruction::keyword`].
    pub keyword: Text<'a>,
    /// As in [`Instruction::kind`].
    pub kind: Option<Keyword>,
    /// As in [`Instruction::flags`].
    pub flags: Vec<Text<'a>>,
    /// As in [`Instruction::args`].
    pub args: Vec<Text<'a>>,
    /// As in [`Instruction::json`].
    pub json: bool,
    /// Its text: this range of the instruction's `original`.
    pub original: Range<usize>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc<'a> {
    /// The terminator, quotes removed; also the file name that `COPY` gives it.
    pub name: Cow<'a, str>,
    /// The lines up to the terminator, line ends included, leading tabs not yet removed.
    pub content: &'a str,
    /// Whether variables in it are expanded: no part of the name was quoted.
    pub expand: bool,
    /// Whether leading tabs are to be removed (`<<-`).
    pub chomp: bool,
    /// File descriptor before `<<`, 0 if none.
    pub fd: u64,
    /// Place of the content.
    pub span: Span,
    /// Place of the word `<<NAME` in the instruction.
    pub word_span: Span,
}

/// The map from offsets of a joined text to offsets of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Source offset of the first byte.
    pub(crate) start: u32,
    /// For each later piece: its offset in the joined text, and in the source. Ascending.
    pub(crate) rest: Vec<(u32, u32)>,
}

impl Pieces {
    /// The source offset of the byte at `offset` of the joined text.
    #[must_use]
    pub fn source_offset(&self, offset: usize) -> u32 {
        self.offset_in(offset, |joined, at| joined <= at)
    }

    /// The source range of `range` of the joined text.
    #[must_use]
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.source_offset(range.start);
        // The end belongs to the piece of the last byte, not to the one that begins after it.
        let end = if range.is_empty() { start } else { self.offset_in(range.end, |joined, at| joined < at) };
        Span::new(start, end)
    }

    fn offset_in(&self, offset: usize, before: impl Fn(u32, u32) -> bool) -> u32 {
        let at = to_u32(offset);
        let index = self.rest.partition_point(|&(joined, _)| before(joined, at));
        let (joined, source) = match index.checked_sub(1) {
            None => (0, self.start),
            Some(index) => self.rest.get(index).copied().unwrap_or((0, self.start)),
        };
        source.saturating_add(at - joined)
    }
}

impl<'a> Dockerfile<'a> {
    /// The source text, put together from the instructions and what lies between them.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::with_capacity(self.source.len());
        let mut at = 0;
        for instruction in &self.instructions {
            out.push_str(Span::new(at, instruction.span.start).of(self.source));
            out.push_str(instruction.span.of(self.source));
            at = instruction.span.end;
        }
        out.push_str(self.source.get(to_usize(at)..).unwrap_or_default());
        out
    }

    /// The first directive called `name`.
    #[must_use]
    pub fn directive(&self, name: DirectiveName) -> Option<&Directive<'a>> {
        self.directives.iter().find(|directive| directive.name == name)
    }
}

impl Instruction<'_> {
    /// Place of the instruction's own text, heredoc bodies excluded.
    #[must_use]
    pub fn head_span(&self) -> Span {
        self.pieces.span(0..self.original.trim_end().len())
    }
}

impl Keyword {
    /// All instructions, by name.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// The name in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// The instruction `word` names, in any case.
    ///
    /// Case is folded the way Go's `strings.ToLower` does, one code point at a time, so U+212A (Kelvin) is a `k` and U+0130 an `i`:
    /// BuildKit accepts `WOR\u{212A}DIR`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        if word.is_ascii() {
            return Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(word));
        }
        let folded: String = word.chars().map(fold).collect();
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(&folded))
    }
}

fn fold(ch: char) -> char {
    match ch {
        '\u{212A}' => 'k',
        '\u{130}' => 'i',
        other => other,
    }
}

impl std::fmt::Display for Keyword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
