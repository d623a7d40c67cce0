//! The service: what an API server calls.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drydock::{Cancel, Checked, Failure, FailureCode, ImageSize, Preview, RemoteCache, explain};
use sha2::{Digest, Sha256};

use crate::artifact::Images;
use crate::builder::{BuildError, Builder, Order};
use crate::chunks::Chunks;
use crate::clock::{Clock, SystemClock, Time};
use crate::config::Config;
use crate::error::Error;
use crate::fetches::Fetches;
use crate::follow::Follower;
use crate::hub::Hub;
use crate::key::{ApiKey, KeyRecord};
use crate::objects::Objects;
use crate::recover::DataLock;
use crate::shared::{self, Shared};
use crate::steps::SharedSteps;
use crate::store::{self, Cancelled, Claim, Counts, InsertLimits, Inserted, NewTemplate, Postgres, Store};
use crate::template::{Invalid, Name, Owner, Selector, Template, TemplateId};
use crate::worker::{Running, Why};
use crate::{log, recover, worker};

/// How long idempotency keys are kept.
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A copy of an image that was used so long ago, at the least, may be in use.
const USED_MIN: Duration = Duration::from_secs(60);

/// How long a preview may take: somebody waits for it, and a thread with him.
const PREVIEW_TIME: Duration = Duration::from_secs(20);

/// The longest time between two collections of images.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether builds and threads have ended, while the service stops.
const STOP_TICK: Duration = Duration::from_millis(20);

/// A template to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// Its name.
    pub name: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The base that the caller expects; that of FROM.
    pub base: Option<String>,
    /// The exact size of the image.
    pub disk_size_bytes: Option<u64>,
    /// Whether every step runs, even if its result is known.
    pub no_cache: bool,
    /// A name of this request: the same one again is answered with what the first made.
    pub idempotency_key: Option<String>,
}

impl Submission {
    /// A name and a Dockerfile, and defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, dockerfile: impl Into<String>) -> Self {
        Self { name: name.into(), dockerfile: dockerfile.into(), ..Self::default() }
    }

    /// Everything but the key, hashed.
    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let size = self.disk_size_bytes.map(|size| size.to_string()).unwrap_or_default();
        let parts = [&self.name, &self.dockerfile, self.base.as_deref().unwrap_or_default(), &size];
        for part in parts.into_iter().chain([if self.no_cache { "no" } else { "" }]) {
            hash.update(u64::try_from(part.len()).expect("usize fits in u64").to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a submission made.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// A template.
    Created(Template),
    /// Nothing: the same request made this before.
    Replayed(Template),
}

impl Submitted {
    /// The template.
    #[must_use]
    pub fn template(&self) -> &Template {
        match self {
            Self::Created(template) | Self::Replayed(template) => template,
        }
    }
}

/// Some of an owner's templates.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Newest first.
    pub templates: Vec<Template>,
    /// How many there are in all.
    pub total: u64,
}

/// What a sandbox boots.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The template.
    pub template: Template,
    /// The file of the image. It stays for [`Config::grace`] after its last template was deleted; where it is a copy of one among the
    /// objects, for that time or a minute after it was asked for.
    pub image: PathBuf,
    /// What a runtime needs to start it (OCI image specification, config.md).
    pub config: serde_json::Value,
}

/// Numbers since the service was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Builds that became ready.
    pub ready: u64,
    /// Of these, those that used a finished image.
    pub reused: u64,
    /// Builds that failed.
    pub failed: HashMap<FailureCode, u64>,
    /// Time spent on attempts, in seconds.
    pub seconds: f64,
    /// Images that were collected.
    pub collected: u64,
}

/// The service. Clones are the same service.
#[derive(Clone, Debug)]
pub struct Templates {
    inner: Arc<Inner>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    /// What is shared with other hosts, if this is one of many.
    pub(crate) shared: Option<Arc<Shared>>,
    /// What its builds know of each other's steps then.
    pub(crate) steps: Option<SharedSteps>,
    pub(crate) builder: Box<dyn Builder>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) images: Images,
    pub(crate) logs: PathBuf,
    pub(crate) hub: Hub,
    /// Held where images appear under their names or lose them.
    pub(crate) images_lock: Mutex<()>,
    pub(crate) running: Mutex<HashMap<TemplateId, Arc<Running>>>,
    pub(crate) stats: Mutex<Stats>,
    node: String,
    ids: Mutex<ulid::Generator>,
    stopping: AtomicBool,
    /// Keeps other processes from the data.
    _lock: DataLock,
}

impl Inner {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(crate) fn claim(&self) -> Result<Option<Claim>, Error> {
        Ok(self.store.claim(&self.node, self.config.lease)?)
    }

    fn new_id(&self) -> TemplateId {
        let mut ids = self.ids.lock().expect("no panic while it is held");
        // The generator fails after 2^80 ids in one millisecond; one without order is as good then.
        TemplateId::new(ids.generate().unwrap_or_else(|_| ulid::Ulid::generate()))
    }

    fn size_bytes(&self, asked: Option<u64>) -> Result<u64, Error> {
        let (min, max) = (self.config.disk_size_bytes_min, self.config.disk_size_bytes_max);
        match asked {
            None => Ok(self.config.disk_size_bytes),
            Some(asked) if (min..=max).contains(&asked) => Ok(asked),
            Some(asked) => Err(Error::DiskSize { asked, min, max }),
        }
    }

    /// The size of the image of a template that asked for this one.
    pub(crate) fn image_size(&self, asked: Option<u64>) -> ImageSize {
        match (asked, self.config.disk_headroom_bytes) {
            (Some(asked), _) => ImageSize::Exact(asked),
            (None, Some(headroom_bytes)) => ImageSize::Auto { headroom_bytes },
            (None, None) => ImageSize::Exact(self.config.disk_size_bytes),
        }
    }

    /// What other hosts know of steps.
    pub(crate) fn remote(&self) -> Option<&dyn RemoteCache> {
        self.steps.as_ref().map(|steps| -> &dyn RemoteCache { steps })
    }

    /// Whether that image can be used again.
    pub(crate) fn has_image(&self, digest: &str) -> bool {
        self.shared.is_some() || self.images.path(digest).exists()
    }

    /// Removes what no template has any more; objects that have no row only if all are to be listed.
    fn collect(&self, orphans: bool) -> Result<(), Error> {
        self.collect_images()?;
        let Some(shared) = &self.shared else { return Ok(()) };
        shared.collect()?;
        shared.collect_steps(self.config.shared_cache_bytes)?;
        if orphans { shared.collect_orphans() } else { Ok(()) }
    }

    fn collect_images(&self) -> Result<(), Error> {
        let _images = self.images_lock.lock().expect("no panic while it is held");
        for digest in self.store.unreferenced(self.config.grace)? {
            // The row goes first: what is killed between the two is an orphan, which the next start removes.
            if self.store.forget_image(&digest)? {
                self.images.remove(&digest)?;
                self.stats.lock().expect("no panic while it is held").collected += 1;
            }
        }
        if self.shared.is_some() {
            // Copies of what another host has collected. What is here is looked at first: a copy that comes meanwhile is of an image that may
            // not have been known before.
            let here = self.images.digests()?;
            let known = self.store.images()?;
            for digest in here.iter().filter(|digest| !known.contains(digest)) {
                self.images.remove(digest)?;
            }
        }
        self.bound_copies()
    }

    /// Removes copies that are more than this host is to keep.
    fn bound_copies(&self) -> Result<(), Error> {
        if self.shared.is_none() {
            return Ok(());
        }
        self.images.evict(self.config.image_copies_bytes, self.config.grace.max(USED_MIN))
    }
}

impl Templates {
    /// Opens the service over the data of `config`, which is made if it is not there, and puts right what a killed process
    /// left. Nothing is built before [`Templates::start`].
    ///
    /// # Errors
    /// The data can't be worked on, or another process does.
    pub fn open(config: Config, builder: impl Builder + 'static) -> Result<Self, Error> {
        make_data(&config.data).map_err(Error::file(&config.data))?;
        let lock = DataLock::take(&config.data)?;
        let node = recover::node(&config.data)?;
        let (store, shared): (Arc<dyn Store>, _) = match (&config.database, &config.objects) {
            (None, None) => (store::open(&config.data, None)?.into(), None),
            (None, Some(_)) => return Err(Error::ObjectsAlone),
            (Some(address), None) => {
                let store = Postgres::open(address)?;
                store.keep_for(Some(&node))?;
                (Arc::new(store), None)
            }
            (Some(address), Some(objects)) => {
                let scratch = config.data.join("images").join("tmp");
                let store = Arc::new(Postgres::open(address)?);
                store.keep_for(None)?;
                let objects = Objects::open(objects, &node, &scratch)?;
                let chunks = Chunks::open(&config.data.join("chunks"), config.chunks_bytes)?;
                let shared = Shared { store: Arc::clone(&store), objects, chunks, fetches: Fetches::default() };
                (store, Some(Arc::new(shared)))
            }
        };
        let parts = (node, store, shared, lock);
        Self::with(config, builder, SystemClock, parts)
    }

    fn with(
        config: Config,
        builder: impl Builder + 'static,
        clock: impl Clock + 'static,
        (node, store, shared, lock): (String, Arc<dyn Store>, Option<Arc<Shared>>, DataLock),
    ) -> Result<Self, Error> {
        let images = Images::open(&config.data.join("images"))?;
        let logs = config.data.join("logs");
        recover::recover(store.as_ref(), &images, &logs, &node, shared.is_none())?;
        let inner = Inner {
            config,
            store,
            steps: shared.clone().map(SharedSteps::new),
            shared,
            builder: Box::new(builder),
            clock: Box::new(clock),
            images,
            logs,
            hub: Hub::default(),
            images_lock: Mutex::default(),
            running: Mutex::default(),
            stats: Mutex::default(),
            node,
            ids: Mutex::new(ulid::Generator::new()),
            stopping: AtomicBool::new(false),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner), threads: Arc::default() })
    }

    /// Starts the threads that build and the one that collects images.
    pub fn start(&self) {
        let mut threads = self.threads.lock().expect("no panic while it is held");
        for number in 0..self.inner.config.builders {
            let inner = Arc::clone(&self.inner);
            let thread = std::thread::Builder::new().name(format!("builder-{number}"));
            threads.push(thread.spawn(move || worker::work(&inner)).expect("the system has threads at the start"));
        }
        if let Some(shared) = self.inner.shared.clone() {
            let inner = Arc::clone(&self.inner);
            let thread = std::thread::Builder::new().name("changes".to_owned());
            let listen = move || shared::listen(&inner, &shared);
            threads.push(thread.spawn(listen).expect("the system has threads at the start"));
        }
        if self.inner.steps.is_some() {
            let inner = Arc::clone(&self.inner);
            let put = move || inner.steps.iter().for_each(|steps| steps.put_made(|| inner.is_stopping()));
            let thread = std::thread::Builder::new().name("step results".to_owned());
            threads.push(thread.spawn(put).expect("the system has threads at the start"));
        }
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name("collector".to_owned());
        threads.push(thread.spawn(move || collect_forever(&inner)).expect("the system has threads at the start"));
    }

    /// Takes no more jobs, lets those under way go on for `drain`, then interrupts them: they begin again with the next start.
    pub fn stop(&self, drain: Duration) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        self.inner.hub.wake_workers();
        let end = Instant::now() + drain;
        let running = || self.inner.running.lock().expect("no panic while it is held");
        while !running().is_empty() && Instant::now() < end {
            std::thread::sleep(STOP_TICK);
        }
        for thread in self.threads.lock().expect("no panic while it is held").drain(..) {
            while !thread.is_finished() {
                // Again and again: a worker that was asking for a job a moment ago may get one now.
                running().values().for_each(|build| build.stop(Why::Stopping));
                std::thread::sleep(STOP_TICK);
            }
            // A thread that panicked has nothing under way.
            drop(thread.join());
        }
    }

    /// Submits a template: checks it in full, and queues its build.
    ///
    /// # Errors
    /// What is wrong with it, or a limit it meets; nothing is stored then.
    pub fn submit(&self, owner: &Owner, submission: Submission) -> Result<Submitted, Error> {
        let inner = &self.inner;
        let (name, size_bytes, checked) = self.checked(owner, &submission)?;
        let new = NewTemplate {
            id: inner.new_id(),
            owner: owner.clone(),
            name,
            base: checked.base.unwrap_or_default(),
            idempotency: submission.idempotency_key.clone().map(|key| (key, submission.hash())),
            disk_size_bytes: submission.disk_size_bytes,
            dockerfile: submission.dockerfile,
            size_bytes,
            no_cache: submission.no_cache,
        };
        let config = &inner.config;
        let limits = InsertLimits {
            active_per_owner: config.active_per_owner,
            owner_quota_bytes: config.owner_quota_bytes,
            images_quota_bytes: config.images_quota_bytes,
            idempotency_kept: IDEMPOTENCY_KEPT,
        };
        match inner.store.insert(&new, &limits)? {
            Inserted::Created(template) => {
                inner.hub.wake_workers();
                Ok(Submitted::Created(template))
            }
            Inserted::Replayed(template) => Ok(Submitted::Replayed(template)),
            Inserted::KeyReused => Err(Error::KeyReused),
            Inserted::TooManyActive(active) => Err(Error::TooManyActive { limit: config.active_per_owner, active }),
            Inserted::OverQuota(used) => {
                Err(Error::OverQuota { used, asked: size_bytes, max: config.owner_quota_bytes })
            }
            Inserted::StorageFull => Err(Error::StorageFull),
        }
    }

    /// What a submission of `owner` would do: the problems of its Dockerfile, or its steps and which of them are known. Stores nothing.
    ///
    /// # Errors
    /// What is wrong with it, or that the base can't be opened.
    pub fn preview(&self, owner: &Owner, submission: &Submission) -> Result<Preview, Error> {
        self.checked(owner, submission)?;
        let size = self.inner.image_size(submission.disk_size_bytes);
        let (dockerfile, no_cache, remote) = (&submission.dockerfile, submission.no_cache, self.inner.remote());
        let order = Order { dockerfile, size, no_cache, owner: owner.as_str(), remote };
        let preview = |cancel: &Cancel| self.inner.builder.preview(&order, cancel);
        within(PREVIEW_TIME, preview).map_err(|error| match error {
            BuildError::Refused(answer) => Error::Refused { answer },
            BuildError::Failed(card) if card.code == FailureCode::Cancelled => {
                Error::Preview(format!("it takes longer than {} seconds", PREVIEW_TIME.as_secs()))
            }
            BuildError::Failed(card) => Error::Preview(card.message),
        })
    }

    fn checked(&self, owner: &Owner, submission: &Submission) -> Result<(Name, u64, Checked), Error> {
        let given = || submission.name.chars().take(63).collect();
        let name = submission.name.parse().map_err(|why: Invalid| Error::Name { given: given(), why })?;
        let size_bytes = self.inner.size_bytes(submission.disk_size_bytes)?;
        let size = self.inner.image_size(submission.disk_size_bytes);
        let order = Order {
            dockerfile: &submission.dockerfile,
            size,
            no_cache: submission.no_cache,
            owner: owner.as_str(),
            remote: None,
        };
        let checked = self.inner.builder.check(&order);
        if !checked.answer.accepted {
            return Err(Error::Refused { answer: Box::new(checked.answer) });
        }
        let from = checked.base.as_deref().unwrap_or_default();
        match &submission.base {
            Some(asked) if !asked.is_empty() && asked != from && checked.answer.base.as_ref() != Some(asked) => {
                Err(Error::BaseMismatch { asked: asked.clone(), from: from.to_owned() })
            }
            _ => Ok((name, size_bytes, checked)),
        }
    }

    /// A template of that owner.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, owner: &Owner, selector: &Selector) -> Result<Template, Error> {
        self.inner.store.get(owner, selector)?.ok_or(Error::NotFound)
    }

    /// The Dockerfile of a template that [`Templates::get`] gave.
    ///
    /// # Errors
    /// It was deleted since.
    pub fn dockerfile(&self, template: &Template) -> Result<String, Error> {
        self.inner.store.dockerfile(&template.id)?.ok_or(Error::NotFound)
    }

    /// The templates of that owner, newest first.
    ///
    /// # Errors
    /// The store.
    pub fn list(&self, owner: &Owner, limit: u32, offset: u64) -> Result<Page, Error> {
        let (templates, total) = self.inner.store.list(owner, limit, offset)?;
        Ok(Page { templates, total })
    }

    /// The log of a template from the line numbered `since` on; of one attempt alone where one is named.
    ///
    /// # Errors
    /// There is no such template or attempt.
    pub fn logs(
        &self,
        owner: &Owner,
        selector: &Selector,
        attempt: Option<u32>,
        since: u64,
    ) -> Result<Follower, Error> {
        let template = self.get(owner, selector)?;
        match attempt {
            Some(attempt) if attempt == 0 || attempt > template.attempt => {
                Err(Error::NoAttempt { attempt, made: template.attempt })
            }
            only => Ok(Follower::new(Arc::clone(&self.inner), template, only, since)),
        }
    }

    /// Deletes a template. A build of it ends; its image stays as long as others have it, and for [`Config::grace`].
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&self, owner: &Owner, selector: &Selector) -> Result<TemplateId, Error> {
        let id = self.get(owner, selector)?.id;
        if !self.inner.store.delete(&id)? {
            return Err(Error::NotFound);
        }
        self.stop_build(&id, Why::Lost);
        self.inner.hub.state(&id);
        // The template is gone. What can't be removed of its logs now goes with the next start, or with the collector.
        let here = recover::remove_logs(&log::directory(&self.inner.logs, &id));
        let shared = self.inner.shared.as_ref().map_or(Ok(()), |shared| shared.objects.remove_logs(&id));
        for error in [here, shared].into_iter().filter_map(Result::err) {
            tracing::error!(%id, error = %explain(&error), "a log of a deleted template can't be removed yet");
        }
        Ok(id)
    }

    /// Ends the build of a template.
    ///
    /// # Errors
    /// There is none, or its build has ended.
    pub fn cancel(&self, owner: &Owner, selector: &Selector) -> Result<Template, Error> {
        let id = self.get(owner, selector)?.id;
        let card = Failure::new(FailureCode::Cancelled, "the build was cancelled before it began");
        match self.inner.store.cancel(&id, &card)? {
            Cancelled::Withdrawn(template) => {
                self.inner.hub.state(&id);
                Ok(template)
            }
            Cancelled::Asked(template) => {
                self.stop_build(&id, Why::Cancelled);
                Ok(template)
            }
            Cancelled::TooLate => Err(Error::NotActive),
            Cancelled::Missing => Err(Error::NotFound),
        }
    }

    fn stop_build(&self, id: &TemplateId, why: Why) {
        let running = self.inner.running.lock().expect("no panic while it is held");
        if let Some(build) = running.get(id) {
            build.stop(why);
        }
    }

    /// The image that a sandbox of that name boots. Where many hosts are one service, it is fetched if it is not here: once, however many
    /// ask for it meanwhile.
    ///
    /// # Errors
    /// There is no ready template of that name.
    pub fn resolve(&self, owner: &Owner, selector: &Selector) -> Result<Resolved, Error> {
        let (template, config) = self.image_config(owner, selector)?;
        let digest = template.image_digest.clone().ok_or(Error::NotFound)?;
        let images = &self.inner.images;
        if let Some(shared) = &self.inner.shared
            && !images.mark_used(&digest)?
        {
            shared.fetch_image(&digest, template.ext4_size_bytes, images)?;
            self.inner.bound_copies()?;
        }
        Ok(Resolved { image: images.path(&digest), config, template })
    }

    /// What a runtime needs to start the image of that name (OCI image specification, config.md), wherever the image is.
    ///
    /// # Errors
    /// There is no ready template of that name.
    pub fn image_config(&self, owner: &Owner, selector: &Selector) -> Result<(Template, serde_json::Value), Error> {
        let template = self.get(owner, selector)?;
        let config = self.inner.store.image_config(&template.id)?.ok_or(Error::NotFound)?;
        Ok((template, serde_json::from_str(&config).unwrap_or_default()))
    }

    /// The manifest of the image that a sandbox of that name boots (`imagechunks`), for who has chunks of other images already.
    ///
    /// # Errors
    /// There is no ready template of that name, or its image is not kept in chunks.
    pub fn manifest(&self, owner: &Owner, selector: &Selector) -> Result<Vec<u8>, Error> {
        let (shared, digest) = self.chunked(owner, selector)?;
        shared.manifest_for(owner, &digest)
    }

    /// Bytes of a pack which the manifest of that template names; of no other one. At most 16 MiB at a time.
    ///
    /// # Errors
    /// There is no ready template of that name, its manifest does not name the pack, or the pack has no such bytes.
    pub fn pack_range(
        &self,
        owner: &Owner,
        selector: &Selector,
        pack: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let (shared, digest) = self.chunked(owner, selector)?;
        shared.pack_range(owner, &digest, pack, range)
    }

    fn chunked(&self, owner: &Owner, selector: &Selector) -> Result<(&Shared, String), Error> {
        let digest = self.get(owner, selector)?.image_digest.ok_or(Error::NotFound)?;
        Ok((self.inner.shared.as_ref().ok_or(Error::ChunksAlone)?, digest))
    }

    /// Whose key that is, if it is one and was not revoked.
    ///
    /// # Errors
    /// The store.
    pub fn authenticate(&self, key: &ApiKey) -> Result<Option<Owner>, Error> {
        let found = self.inner.store.key(key.id())?;
        let valid = found.filter(|(record, hash)| key.matches(hash) && record.revoked_at.is_none());
        Ok(valid.map(|(record, _)| record.owner))
    }

    /// Makes a key for an owner.
    ///
    /// # Errors
    /// The store.
    pub fn create_key(&self, owner: &Owner) -> Result<ApiKey, Error> {
        create_key(self.inner.store.as_ref(), owner, self.inner.clock.now())
    }

    /// All keys.
    ///
    /// # Errors
    /// The store.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        Ok(self.inner.store.keys()?)
    }

    /// Whether the service can work: its store answers, its disk takes files and has room for an image, its builder builds.
    ///
    /// # Errors
    /// What does not work.
    pub fn check_health(&self) -> Result<(), Error> {
        let config = &self.inner.config;
        // Any question that costs nothing, however many templates there are.
        self.inner.store.key("")?;
        let probe = config.data.join("probe");
        fs::write(&probe, "ok").map_err(Error::file(&probe))?;
        let disk = rustix::fs::statvfs(&config.data).map_err(|errno| Error::file(&config.data)(errno.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < config.disk_size_bytes {
            return Err(Error::NotReady(format!("the disk has {free} bytes left, less than one image takes")));
        }
        if config.builders > 0 { self.inner.builder.ready().map_err(Error::NotReady) } else { Ok(()) }
    }

    /// How many templates and images there are.
    ///
    /// # Errors
    /// The store.
    pub fn counts(&self) -> Result<Counts, Error> {
        Ok(self.inner.store.counts()?)
    }

    /// Numbers since the service was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats.lock().expect("no panic while it is held").clone()
    }

    /// Removes images that no template has any more, as the collector does from time to time.
    ///
    /// # Errors
    /// The store, or a file.
    pub fn collect(&self) -> Result<(), Error> {
        self.inner.collect(true)
    }
}

/// Makes the directory of a service's data, if it is not there, for this account alone: it holds what all owners wrote.
///
/// # Errors
/// It can't be made.
pub fn make_data(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes a key for an owner in a store that may be in use.
///
/// # Errors
/// The store.
pub fn create_key(store: &dyn Store, owner: &Owner, now: Time) -> Result<ApiKey, Error> {
    let key = ApiKey::generate();
    let record = KeyRecord { id: key.id().to_owned(), owner: owner.clone(), created_at: now, revoked_at: None };
    store.add_key(&record, &key.hash())?;
    Ok(key)
}

/// Cancels `work` when its time is over.
fn within<T>(time: Duration, work: impl FnOnce(&Cancel) -> T) -> T {
    let cancel = Cancel::default();
    let (working, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let cancel = &cancel;
        scope.spawn(move || {
            if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        let done = work(cancel);
        drop(working);
        done
    })
}

fn collect_forever(inner: &Inner) {
    let pause = inner.config.grace.div_f32(2.0).clamp(Duration::from_millis(100), COLLECT_EVERY);
    let (mut last, mut listed) = (Instant::now(), None::<Instant>);
    while !inner.is_stopping() {
        if last.elapsed() >= pause {
            last = Instant::now();
            // A list of all objects is a request for each thousand of them: one soon after the start, however often that is, then few.
            let orphans = listed.is_none_or(|listed| listed.elapsed() >= inner.config.grace);
            if orphans {
                listed = Some(last);
            }
            if let Err(error) = inner.collect(orphans) {
                tracing::error!(error = %explain(&error), "images can't be collected");
            }
        }
        std::thread::sleep(Duration::from_millis(100).min(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_cancelled() {
        let waits = |cancel: &Cancel| {
            let end = Instant::now() + Duration::from_secs(60);
            while !cancel.is_cancelled() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            cancel.is_cancelled()
        };
        assert!(within(Duration::from_millis(10), waits));
        let begun = Instant::now();
        assert!(!within(Duration::from_secs(60), Cancel::is_cancelled));
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for the time to be over");
    }
}
