//! All stages over one file: parse, type, convert, lint, restrict. What `check`, `plan` and a build share.

use crate::ast::Dockerfile;
use crate::config::ImageConfig;
use crate::convert::{Conversion, ConvertOptions, convert};
use crate::diagnostic::{self, Code, Diagnostic};
use crate::instruction;
use crate::parse::{Mode, parse, parse_source};
use crate::policy::{self, Policy};
use crate::source::Source;

/// What a file is held to and what it stands on.
#[derive(Clone, Debug, Default)]
pub struct AnalysisOptions {
    /// How it is read.
    pub mode: Mode,
    /// The restrictions of a service; `None` for none.
    pub policy: Option<Policy>,
    /// The config of the base image, where it is known: variables, triggers and the shell of the base come from it.
    pub base_config: Option<ImageConfig>,
    /// What else the conversion depends on.
    pub convert: ConvertOptions,
}

/// Everything that is known of a file without running it.
#[derive(Clone, Debug)]
pub struct Analysis<'a> {
    /// The syntax tree.
    pub dockerfile: Dockerfile<'a>,
    /// Config and operations; of use only when the file is accepted.
    pub conversion: Conversion,
    /// Every problem, in source order: errors of all stages, restrictions, warnings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Analysis<'_> {
    /// Whether no problem refuses the file. Warnings never do.
    #[must_use]
    pub fn accepted(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Looks at a file in every way at once. One stage's errors do not keep the next from looking at the rest of the file; only a
/// file that is too large for the policy or the strict mode is not looked at further, so that what it costs is bounded.
#[must_use]
pub fn analyze<'a>(source: &'a Source<'_>, options: &AnalysisOptions) -> Analysis<'a> {
    if let Some(found) = options.policy.as_ref().and_then(|policy| policy::too_large(policy, source.text())) {
        let dockerfile = parse("", options.mode).dockerfile;
        return Analysis { dockerfile, conversion: Conversion::default(), diagnostics: vec![found] };
    }
    let parsed = parse_source(source, options.mode);
    if let Some(found) =
        options.policy.as_ref().and_then(|policy| policy::too_many(policy, &parsed.dockerfile.instructions))
    {
        return Analysis { conversion: Conversion::default(), diagnostics: vec![found], dockerfile: parsed.dockerfile };
    }
    if parsed.diagnostics.iter().any(|found| found.code == Code::LimitReached) {
        let diagnostics = parsed.diagnostics;
        return Analysis { conversion: Conversion::default(), diagnostics, dockerfile: parsed.dockerfile };
    }
    let typed = instruction::read(&parsed.dockerfile);
    let convert_options = match &options.policy {
        Some(policy) => &ConvertOptions { limits: policy.limits, ..options.convert.clone() },
        None => &options.convert,
    };
    let conversion = convert(&parsed, &typed.instructions, options.base_config.as_ref(), convert_options);
    let mut diagnostics = parsed.diagnostics.clone();
    diagnostics.extend(typed.diagnostics);
    diagnostics.extend(conversion.errors.iter().cloned());
    if let Some(policy) = &options.policy {
        diagnostics.extend(policy::check(policy, &parsed, &typed.instructions, options.base_config.as_ref()));
        diagnostics.extend(policy::check_operations(&conversion, &parsed));
    }
    diagnostics.extend(conversion.lints.iter().cloned());
    diagnostic::sort(&mut diagnostics);
    Analysis { conversion, diagnostics, dockerfile: parsed.dockerfile }
}
