//! The global scope: predefined platform arguments, then the `ARG`s before the first `FROM`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::ast::Instruction;
use crate::env::{Env, Variables};
use crate::expand::{ExpandError, Lexer};
use crate::instruction::{Command, CommandKind, Instructions, Stage};
use crate::limits::Budget;
use crate::platform::Platform;
use crate::rules::{Lints, undefined_arg_in_from};

/// So many names are offered to the search for one that was misspelt.
const NAMES_MAX: usize = 256;

/// Build arguments by name.
pub(super) type BuildArgs = BTreeMap<String, String>;

/// Whether anything in the file can look at the global scope; most files do not, and it need not be made for them.
pub(super) fn is_used(instructions: &Instructions<'_>) -> bool {
    let imports = |command: &Command<'_>| match &command.kind {
        CommandKind::Arg(args) => args.iter().any(|arg| arg.value.is_none()),
        _ => false,
    };
    let by_stage = |stage: &Stage<'_>| {
        stage.base.as_str().contains('$') || stage.platform.contains('$') || stage.commands.iter().any(imports)
    };
    !instructions.meta_args.is_empty() || instructions.stages.iter().any(by_stage)
}

/// What `FROM` can use, without the file's own arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Predefined<'o> {
    values: Vec<(&'static str, Cow<'o, str>)>,
}

impl<'o> Predefined<'o> {
    /// The platforms and the stage to build, but for what the build arguments say otherwise.
    pub(super) fn new(build: &'o Platform, target: &'o Platform, target_stage: &str, args: &'o BuildArgs) -> Self {
        let target_stage = if target_stage.is_empty() { "default" } else { target_stage };
        let values = [
            ("BUILDPLATFORM", Cow::Owned(build.without_version())),
            ("BUILDOS", Cow::Borrowed(build.os.as_ref())),
            ("BUILDOSVERSION", Cow::Borrowed(build.os_version.as_ref())),
            ("BUILDARCH", Cow::Borrowed(build.architecture.as_ref())),
            ("BUILDVARIANT", Cow::Borrowed(build.variant.as_ref())),
            ("TARGETPLATFORM", Cow::Owned(target.to_string())),
            ("TARGETOS", Cow::Borrowed(target.os.as_ref())),
            ("TARGETOSVERSION", Cow::Borrowed(target.os_version.as_ref())),
            ("TARGETARCH", Cow::Borrowed(target.architecture.as_ref())),
            ("TARGETVARIANT", Cow::Borrowed(target.variant.as_ref())),
            ("TARGETSTAGE", Cow::Owned(target_stage.to_owned())),
        ];
        let given = |name: &str| args.get(name).map(|value| Cow::Borrowed(value.as_str()));
        Predefined { values: values.into_iter().map(|(name, value)| (name, given(name).unwrap_or(value))).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }
}

/// The global scope: the predefined arguments, then the `ARG`s before the first `FROM`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'o> {
    predefined: Predefined<'o>,
    /// The arguments of the file that have a value.
    values: Env,
    /// The names the file declares, with or without a value.
    declared: BTreeSet<String>,
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).or_else(|| self.predefined.get(name))
    }
}

impl<'o> Scope<'o> {
    /// Adds the file's arguments: a build argument wins over the default, which may use what came before it.
    pub(super) fn new<'d>(
        predefined: Predefined<'o>,
        meta_args: &[Command<'d>],
        args: &BuildArgs,
        lexer: Lexer,
        budget: &mut Budget,
    ) -> Result<Self, (ExpandError, &'d Instruction<'d>)> {
        let mut scope = Scope { predefined, ..Scope::default() };
        for command in meta_args {
            let CommandKind::Arg(declarations) = &command.kind else { continue };
            for declaration in declarations {
                scope.declared.insert(declaration.key.to_owned());
                let value = match (args.get(declaration.key), declaration.value) {
                    (Some(given), _) => Cow::Borrowed(given.as_str()),
                    (None, None) => continue,
                    (None, Some(default)) => {
                        let expanded = lexer.expand(default, &scope, budget);
                        expanded.map_err(|error| (error, command.instruction))?.text
                    }
                };
                scope.values.set(declaration.key, &value);
            }
        }
        Ok(scope)
    }

    /// Reports variables of a `FROM` that nothing declares.
    pub(super) fn report_undeclared(&self, stage: &Stage<'_>, unmatched: &[&str], lints: &mut Lints) {
        let is_declared = |name: &str| self.get(name).is_some() || self.declared.contains(name);
        let undeclared: Vec<&str> = unmatched.iter().copied().filter(|name| !is_declared(name)).collect();
        let known = || {
            let predefined = self.predefined.values.iter().map(|(name, _)| *name);
            let values = self.values.iter().map(|(name, _)| name);
            predefined.chain(values).chain(self.declared.iter().map(String::as_str)).take(NAMES_MAX).collect()
        };
        undefined_arg_in_from::report(stage, &undeclared, known, lints);
    }
}
