//! Syntax tree to typed instructions: BuildKit's `instructions.Parse`, with recovery.

use std::borrow::Cow;

use super::flag_set::{FlagSet, Known, Takes};
use super::{
    Arg, CmdLine, Command, CommandKind, Instructions, KeyValue, Stage, from, healthcheck, onbuild, run, transfer,
};
use crate::ast::{Dockerfile, Instruction, Keyword};
use crate::diagnostic::{self, Code, Diagnostic, MAX_DIAGNOSTICS, suggest};
use crate::span::{Span, Text};

/// The typed instructions of a file, and what was wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed<'d> {
    /// Everything that could be typed.
    pub instructions: Instructions<'d>,
    /// The problems, in source order.
    pub diagnostics: Vec<Diagnostic>,
}

pub(super) type Result<T> = std::result::Result<T, Faults>;

/// What is wrong with one instruction; never empty. The first is the one BuildKit stops at.
#[derive(Debug)]
pub(super) struct Faults(pub(super) Vec<Diagnostic>);

impl From<Diagnostic> for Faults {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

/// What an instruction is.
enum Read<'d> {
    Stage(Stage<'d>),
    Command(CommandKind<'d>),
}

/// Types the instructions of a file. Those in which the parser found an error are passed over.
#[must_use]
pub fn read<'d>(dockerfile: &'d Dockerfile<'_>) -> Typed<'d> {
    let mut typed = Typed::default();
    for instruction in &dockerfile.instructions {
        if instruction.faulty {
            continue;
        }
        if typed.diagnostics.len() > MAX_DIAGNOSTICS {
            break;
        }
        match read_one(instruction) {
            Ok(Read::Stage(stage)) => typed.instructions.stages.push(stage),
            Ok(Read::Command(kind)) => add(&mut typed, Command { instruction, kind }),
            Err(faults) => typed.diagnostics.extend(reported(faults, instruction)),
        }
    }
    diagnostic::cap(&mut typed.diagnostics);
    typed
}

/// Types one instruction on its own, as a trigger is typed; `None` for a `FROM`.
///
/// # Errors
/// What is wrong with it; BuildKit's wording has no line in front then.
pub(crate) fn read_command<'d>(
    instruction: &'d Instruction<'d>,
) -> std::result::Result<Option<Command<'d>>, Box<Diagnostic>> {
    match read_one(instruction) {
        Ok(Read::Command(kind)) => Ok(Some(Command { instruction, kind })),
        Ok(Read::Stage(_)) => Ok(None),
        Err(mut faults) => Err(Box::new(faults.0.swap_remove(0))),
    }
}

/// BuildKit reports the first fault only, with the line in front.
fn reported(faults: Faults, instruction: &Instruction<'_>) -> Vec<Diagnostic> {
    let line = instruction.start_line;
    let mut found = faults.0;
    for (index, one) in found.iter_mut().enumerate() {
        let message = one.buildkit_message.take().filter(|_| index == 0);
        one.buildkit_message =
            message.map(|message| format!("dockerfile parse error on line {line}: {message}").into());
    }
    found
}

fn add<'d>(typed: &mut Typed<'d>, command: Command<'d>) {
    match typed.instructions.stages.last_mut() {
        Some(stage) => stage.commands.push(command),
        None if matches!(command.kind, CommandKind::Arg(_)) => typed.instructions.meta_args.push(command),
        None => {
            let keyword = &command.instruction.keyword;
            let message = format!("`{}` stands before the first `FROM`", keyword.value);
            typed.diagnostics.push(
                Diagnostic::new(Code::InstructionBeforeFrom, keyword.span, message)
                    .help("only `ARG` may; move it below the `FROM`")
                    .buildkit("no build stage in current context"),
            );
        }
    }
}

fn read_one<'d>(instruction: &'d Instruction<'d>) -> Result<Read<'d>> {
    let Some(kind) = instruction.kind else { return Err(Faults::from(unknown(instruction))) };
    let command = match kind {
        Keyword::From => return from::read(instruction).map(Read::Stage),
        Keyword::Run => CommandKind::Run(run::read(instruction)?),
        Keyword::Copy => CommandKind::Copy(transfer::copy(instruction)?),
        Keyword::Add => CommandKind::Add(transfer::add(instruction)?),
        Keyword::Healthcheck => CommandKind::Healthcheck(healthcheck::read(instruction)?),
        Keyword::Onbuild => CommandKind::Onbuild(onbuild::read(instruction)?),
        Keyword::Cmd => CommandKind::Cmd(no_flags(instruction, cmdline)?),
        Keyword::Entrypoint => CommandKind::Entrypoint(no_flags(instruction, cmdline)?),
        Keyword::Env => CommandKind::Env(pairs(instruction)?),
        Keyword::Label => CommandKind::Label(pairs(instruction)?),
        Keyword::Arg => CommandKind::Arg(args(instruction)?),
        Keyword::Workdir => CommandKind::Workdir(one_text(instruction)?),
        Keyword::User => CommandKind::User(one_text(instruction)?),
        Keyword::Maintainer => CommandKind::Maintainer(one_text(instruction)?),
        // BuildKit never looks at its flags.
        Keyword::StopSignal => CommandKind::StopSignal(exactly_one(instruction)?),
        Keyword::Expose => CommandKind::Expose(ports(instruction)?),
        Keyword::Volume => CommandKind::Volume(volumes(instruction)?),
        Keyword::Shell => CommandKind::Shell(shell(instruction)?),
    };
    Ok(Read::Command(command))
}

/// The flags of an instruction that has some.
pub(super) fn flags<'d>(instruction: &'d Instruction<'d>, known: &[Known]) -> Result<FlagSet<'d>> {
    FlagSet::read(instruction, known)
}

fn no_flags<'d, T>(instruction: &'d Instruction<'d>, read: impl Fn(&'d Instruction<'d>) -> T) -> Result<T> {
    flags(instruction, &[])?;
    Ok(read(instruction))
}

pub(super) fn cmdline<'d>(instruction: &'d Instruction<'d>) -> CmdLine<'d> {
    CmdLine { args: &instruction.args, shell_form: !instruction.json }
}

/// Where something is missing: after the last character of the instruction.
pub(super) fn end_of(instruction: &Instruction<'_>) -> Span {
    let head = instruction.head_span();
    if head.is_empty() { head } else { instruction.keyword.span }
}

fn at_least_one(instruction: &Instruction<'_>) -> Result<()> {
    if instruction.args.is_empty() { Err(Faults::from(missing(instruction, "at least"))) } else { Ok(()) }
}

fn missing(instruction: &Instruction<'_>, how_many: &str) -> Diagnostic {
    let name = instruction.kind.map_or("", Keyword::name);
    let found = Diagnostic::new(Code::MissingArgument, end_of(instruction), format!("`{name}` needs an argument"))
        .buildkit(format!("{name} requires {how_many} one argument"));
    let example = match instruction.kind {
        Some(Keyword::Env | Keyword::Label) => "name=value",
        Some(Keyword::Arg) => "NAME=default",
        Some(Keyword::Expose) => "8080",
        Some(Keyword::Workdir | Keyword::Volume) => "/path",
        Some(Keyword::User) => "name",
        Some(Keyword::StopSignal) => "SIGTERM",
        Some(Keyword::Shell) => "[\"/bin/sh\", \"-c\"]",
        Some(Keyword::Healthcheck) => "CMD command",
        Some(Keyword::Onbuild) => "RUN command",
        _ => return found,
    };
    found.help(format!("write `{name} {example}`"))
}

pub(super) fn missing_argument(instruction: &Instruction<'_>) -> Diagnostic {
    missing(instruction, "at least")
}

/// The one text the parser's shape gives, flags not looked at.
fn exactly_one<'d>(instruction: &'d Instruction<'d>) -> Result<&'d Text<'d>> {
    match instruction.args.as_slice() {
        [one] => Ok(one),
        _ => Err(Faults::from(missing(instruction, "exactly"))),
    }
}

fn one_text<'d>(instruction: &'d Instruction<'d>) -> Result<&'d Text<'d>> {
    let text = exactly_one(instruction)?;
    flags(instruction, &[])?;
    Ok(text)
}

fn pairs<'d>(instruction: &'d Instruction<'d>) -> Result<Vec<KeyValue<'d>>> {
    flags(instruction, &[])?;
    at_least_one(instruction)?;
    let mut pairs = Vec::with_capacity(instruction.args.len() / 3);
    for triple in instruction.args.chunks_exact(3) {
        let [key, value, equals] = triple else { continue };
        if key.value.is_empty() {
            return Err(Faults::from(blank_name(instruction, key.span.to(equals.span))));
        }
        pairs.push(KeyValue { key, value, legacy: equals.value.is_empty() });
    }
    Ok(pairs)
}

fn blank_name(instruction: &Instruction<'_>, span: Span) -> Diagnostic {
    let name = instruction.kind.map_or("", Keyword::name);
    Diagnostic::new(Code::BlankName, span, "there is no name before the `=`")
        .help("write `name=value` without blanks around the `=`")
        .buildkit(format!("{name} names can not be blank"))
}

fn args<'d>(instruction: &'d Instruction<'d>) -> Result<Vec<Arg<'d>>> {
    at_least_one(instruction)?;
    let mut args = Vec::with_capacity(instruction.args.len());
    for word in &instruction.args {
        let (key, value) = match word.value.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word.as_str(), None),
        };
        if key.is_empty() && value.is_some() {
            return Err(Faults::from(blank_name(instruction, word.span)));
        }
        args.push(Arg { word, key, value, doc: doc_comment(instruction, key) });
    }
    Ok(args)
}

/// The comment that describes `name`: the first line before the instruction that reads `name text`.
pub(super) fn doc_comment<'d>(instruction: &'d Instruction<'d>, name: &str) -> &'d str {
    if name.is_empty() {
        return "";
    }
    let describe = |comment: &'d Text<'d>| comment.value.strip_prefix(name)?.strip_prefix(' ');
    instruction.comments.iter().find_map(describe).unwrap_or_default()
}

fn ports<'d>(instruction: &'d Instruction<'d>) -> Result<Vec<&'d Text<'d>>> {
    at_least_one(instruction)?;
    flags(instruction, &[])?;
    let mut ports: Vec<&Text<'_>> = instruction.args.iter().collect();
    ports.sort_by(|a, b| a.value.cmp(&b.value));
    Ok(ports)
}

fn volumes<'d>(instruction: &'d Instruction<'d>) -> Result<Vec<&'d str>> {
    at_least_one(instruction)?;
    flags(instruction, &[])?;
    let mut volumes = Vec::with_capacity(instruction.args.len());
    for arg in &instruction.args {
        let path = arg.value.trim();
        if path.is_empty() {
            let found = Diagnostic::new(Code::EmptyVolume, arg.span, "a volume needs a path");
            return Err(Faults::from(found.buildkit("VOLUME specified can not be an empty string")));
        }
        volumes.push(path);
    }
    Ok(volumes)
}

fn shell<'d>(instruction: &'d Instruction<'d>) -> Result<&'d [Text<'d>]> {
    flags(instruction, &[])?;
    at_least_one(instruction)?;
    if instruction.json {
        return Ok(&instruction.args);
    }
    let span = instruction.args.first().map_or(instruction.keyword.span, |first| first.span);
    let words: Vec<String> =
        instruction.args.iter().flat_map(|arg| arg.value.split_whitespace()).map(json_string).collect();
    let found = Diagnostic::new(Code::ShellNotJson, span, "`SHELL` takes a JSON array")
        .buildkit("SHELL requires the arguments to be in JSON form");
    let plain = instruction.args.iter().all(|arg| !arg.value.contains(['"', '\'', '[', '\\', ',']));
    let array = format!("[{}]", words.join(", "));
    let found = found.help(if plain {
        format!("write `SHELL {array}`")
    } else {
        "write `SHELL [\"program\", \"argument\"]`".into()
    });
    Err(Faults::from(if plain { found.fix(span, array) } else { found }))
}

fn json_string(word: &str) -> String {
    format!("\"{word}\"")
}

/// An unknown instruction, and what was probably meant.
fn unknown(instruction: &Instruction<'_>) -> Diagnostic {
    let word = instruction.keyword.as_str();
    let span = instruction.keyword.span;
    let message: Cow<'static, str> = match word {
        "" => "there is no instruction".into(),
        word => format!("unknown instruction `{}`", shortened(word)).into(),
    };
    let found =
        Diagnostic::new(Code::UnknownInstruction, span, message).buildkit(format!("unknown instruction: {word}"));
    if let Some(help) = not_an_instruction(word) {
        return found.help(help);
    }
    let names: Vec<&str> = Keyword::ALL.iter().map(|keyword| keyword.name()).collect();
    match suggest(word, &names) {
        Some(near) if word.chars().all(|ch| !ch.is_uppercase()) => {
            let near = near.to_ascii_lowercase();
            found.help(format!("did you mean `{near}`?")).fix(span, near)
        }
        Some(near) => found.help(format!("did you mean `{near}`?")).fix(span, near),
        None => {
            found.help("if this belongs to the instruction above, end the line before with a continuation character")
        }
    }
}

/// Help for words that show what went wrong.
fn not_an_instruction(word: &str) -> Option<&'static str> {
    if word.starts_with("&&") || word.starts_with("||") || matches!(word, "|" | ";") {
        return Some("this continues a command: end the line before with ` \\`");
    }
    if word.starts_with('-') {
        return Some("this looks like an option of the command above: end the line before with ` \\`");
    }
    if word.starts_with('{') {
        return Some("this looks like JSON; a Dockerfile begins with `FROM`");
    }
    if word.starts_with("//") || word.starts_with("/*") || word.starts_with("--") {
        return Some("comments start with `#`");
    }
    if word.starts_with("```") {
        return Some("remove the Markdown fence around the Dockerfile");
    }
    if word.starts_with("<<<<<<<") || word.starts_with("=======") || word.starts_with(">>>>>>>") {
        return Some("resolve the merge conflict");
    }
    if matches!(word, "EOF" | "EOT" | "END") {
        return Some(
            "this looks like the end of a heredoc that was not recognised: write it as `<<NAME`, outside quotes",
        );
    }
    if matches!(word, ">>>" | "..." | "$" | "%") {
        return Some("remove the prompt; a command to run is written `RUN command`");
    }
    None
}

/// A word short enough to show.
fn shortened(word: &str) -> Cow<'_, str> {
    match word.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &word[..at]).into(),
        None => word.into(),
    }
}

/// Names of the flags that both `COPY` and `ADD` have.
pub(super) const TRANSFER_FLAGS: [Known; 4] =
    [("chown", Takes::Value), ("chmod", Takes::Value), ("link", Takes::Bool), ("exclude", Takes::Values)];
