//! `FROM`: how many, which, and how they are written.

use super::{Feature, Policy, shown};
use crate::ast::Keyword;
use crate::diagnostic::{Code, Diagnostic, MAX_DIAGNOSTICS, suggest};
use crate::instruction::Stage;
use crate::parse::Parsed;
use crate::reference::Reference;
use crate::span::{Span, to_u32};

/// At most this many allowed images are listed in a help.
const LISTED_MAX: usize = 8;

pub(super) fn check(policy: &Policy, parsed: &Parsed<'_>, stages: &[Stage<'_>], found: &mut Vec<Diagnostic>) {
    let instructions = &parsed.dockerfile.instructions;
    let has_from = instructions.iter().any(|instruction| instruction.kind == Some(Keyword::From));
    if !has_from && !instructions.is_empty() {
        let span = Span::empty(to_u32(parsed.dockerfile.source.len()));
        let message = "there is no `FROM`";
        found.push(Diagnostic::new(Code::MissingFrom, span, message).help(first_help(policy)));
    }
    for (index, stage) in stages.iter().enumerate() {
        if found.len() > MAX_DIAGNOSTICS {
            break;
        }
        if index > 0 && !policy.allows(Feature::MultipleStages) {
            found.push(second_stage(stage, &stages[0]));
            continue;
        }
        let earlier = stages[..index]
            .iter()
            .any(|other| !other.name.is_empty() && other.name.eq_ignore_ascii_case(stage.base.as_str()));
        if !earlier {
            found.extend(base(policy, stage, parsed.dockerfile.escape));
        }
        found.extend(platform(policy, stage));
    }
}

fn first_help(policy: &Policy) -> String {
    match policy.allowed_bases.first() {
        Some(base) => format!("begin with `FROM {}`", base.familiar()),
        None => "begin with `FROM` and a base image".to_owned(),
    }
}

fn second_stage(stage: &Stage<'_>, first: &Stage<'_>) -> Diagnostic {
    Diagnostic::new(Code::MultipleStages, stage.from.keyword.span, "only one `FROM` is available")
        .help("build in the one stage, and remove the build tools in the same `RUN` that uses them")
        .label(first.from.keyword.span, "the first `FROM`")
}

fn base(policy: &Policy, stage: &Stage<'_>, escape: char) -> Option<Diagnostic> {
    let written = stage.base.as_str();
    let literal = !written.contains(['$', '"', '\'', '\\', escape]);
    if !literal {
        return (!policy.allows(Feature::ComputedBase)).then(|| not_literal(policy, stage));
    }
    if policy.allows(Feature::AnyBase) {
        return None;
    }
    match Reference::parse(written) {
        // The conversion reports it, with BuildKit's wording.
        Err(_) => None,
        Ok(reference) if policy.allows_base(&reference) => None,
        Ok(_) => Some(not_allowed(policy, stage)),
    }
}

fn not_literal(policy: &Policy, stage: &Stage<'_>) -> Diagnostic {
    let what = if stage.base.value.contains('$') { "a variable" } else { "a quote or an escape" };
    let message = format!("the base image holds {what}");
    let found = Diagnostic::new(Code::BaseNotLiteral, stage.base.span, message);
    match policy.allowed_bases.first() {
        Some(base) => found.help(format!("write the image out, for example `FROM {}`", base.familiar())),
        None => found.help("write the image out"),
    }
}

fn not_allowed(policy: &Policy, stage: &Stage<'_>) -> Diagnostic {
    let message = format!("the base image `{}` is not available", shown(&stage.base.value));
    let found = Diagnostic::new(Code::BaseNotAllowed, stage.base.span, message);
    let names: Vec<String> = policy.allowed_bases.iter().map(Reference::familiar).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        return found.help("no base image is available: the allowlist is empty");
    }
    if let Some(near) = suggest(&stage.base.value, &names) {
        return found.help(format!("did you mean `{near}`?")).fix(stage.base.span, near.to_owned());
    }
    let listed = names[..names.len().min(LISTED_MAX)].join("`, `");
    let more = if names.len() > LISTED_MAX { format!(" and {} more", names.len() - LISTED_MAX) } else { String::new() };
    found.help(format!("available: `{listed}`{more}"))
}

fn platform(policy: &Policy, stage: &Stage<'_>) -> Option<Diagnostic> {
    if stage.platform.is_empty() || policy.allows(Feature::Platform) {
        return None;
    }
    let flag = stage.from.flags.iter().find(|flag| flag.value.starts_with("--platform"));
    let span = flag.map_or(stage.from.keyword.span, |flag| flag.span);
    let found = Diagnostic::new(Code::PlatformNotAvailable, span, "`--platform` is not available");
    Some(found.help("remove the flag: the platform is the service's").fix(span, ""))
}
