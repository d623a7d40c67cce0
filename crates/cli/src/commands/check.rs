//! `drydock check`: is a Dockerfile accepted, and if not, why; every problem at once.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use dockerfile::analysis::{AnalysisOptions, analyze};
use dockerfile::convert::ConvertOptions;
use dockerfile::diagnostic::Diagnostic;
use dockerfile::limits::Limits;
use dockerfile::policy::Policy;
use dockerfile::reference::Reference;
use dockerfile::render::Report;
use dockerfile::source::Source;

use crate::args::{self, Check, CheckFormat, Mode};
use crate::diagnostics;
use crate::output::read_bounded;

/// The largest file read where no policy has a limit, in bytes; BuildKit has none.
const WHOLE_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let bytes = read(&args.source)?;
    let source = Source::decode(&bytes);
    let analysis = analyze(&source, &options(&args.source));
    let name = diagnostics::name(&args.source.dockerfile);
    let report = Report {
        accepted: analysis.accepted(),
        base: analysis.conversion.base.as_deref(),
        ..Report::new(&name, source.text(), &analysis.diagnostics)
    };
    match args.format {
        CheckFormat::Human => verdict(&report)?,
        CheckFormat::Json => diagnostics::print_json(&report.json())?,
        CheckFormat::Sarif => diagnostics::print_json(&report.sarif())?,
        CheckFormat::Github => diagnostics::print(&report.github())?,
    }
    Ok(if report.accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the file, as much of it as its mode looks at and one byte more; the policy then says that it is too large.
pub(crate) fn read(source: &args::Source) -> anyhow::Result<Vec<u8>> {
    match policy(source) {
        Some(policy) => {
            read_bounded(&source.dockerfile, u64::try_from(policy.dockerfile_bytes_max).unwrap_or(u64::MAX - 1))
        }
        None => read_whole(source),
    }
}

/// Reads the whole file, without regard to a policy.
pub(crate) fn read_whole(source: &args::Source) -> anyhow::Result<Vec<u8>> {
    let bytes = read_bounded(&source.dockerfile, WHOLE_BYTES_MAX)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= WHOLE_BYTES_MAX) {
        return Ok(bytes);
    }
    bail!("{} is larger than {} MiB", diagnostics::name(&source.dockerfile), WHOLE_BYTES_MAX >> 20)
}

/// The grammar of the mode.
pub(crate) fn mode(source: &args::Source) -> dockerfile::Mode {
    match source.mode {
        Mode::Strict => dockerfile::Mode::Strict,
        Mode::Buildkit => dockerfile::Mode::BuildKit,
    }
}

/// What the command line says about how the file is judged.
pub(crate) fn options(source: &args::Source) -> AnalysisOptions {
    // What a policy does not cap may cost as much as BuildKit's own tests do.
    let convert = ConvertOptions { limits: Limits::reference(), ..ConvertOptions::default() };
    AnalysisOptions { mode: mode(source), policy: policy(source), convert, ..AnalysisOptions::default() }
}

fn policy(source: &args::Source) -> Option<Policy> {
    let allowed_bases = if source.allow_base.is_empty() { default_bases() } else { source.allow_base.clone() };
    (source.mode == Mode::Strict).then(|| Policy { allowed_bases, ..Policy::default() })
}

/// The bases that the service's documentation names.
fn default_bases() -> Vec<Reference> {
    let names = ["nodeops/sandbox:debian", "nodeops/sandbox:alpine"];
    names.iter().map(|name| Reference::parse(name).expect("these are references")).collect()
}

/// Prints problems for people to standard error; nothing when there are none.
pub(crate) fn print_human(path: &Path, bytes: &[u8], problems: &[Diagnostic]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let source = Source::decode(bytes);
    let name = diagnostics::name(path);
    let text = Report::new(&name, source.text(), problems).human(io::stderr().is_terminal());
    io::stderr().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The problems and a last line with the verdict, to standard output: they are what was asked for.
fn verdict(report: &Report<'_>) -> anyhow::Result<()> {
    let mut text = report.human(io::stdout().is_terminal());
    let said = if report.accepted { "accepted" } else { "refused" };
    let file = dockerfile::render::visible::line(report.file);
    text.push_str(&format!("{file}: {said}, {}\n", report.summary()));
    diagnostics::print(&text)
}
