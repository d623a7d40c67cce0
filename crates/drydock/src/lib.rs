//! A Dockerfile and a base image in, a bootable ext4 root file system out. No daemon, no global state, no logging set-up of
//! its own (it uses `tracing`).
//!
//! The whole story is [`build`], in order: parse, open the base, plan, run the steps, merge the layers, write the image.
//!
//! ```no_run
//! # fn main() -> Result<(), drydock::Error> {
//! let bases = [drydock::Base { name: "nodeops/sandbox:debian".into(), place: "oci:base:debian".parse().unwrap() }];
//! let request = drydock::Request::new(b"FROM nodeops/sandbox:debian\nRUN echo hello >/hello", &bases, "rootfs.ext4".as_ref());
//! let built = drydock::build(&request, &drydock::Cancel::default(), &mut |event| println!("{event:?}"))?;
//! println!("{} bytes, sha256:{}", built.image.image_bytes, built.digest);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

/// The guide for those who embed this crate: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/embedding.md")]
struct Guide;

mod config;
mod error;
mod failure;
mod fingerprint;
mod image;
mod log;
mod preview;
mod request;
mod rootfs;
mod within;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use buildengine::plan;
use buildengine::sandbox::FoundRuntime;
use dockerfile::source::Source;
use ocilayers::{Image, Store};

pub use buildengine::sandbox::{AllowedAddress, Missing, NetworkMode, NetworkPolicy};
pub use buildengine::{Cancel, Event, Limits as StepLimits, MadeStep, RemoteCache, Stream, Usage};
pub use dockerfile::diagnostic::Severity;
pub use dockerfile::render::{JsonAnswer, JsonDiagnostic};
pub use error::Error;
pub use ext4writer::{
    BlockSize, Features, ImageSize, InodeTables, Inodes, Journal, Options as ImageOptions, Placement, Report,
    check_output,
};
pub use failure::{Failure, FailureCode, explain};
pub use image::{tree, verify_image, write_image};
pub use log::Log;
pub use ocilayers::{Credentials, ImageRef, Limits, OpenOptions, Platform, RegistryOptions};
pub use preview::{Checked, Preview, PreviewStep, check, preview, problems_of};
pub use request::{Base, Request};

use within::within;

/// What came of a build.
#[derive(Debug)]
#[non_exhaustive]
pub struct Built {
    /// Digest of the image's config, 64 hexadecimal digits: its identity.
    pub id: String,
    /// The config: what a runtime needs to start the image (OCI image specification, config.md).
    pub config: serde_json::Value,
    /// Hash of all that the image was made of, as [`Preview::fingerprint`]; another one where the base changed since the preview.
    pub fingerprint: String,
    /// The ext4 image.
    pub image: Report,
    /// SHA-256 of the ext4 image, 64 hexadecimal digits.
    pub digest: String,
    /// What the phases took, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// Warnings about the Dockerfile.
    pub warnings: Vec<dockerfile::diagnostic::Diagnostic>,
}

/// Builds `request`: the image appears at its place when it is complete, or not at all.
///
/// `on_event` is told of every step and of all output as it comes; [`Log`] makes the usual text of it.
///
/// # Errors
/// The Dockerfile is refused, a step fails, the content does not fit, or the host is at fault; what happened, where, and what
/// to do is in the error. After an error nothing is left but finished layers in the state directory.
pub fn build(request: &Request<'_>, cancel: &Cancel, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Built, Error> {
    match request.time {
        None => carry_out(request, cancel, on_event),
        Some(time) => within(time, cancel, |cancel| carry_out(request, cancel, on_event)),
    }
}

fn carry_out(request: &Request<'_>, cancel: &Cancel, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Built, Error> {
    let mut phases = Phases::default();
    for output in request.rootfs_json.into_iter().chain([request.output]) {
        check_output(output)?;
    }
    let source = Source::decode(request.dockerfile);
    let base = request.base_of(&request.accept(&source, None)?)?;
    let image = Image::open_with(&base.place, &request.open_options(cancel))?;
    let analysis = request.accept(&source, Some(config::of_base(base, image.config())?))?;
    let plan = plan::lower(&analysis.dockerfile, &analysis.conversion)?;
    phases.end("plan");

    let store = Store::open(&request.state.join("layers"), request.limits).map_err(Error::State)?;
    let layers = store.layers(&image, request.threads)?;
    phases.end("base");

    let sandbox = request.sandbox();
    let engine = request.engine(&store, &sandbox);
    let of_base = config::diff_ids(image.config());
    let built = engine.build(&plan, layers, cancel, on_event).map_err(|error| Error::from(error).of_step(&of_base))?;
    phases.end("steps");

    let tree = ocilayers::flatten(&built.layers, &request.limits);
    let tree = tree.map_err(|error| Error::from(error).of_step(&of_base))?;
    phases.end("merge");
    let config = config::of_result(image.config(), &plan, &built, request.epoch);
    let id = config::id(&config);
    let base_id = ocilayers::Digest::of(image.config()).hex();
    if let Some(path) = request.rootfs_json {
        rootfs::remove(path)?;
    }
    let options = ImageOptions {
        size: request.size,
        placement: request.placement,
        threads: request.threads,
        durable: true,
        digest: true,
        ..ImageOptions::default()
    };
    let report = write_image(&tree, &id, &options, request.output, cancel)?;
    let digest = image::hex(report.digest.expect("it was asked for"));
    if let Some(path) = request.rootfs_json {
        let about = rootfs::About {
            image: request.output,
            size_bytes: report.image_bytes,
            sha256: &digest,
            id: &id,
            base: (&base.name, &base_id),
            config: &config,
        };
        rootfs::write(path, &rootfs::document(&about, &plan, &tree))?;
    }
    phases.end("write");
    if let Some((dir, tag)) = &request.layout {
        ocilayers::write_layout(dir, tag, config.clone(), &built.layers, &request.limits)?;
        phases.end("layout");
    }
    let fingerprint = fingerprint::of(request, &base_id);
    Ok(Built { id, config, fingerprint, image: report, digest, phases: phases.done, warnings: analysis.diagnostics })
}

/// Tries whether RUN steps can run on this host: runs `true` in the OCI runtime at `runtime`, or in the first that works, and
/// says where that is. `state` is that of the builds to come.
///
/// # Errors
/// Nothing runs here; what was tried and what to do is in the error.
pub fn check_runtime(runtime: Option<&Path>, allow_missing: &[Missing], state: &Path) -> Result<PathBuf, Error> {
    let found = FoundRuntime::new(runtime, &state.join("scratch"), allow_missing).try_now()?;
    Ok(found.path().to_owned())
}

/// The time of each phase.
struct Phases {
    last: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Default for Phases {
    fn default() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }
}

impl Phases {
    fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.done.push((name, now - self.last));
        self.last = now;
    }
}
