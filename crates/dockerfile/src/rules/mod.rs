//! The lints: BuildKit's 22 rules under their own names and with its wording, and a few more that matter here.
//!
//! One file a rule; each says when it speaks and makes the [`Diagnostic`]. What a rule is about, why, and what to write
//! instead stands on its page, in the table of [`Code`]s. Rules that need no expansion are run by [`run`]; the others are
//! called from `convert`, at the moment BuildKit calls them. A lint never refuses a file, unless the file itself says so with
//! `# check=error=true`.

mod apt;
mod apt_lists_left;
mod apt_missing_yes;
mod apt_update_separate;
pub(crate) mod consistent_instruction_casing;
pub(crate) mod copy_ignored_file;
pub(crate) mod duplicate_stage_name;
pub(crate) mod expose_invalid_format;
pub(crate) mod expose_proto_casing;
pub(crate) mod from_as_casing;
pub(crate) mod from_platform_flag_const_disallowed;
pub(crate) mod invalid_base_image_platform;
pub(crate) mod invalid_default_arg_in_from;
pub(crate) mod invalid_definition_description;
pub(crate) mod json_args_recommended;
pub(crate) mod legacy_key_value_format;
pub(crate) mod maintainer_deprecated;
pub(crate) mod multiple_instructions_disallowed;
pub(crate) mod no_empty_continuation;
mod options;
pub(crate) mod redundant_target_platform;
pub(crate) mod reserved_stage_name;
pub(crate) mod secrets_used_in_arg_or_env;
mod shell;
pub(crate) mod stage_name_casing;
pub(crate) mod undefined_arg_in_from;
pub(crate) mod undefined_var;
pub(crate) mod workdir_relative_path;

use std::borrow::Cow;
use std::collections::BTreeSet;

pub use options::{CheckOptions, InvalidCheckOptions};

use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic};
use crate::instruction::{Command, CommandKind, Instructions};
use crate::parse::EmptyContinuation;
use crate::span::{Span, Text};

/// So many findings of one file are kept, far more than anybody reads; the rest is only counted towards `error=true`.
pub const FINDINGS_MAX: usize = 4096;
/// So many findings get a suggestion or the exact place of a variable, which cost a search each.
const SEARCHES_MAX: usize = 64;

/// Collects what the rules find, as far as the file's `# check=` lines let them speak.
#[derive(Clone, Debug, Default)]
pub struct Lints {
    options: CheckOptions,
    /// The options for the instruction at hand, when comments above it change them.
    local: Option<CheckOptions>,
    found: Vec<Diagnostic>,
    violated: BTreeSet<&'static str>,
    searches: usize,
}

impl Lints {
    /// Nothing found yet; `options` come from the file's `# check=` directive.
    #[must_use]
    pub fn new(options: CheckOptions) -> Self {
        Lints { options, ..Lints::default() }
    }

    /// Turns to another instruction, whose `comments` may hold `check=skip=...`.
    pub fn enter(&mut self, comments: &[Text<'_>]) {
        self.local = self.options.merged_with(comments);
    }

    /// Whether the rule may speak about the instruction at hand.
    #[must_use]
    pub fn wants(&self, code: Code) -> bool {
        self.local.as_ref().unwrap_or(&self.options).wants(code)
    }

    /// Notes a finding, if its rule may speak.
    pub fn report(&mut self, finding: Diagnostic) {
        if !self.wants(finding.code) {
            return;
        }
        if !is_ours(finding.code) {
            self.violated.insert(finding.code.name());
        }
        if self.found.len() < FINDINGS_MAX {
            self.found.push(finding);
        }
    }

    /// Whether one more search is within the bounds.
    fn may_search(&mut self) -> bool {
        self.searches += 1;
        self.searches <= SEARCHES_MAX
    }

    /// Gives the findings from number `from` on another place: those in a trigger are shown at the `FROM` that pulled it.
    pub(crate) fn relocate(&mut self, from: usize, span: Span) {
        for finding in self.found.iter_mut().skip(from) {
            finding.span = span;
            finding.labels.clear();
            finding.fix.clear();
        }
    }

    /// What was found, in the order it was found.
    #[must_use]
    pub fn found(&self) -> &[Diagnostic] {
        &self.found
    }

    /// Gives the findings away.
    #[must_use]
    pub fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }

    /// BuildKit's error for a file with findings that asks for `error=true`; the rules in alphabetical order.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        if !self.options.error || self.violated.is_empty() {
            return None;
        }
        let rules: Vec<&str> = self.violated.iter().copied().collect();
        Some(format!("lint violation found for rules: {}", rules.join(", ")))
    }
}

/// Whether the rule is one that BuildKit does not have.
fn is_ours(code: Code) -> bool {
    matches!(code, Code::AptUpdateSeparate | Code::AptMissingYes | Code::AptListsLeft)
}

/// A finding with BuildKit's wording, which is ours too.
fn finding(code: Code, span: Span, message: String) -> Diagnostic {
    Diagnostic::new(code, span, Cow::Owned(message.clone())).buildkit(message)
}

/// Runs the rules that look at instructions as they are written, in BuildKit's order: the parser's warnings, instruction by
/// instruction, then stage names, then the case of keywords.
pub fn run(warnings: &[EmptyContinuation], instructions: &Instructions<'_>, lints: &mut Lints) {
    for warning in warnings {
        no_empty_continuation::report(warning.span, lints);
    }
    for command in &instructions.meta_args {
        command_as_written(command, lints);
    }
    for stage in &instructions.stages {
        lints.enter(&stage.from.comments);
        stage_name_casing::check(stage, lints);
        from_as_casing::check(stage, lints);
        invalid_definition_description::check_stage(stage, lints);
        for command in &stage.commands {
            command_as_written(command, lints);
        }
    }
    lints.enter(&[]);
    for stage in &instructions.stages {
        reserved_stage_name::check(stage, lints);
    }
    duplicate_stage_name::check(&instructions.stages, lints);
    consistent_instruction_casing::check(&instructions.stages, lints);
}

fn command_as_written(command: &Command<'_>, lints: &mut Lints) {
    lints.enter(&command.instruction.comments);
    match &command.kind {
        CommandKind::Maintainer(_) => maintainer_deprecated::check(command, lints),
        CommandKind::Arg(args) => invalid_definition_description::check_args(command, args, lints),
        CommandKind::Run(run) => apt::check(command, run, lints),
        _ => {}
    }
}

/// The keyword's place: where a rule points that is about the whole instruction.
fn keyword_span(instruction: &Instruction<'_>) -> Span {
    instruction.keyword.span
}

#[cfg(test)]
mod tests;
