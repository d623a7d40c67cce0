//! What the apt rules look at: the calls of `apt-get` and `apt` in one `RUN`, in shell form or heredoc.

use super::shell::{Word, each_command};
use super::{Lints, apt_lists_left, apt_missing_yes, apt_update_separate};
use crate::instruction::{Command, Run};
use crate::span::{Span, to_u32};

/// A text the shell runs, and how to find a part of it in the source.
pub(super) struct Script<'r> {
    pub(super) text: &'r str,
    place: Place<'r>,
}

enum Place<'r> {
    /// The text begins at this byte of the instruction's joined text.
    Joined(&'r Command<'r>, usize),
    /// The text is the source from this byte on.
    Source(u32),
}

/// One call of apt.
pub(super) struct Call<'r> {
    /// The words after the program, in order.
    pub(super) words: Vec<&'r str>,
    /// The first word that is no option: `install`, `update`, ...
    pub(super) verb: &'r str,
    /// Place of the verb.
    pub(super) span: Span,
}

/// Runs the apt rules over one `RUN`.
pub(super) fn check(command: &Command<'_>, run: &Run<'_>, lints: &mut Lints) {
    if !run.cmdline.shell_form {
        return;
    }
    let Some(script) = script(command, run) else { return };
    let calls = script.calls();
    if !calls.is_empty() {
        apt_update_separate::check(&calls, lints);
        apt_missing_yes::check(&calls, lints);
        apt_lists_left::check(&script, &calls, run, lints);
    }
}

/// A heredoc that is the whole command is the script; otherwise the command line is. Most scripts never call apt: `None`.
fn script<'r>(command: &'r Command<'r>, run: &'r Run<'r>) -> Option<Script<'r>> {
    let line = run.cmdline.args.first()?.as_str();
    let body = match run.heredocs {
        [only] if line.trim_start().starts_with("<<") && !only.content.starts_with("#!") => Some(only),
        _ => None,
    };
    let text = body.map_or(line, |body| body.content);
    memchr::memmem::find(text.as_bytes(), b"apt")?;
    let place = match body {
        Some(body) => Place::Source(body.span.start),
        None => Place::Joined(command, offset_of(line, &command.instruction.original)),
    };
    Some(Script { text, place })
}

/// Where the command line begins in the instruction's text; it is the end of it but for blanks.
fn offset_of(line: &str, original: &str) -> usize {
    let trimmed = original.trim_end();
    if trimmed.ends_with(line) { trimmed.len() - line.len() } else { original.find(line).unwrap_or(0) }
}

impl Call<'_> {
    /// Whether it fetches the package lists.
    pub(super) fn updates(&self) -> bool {
        self.verb == "update" || (self.verb == "install" && self.words.contains(&"--update"))
    }
}

impl<'r> Script<'r> {
    pub(super) fn span(&self, word: &Word) -> Span {
        match self.place {
            Place::Joined(command, offset) => command.instruction.pieces.span(offset + word.start..offset + word.end),
            Place::Source(start) => Span::new(start + to_u32(word.start), start + to_u32(word.end)),
        }
    }

    fn calls(&self) -> Vec<Call<'r>> {
        let mut calls = Vec::new();
        each_command(self.text, |words| calls.extend(self.call(words)));
        calls
    }

    fn call(&self, words: &[Word]) -> Option<Call<'r>> {
        let program = words.iter().position(|word| !is_prefix(&self.text[word.clone()]))?;
        if !matches!(&self.text[words[program].clone()], "apt-get" | "apt" | "/usr/bin/apt-get" | "/usr/bin/apt") {
            return None;
        }
        let arguments = &words[program + 1..];
        let verb = verb(self.text, arguments)?;
        Some(Call {
            words: arguments.iter().map(|word| &self.text[word.clone()]).collect(),
            verb: &self.text[verb.clone()],
            span: self.span(verb),
        })
    }
}

/// Words that may stand before the program: assignments, reserved words, wrappers.
fn is_prefix(word: &str) -> bool {
    let assigns = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    });
    assigns || matches!(word, "sudo" | "exec" | "env" | "if" | "then" | "else" | "do" | "!" | "{" | "time" | "command")
}

/// The first argument that is neither an option nor the value of one.
fn verb<'w>(text: &str, arguments: &'w [Word]) -> Option<&'w Word> {
    let mut skip_value = false;
    arguments.iter().find(|word| {
        let word = &text[(*word).clone()];
        let is_value = std::mem::replace(&mut skip_value, matches!(word, "-o" | "-c" | "-t" | "--option"));
        !is_value && !word.starts_with('-')
    })
}
