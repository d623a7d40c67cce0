//! `drydock build`: the main job.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use drydock::{Base, Built, Error, Failure, ImageRef, Log, NetworkPolicy, Request, Stream};
use serde_json::json;

use crate::args::{Build, Format};
use crate::commands::check;
use crate::output::{line, peak_memory, read_bounded};
use crate::signals::Signals;
use crate::size::display_bytes;

/// The largest Dockerfile that is looked at, in bytes: over the policy's limit, so that the refusal is the policy's.
const STRICT_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn run(args: &Build) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    let dockerfile = read_bounded(&args.dockerfile, STRICT_BYTES_MAX)?;
    let bases = args.bases.iter().map(|text| base(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let layout = args.oci.as_deref().map(layout).transpose()?;
    let mut request = Request::new(&dockerfile, &bases, &args.output);
    let beside = args.output.with_extension("json");
    request.rootfs_json = (beside != args.output).then_some(beside.as_path());
    request.size = args.size;
    request.placement = args.placement.into();
    request.state = &args.state.dir;
    request.layout = layout.as_ref().map(|(dir, tag)| (dir.as_path(), tag.as_str()));
    request.build_args = build_args(&args.build_args)?;
    let options = args.sources.options()?;
    (request.platform, request.registry) = (options.platform, options.registry);
    request.threads = args.state.threads;
    request.runtime = args.runtime.as_deref();
    request.allow_missing.clone_from(&args.allow_missing);
    request.time = args.timeout;
    request.epoch = args.source_date_epoch;
    request.no_cache = args.no_cache;
    request.cache_max_age = args.cache_max_age;
    request.network = NetworkPolicy { mode: args.network, allow: args.allow_addresses.clone(), dns: args.dns.clone() };
    request.step_limits.memory_bytes = args.memory;
    request.step_limits.io_bytes = args.io_bytes;
    request.step_limits.io_operations = args.io_operations;
    request.step_limits.disk_bytes = args.disk.unwrap_or(request.step_limits.disk_bytes);
    request.step_limits.pids = args.pids;
    request.step_limits.grace = Duration::from_secs(args.stop_grace);
    request.step_limits.time = args.step_timeout.unwrap_or(request.step_limits.time);

    let mut log = Log::default();
    // The log is progress: when nobody reads it any more the build still goes on.
    let mut write = |_: Option<Stream>, bytes: &[u8]| drop(io::stderr().lock().write_all(bytes));
    match drydock::build(&request, signals.cancel(), &mut |event| log.event(&event, &mut write)) {
        Ok(built) => {
            log.success(&built.id, &mut write);
            check::print_human(&args.dockerfile, &dockerfile, &built.warnings)?;
            report(args, &built)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let card = Failure::of(&error);
            if args.format == Format::Json {
                line(format_args!("{}", serde_json::to_string_pretty(&card)?))?;
            }
            if let Error::Refused { diagnostics } = &error {
                check::print_human(&args.dockerfile, &dockerfile, diagnostics)?;
            }
            let cancelled = matches!(error, Error::Cancelled);
            crate::output::error(&error.into());
            card.usage.iter().for_each(|usage| crate::output::used(&usage.to_string()));
            card.hint.iter().for_each(|hint| crate::output::hint(hint));
            Ok(if cancelled { signals.exit_code() } else { ExitCode::FAILURE })
        }
    }
}

/// `NAME=REF`.
pub(crate) fn base(text: &str) -> anyhow::Result<Base> {
    let Some((name, place)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        bail!("a base is given as NAME=REF, as in nodeops/sandbox:debian=oci:DIR:TAG; '{text}' is none");
    };
    Ok(Base { name: name.to_owned(), place: place.parse()? })
}

/// `NAME=VALUE` of build arguments.
pub(crate) fn build_args(texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let split = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    texts
        .iter()
        .map(|text| split(text).with_context(|| format!("a build argument is NAME=VALUE; '{text}' is none")))
        .collect()
}

fn layout(text: &str) -> anyhow::Result<(std::path::PathBuf, String)> {
    let text = text.strip_prefix("oci:").unwrap_or(text);
    match format!("oci:{text}").parse()? {
        ImageRef::Layout { dir, tag } => Ok((dir, tag.unwrap_or_else(|| "latest".to_owned()))),
        _ => bail!("the image is kept in a layout, as in DIR or DIR:TAG; '{text}' is none"),
    }
}

/// What was made: on standard output, since it is the result.
fn report(args: &Build, built: &Built) -> anyhow::Result<()> {
    let memory = peak_memory();
    if args.format == Format::Json {
        let phases: serde_json::Map<_, _> =
            built.phases.iter().map(|(name, time)| ((*name).to_owned(), json!(time.as_secs_f64()))).collect();
        let all = json!({
            "image": args.output, "size_bytes": built.image.image_bytes, "sha256": built.digest, "id": built.id,
            "phases_seconds": phases, "peak_memory_bytes": memory, "config": built.config,
        });
        line(format_args!("{}", serde_json::to_string_pretty(&all)?))?;
        return Ok(());
    }
    line(format_args!("{}", args.output.display()))?;
    line(format_args!(
        "  size         {} bytes ({})",
        built.image.image_bytes,
        display_bytes(built.image.image_bytes)
    ))?;
    line(format_args!("  content      {}", display_bytes(built.image.file_system_bytes - built.image.free_bytes)))?;
    line(format_args!("  sha256       {}", built.digest))?;
    line(format_args!("  image id     sha256:{}", built.id))?;
    let phases: Vec<String> =
        built.phases.iter().map(|(name, time)| format!("{name} {:.2} s", time.as_secs_f64())).collect();
    line(format_args!("  time         {}", phases.join(", ")))?;
    if let Some(memory) = memory {
        line(format_args!("  peak memory  {}", display_bytes(memory)))?;
    }
    Ok(())
}
