//! Who makes images: a seam, so that the life of templates can be tested without building any.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drydock::{Base, Cancel, Checked, Event, Failure, ImageSize, JsonAnswer, Placement, Preview, RemoteCache, Request};

/// What is to be built.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The Dockerfile.
    pub dockerfile: &'a str,
    /// Size of the image.
    pub size: ImageSize,
    /// Whether every step runs, and no finished image is used.
    pub no_cache: bool,
    /// Whose template it is: what is private to a user is kept from the others by this name.
    pub owner: &'a str,
    /// Results of steps that other hosts made.
    pub remote: Option<&'a dyn RemoteCache>,
}

/// An image that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub digest: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Identity of the image, 64 hexadecimal digits.
    pub id: String,
    /// What a runtime needs to start it (OCI image specification, config.md).
    pub config: serde_json::Value,
    /// Hash of all that it was made of: the base is that which the build had, not that of a preview before it.
    pub fingerprint: String,
}

/// Why nothing was made.
#[derive(Debug)]
pub enum BuildError {
    /// The Dockerfile is refused.
    Refused(Box<JsonAnswer>),
    /// Anything else.
    Failed(Box<Failure>),
}

impl BuildError {
    /// The card.
    #[must_use]
    pub fn card(self) -> Box<Failure> {
        match self {
            Self::Failed(card) => card,
            Self::Refused(answer) => {
                let first = answer.diagnostics.iter().find(|one| one.severity == drydock::Severity::Error);
                let message = first.map_or("the Dockerfile was refused".to_owned(), |one| one.message.clone());
                let mut card = Failure::new(drydock::FailureCode::DockerfileRefused, message);
                card.line = first.map(|one| one.place.line);
                card.hint = first.and_then(|one| one.help.clone());
                Box::new(card)
            }
        }
    }
}

/// Makes images of Dockerfiles. Called by many threads at once.
pub trait Builder: Send + Sync + Debug {
    /// Every problem of a Dockerfile, as far as it can be seen at once.
    fn check(&self, order: &Order<'_>) -> Checked;

    /// What a build would do.
    ///
    /// # Errors
    /// The Dockerfile is refused, or its base can't be opened.
    fn preview(&self, order: &Order<'_>, cancel: &Cancel) -> Result<Preview, BuildError>;

    /// Builds to the file `output`, which is durable when this returns.
    ///
    /// # Errors
    /// Why there is no image; then there is no file either.
    fn build(
        &self,
        order: &Order<'_>,
        output: &Path,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Made, BuildError>;

    /// Whether it can build on this host; asked often, so the answer may be some time old.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn ready(&self) -> Result<(), String>;
}

/// How long an answer of [`DrydockBuilder::ready`] is given again.
const READY_FOR: Duration = Duration::from_secs(60);

/// Whether builds can run, and when that was found.
type Found = Option<(Instant, Result<(), String>)>;

/// Builds with [`drydock::build`].
#[derive(Clone, Debug)]
pub struct DrydockBuilder {
    /// The bases that FROM may name.
    pub bases: Vec<Base>,
    /// Where layers and step results are kept.
    pub state: PathBuf,
    /// The OCI runtime; the first that works if none is given.
    pub runtime: Option<PathBuf>,
    /// Parts of the isolation of RUN steps that the host may lack.
    pub allow_missing: Vec<drydock::Missing>,
    /// What each RUN step may use.
    pub step_limits: drydock::StepLimits,
    /// The network of RUN steps.
    pub network: drydock::NetworkPolicy,
    /// How registries are spoken to.
    pub registry: drydock::RegistryOptions,
    /// Threads of one build; one for each core if none is given.
    pub threads: Option<usize>,
    /// What [`Builder::ready`] found last; shared by clones.
    found: Arc<Mutex<Found>>,
}

impl DrydockBuilder {
    /// Defaults for everything but the bases and the place of the caches.
    #[must_use]
    pub fn new(bases: Vec<Base>, state: impl Into<PathBuf>) -> Self {
        Self {
            bases,
            state: state.into(),
            runtime: None,
            allow_missing: Vec::new(),
            step_limits: drydock::StepLimits::default(),
            network: drydock::NetworkPolicy::default(),
            registry: drydock::RegistryOptions::default(),
            threads: None,
            found: Arc::default(),
        }
    }

    fn request<'a>(&'a self, order: &Order<'a>, output: &'a Path) -> Request<'a> {
        let mut request = Request::new(order.dockerfile.as_bytes(), &self.bases, output);
        request.size = order.size;
        request.placement = Placement::Stable;
        request.state = &self.state;
        request.runtime = self.runtime.as_deref();
        request.allow_missing.clone_from(&self.allow_missing);
        request.step_limits = self.step_limits.clone();
        request.network = self.network.clone();
        request.registry = self.registry.clone();
        request.threads = self.threads;
        request.no_cache = order.no_cache;
        request.owner = order.owner;
        request.remote = order.remote;
        request
    }

    fn error(order: &Order<'_>, error: &drydock::Error) -> BuildError {
        match error {
            drydock::Error::Refused { diagnostics } => {
                BuildError::Refused(Box::new(drydock::problems_of(order.dockerfile.as_bytes(), diagnostics)))
            }
            error => BuildError::Failed(Box::new(Failure::of(error))),
        }
    }
}

impl Builder for DrydockBuilder {
    fn check(&self, order: &Order<'_>) -> Checked {
        let checked = drydock::check(&self.request(order, Path::new("")));
        let place = self.bases.iter().find(|base| checked.base.as_deref() == Some(&base.name)).map(|base| &base.place);
        // A base at hand brings its triggers and variables into the check; one in a registry is asked by the build.
        if matches!(place, None | Some(drydock::ImageRef::Registry(_))) {
            return checked;
        }
        match self.preview(order, &Cancel::default()) {
            Ok(preview) => Checked { answer: preview.answer, ..checked },
            Err(BuildError::Refused(answer)) => Checked { base: None, answer: *answer },
            // That the base can't be opened is no fault of the Dockerfile; the build says it.
            Err(BuildError::Failed(_)) => checked,
        }
    }

    fn preview(&self, order: &Order<'_>, cancel: &Cancel) -> Result<Preview, BuildError> {
        drydock::preview(&self.request(order, Path::new("")), cancel).map_err(|error| Self::error(order, &error))
    }

    fn build(
        &self,
        order: &Order<'_>,
        output: &Path,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Made, BuildError> {
        let built = drydock::build(&self.request(order, output), cancel, on_event);
        let built = built.map_err(|error| Self::error(order, &error))?;
        Ok(Made {
            digest: built.digest,
            size_bytes: built.image.image_bytes,
            id: built.id,
            config: built.config,
            fingerprint: built.fingerprint,
        })
    }

    fn ready(&self) -> Result<(), String> {
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*found {
            Some((at, ready)) if at.elapsed() < READY_FOR => ready.clone(),
            _ => {
                let ready = drydock::check_runtime(self.runtime.as_deref(), &self.allow_missing, &self.state);
                let ready = ready.map(drop).map_err(|error| Failure::of(&error).message);
                *found = Some((Instant::now(), ready.clone()));
                ready
            }
        }
    }
}
