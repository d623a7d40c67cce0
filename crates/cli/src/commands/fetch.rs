//! `drydock template fetch`: the image of a template, made of chunks that this host has and those it lacks, and its config beside it.

use std::fs;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use attohttpc::Method;
use drydock::{Cancel, explain};
use imagechunks::{Cache, FetchOptions, MANIFEST_BYTES_MAX, Manifest, Progress, Source};
use serde_json::{Value, json};

use crate::client::Client;
use crate::commands::template::{path, text};
use crate::size::display_bytes;

/// What is fetched, from where, to where.
pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) id: &'a str,
    pub(crate) output: &'a Path,
    pub(crate) cache: &'a Cache,
    pub(crate) threads: usize,
}

impl Fetch<'_> {
    /// Gives the answer for programs and for people.
    pub(crate) fn run(&self, cancel: &Cancel) -> anyhow::Result<(Value, String)> {
        let config_path = self.output.with_extension("config.json");
        for output in [self.output, &config_path] {
            drydock::check_output(output)?;
        }
        let template = self.client.call(Method::GET, &path(self.id), None, &[])?;
        // From now on by its id: the name may mean the next version in a moment.
        let template_path = path(text(&template, "id"));
        let place = format!("{template_path}/chunks");
        let manifest = self.manifest(&template, &place)?;
        let config = self.client.call(Method::GET, &format!("{template_path}/config"), None, &[])?;
        // Where there is one, it is that of the image: the one before goes right before the image does, and the new one comes after it.
        let complete = || match fs::remove_file(&config_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io::Error::new(error.kind(), format!("can't replace {}: {error}", config_path.display())))
            }
            _ => Ok(()),
        };
        let source = Packs { client: self.client, place };
        let shown = AtomicU64::new(0);
        let progress = |progress: Progress| show(progress, &shown);
        let quiet = |_: Progress| {};
        let progress: &(dyn Fn(Progress) + Sync) = if io::stderr().is_terminal() { &progress } else { &quiet };
        let flag = cancel.flag();
        let options = FetchOptions { threads: self.threads, cancel: &flag, progress, complete: &complete };
        let fetched = imagechunks::fetch(&manifest, &source, self.cache, self.output, &options);
        if shown.load(Ordering::Relaxed) > 0 {
            eprintln!();
        }
        let fetched = fetched?;
        if let Some(error) = self.cache.take_failure() {
            eprintln!("warning: not all chunks could be kept for the next fetch: {}", explain(&error));
        }
        let config = format!("{}\n", serde_json::to_string_pretty(&config["config"])?);
        buildengine::write_whole(&config_path, config.as_bytes(), 0o666)
            .with_context(|| format!("can't write {}", config_path.display()))?;
        let value = json!({
            "config": config_path,
            "id": template["id"],
            "name": template["name"],
            "version": template["version"],
            "rootfs_sha256": template["rootfs_sha256"],
            "ext4_size_bytes": manifest.image_bytes(),
            "chunks_fetched": fetched.chunks_fetched,
            "chunks_cached": fetched.chunks_cached,
            "bytes_fetched": fetched.bytes_fetched,
        });
        let human = format!(
            "{}  {}  {}  sha256:{}\nfetched {} in {} chunks; {} chunks were here",
            text(&template, "id"),
            text(&template, "name"),
            manifest.image_bytes(),
            manifest.image_digest(),
            display_bytes(fetched.bytes_fetched),
            fetched.chunks_fetched,
            fetched.chunks_cached,
        );
        Ok((value, human))
    }

    /// The manifest of the template's image, and of no other one.
    fn manifest(&self, template: &Value, place: &str) -> anyhow::Result<Manifest> {
        if text(template, "status") != "ready" {
            bail!("{} is not ready but {}; there is no image of it", text(template, "id"), text(template, "status"));
        }
        let bytes_max = u64::try_from(MANIFEST_BYTES_MAX).expect("usize fits in u64");
        let manifest = Manifest::decode(&self.client.bytes(place, None, bytes_max)?)?;
        let same = manifest.image_digest().to_string() == text(template, "rootfs_sha256")
            && Some(manifest.image_bytes()) == template["ext4_size_bytes"].as_u64();
        if !same {
            bail!("the server's manifest is that of another image than {}'s", text(template, "id"));
        }
        Ok(manifest)
    }
}

/// The packs that a server gives ranges of.
struct Packs<'a> {
    client: &'a Client,
    /// The path of the template's chunks.
    place: String,
}

impl Source for Packs<'_> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let bytes = range.end - range.start;
        // The name of a pack has no sign that means something in a path.
        let read = self.client.bytes(&format!("{}/{pack}", self.place), Some(&range), bytes);
        read.map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

/// The whole percents of a fetch on one line.
fn show(progress: Progress, shown: &AtomicU64) {
    let percent = progress.bytes_done.saturating_mul(100) / progress.bytes_total.max(1);
    if shown.fetch_max(percent, Ordering::Relaxed) < percent {
        eprint!("\r{percent:3} % of {}", display_bytes(progress.bytes_total));
    }
}
