//! Typed instructions: what BuildKit's second stage (`frontend/dockerfile/instructions`) makes of the syntax tree.
//!
//! Everything borrows from the [`Dockerfile`](crate::ast::Dockerfile). Values are as written: variables are not expanded (that is `convert`).

mod flag_set;
mod from;
mod healthcheck;
mod onbuild;
mod read;
mod run;
mod transfer;

use std::borrow::Cow;

pub(crate) use read::read_command;
pub use read::{Typed, read};

use crate::ast::{Heredoc, Instruction};
use crate::span::{Span, Text};

/// A file's instructions, typed and sorted into stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions<'d> {
    /// `ARG`s before the first `FROM`, one entry an instruction.
    pub meta_args: Vec<Command<'d>>,
    /// The stages, in order.
    pub stages: Vec<Stage<'d>>,
}

/// A build stage: one `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage<'d> {
    /// The `FROM` instruction.
    pub from: &'d Instruction<'d>,
    /// The image or stage it starts from, unexpanded.
    pub base: &'d Text<'d>,
    /// The name after `AS`, in lower case; empty if none.
    pub name: Cow<'d, str>,
    /// Value of `--platform`, unexpanded; empty if none.
    pub platform: &'d str,
    /// The comment line `NAME text` before the `FROM`, without the name; empty if none.
    pub doc: &'d str,
    /// The commands, in order.
    pub commands: Vec<Command<'d>>,
}

/// A typed instruction other than `FROM`, with its syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'d> {
    /// The instruction it was made from: keyword, flags, comments, spans, lines.
    pub instruction: &'d Instruction<'d>,
    /// What it says.
    pub kind: CommandKind<'d>,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind<'d> {
    /// `RUN`.
    Run(Run<'d>),
    /// `CMD`.
    Cmd(CmdLine<'d>),
    /// `ENTRYPOINT`.
    Entrypoint(CmdLine<'d>),
    /// `ENV`.
    Env(Vec<KeyValue<'d>>),
    /// `LABEL`.
    Label(Vec<KeyValue<'d>>),
    /// `ARG`.
    Arg(Vec<Arg<'d>>),
    /// `COPY`.
    Copy(Copy<'d>),
    /// `ADD`.
    Add(Add<'d>),
    /// `WORKDIR`: the path.
    Workdir(&'d Text<'d>),
    /// `USER`: the user, perhaps `:group`.
    User(&'d Text<'d>),
    /// `EXPOSE`: the ports, sorted by bytes as BuildKit sorts them.
    Expose(Vec<&'d Text<'d>>),
    /// `VOLUME`: the paths, trimmed.
    Volume(Vec<&'d str>),
    /// `STOPSIGNAL`.
    StopSignal(&'d Text<'d>),
    /// `SHELL`: program and arguments.
    Shell(&'d [Text<'d>]),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck<'d>),
    /// `ONBUILD`: the text of the trigger, heredocs included.
    Onbuild(Cow<'d, str>),
    /// `MAINTAINER`.
    Maintainer(&'d Text<'d>),
}

/// A command line in shell or exec form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdLine<'d> {
    /// Exec form: the arguments. Shell form: at most one text.
    pub args: &'d [Text<'d>],
    /// Whether a shell runs it.
    pub shell_form: bool,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'d> {
    /// The command.
    pub cmdline: CmdLine<'d>,
    /// Its here-documents, in order.
    pub heredocs: &'d [Heredoc<'d>],
    /// Values of `--mount`, unexpanded, in order; `crate::mount` reads them.
    pub mounts: Vec<FlagValue<'d>>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device<'d>>,
}

/// The value of a flag and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagValue<'d> {
    /// The whole flag, `--name=value`.
    pub flag: &'d Text<'d>,
    /// The part after `=`; empty for a flag without one.
    pub value: &'d str,
}

impl FlagValue<'_> {
    /// Place of the value.
    #[must_use]
    pub fn span(&self) -> Span {
        self.flag.part_span(self.value)
    }
}

/// Network of a `RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The builder's default.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// Security mode of a `RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Confined.
    #[default]
    Sandbox,
    /// With all privileges.
    Insecure,
}

/// `--device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device<'d> {
    /// The flag it was made from.
    pub flag: &'d Text<'d>,
    /// Name of the device (CDI).
    pub name: Cow<'d, str>,
    /// Whether the build fails without it.
    pub required: bool,
}

/// A pair of `ENV` or `LABEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValue<'d> {
    /// Key, quotes and all.
    pub key: &'d Text<'d>,
    /// Value, quotes and all.
    pub value: &'d Text<'d>,
    /// Whether it was written `KEY value`, without `=`.
    pub legacy: bool,
}

/// A declaration of `ARG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg<'d> {
    /// The word it was made from.
    pub word: &'d Text<'d>,
    /// Name.
    pub key: &'d str,
    /// Default, quotes and all; `None` without `=`.
    pub value: Option<&'d str>,
    /// The comment line `NAME text` before, without the name; empty if none.
    pub doc: &'d str,
}

/// What `COPY` and `ADD` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer<'d> {
    /// Source paths, patterns or URLs; heredocs not included.
    pub sources: Vec<&'d Text<'d>>,
    /// Here-documents among the sources.
    pub contents: Vec<InlineFile<'d>>,
    /// Destination.
    pub dest: &'d Text<'d>,
    /// `--chown`; empty if none.
    pub chown: &'d str,
    /// `--chmod`; empty if none.
    pub chmod: &'d str,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<&'d str>,
}

/// A here-document as a source of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile<'d> {
    /// Name of the file.
    pub path: Cow<'d, str>,
    /// Content, leading tabs removed for `<<-`, unexpanded.
    pub data: Cow<'d, str>,
    /// Whether variables in it are expanded.
    pub expand: bool,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy<'d> {
    /// Sources, destination, common flags.
    pub transfer: Transfer<'d>,
    /// `--from`: stage, image or context; empty if none.
    pub from: &'d str,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add<'d> {
    /// Sources, destination, common flags.
    pub transfer: Transfer<'d>,
    /// `--checksum`; empty if none.
    pub checksum: &'d str,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck<'d> {
    /// `NONE`: switches off the base image's check.
    None,
    /// `CMD`: a check. Durations in nanoseconds, 0 for "inherit".
    Cmd {
        /// The command.
        cmdline: CmdLine<'d>,
        /// `--interval`.
        interval_ns: i64,
        /// `--timeout`.
        timeout_ns: i64,
        /// `--start-period`.
        start_period_ns: i64,
        /// `--start-interval`.
        start_interval_ns: i64,
        /// `--retries`, 0 for "inherit".
        retries: u32,
    },
}
