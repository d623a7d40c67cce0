//! `drydock plan`: the dry run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use buildengine::plan::{Action, Plan, lower};
use dockerfile::analysis::analyze;
use dockerfile::config::ImageConfig;
use dockerfile::source::Source;
use drydock::{Cancel, Error, Request};
use serde_json::{Value, json};

use crate::args::{self, Format, Mode};
use crate::commands::{build, check};
use crate::output::{line, read_bounded};

/// The largest config read, in bytes.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

pub(crate) fn run(args: &args::Plan) -> anyhow::Result<ExitCode> {
    let bytes = check::read(&args.source)?;
    if !args.bases.is_empty() {
        return forecast(args, &bytes);
    }
    let source = Source::decode(&bytes);
    let mut options = check::options(&args.source);
    options.base_config = args.base_config.as_deref().map(base_config).transpose()?;
    options.convert.build_args = build::build_args(&args.build_args)?.into_iter().collect();
    let analysis = analyze(&source, &options);
    check::print_human(&args.source.dockerfile, &bytes, &analysis.diagnostics)?;
    if !analysis.accepted() {
        return Ok(ExitCode::FAILURE);
    }
    let plan = lower(&analysis.dockerfile, &analysis.conversion);
    match (args.format, args.source.mode, plan) {
        (Format::Human, _, plan) => print_human(&plan?)?,
        (Format::Json, Mode::Strict, Err(error)) => return Err(error.into()),
        // BuildKit can do more than we run: what it would do is still said.
        (Format::Json, _, plan) => {
            let mut all = serde_json::to_value(&analysis.conversion)?;
            all["steps"] = plan.map_or(Ok(Value::Null), |plan| serde_json::to_value(plan.steps))?;
            let lint: Vec<Value> = analysis.conversion.lints.iter().map(|lint| json!(lint.code.name())).collect();
            all["lint"] = json!(lint);
            line(format_args!("{}", serde_json::to_string_pretty(&all)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Which steps a build would run, and why.
fn forecast(args: &args::Plan, bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let bases = args.bases.iter().map(|text| build::base(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut request = Request::new(bytes, &bases, Path::new(""));
    request.state = &args.state;
    request.build_args = build::build_args(&args.build_args)?;
    let options = args.sources.options()?;
    (request.platform, request.registry) = (options.platform, options.registry);
    let preview = match drydock::preview(&request, &Cancel::default()) {
        Ok(preview) => preview,
        Err(Error::Refused { diagnostics }) => {
            check::print_human(&args.source.dockerfile, bytes, &diagnostics)?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    if args.format == Format::Json {
        line(format_args!("{}", serde_json::to_string_pretty(&preview)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    line(format_args!("base {} sha256:{}", preview.base, preview.base_id))?;
    for (number, step) in preview.steps.iter().enumerate() {
        let (number, total) = (number + 1, preview.steps.len());
        line(format_args!("Step {number}/{total} (line {}) : {}", step.line, step.text.escape_debug()))?;
        match (step.cached, &step.reason) {
            (Some(true), _) => line(format_args!("  cached"))?,
            (_, Some(reason)) => line(format_args!("  runs: {reason}"))?,
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A whole image config or its `config` object alone.
fn base_config(path: &Path) -> anyhow::Result<ImageConfig> {
    let bytes = read_bounded(path, CONFIG_BYTES_MAX)?;
    let document: Value = serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))?;
    let config = document.get("config").cloned().unwrap_or(document);
    serde_json::from_value(config).with_context(|| format!("{} is not an image config", path.display()))
}

fn print_human(plan: &Plan) -> std::io::Result<()> {
    line(format_args!("base {}", plan.base))?;
    for (number, step) in plan.steps.iter().enumerate() {
        line(format_args!(
            "Step {}/{} (line {}) : {}",
            number + 1,
            plan.steps.len(),
            step.line,
            step.text.escape_debug()
        ))?;
        for action in &step.actions {
            match action {
                Action::MakeDirectory { path, user } => line(format_args!("  make directory {path}{}", owned(user)))?,
                Action::Run(run) => {
                    line(format_args!("  run {}", json!(run.args)))?;
                    line(format_args!("    in {}{}", run.cwd, owned(&run.user)))?;
                    for variable in &run.env {
                        line(format_args!("    env {}", variable.escape_debug()))?;
                    }
                    for mount in &run.mounts {
                        line(format_args!("    mount {}", json!(mount)))?;
                    }
                }
                _ => {}
            }
        }
    }
    line(format_args!("config {:#}", json!(plan.config)))
}

fn owned(user: &str) -> String {
    if user.is_empty() { String::new() } else { format!(" as {user}") }
}
