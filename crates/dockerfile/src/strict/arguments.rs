//! Keywords, flags and arguments that BuildKit takes although they cannot be meant.

use crate::ast::{Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::span::{Span, Text};

pub(super) fn check(instruction: &Instruction<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(kind) = instruction.kind else { return };
    diagnostics.extend(keyword(&instruction.keyword, kind));
    diagnostics.extend(instruction.flags.iter().filter_map(flag));
    match kind {
        Keyword::Run => diagnostics.extend(empty_run(instruction)),
        Keyword::Arg | Keyword::StopSignal => ignored_flags(instruction, diagnostics),
        Keyword::Healthcheck if is_none(instruction) => ignored_flags(instruction, diagnostics),
        Keyword::Onbuild => diagnostics.extend(trigger(instruction)),
        Keyword::From => diagnostics.extend(from_as(instruction)),
        _ => {}
    }
    match kind {
        Keyword::Env => env(instruction, diagnostics),
        Keyword::Arg => arg(instruction, diagnostics),
        Keyword::Workdir => diagnostics.extend(workdir(instruction)),
        Keyword::Expose => diagnostics.extend(instruction.args.iter().filter_map(expose)),
        _ => {}
    }
    diagnostics.extend(trailing_comment(instruction, kind));
    diagnostics.extend(blank_before_equals(instruction, kind));
}

fn keyword(word: &Text<'_>, kind: Keyword) -> Option<Diagnostic> {
    if word.value.is_ascii() {
        return None;
    }
    let message = format!("`{}` has letters that only look like those of `{kind}`", word.value);
    let found = Diagnostic::new(Code::NonAsciiKeyword, word.span, message);
    Some(found.help(format!("write `{kind}`")).fix(word.span, kind.name()))
}

/// `AS` with the long s of U+017F.
fn from_as(instruction: &Instruction<'_>) -> Option<Diagnostic> {
    let word = instruction.args.get(1).filter(|word| !word.value.is_ascii())?;
    let message = format!("`{}` has letters that only look like those of `AS`", word.value);
    Some(Diagnostic::new(Code::NonAsciiKeyword, word.span, message).fix(word.span, "AS"))
}

fn flag(flag: &Text<'_>) -> Option<Diagnostic> {
    if flag.value.is_ascii() {
        return None;
    }
    let found = Diagnostic::new(Code::NonAsciiFlag, flag.span, "a flag may hold ASCII characters only");
    Some(found.help("BuildKit garbles other characters here; use another name"))
}

fn empty_run(instruction: &Instruction<'_>) -> Option<Diagnostic> {
    if !instruction.args.is_empty() {
        return None;
    }
    let found = Diagnostic::new(Code::EmptyRun, instruction.keyword.span, "`RUN` has no command");
    Some(found.help("write `RUN command`, or remove the line"))
}

fn is_none(instruction: &Instruction<'_>) -> bool {
    instruction.args.first().is_some_and(|word| word.value.eq_ignore_ascii_case("NONE"))
}

fn ignored_flags(instruction: &Instruction<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let name = instruction.kind.map_or("", Keyword::name);
    diagnostics.extend(instruction.flags.iter().map(|flag| {
        let message = format!("`{}` has no effect: `{name}` takes no flags here", flag.value);
        Diagnostic::new(Code::IgnoredFlag, flag.span, message).help("remove it").fix(flag.span, "")
    }));
}

/// BuildKit looks at a trigger only when another build runs it.
fn trigger(instruction: &Instruction<'_>) -> Option<Diagnostic> {
    let trigger = instruction.triggers.first().filter(|trigger| trigger.kind.is_none())?;
    let message = format!("unknown instruction `{}` after `ONBUILD`", trigger.keyword.value);
    Some(Diagnostic::new(Code::InvalidTrigger, trigger.keyword.span, message))
}

/// How many names of one `ENV` are remembered.
const NAMES_MAX: usize = 16;

/// How a variable's name strikes a shell.
enum Name {
    Fine,
    /// Can be set, but not used in a command.
    Unreadable,
    Broken,
}

fn name(text: &str) -> Name {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        Name::Fine
    } else if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
        Name::Unreadable
    } else {
        Name::Broken
    }
}

fn variable(text: &str, span: Span) -> Option<Diagnostic> {
    let quoted = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    let text = quoted('"').or_else(|| quoted('\'')).unwrap_or(text);
    let (severity, message) = match name(text) {
        Name::Fine => return None,
        Name::Unreadable => (Severity::Warning, format!("no shell can read a variable called `{text}`")),
        Name::Broken => (Severity::Error, format!("`{text}` is no name for a variable")),
    };
    let mut found = Diagnostic::new(Code::VariableName, span, message)
        .help("a name is a letter or `_`, then letters, digits and `_`");
    found.severity = severity;
    Some(found)
}

fn env(instruction: &Instruction<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut earlier: Vec<&str> = Vec::new();
    let mut said = false;
    for pair in instruction.args.chunks_exact(3) {
        let [key, value, _] = pair else { continue };
        if key.value.is_empty() {
            continue;
        }
        diagnostics.extend(variable(&key.value, key.span));
        if !said {
            let found = same_line(value, &earlier);
            said = found.is_some();
            diagnostics.extend(found);
        }
        if earlier.len() < NAMES_MAX {
            earlier.push(&key.value);
        }
    }
}

/// A variable that an earlier pair of the same `ENV` sets: it still has its old value here.
fn same_line(value: &Text<'_>, earlier: &[&str]) -> Option<Diagnostic> {
    if earlier.is_empty() {
        return None;
    }
    let (at, name) = references(&value.value).find(|(_, name)| earlier.contains(name))?;
    let message = format!("`${name}` is the value from before this `ENV`, not the one it sets");
    let span = value.slice_span(at..at + 1 + name.len());
    Some(Diagnostic::new(Code::EnvSameLine, span, message).help("set it in an `ENV` of its own, above this one"))
}

/// `$name` and `${name` outside single quotes, with the offset of the `$`.
fn references(value: &str) -> impl Iterator<Item = (usize, &str)> {
    let quoted = value.starts_with('\'');
    memchr::memchr_iter(b'$', value.as_bytes()).filter(move |_| !quoted).filter_map(move |at| {
        if value[..at].ends_with('\\') {
            return None;
        }
        let rest = &value[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_').unwrap_or(rest.len());
        (end > 0).then_some((at, &rest[..end]))
    })
}

fn arg(instruction: &Instruction<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for word in &instruction.args {
        if word.value.starts_with('#') {
            return;
        }
        let key = word.value.split('=').next().unwrap_or_default();
        if !key.is_empty() {
            diagnostics.extend(variable(key, word.slice_span(0..key.len())));
        }
    }
}

fn workdir(instruction: &Instruction<'_>) -> Option<Diagnostic> {
    let path = instruction.args.first()?;
    let text = path.value.as_ref();
    let inner = text.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let odd = inner.split('/').find(|part| matches!(*part, "." | ".." | ""))?;
    if inner.is_empty() {
        return None;
    }
    let what = if odd.is_empty() { "an empty part".to_owned() } else { format!("`{odd}`") };
    let message = format!("the path has {what}, and an absolute `WORKDIR` is not cleaned");
    Some(Diagnostic::new(Code::AmbiguousWorkdir, path.span, message).help("write the path without it"))
}

/// `80${X:-81}`: BuildKit loses the `80`.
fn expose(word: &Text<'_>) -> Option<Diagnostic> {
    let text = word.value.as_ref();
    let at = text.get(1..)?.find("${")? + 1;
    let form = &text[at + 2..];
    let name = form.find(|ch: char| !ch.is_ascii_alphanumeric() && ch != '_')?;
    if form[name..].starts_with('}') {
        return None;
    }
    let span = word.slice_span(at..text.len());
    let message = format!("BuildKit drops the `{}` before this substitution", &text[..at]);
    Some(Diagnostic::new(Code::ExposeSubstitution, span, message).help("give the whole port as one variable"))
}

/// A `#` after the arguments of an instruction that takes it for one.
fn trailing_comment(instruction: &Instruction<'_>, kind: Keyword) -> Option<Diagnostic> {
    use Keyword::{Add, Arg, Copy, Env, Expose, Label, StopSignal, User, Volume, Workdir};
    let span = match kind {
        Workdir | User | StopSignal => text_comment(instruction.args.first()?)?,
        Env | Label if is_legacy(instruction) => text_comment(instruction.args.get(1)?)?,
        Arg | Copy | Add | Volume | Expose if !instruction.json => {
            let first = instruction.args.iter().skip(1).find(|word| word.value.starts_with('#'))?;
            instruction.args.last().map_or(first.span, |last| first.span.to(last.span))
        }
        _ => return None,
    };
    let message = format!("this is not a comment but part of the `{kind}`");
    Some(
        Diagnostic::new(Code::TrailingComment, span, message)
            .help("a `#` starts a comment only at the start of a line: move the comment to its own line")
            .fix(span, ""),
    )
}

/// `ENV A = b` sets `A` to `= b`.
fn blank_before_equals(instruction: &Instruction<'_>, kind: Keyword) -> Option<Diagnostic> {
    let [key, value, _] = instruction.args.as_slice() else { return None };
    let rest = value.value.strip_prefix('=')?.trim_start();
    if !matches!(kind, Keyword::Env | Keyword::Label) || !is_legacy(instruction) {
        return None;
    }
    let message = format!("the `=` is part of the value of `{}`", key.value);
    let found = Diagnostic::new(Code::BlankBeforeEquals, value.slice_span(0..1), message)
        .help("write `name=value` without blanks around the `=`");
    if rest.contains(|ch: char| ch.is_whitespace()) || !value.is_verbatim() {
        return Some(found);
    }
    let blanks = Span::new(key.span.end, value.slice_span(0..value.value.len() - rest.len()).end);
    Some(found.fix(blanks, "="))
}

fn is_legacy(instruction: &Instruction<'_>) -> bool {
    instruction.args.get(2).is_some_and(|equals| equals.value.is_empty())
}

/// From a ` # ` outside quotes to the end.
fn text_comment(text: &Text<'_>) -> Option<Span> {
    let value = text.value.as_ref();
    let at = value.find(" # ").or_else(|| value.find("\t# "))?;
    let open = |quote| value[..at].matches(quote).count() % 2 == 1;
    (!open('"') && !open('\'')).then(|| text.slice_span(at + 1..value.len()))
}
