//! The bodies of here-documents: the lines after an instruction, up to the terminator.

use std::borrow::Cow;

use super::{MAX_LOST_HEREDOCS, Parser};
use crate::ast::{Heredoc, Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic};
use crate::heredoc::{self, HeredocWord};
use crate::lines::{Lines, trim_line_end};
use crate::span::{Span, to_u32};
use crate::strict::{is_shift, starts_instruction};

impl<'a> Parser<'a> {
    /// Reads the bodies of the heredocs that the instruction's line starts.
    pub(super) fn heredocs(&mut self, instruction: &mut Instruction<'a>) {
        if instruction.faulty || !instruction.original.contains("<<") || !may_have_heredocs(instruction) {
            return;
        }
        let Ok(words) = heredoc::lex_line(&instruction.original) else { return };
        let found = match heredoc::find(words) {
            Ok(found) => found,
            Err(error) => {
                let span = instruction.head_span();
                let found = Diagnostic::new(Code::UnterminatedHeredoc, span, "the name of a heredoc cannot be read");
                self.report(found.buildkit(error.to_string()));
                instruction.faulty = true;
                return;
            }
        };
        let mut from = 0;
        for word in found {
            let place = place_of(&instruction.original, &word.word, from);
            from = place.end;
            let word_span = instruction.pieces.span(place);
            match self.body(word, word_span) {
                Ok((heredoc, end)) => {
                    instruction.heredocs.push(heredoc);
                    instruction.span.end = end;
                }
                Err(found) => {
                    self.report(*found);
                    instruction.faulty = true;
                    instruction.span.end =
                        instruction.span.end.max(to_u32(self.lines.offset())).min(to_u32(self.text.len()));
                    return;
                }
            }
        }
    }

    /// Reads one body; gives the end of the terminator line as well.
    fn body(&mut self, word: HeredocWord, word_span: Span) -> Result<(Heredoc<'a>, u32), Box<Diagnostic>> {
        let before = self.lines.clone();
        let start = self.lines.offset();
        for line in self.lines.by_ref() {
            if is_terminator(line.raw, &word) {
                let span = Span::new(to_u32(start), to_u32(line.start));
                let HeredocWord { name, expand, chomp, fd, .. } = word;
                let content = span.of(self.text);
                let heredoc = Heredoc { name: Cow::Owned(name), content, expand, chomp, fd, span, word_span };
                return Ok((heredoc, to_u32(line.end())));
            }
        }
        Err(Box::new(self.unterminated(&word, word_span, before)))
    }

    /// Reports a body without end, and finds the line to go on at.
    fn unterminated(&mut self, word: &HeredocWord, word_span: Span, before: Lines<'a>) -> Diagnostic {
        let message = format!("the heredoc `{}` is never closed", word.name);
        let found = Diagnostic::new(Code::UnterminatedHeredoc, word_span, message).buildkit("unterminated heredoc");
        self.lost_heredocs += 1;
        let mut ahead = before.clone();
        if let Some(line) = ahead.find(|line| line.content().trim() == word.name) {
            self.lines = ahead;
            return near_terminator(found, word, Span::new(to_u32(line.start), to_u32(line.end())), line.content());
        }
        let found = found.help(no_terminator(&word.name));
        if self.lost_heredocs >= MAX_LOST_HEREDOCS {
            return found;
        }
        self.lines = before.clone();
        let mut ahead = before;
        while let Some(line) = ahead.next() {
            if starts_instruction(line.content()) {
                break;
            }
            self.lines = ahead.clone();
        }
        found
    }
}

/// What to do when no line looks like the terminator.
fn no_terminator(name: &str) -> String {
    let word = name.trim_end_matches([';', ')', '&', '|']);
    if is_shift(name) {
        "BuildKit takes this shift for a heredoc: write the operator without a blank before it, as in `$((1<<2))`"
            .to_owned()
    } else if word.len() < name.len() && !word.is_empty() {
        format!("the terminator is `{name}`: put a blank after `{word}` if that was not meant")
    } else {
        format!("add a line that consists of `{name}` alone")
    }
}

/// Whether the line closes the heredoc.
fn is_terminator(line: &str, word: &HeredocWord) -> bool {
    let line = trim_line_end(line);
    let line = if word.chomp { line.trim_start_matches('\t') } else { line };
    line == word.name
}

/// Says why a line that looks like the terminator is none.
fn near_terminator(found: Diagnostic, word: &HeredocWord, span: Span, line: &str) -> Diagnostic {
    let name = &word.name;
    let label = format!("this would close it, were it `{name}` alone on the line");
    let found = found.label(span, label).fix(span, name.clone());
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.is_empty() {
        found.help("remove the blanks after the terminator")
    } else if word.chomp {
        found.help("`<<-` allows tabs before the terminator, but no other blanks")
    } else if indent.bytes().all(|byte| byte == b'\t') && line.trim_start() == name {
        found.help(format!("remove the tabs before the terminator, or write `<<-{name}`, which allows them"))
    } else {
        found.help("remove the blanks before the terminator")
    }
}

/// RUN, COPY and ADD have heredocs, and so has ONBUILD directly before them; the JSON form has none.
fn may_have_heredocs(instruction: &Instruction<'_>) -> bool {
    let (kind, json) = match instruction.triggers.first() {
        Some(trigger) => (trigger.kind, trigger.json),
        None => (instruction.kind, instruction.json),
    };
    matches!(kind, Some(Keyword::Run | Keyword::Copy | Keyword::Add)) && !json
}

/// Where `word` stands in `line`, searched from `from`.
fn place_of(line: &str, word: &str, from: usize) -> std::ops::Range<usize> {
    let rest = &line[from..];
    let (at, len) = match (rest.find(word), rest.find("<<")) {
        (Some(at), _) => (at, word.len()),
        (None, Some(at)) => (at, 2),
        (None, None) => (0, 0),
    };
    from + at..from + at + len
}
