//! The global scope: predefined platform arguments, then the `ARG`s before the first `FROM`.

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
pub(super) fn predefined(build: &Platform, target: &Platform, target_stage: &str, args: &BuildArgs) -> Env {
    let target_stage = if target_stage.is_empty() { "default" } else { target_stage };
    let values = [
        ("BUILDPLATFORM", build.without_version()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", build.os_version.clone()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", build.variant.clone()),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", target.os_version.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", target_stage.to_owned()),
    ];
    values.into_iter().map(|(name, value)| (name, args.get(name).cloned().unwrap_or(value))).collect()
}

/// The global scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// The variables that have a value.
    pub(super) values: Env,
    /// The names the file declares, with or without a value.
    pub(super) declared: BTreeSet<String>,
}

/// Adds the `ARG`s before the first `FROM`: a build argument wins over the default, which may use what came before.
pub(super) fn with_meta_args<'d>(
    predefined: &Env,
    meta_args: &[Command<'d>],
    args: &BuildArgs,
    lexer: Lexer,
    budget: &mut Budget,
) -> Result<Scope, (ExpandError, &'d Instruction<'d>)> {
    let mut scope = Scope { values: predefined.clone(), declared: BTreeSet::new() };
    for command in meta_args {
        let CommandKind::Arg(declarations) = &command.kind else { continue };
        for declaration in declarations {
            scope.declared.insert(declaration.key.to_owned());
            let given = args.get(declaration.key).cloned();
            let value = match (given, declaration.value) {
                (Some(given), _) => Some(given),
                (None, None) => None,
                (None, Some(default)) => {
                    let expanded = lexer.expand(default, &scope.values, budget);
                    Some(expanded.map_err(|error| (error, command.instruction))?.text.into_owned())
                }
            };
            if let Some(value) = value {
                scope.values.set(declaration.key, &value);
            }
        }
    }
    Ok(scope)
}

impl Scope {
    /// Reports variables of a `FROM` that nothing declares.
    pub(super) fn report_undeclared(&self, stage: &Stage<'_>, unmatched: &[String], lints: &mut Lints) {
        let is_declared = |name: &str| self.get(name).is_some() || self.declared.contains(name);
        let undeclared: Vec<String> = unmatched.iter().filter(|name| !is_declared(name)).cloned().collect();
        let names = || {
            let values = self.values.iter().map(|(name, _)| name);
            values.chain(self.declared.iter().map(String::as_str)).take(NAMES_MAX).collect()
        };
        undefined_arg_in_from::report(stage, &undeclared, names, lints);
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)
    }
}
