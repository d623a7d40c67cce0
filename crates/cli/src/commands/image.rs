//! `drydock image`: import, inspect, ls, diff, flatten, ext4, verify.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use drydock::{ImageRef, Limits, OpenOptions};
use fstree::Tree;
use serde_json::{Value, json};

use crate::args::{Format, Image, State};
use crate::commands::listing;
use crate::output::{line, peak_memory};
use crate::signals::Signals;
use crate::size::display_bytes;

pub(crate) fn run(args: &Image) -> anyhow::Result<ExitCode> {
    match args {
        Image::Import { tar, reference, state: _ } => import(Path::new(tar), reference)?,
        Image::Inspect { reference, sources, state: _, format } => inspect(reference, &sources.options()?, *format)?,
        Image::Ls { reference, format, sha256, sources, state } => {
            ls(reference, &sources.options()?, *format, *sha256, state)?;
        }
        Image::Diff { before, after, format, sources, state } => {
            diff(before, after, &sources.options()?, *format, state)?;
        }
        Image::Flatten { reference, output, sources, state } => {
            flatten(reference, &sources.options()?, output.as_deref(), state)?;
        }
        Image::Ext4 { reference, output, file_system, dig_holes, sources, state } => {
            let options = drydock::ImageOptions { threads: state.threads, ..file_system.options()? };
            return ext4(reference, sources.options()?, output, &options, *dig_holes, state);
        }
        Image::Verify { image, format } => return verify(image, *format),
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(reference: &str) -> anyhow::Result<ImageRef> {
    Ok(reference.parse()?)
}

fn import(tar: &Path, reference: &str) -> anyhow::Result<()> {
    let ImageRef::Layout { dir, tag: Some(tag) } = parse(reference)? else {
        bail!("an image is imported into a layout under a tag, as in oci:DIR:TAG; '{reference}' is none");
    };
    let written = ocilayers::import(tar, &dir, &tag, &Limits::default())?;
    line(format_args!("{}", written.manifest))?;
    eprintln!("imported {} as oci:{}:{tag}, image {}", tar.display(), dir.display(), written.config);
    Ok(())
}

fn inspect(reference: &str, options: &OpenOptions, format: Format) -> anyhow::Result<()> {
    let image = ocilayers::Image::open_with(&parse(reference)?, options)?;
    let config: Value = serde_json::from_slice(image.config()).context("the image config is not JSON")?;
    let layers: Vec<Value> = image
        .layers()
        .iter()
        .map(|layer| {
            let (digest, size) = layer.blob.map(|(digest, size)| (digest.to_string(), size)).unzip();
            json!({ "diff_id": layer.diff_id, "digest": digest, "size": size, "media_type": layer.media_type })
        })
        .collect();
    let manifest = image.manifest_digest().map(ToString::to_string);
    if format == Format::Json {
        let all = json!({ "reference": reference, "manifest": manifest, "config": config, "layers": layers });
        line(format_args!("{}", serde_json::to_string_pretty(&all)?))?;
        return Ok(());
    }
    line(format_args!("image     {reference}"))?;
    line(format_args!("manifest  {}", manifest.as_deref().unwrap_or("none (docker save)")))?;
    line(format_args!("platform  {}/{}", text(&config["os"]), text(&config["architecture"])))?;
    line(format_args!("created   {}", text(&config["created"])))?;
    line(format_args!("config    {}", config["config"]))?;
    for layer in image.layers() {
        let size = layer.blob.map(|(_, size)| display_bytes(size)).unwrap_or_default();
        line(format_args!("layer     {} {size} {}", layer.diff_id, layer.media_type.as_deref().unwrap_or_default()))?;
    }
    Ok(())
}

fn verify(image: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let report = drydock::verify_image(image).with_context(|| format!("{} was not checked", image.display()))?;
    let counts = report.counts;
    if format == Format::Json {
        let findings = report.findings.iter().map(|finding| {
            json!({ "code": finding.code.as_str(), "inode": finding.inode, "block": finding.block,
                "message": finding.message })
        });
        let counts = json!({ "block_bytes": counts.block_bytes, "blocks": counts.blocks,
            "used_blocks": counts.used_blocks, "used_inodes": counts.used_inodes, "directories": counts.directories,
            "entries": counts.entries, "values": counts.values, "checksums": counts.checksums });
        let all = json!({ "clean": report.is_clean(), "findings": findings.collect::<Vec<_>>(),
            "more_findings": report.more, "counts": counts });
        line(format_args!("{}", serde_json::to_string_pretty(&all)?))?;
    } else {
        for finding in &report.findings {
            line(format_args!("{finding}"))?;
        }
        if report.more > 0 {
            line(format_args!("and {} findings more", report.more))?;
        }
        let verdict = if report.is_clean() { "clean" } else { "damaged: write it again" };
        line(format_args!(
            "{}: {verdict}; {} of {} blocks of {} bytes in use, {} inodes, {} directories, {} names, {} checksums",
            image.display(),
            counts.used_blocks,
            counts.blocks,
            counts.block_bytes,
            counts.used_inodes,
            counts.directories,
            counts.entries,
            counts.checksums
        ))?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ls(reference: &str, options: &OpenOptions, format: Format, sha256: bool, state: &State) -> anyhow::Result<()> {
    if sha256 && format != Format::Json {
        bail!("--sha256 is for --format json; the listing for people has no place for it");
    }
    let tree = drydock::tree(&parse(reference)?, options, &state.dir, state.threads)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        Format::Human => out.write_all(fstree::dump(&tree).as_bytes())?,
        Format::Json => listing::list(&tree, sha256, |entry| listing::write_json(&entry, &mut out))?,
    }
    Ok(out.flush()?)
}

fn diff(before: &str, after: &str, options: &OpenOptions, format: Format, state: &State) -> anyhow::Result<()> {
    let tree = |reference| anyhow::Ok(drydock::tree(&parse(reference)?, options, &state.dir, state.threads)?);
    let mut out = BufWriter::new(io::stdout().lock());
    for change in listing::changes(&tree(before)?, &tree(after)?)? {
        if format == Format::Json {
            listing::write_json(&change, &mut out)?;
            continue;
        }
        let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        let (before, after) = (size(change.before), size(change.after));
        // A name is a line: what would break it is escaped.
        writeln!(out, "{:7} {before:>12} {after:>12} {}", change.change, change.path.escape_debug())?;
    }
    Ok(out.flush()?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn flatten(reference: &str, options: &OpenOptions, output: Option<&Path>, state: &State) -> anyhow::Result<()> {
    output.map_or(Ok(()), drydock::check_output)?;
    let tree = drydock::tree(&parse(reference)?, options, &state.dir, state.threads)?;
    match output {
        None => write_tar(&tree, &mut io::stdout().lock()),
        Some(path) => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut temporary = tempfile::Builder::new();
            let temporary = temporary.permissions(Permissions::from_mode(0o666)).tempfile_in(dir);
            let temporary = temporary.with_context(|| format!("can't write to {}", dir.display()))?;
            write_tar(&tree, &mut temporary.as_file())?;
            temporary.as_file().sync_all()?;
            temporary.persist(path).with_context(|| format!("can't write {}", path.display()))?;
            Ok(())
        }
    }
}

fn write_tar(tree: &Tree, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    fstree::tar::write(tree, &mut out)?;
    Ok(out.flush()?)
}

fn ext4(
    reference: &str,
    mut options: OpenOptions,
    output: &Path,
    written_as: &drydock::ImageOptions,
    dig_holes: bool,
    state: &State,
) -> anyhow::Result<ExitCode> {
    let started = std::time::Instant::now();
    let signals = Signals::catch()?;
    options.registry.cancel = Some(signals.cancel().flag());
    let reference = parse(reference)?;
    let mut tree = drydock::tree(&reference, &options, &state.dir, state.threads);
    if let (true, Ok(tree)) = (dig_holes, &mut tree) {
        tree.dig_holes().context("a content can't be read to look for zeros")?;
    }
    let written =
        tree.and_then(|tree| drydock::write_image(&tree, &reference.to_string(), written_as, output, signals.cancel()));
    match written {
        Ok(report) => {
            let memory = peak_memory().map(display_bytes).unwrap_or_default();
            let (size, seconds) = (display_bytes(report.image_bytes), started.elapsed().as_secs_f64());
            eprintln!("{}: {size}, {} inodes, {seconds:.2} s, peak memory {memory}", output.display(), report.inodes);
            Ok(ExitCode::SUCCESS)
        }
        Err(drydock::Error::Cancelled) => {
            crate::output::error(&drydock::Error::Cancelled.into());
            Ok(signals.exit_code())
        }
        Err(error) => Err(error.into()),
    }
}
