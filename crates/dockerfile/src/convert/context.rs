//! What every step of a conversion uses: the lexer, the budget, the lints, the graph of operations.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::ConvertOptions;
use super::error::ConvertError;
use super::graph::Graph;
use super::op::{OpId, OpKind, Origin, SharedEnv, Source};
use super::scope::Scope;
use super::state::{History, State};
use crate::env::Variables;
use crate::expand::{ExpandError, Lexer, unmatched};
use crate::instruction::Command;
use crate::limits::Budget;
use crate::rules::{Lints, undefined_var};
use crate::span::{Span, Text};

/// A fault and, when it is narrower than the instruction, its place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: ConvertError,
    pub(super) span: Option<Span>,
}

impl<E: Into<ConvertError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault { error: error.into(), span: None }
    }
}

impl Fault {
    pub(super) fn at(error: impl Into<ConvertError>, span: Span) -> Self {
        Fault { error: error.into(), span: Some(span) }
    }
}

/// What every step of a conversion uses.
pub(super) struct Context<'o> {
    pub(super) options: &'o ConvertOptions,
    pub(super) lexer: Lexer,
    pub(super) budget: Budget,
    pub(super) lints: Lints,
    pub(super) graph: Graph,
    pub(super) scope: Scope<'o>,
    /// The newest environment of a process, and the version of the variables it was made of.
    pub(super) last_env: Option<(u64, SharedEnv)>,
    /// Versions given to environments so far.
    pub(super) env_versions: u64,
}

/// Arguments that never enter the environment; BuildKit uses them itself.
pub(super) const OUTSIDE_ENV: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// So many names are searched for one that was misspelt.
const KNOWN_MAX: usize = 256;

impl Context<'_> {
    /// Expands one word of an instruction with the stage's environment.
    pub(super) fn expand<'t>(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        word: &'t str,
    ) -> Result<Cow<'t, str>, ExpandError> {
        let lexer = self.lexer;
        self.expand_with(lexer, state, command, word)
    }

    /// The same for a word with a place of its own.
    pub(super) fn expand_text<'t>(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        word: &'t Text<'_>,
    ) -> Result<Cow<'t, str>, Fault> {
        self.expand(state, command, word.as_str()).map_err(|error| Fault::at(error, word.span))
    }

    /// Expands the body of a heredoc: variables only, the escape always a backslash.
    pub(super) fn expand_heredoc<'t>(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        body: &'t str,
    ) -> Result<Cow<'t, str>, ExpandError> {
        let lexer = Lexer { skip_quotes: true, ..Lexer::new('\\') };
        self.expand_with(lexer, state, command, body)
    }

    fn expand_with<'t>(
        &mut self,
        lexer: Lexer,
        state: &State<'_>,
        command: &Command<'_>,
        word: &'t str,
    ) -> Result<Cow<'t, str>, ExpandError> {
        let expanded = lexer.expand(word, state.env.as_ref(), &mut self.budget);
        let unmatched = unmatched(&expanded);
        if !unmatched.is_empty() {
            self.report_undefined(state, command, &unmatched);
        }
        expanded.map(|expanded| expanded.text)
    }

    /// Names that neither the environment nor an `ARG` without a value knows.
    fn report_undefined(&mut self, state: &State<'_>, command: &Command<'_>, unmatched: &[&str]) {
        let declared = |name: &str| state.build_args.get(name).is_some() || OUTSIDE_ENV.contains(&name);
        let unmatched: BTreeSet<&str> = unmatched.iter().copied().filter(|name| !declared(name)).collect();
        let known = || state.env.iter().map(|(name, _)| name).take(KNOWN_MAX).collect();
        undefined_var::report(command, &unmatched, known, &mut self.lints);
    }

    /// Adds an entry to the stage's history.
    pub(super) fn commit(
        &mut self,
        state: &mut State<'_>,
        created_by: String,
        changes_files: bool,
    ) -> Result<(), ConvertError> {
        self.budget.spend_output(created_by.len())?;
        state.history.push(History { created_by, empty_layer: !changes_files });
        Ok(())
    }

    /// The build context.
    pub(super) fn build_context(&mut self, origin: Origin) -> Result<OpId, ConvertError> {
        self.source(Source::named("local://context"), origin)
    }

    pub(super) fn source(&mut self, source: Source, origin: Origin) -> Result<OpId, ConvertError> {
        Ok(self.graph.add(OpKind::Source(source), origin, &mut self.budget)?)
    }
}

impl Source {
    /// A source that its id says all about.
    pub(super) fn named(id: impl Into<String>) -> Self {
        Source { id: id.into(), platform: None, checksum: String::new(), filename: String::new(), keep_git_dir: false }
    }
}
