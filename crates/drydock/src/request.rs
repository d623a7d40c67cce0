//! What to build: a Dockerfile, the bases it may stand on, where the image goes, and how.

use std::path::Path;
use std::time::Duration;

use buildengine::sandbox::{FoundRuntime, Missing, NetworkPolicy};
use buildengine::{Cancel, Engine, RemoteCache};
use dockerfile::analysis::{Analysis, AnalysisOptions, analyze};
use dockerfile::config::ImageConfig;
use dockerfile::convert::ConvertOptions;
use dockerfile::policy::Policy;
use dockerfile::reference::Reference;
use dockerfile::source::Source;
use ext4writer::{ImageSize, Placement};
use ocilayers::{ImageRef, Limits, OpenOptions, Platform, RegistryOptions, Store};

use crate::error::Error;

/// A base image that FROM may name, and where it is.
#[derive(Clone, Debug)]
pub struct Base {
    /// As FROM names it; compared in normalised form, so that `debian` is `docker.io/library/debian:latest`.
    pub name: String,
    /// Where its layers are.
    pub place: ImageRef,
}

/// A build to do. [`Request::new`] fills in the defaults; each field may then be set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The text of the Dockerfile.
    pub dockerfile: &'a [u8],
    /// The bases it may stand on; no other is accepted.
    pub bases: &'a [Base],
    /// Where the ext4 image goes.
    pub output: &'a Path,
    /// Where what a host has to know of the image goes, as JSON (docs/rootfs-json.md). Default: nowhere.
    pub rootfs_json: Option<&'a Path>,
    /// The size of the image. Default: 512 MiB.
    pub size: ImageSize,
    /// Where files go in it; [`Placement::Stable`] for images that are shipped as what changed. Default: compact.
    pub placement: Placement,
    /// Where layers, step results and scratch files are. Default: `/var/cache/drydock`.
    pub state: &'a Path,
    /// An OCI layout and a tag to keep the image under too. Default: none.
    pub layout: Option<(&'a Path, &'a str)>,
    /// Build arguments: name and value. Default: none.
    pub build_args: Vec<(String, String)>,
    /// Threads that work; the result is the same at any number. Default: one for each core.
    pub threads: Option<usize>,
    /// The OCI runtime. Default: the first that works.
    pub runtime: Option<&'a Path>,
    /// Parts of the isolation of RUN steps that the host may lack. Default: none.
    pub allow_missing: Vec<Missing>,
    /// Caps on the layers of images.
    pub limits: Limits,
    /// Which image of several a base is. Default: that for Linux on this machine's architecture.
    pub platform: Platform,
    /// How registries are spoken to.
    pub registry: RegistryOptions,
    /// Caps on each RUN step.
    pub step_limits: buildengine::Limits,
    /// The network of RUN steps. Default: the outside alone.
    pub network: NetworkPolicy,
    /// Wall time of the whole build. Default: as much as it takes.
    pub time: Option<Duration>,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970 that no new file is younger than. Default: none.
    pub epoch: Option<i64>,
    /// Run every step, even those whose result is known. Default: no.
    pub no_cache: bool,
    /// Use no result of a step that is older. Default: any.
    pub cache_max_age: Option<Duration>,
    /// Whose build it is, in whatever form the host names its users; results of steps with private inputs and cache mounts are
    /// kept apart by it. Default: empty, the host itself.
    pub owner: &'a str,
    /// Results of steps that other hosts made. Default: none.
    pub remote: Option<&'a dyn RemoteCache>,
}

impl<'a> Request<'a> {
    /// A build of `dockerfile` on one of `bases` to `output`, with defaults for everything else.
    #[must_use]
    pub fn new(dockerfile: &'a [u8], bases: &'a [Base], output: &'a Path) -> Self {
        Self {
            dockerfile,
            bases,
            output,
            rootfs_json: None,
            size: ImageSize::Exact(512 << 20),
            placement: Placement::Compact,
            state: Path::new("/var/cache/drydock"),
            layout: None,
            build_args: Vec::new(),
            threads: None,
            runtime: None,
            allow_missing: Vec::new(),
            limits: Limits::default(),
            platform: Platform::default(),
            registry: RegistryOptions::default(),
            step_limits: buildengine::Limits::default(),
            network: NetworkPolicy::default(),
            time: None,
            epoch: None,
            no_cache: false,
            cache_max_age: None,
            owner: "",
            remote: None,
        }
    }

    /// The file with its meaning, if nothing refuses it. With the config of the base the triggers and variables of the base
    /// count too.
    pub(crate) fn accept<'s>(&self, source: &'s Source<'_>, base: Option<ImageConfig>) -> Result<Analysis<'s>, Error> {
        let allowed_bases = self.bases.iter().filter_map(|base| Reference::parse(&base.name).ok()).collect();
        let policy = Policy { allowed_bases, ..Policy::default() };
        let build_args = self.build_args.iter().cloned().collect();
        let convert = ConvertOptions { build_args, ..ConvertOptions::default() };
        let options =
            AnalysisOptions { policy: Some(policy), base_config: base, convert, ..AnalysisOptions::default() };
        let analysis = analyze(source, &options);
        if analysis.accepted() { Ok(analysis) } else { Err(Error::Refused { diagnostics: analysis.diagnostics }) }
    }

    /// The base that an accepted file stands on.
    pub(crate) fn base_of(&self, analysis: &Analysis<'_>) -> Result<&'a Base, Error> {
        let wanted = analysis.conversion.base.clone().unwrap_or_default();
        let normal = |name: &str| Reference::parse(name).map(|reference| reference.normalized());
        let found = self.bases.iter().find(|base| normal(&base.name).is_ok_and(|name| name == wanted));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.bases.iter().map(|base| base.name.as_str()).collect();
            Error::UnknownBase { base: wanted, known: known.join(", ") }
        })
    }

    pub(crate) fn open_options(&self, cancel: &Cancel) -> OpenOptions {
        let mut registry = self.registry.clone();
        registry.cancel = Some(cancel.flag());
        OpenOptions { limits: self.limits, platform: self.platform.clone(), registry }
    }

    pub(crate) fn sandbox(&self) -> FoundRuntime {
        FoundRuntime::new(self.runtime, &self.state.join("scratch"), &self.allow_missing)
    }

    pub(crate) fn engine<'b>(&'b self, store: &'b Store, sandbox: &'b FoundRuntime) -> Engine<'b> {
        Engine { store, sandbox, state: self.state, remote: self.remote, options: self.engine_options() }
    }

    fn engine_options(&self) -> buildengine::Options {
        let mut options = buildengine::Options::default();
        options.limits = self.step_limits.clone();
        options.network = self.network.clone();
        options.layer_limits = self.limits;
        options.threads = self.threads;
        options.allow_missing.clone_from(&self.allow_missing);
        options.epoch = self.epoch;
        options.no_cache = self.no_cache;
        options.max_age = self.cache_max_age;
        options.owner = self.owner.to_owned();
        // Build arguments are the one thing that an owner can bring beside the Dockerfile.
        options.private = !self.build_args.is_empty();
        options
    }
}
