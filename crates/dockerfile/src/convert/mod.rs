//! Instructions to an image config and operations: BuildKit's third stage (`dockerfile2llb`), without I/O.
//!
//! ```text
//! Instructions ─ scope ──▶ global arguments ─ stages ──▶ graph of stages ─ triggers ──▶ steps
//! steps ─ metadata, run, copy ──▶ State of each stage (config, history, files) ─ graph ──▶ Conversion
//! ```
//!
//! [`convert`] is the entry; everything it returns is plain data. A builder does the operations in order, or only prints
//! them. BuildKit stops at the first error; here the rest of the stage is still looked at, so that all are reported.

mod chmod;
mod context;
mod copy;
mod error;
mod graph;
mod metadata;
mod op;
mod remote;
mod run;
mod scope;
mod stages;
mod state;
mod triggers;

use std::collections::BTreeMap;

use serde::Serialize;

pub use error::ConvertError;
pub use op::{
    CopyAction, Exec, ExecMount, ExecMountKind, FileAction, FileOp, Handed, NetworkMode, Op, OpId, OpKind, Origin,
    SecretEnv, SharedEnv, Source,
};
pub use state::{DEFAULT_PATH, History};

use crate::ast::Instruction;
use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::directive::detect_check;
use crate::dockerignore::DockerIgnore;
use crate::env::Variables;
use crate::expand::{ExpandCause, Lexer, unmatched};
use crate::instruction::{CommandKind, Instructions, Stage};
use crate::limits::{Budget, LimitReached, Limits};
use crate::parse::Parsed;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::rules::{
    self, CheckOptions, Lints, from_platform_flag_const_disallowed, invalid_base_image_platform,
    invalid_default_arg_in_from, redundant_target_platform,
};
use crate::span::Span;
use context::{Context, Fault};
use copy::Verb;
use graph::Graph;
use scope::{Predefined, Scope};
use stages::{Node, SCRATCH, Stages, Step};
use state::State;
use triggers::Triggers;

/// What a conversion depends on besides the file and its base image.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// Build arguments by name; those called like a proxy are handed to every `RUN`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build, by name; the last one if `None`.
    pub target: Option<String>,
    /// Platform of the result.
    pub target_platform: Platform,
    /// Platform of the machine that builds.
    pub build_platform: Platform,
    /// Platform of the base images.
    pub base_platform: Platform,
    /// Labels added to the result.
    pub labels: BTreeMap<String, String>,
    /// Put in front of the names of caches, so that builds of different owners do not share them.
    pub cache_namespace: String,
    /// The `.dockerignore` of the build context, if there is one.
    pub dockerignore: Option<DockerIgnore>,
    /// Caps on what the file may cost.
    pub limits: Limits,
}

/// What a Dockerfile makes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Conversion {
    /// The image the result starts from, in normal form; `None` when that is empty or not known.
    pub base: Option<String>,
    /// How to run the result.
    pub config: ImageConfig,
    /// From `MAINTAINER`.
    pub author: String,
    /// What the file adds to the base image's history.
    pub history: Vec<History>,
    /// What has to be done, inputs before what they are for.
    pub ops: Vec<Op>,
    /// The operation whose files are the result; `None` is an empty image.
    pub root: Option<OpId>,
    /// What the rules found.
    #[serde(skip)]
    pub lints: Vec<Diagnostic>,
    /// How many of the lints were found before the first error, where BuildKit stops.
    #[serde(skip)]
    pub lints_before_error: usize,
    /// The errors; the first is the one BuildKit reports. The rest of the conversion is only of use if there are none.
    #[serde(skip)]
    pub errors: Vec<Diagnostic>,
}

/// Converts a file.
///
/// `base` is the config of the image that a `FROM` names; without it an empty config stands in. The file should have been
/// parsed and typed without errors; instructions that were not are left out.
///
/// ```
/// use dockerfile::convert::{ConvertOptions, convert};
/// use dockerfile::{Mode, instruction, parse};
///
/// let parsed = parse("FROM debian:12\nENV A=1\nRUN make\n", Mode::Strict);
/// let typed = instruction::read(&parsed.dockerfile);
/// let made = convert(&parsed, &typed.instructions, None, &ConvertOptions::default());
/// assert!(made.errors.is_empty());
/// assert_eq!(made.base.as_deref(), Some("docker.io/library/debian:12"));
/// assert_eq!(made.ops.len(), 2);
/// ```
#[must_use]
pub fn convert(
    parsed: &Parsed<'_>,
    instructions: &Instructions<'_>,
    base: Option<&ImageConfig>,
    options: &ConvertOptions,
) -> Conversion {
    let empty = ImageConfig::default();
    let base = base.unwrap_or(&empty);
    // Triggers of triggers: two rounds are all there can be.
    let triggers_max = options.limits.triggers_max;
    let texts = base.on_build.iter().map(String::as_str).chain(triggers::texts_of(instructions));
    let first = triggers::parse_all(texts.take(triggers_max));
    let first = triggers::read_all(&first);
    let texts = first.iter().filter_map(|(_, trigger)| trigger.as_ref().ok()).filter_map(triggers::text_of);
    let second = triggers::parse_all(texts);
    let second = triggers::read_all(&second);
    let triggers: Triggers<'_> = second.iter().chain(&first).map(|(text, trigger)| (*text, trigger)).collect();
    Converter::new(parsed, options).convert(parsed, instructions, base, &triggers)
}

/// Something went so wrong that there is nothing to go on with; the error was noted.
struct Stop;

struct Converter<'d, 'o> {
    context: Context<'o>,
    stages: Stages<'d>,
    errors: Vec<Diagnostic>,
    lints_before_error: Option<usize>,
    file: &'d [Instruction<'d>],
    /// The file or its base has triggers.
    may_trigger: bool,
}

impl<'d, 'o> Converter<'d, 'o> {
    fn new(parsed: &'d Parsed<'_>, options: &'o ConvertOptions) -> Self {
        let context = Context {
            options,
            lexer: Lexer::new(parsed.dockerfile.escape),
            budget: Budget::new(options.limits),
            lints: Lints::default(),
            graph: Graph::default(),
            scope: Scope::default(),
            last_env: None,
            env_versions: 0,
        };
        let file = &parsed.dockerfile.instructions;
        Converter {
            context,
            stages: Stages::default(),
            errors: Vec::new(),
            lints_before_error: None,
            file,
            may_trigger: false,
        }
    }

    fn convert(
        mut self,
        parsed: &Parsed<'_>,
        instructions: &'d Instructions<'_>,
        base: &ImageConfig,
        triggers: &Triggers<'d>,
    ) -> Conversion {
        self.may_trigger = !triggers.is_empty();
        let target = self.build(parsed, instructions, base, triggers).ok();
        if let Some(violation) = self.context.lints.violation() {
            let rules = violation.trim_start_matches("lint violation found for rules: ").to_owned();
            self.note(ConvertError::LintViolation(rules).into(), Span::empty(0));
        }
        self.finish(target)
    }

    /// Goes through everything; the result is the node that was asked for.
    fn build(
        &mut self,
        parsed: &Parsed<'_>,
        instructions: &'d Instructions<'_>,
        base: &ImageConfig,
        triggers: &Triggers<'d>,
    ) -> Result<usize, Stop> {
        let check = CheckOptions::parse(detect_check(parsed.dockerfile.source).unwrap_or_default());
        let check = check.map_err(|error| self.stop(ConvertError::CheckOptions(error.to_string()), Span::empty(0)))?;
        self.context.lints = Lints::new(check);
        rules::run(&parsed.warnings, instructions, &mut self.context.lints);
        self.global_scope(instructions)?;
        for (index, stage) in instructions.stages.iter().enumerate() {
            self.add_stage(index, stage)?;
        }
        let target = self.target()?;
        self.connect(instructions)?;
        let reachable = self.resolve(target, base, triggers)?;
        self.stages.count_users(target, &reachable);
        self.dispatch(base, &reachable)?;
        Ok(target)
    }

    /// Notes an error.
    fn note(&mut self, fault: Fault, span: Span) {
        self.lints_before_error.get_or_insert(self.context.lints.found().len());
        self.errors.push(fault.error.diagnostic(fault.span.unwrap_or(span)));
    }

    fn stop(&mut self, fault: impl Into<Fault>, span: Span) -> Stop {
        self.note(fault.into(), span);
        Stop
    }

    fn global_scope(&mut self, instructions: &'d Instructions<'_>) -> Result<(), Stop> {
        let options = self.context.options;
        let last_name = instructions.stages.last().map_or("", |stage| &stage.name);
        let target = options.target.as_deref().unwrap_or(last_name);
        let args = &options.build_args;
        // A trigger may import an argument, too.
        let predefined = match scope::is_used(instructions) || self.may_trigger {
            true => Predefined::new(&options.build_platform, &options.target_platform, target, args),
            false => Predefined::default(),
        };
        let Context { lexer, budget, .. } = &mut self.context;
        let meta_args = &instructions.meta_args;
        let given = Scope::new(predefined.clone(), meta_args, args, *lexer, budget);
        let without_args = match args.is_empty() {
            true => None,
            false => Some(Scope::new(predefined, meta_args, &BTreeMap::new(), *lexer, budget)),
        };
        if let Ok(defaults) = without_args.as_ref().unwrap_or(&given) {
            self.check_default_bases(instructions, defaults);
        }
        match given {
            Ok(scope) => self.context.scope = scope,
            Err((error, instruction)) => return Err(self.stop(error, instruction.head_span())),
        }
        match instructions.stages.is_empty() {
            true => Err(self.stop(ConvertError::NoStages, Span::empty(0))),
            false => Ok(()),
        }
    }

    /// Reports a base that is no reference when no build arguments are given.
    fn check_default_bases(&mut self, instructions: &Instructions<'_>, defaults: &Scope<'_>) {
        let context = &mut self.context;
        context.lints.enter(&[]);
        for stage in &instructions.stages {
            let name = context.lexer.expand(stage.base.as_str(), defaults, &mut context.budget);
            match name.map(|name| Reference::is_valid(&name.text)) {
                Ok(true) => {}
                Ok(false) => invalid_default_arg_in_from::report(stage, &mut context.lints),
                Err(_) => return,
            }
        }
    }

    /// Expands the base and the platform of a stage.
    fn add_stage(&mut self, index: usize, stage: &'d Stage<'_>) -> Result<(), Stop> {
        let context = &mut self.context;
        context.lints.enter(&stage.from.comments);
        let expanded = context.lexer.expand(stage.base.as_str(), &context.scope, &mut context.budget);
        context.scope.report_undeclared(stage, &unmatched(&expanded), &mut context.lints);
        let base = match expanded {
            Ok(base) if !base.text.is_empty() => base.text.into_owned(),
            Ok(_) => {
                let error = ConvertError::BlankBase(stage.base.as_str().to_owned());
                return Err(self.stop(error, stage.base.span));
            }
            Err(error) => return Err(self.stop(error, stage.base.span)),
        };
        let platform = match stage.platform {
            "" => None,
            expression => Some(self.stage_platform(stage, expression)?),
        };
        let name = if stage.name.is_empty() { format!("stage-{index}") } else { stage.name.clone().into_owned() };
        self.stages.add(Node::stage(stage, name, base, platform));
        Ok(())
    }

    fn stage_platform(&mut self, stage: &Stage<'_>, expression: &str) -> Result<Platform, Stop> {
        let span = stage.from.flags.first().map_or(stage.from.keyword.span, |flag| flag.span);
        let context = &mut self.context;
        let expanded = context.lexer.expand(expression, &context.scope, &mut context.budget);
        context.scope.report_undeclared(stage, &unmatched(&expanded), &mut context.lints);
        let expanded = expanded.map_err(|error| {
            let limit = matches!(error.cause, ExpandCause::Limit(_));
            let error = if limit { error.into() } else { ConvertError::PlatformExpand(error) };
            self.stop(error, span)
        })?;
        let context = &mut self.context;
        let target = context.scope.get("TARGETPLATFORM").unwrap_or_default().to_owned();
        redundant_target_platform::check(stage, &expanded, &target, &mut context.lints);
        let platform = Platform::parse(&expanded.text, &context.options.build_platform);
        if let (Ok(platform), [], []) = (&platform, expanded.matched.as_slice(), expanded.unmatched.as_slice()) {
            let Platform { os, architecture, .. } = platform;
            from_platform_flag_const_disallowed::check(stage, &expanded.text, os, architecture, &mut context.lints);
        }
        if expanded.text.is_empty() {
            return Err(self.stop(ConvertError::EmptyPlatform(expression.to_owned()), span));
        }
        let expression = expression.to_owned();
        platform.map_err(|cause| self.stop(ConvertError::Platform { expression, cause }, span))
    }

    fn target(&mut self) -> Result<usize, Stop> {
        let Some(name) = &self.context.options.target else { return Ok(self.stages.nodes.len().saturating_sub(1)) };
        let found = self.stages.by_name(name);
        found.ok_or_else(|| self.stop(ConvertError::TargetNotFound(name.clone()), Span::empty(0)))
    }

    /// Finds out which stage needs which.
    fn connect(&mut self, instructions: &'d Instructions<'_>) -> Result<(), Stop> {
        for (index, stage) in instructions.stages.iter().enumerate() {
            self.stages.nodes[index].steps.reserve(stage.commands.len());
            for command in &stage.commands {
                let step = self.stages.step(command, None, &mut self.context);
                let step = step.map_err(|error| self.stop(error, command.instruction.head_span()))?;
                self.stages.push_needs(index, &step);
                self.stages.nodes[index].steps.push(step);
            }
        }
        self.stages.check_circles().map_err(|error| self.stop(error, Span::empty(0)))?;
        if let [only] = self.stages.nodes.as_mut_slice() {
            only.name.clear();
        }
        Ok(())
    }

    /// Makes sure that every base is a stage or a reference, and adds triggers, until there are no new ones.
    fn resolve(&mut self, target: usize, base: &ImageConfig, triggers: &Triggers<'d>) -> Result<Vec<bool>, Stop> {
        loop {
            let reachable = self.stages.reachable(target);
            self.check_references()?;
            let mut new_needs = false;
            for index in (0..reachable.len()).filter(|index| reachable[*index]) {
                new_needs |= self.add_triggers(index, base, triggers)?;
            }
            if !new_needs {
                return Ok(self.stages.reachable(target));
            }
        }
    }

    /// The reference looks at all bases at once and reports whichever fault it sees first.
    fn check_references(&mut self) -> Result<(), Stop> {
        let faults: Vec<Fault> = self.stages.nodes.iter_mut().filter_map(|node| node.resolve().err()).collect();
        let sound = faults.is_empty();
        for fault in faults {
            self.note(fault, Span::empty(0));
        }
        if sound { Ok(()) } else { Err(Stop) }
    }

    /// Puts the triggers of a stage's base before its own instructions.
    fn add_triggers(&mut self, index: usize, base: &ImageConfig, triggers: &Triggers<'d>) -> Result<bool, Stop> {
        let node = &mut self.stages.nodes[index];
        let Some(stage) = node.stage.filter(|_| !std::mem::replace(&mut node.triggered, true)) else {
            return Ok(false);
        };
        let texts: Vec<String> = match node.base {
            Some(base) => {
                let steps = self.stages.nodes[base].steps.iter();
                steps.filter_map(|step| triggers::text_of(step.command)).map(str::to_owned).collect()
            }
            None if node.base_name == SCRATCH => Vec::new(),
            None => base.on_build.clone(),
        };
        let mut steps = Vec::with_capacity(texts.len());
        let mut new_needs = false;
        for text in &texts {
            let step = match triggers.get(text.as_str()) {
                Some(Ok(command)) => self.stages.step(command, Some(stage.from), &mut self.context),
                Some(Err(error)) => Err(error.clone()),
                None => Err(LimitReached::Triggers(self.context.options.limits.triggers_max).into()),
            };
            let step = step.map_err(|error| self.stop(error, stage.from.head_span()))?;
            new_needs |= self.stages.push_needs(index, &step);
            steps.push(step);
        }
        self.stages.nodes[index].steps.splice(0..0, steps);
        Ok(new_needs)
    }

    /// Goes through the instructions of every stage that is needed.
    fn dispatch(&mut self, base: &ImageConfig, reachable: &[bool]) -> Result<(), Stop> {
        // An image that files are taken from is there before any stage.
        for index in 0..reachable.len() {
            if self.stages.nodes[index].stage.is_none() {
                self.stages.nodes[index].files = Some(self.source_of(index)?);
            }
        }
        for index in (0..reachable.len()).filter(|index| reachable[*index]) {
            let Some(stage) = self.stages.nodes[index].stage else { continue };
            let mut state = self.begin(index, stage, base)?;
            state.history.reserve(self.stages.nodes[index].steps.len());
            let steps = std::mem::take(&mut self.stages.nodes[index].steps);
            for step in &steps {
                self.step(&mut state, index, step)?;
            }
            let node = &mut self.stages.nodes[index];
            node.files = Some(state.root);
            node.history = std::mem::take(&mut state.history);
            node.state = Some(state).filter(|_| node.users > 0);
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, stage: &'d Stage<'d>, base: &ImageConfig) -> Result<State<'d>, Stop> {
        let base_state = self.stages.nodes[index].base.and_then(|base| self.stages.take_state(base));
        let node = &self.stages.nodes[index];
        let options = self.context.options;
        let target = &options.target_platform;
        let mut state = match base_state {
            Some(state) => State::from_stage(state),
            None if node.base_name == SCRATCH => {
                let config = ImageConfig { working_dir: "/".to_owned(), ..ImageConfig::default() };
                State::from_image(None, &config, target.clone(), target.is_windows())
            }
            None => {
                let platform = node.platform.clone().unwrap_or_else(|| target.clone());
                self.check_base_platform(stage, &platform);
                let root = self.source_of(index)?;
                State::from_image(root, base, platform, options.base_platform.is_windows())
            }
        };
        // A copied environment is copied for good when it is first changed.
        let copied = state.env.len() + state.image_env.len();
        let spent = self.context.budget.spend_output(copied * 32);
        spent.map_err(|limit| self.stop(limit, stage.from.head_span()))?;
        self.context.env_versions += 1;
        state.begin(self.context.env_versions);
        Ok(state)
    }

    fn check_base_platform(&mut self, stage: &Stage<'_>, platform: &Platform) {
        let actual = &self.context.options.base_platform;
        if platform.os == actual.os && platform.architecture == actual.architecture {
            return;
        }
        let (expected, actual) = (platform.normalized().to_string(), actual.normalized().to_string());
        self.context.lints.enter(&[]);
        invalid_base_image_platform::report(stage, &expected, &actual, &mut self.context.lints);
    }

    /// The image a node starts from, as an operation.
    fn source_of(&mut self, index: usize) -> Result<Option<OpId>, Stop> {
        let node = &self.stages.nodes[index];
        let platform = node.platform.as_ref().unwrap_or(&self.context.options.target_platform);
        let Some(source) = node.image_source(platform) else { return Ok(None) };
        let origin = node.at.map(|at| self.origin(at, false)).unwrap_or_default();
        let op = self.context.source(source, origin);
        op.map(Some).map_err(|error| self.stop(error, Span::empty(0)))
    }

    fn origin(&self, at: &Instruction<'_>, on_build: bool) -> Origin {
        let instruction = self.file.partition_point(|other| other.span.start < at.span.start);
        Origin { instruction, line: at.start_line, on_build }
    }

    /// One instruction; what is wrong with it is noted, and the next one follows, unless the budget is spent.
    fn step(&mut self, state: &mut State<'d>, index: usize, step: &Step<'d>) -> Result<(), Stop> {
        let at = step.trigger_of.unwrap_or(step.command.instruction);
        let origin = self.origin(at, step.trigger_of.is_some());
        self.context.lints.enter(&step.command.instruction.comments);
        let found_before = self.context.lints.found().len();
        let done = self.command(state, index, step, origin);
        if step.trigger_of.is_some() {
            // Spans within a trigger are places in its own text.
            self.context.lints.relocate(found_before, at.head_span());
        }
        let Err(fault) = done else { return Ok(()) };
        let spent = matches!(fault.error, ConvertError::Limit(_));
        self.note(Fault { span: fault.span.filter(|_| step.trigger_of.is_none()), ..fault }, at.head_span());
        if spent { Err(Stop) } else { Ok(()) }
    }

    fn command(&mut self, state: &mut State<'d>, index: usize, step: &Step<'d>, origin: Origin) -> Result<(), Fault> {
        let (context, command) = (&mut self.context, step.command);
        match &command.kind {
            CommandKind::Env(pairs) => context.env(state, command, pairs),
            CommandKind::Label(pairs) => context.label(state, command, pairs),
            CommandKind::Arg(args) => context.arg(state, command, args),
            CommandKind::Cmd(line) => context.cmd(state, command, line),
            CommandKind::Entrypoint(line) => context.entrypoint(state, command, line),
            CommandKind::Healthcheck(check) => context.healthcheck(state, command, check),
            CommandKind::Expose(ports) => context.expose(state, ports),
            CommandKind::User(user) => context.user(state, command, user),
            CommandKind::Volume(paths) => context.volume(state, command, paths),
            CommandKind::StopSignal(signal) => context.stop_signal(state, command, signal),
            CommandKind::Shell(args) => context.shell(state, args),
            CommandKind::Maintainer(name) => context.maintainer(state, name),
            CommandKind::Workdir(path) => context.workdir(state, command, path, origin),
            CommandKind::Onbuild(text) => {
                state.config_mut().on_build.push(text.clone().into_owned());
                Ok(())
            }
            CommandKind::Run(run) => context.run(state, command, run, &step.mounts, &self.stages, origin),
            CommandKind::Copy(copy) => {
                let from = step.from.map(|from| self.stages.copied(from, copy.from, index)).transpose();
                let verb = Verb::Copy { parents: copy.parents };
                context.transfer(state, command, &copy.transfer, verb, from, origin)
            }
            CommandKind::Add(add) => {
                let verb = Verb::Add { checksum: add.checksum, keep_git_dir: add.keep_git_dir, unpack: add.unpack };
                context.transfer(state, command, &add.transfer, verb, Ok(None), origin)
            }
        }
    }

    fn finish(mut self, target: Option<usize>) -> Conversion {
        let mut made = Conversion::default();
        if let Some(target) = target {
            self.take_result(target, &mut made);
        }
        let found = self.context.lints.found().len();
        made.lints_before_error = self.lints_before_error.unwrap_or(found);
        made.lints = self.context.lints.into_found();
        made.errors = self.errors;
        made
    }

    fn take_result(&mut self, target: usize, made: &mut Conversion) {
        let Some(mut state) = self.stages.take_state(target) else { return };
        made.config = state.finished_config();
        made.config.labels.extend(self.context.options.labels.clone());
        made.author = state.author;
        let root = state.root;
        (made.base, made.history) = self.lineage(target);
        let graph = std::mem::take(&mut self.context.graph);
        (made.ops, made.root) = graph.finish(root);
        let idle = made.ops.iter().find(|op| matches!(&op.kind, OpKind::Exec(exec) if exec.args.is_empty()));
        if let Some(idle) = idle {
            let span = self.file.get(idle.origin.instruction).map_or(Span::empty(0), Instruction::head_span);
            self.note(ConvertError::NoArguments.into(), span);
        }
    }

    /// The image at the bottom of a stage, and the history from there on.
    fn lineage(&mut self, target: usize) -> (Option<String>, Vec<History>) {
        let mut chain = vec![target];
        while let Some(base) = chain.last().and_then(|last| self.stages.nodes[*last].base) {
            chain.push(base);
        }
        let bottom = chain.last().and_then(|last| self.stages.nodes[*last].reference.as_ref());
        let base = bottom.map(Reference::normalized);
        let histories = chain.iter().rev().map(|index| std::mem::take(&mut self.stages.nodes[*index].history));
        (base, histories.flatten().collect())
    }
}

impl ConvertOptions {
    /// The proxies among the build arguments, as processes see them: in both cases.
    fn proxy(&self) -> Vec<String> {
        let mut found = BTreeMap::new();
        for (name, value) in &self.build_args {
            let lower = name.to_ascii_lowercase();
            if ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"].contains(&lower.as_str()) {
                found.insert(lower, value);
            }
        }
        let both = |(name, value): (&String, &&String)| {
            [format!("{}={value}", name.to_uppercase()), format!("{name}={value}")]
        };
        found.iter().flat_map(both).collect()
    }
}
