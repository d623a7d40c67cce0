//! The steps of a plan, one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fstree::{Addition, Diff, Kind, Metadata, Node, Timestamp, Tree, TreePath};
use ocilayers::{Layer, Store};

use crate::cache::key::{Inputs, Key, chain};
use crate::cache::remote::{self, MadeStep, RemoteCache};
use crate::cache::shelf::Shelf;
use crate::cache::store::{Entry, StepCache};
use crate::cancel::Cancel;
use crate::error::{Error, PassedLimit};
use crate::event::Event;
use crate::limits::Limits;
use crate::mounts::Mounts;
use crate::output::{Output, Tail};
use crate::plan::{Action, Network, Plan, Run, RunMount, Step};
use crate::roots::Roots;
use crate::sandbox::mountpoints;
use crate::sandbox::{Ended, Job, Missing, NetworkPolicy, Outcome, Sandbox, StepDisk, User, rootfs};
use crate::scratch::Scratch;
use crate::stack::Stack;
use crate::{snapshot, users};

/// How a build runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What each RUN step may use.
    pub limits: Limits,
    /// The network of RUN steps.
    pub network: NetworkPolicy,
    /// Caps on layers.
    pub layer_limits: ocilayers::Limits,
    /// Threads that work; the result is the same at any number. Default: one for each core.
    pub threads: Option<usize>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: commands see it, and no file of a new layer is younger
    /// (reproducible-builds.org, the specification of that name).
    pub epoch: Option<i64>,
    /// Run every step, even those whose result is known.
    pub no_cache: bool,
    /// Use no result that is older. Default: any.
    pub max_age: Option<Duration>,
    /// What of the isolation the host may lack. Default: nothing.
    pub allow_missing: Vec<Missing>,
    /// Whose build it is, in whatever form the host names its users; empty for the host itself. Owners share the results of
    /// steps whose inputs are all public, and nothing else.
    pub owner: String,
    /// Whether the plan holds values that the owner brought beside the Dockerfile (build arguments): then no step is shared.
    pub private: bool,
    /// What the root file systems kept for overlays may take on the disk, in bytes. Past it those used least recently go, never
    /// one that a build uses. Default: 20 GiB.
    pub roots_bytes: u64,
    /// What all cache mounts may take on the disk, likewise. Default: 20 GiB.
    pub caches_bytes: u64,
    /// What one cache mount may take on the disk, in bytes: a command that makes it larger is stopped, and it is emptied.
    /// Looked at about once a second, so a fast writer can pass it by what it writes in that time. Default: 5 GiB.
    pub cache_mount_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            network: NetworkPolicy::default(),
            layer_limits: ocilayers::Limits::default(),
            threads: None,
            epoch: None,
            no_cache: false,
            max_age: None,
            allow_missing: Vec::new(),
            owner: String::new(),
            private: false,
            roots_bytes: 20 << 30,
            caches_bytes: 20 << 30,
            cache_mount_bytes: 5 << 30,
        }
    }
}

/// What a build works with.
#[derive(Debug)]
pub struct Engine<'a> {
    /// Keeps the layers.
    pub store: &'a Store,
    /// Runs the commands.
    pub sandbox: &'a dyn Sandbox,
    /// A directory of the engine's own on a file system that can carry an overlay: scratch files, root directories, the
    /// step cache and cache mounts are below it.
    pub state: &'a Path,
    /// What other hosts made. None: nothing is asked and nothing is told.
    pub remote: Option<&'a dyn RemoteCache>,
    /// How.
    pub options: Options,
}

/// What came of a build.
#[derive(Debug)]
#[non_exhaustive]
pub struct Built {
    /// The layers of the base and then one for each step that changed files, lowest first.
    pub layers: Vec<Layer>,
    /// How many layers each step of the plan added.
    pub added: Vec<usize>,
}

impl Engine<'_> {
    /// Carries out `plan` on the layers of its base. `on_event` is told of everything as it happens.
    ///
    /// # Errors
    /// The first step that fails, a limit, a cancellation, or the host's fault. Nothing stays behind but finished layers.
    pub fn build(
        &self,
        plan: &Plan,
        base: Vec<Layer>,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Built, Error> {
        // Also where every step turns out to be known, and nothing is made that would look for it.
        Scratch::sweep(&self.scratch(), self.sandbox)?;
        let shelf = Shelf::new(&self.state.join("roots"), self.options.roots_bytes);
        let roots = Roots { shelf, allowed: &self.options.allow_missing };
        let mut build = Build {
            engine: self,
            cache: self.cache()?,
            stack: Stack::new(roots, &self.options.layer_limits, base),
            scratch: None,
            cancel,
            on_event,
            total: plan.steps.len(),
        };
        let mut id = chain(&[&plan.base, &build.stack.diff_ids().join(" ")]);
        let mut added = Vec::with_capacity(plan.steps.len());
        for (index, step) in plan.steps.iter().enumerate() {
            let before = build.stack.height();
            build.step(index + 1, step)?;
            added.push(build.stack.height() - before);
            id = chain(&[&id, &step.text, &build.stack.diff_ids().join(" ")]);
            (build.on_event)(Event::StepFinished { id: &id });
        }
        let Build { stack, scratch, .. } = build;
        scratch.map_or(Ok(()), Scratch::remove)?;
        Ok(Built { layers: stack.into_layers(), added })
    }

    /// Where the directories of running builds are.
    fn scratch(&self) -> PathBuf {
        self.state.join("scratch")
    }
}

/// What a step of a plan will do, as far as it is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forecast {
    /// Changes the config of the image alone.
    ConfigOnly,
    /// Its result is kept from an earlier build.
    Cached,
    /// It runs.
    Runs {
        /// What of its inputs differs from the nearest earlier run of the same instruction; none when it never ran. Empty when
        /// nothing does: its result is not to be used, too old, or dropped.
        changed: Option<Vec<String>>,
    },
    /// It runs, since a step before it does.
    RunsAfterAnother,
}

impl Engine<'_> {
    /// What each step of `plan` will do over a base of these diff_ids (lowest first). Reads the caches and changes nothing.
    ///
    /// # Errors
    /// The caches can't be read.
    pub fn forecast(&self, plan: &Plan, base: &[String]) -> Result<Vec<Forecast>, Error> {
        let cache = self.cache()?;
        let mut layers = Some(base.to_vec());
        plan.steps.iter().map(|step| self.forecast_step(&cache, step, &mut layers)).collect()
    }

    /// `layers` is what the step stands on; `None` once that is not known any more.
    fn forecast_step(
        &self,
        cache: &StepCache,
        step: &Step,
        layers: &mut Option<Vec<String>>,
    ) -> Result<Forecast, Error> {
        let mut forecast = Forecast::ConfigOnly;
        for action in &step.actions {
            let Some(below) = layers else { return Ok(Forecast::RunsAfterAnother) };
            let inputs = self.inputs(below, action);
            let key = inputs.key();
            let known = self.known(cache, &key)?.map(|layer| layer.map(|layer| layer.diff_id().to_string()));
            let elsewhere = || Some(self.remote_entry(cache, &key, &Cancel::default())?.1.layer);
            match known.or_else(elsewhere) {
                Some(layer) => {
                    below.extend(layer);
                    forecast = Forecast::Cached;
                }
                None => {
                    *layers = None;
                    let changed = cache.differences(&inputs, &self.options.owner, &step.text)?;
                    forecast = Forecast::Runs { changed };
                }
            }
        }
        Ok(forecast)
    }

    fn cache(&self) -> Result<StepCache, Error> {
        StepCache::open(&self.state.join("steps"), self.options.max_age)
    }

    fn inputs(&self, below: &[String], action: &Action) -> Inputs {
        let epoch = self.options.epoch;
        match action {
            Action::Run(run) => Inputs::of_run(self.scope(run), below, run, self.options.network.mode, epoch),
            Action::MakeDirectory { path, user } => Inputs::of_directory(below, path, user, epoch),
        }
    }

    /// Who may use the result of a command: everybody, when nothing but the base, the Dockerfile and the network goes into it.
    fn scope(&self, run: &Run) -> &str {
        let has_cache = run.mounts.iter().any(|mount| matches!(mount, RunMount::Cache { .. }));
        if self.options.private || has_cache { &self.options.owner } else { "" }
    }

    /// Gets the result of a step that another host made into this one's caches; whether there was one.
    fn fetch(&self, cache: &StepCache, key: &Key, cancel: &Cancel) -> Result<bool, Error> {
        let Some((remote, entry, age)) = self.remote_entry(cache, key, cancel) else { return Ok(false) };
        if let Some(name) = &entry.layer {
            let Ok(diff_id) = name.parse() else { return Ok(false) };
            if self.store.get(&diff_id)?.is_none() {
                let Some(blob) = remote.layer(name, self.options.layer_limits.layer_bytes, cancel) else {
                    return Ok(false);
                };
                if let Err(error) = self.store.insert(&diff_id, blob) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(layer = name, error, "a layer of another host is not used");
                    remote.refuse_layer(name);
                    return Ok(false);
                }
            }
        }
        cache.take(key, &entry, age)?;
        Ok(true)
    }

    /// What another host says of a step, if it may be used.
    fn remote_entry(
        &self,
        cache: &StepCache,
        key: &Key,
        cancel: &Cancel,
    ) -> Option<(&dyn RemoteCache, Entry, Duration)> {
        let remote = self.remote.filter(|_| !self.options.no_cache)?;
        let (bytes, age) = remote.step(key.as_str(), cancel).filter(|(_, age)| cache.takes(*age))?;
        Some((remote, remote::entry(key, &bytes)?, age))
    }

    /// The result of an action, if it is kept; `Some(None)` is that of one which changed nothing.
    fn known(&self, cache: &StepCache, key: &Key) -> Result<Option<Option<Layer>>, Error> {
        if self.options.no_cache {
            return Ok(None);
        }
        let Some(entry) = cache.get(key)? else { return Ok(None) };
        let Some(diff_id) = entry.layer else { return Ok(Some(None)) };
        // An entry that can't be read is none: the step just runs.
        let Ok(diff_id) = diff_id.parse() else { return Ok(None) };
        Ok(self.store.get(&diff_id)?.map(Some))
    }
}

/// A build under way.
struct Build<'a> {
    engine: &'a Engine<'a>,
    cache: StepCache,
    stack: Stack<'a>,
    /// Made by the first step that really runs.
    scratch: Option<Scratch>,
    cancel: &'a Cancel,
    on_event: &'a mut dyn FnMut(Event<'_>),
    total: usize,
}

impl Build<'_> {
    fn step(&mut self, number: usize, step: &Step) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        (self.on_event)(Event::StepStarted { number, total: self.total, line: step.line, text: &step.text });
        step.actions.iter().try_for_each(|action| match action {
            Action::MakeDirectory { path, user } => self.make_directory_cached(step, action, path, user),
            Action::Run(run) => self.run_cached(number, step, action, run),
        })
    }

    fn run_cached(&mut self, number: usize, step: &Step, action: &Action, run: &Run) -> Result<(), Error> {
        let inputs = self.engine.inputs(&self.stack.diff_ids(), action);
        let key = inputs.key();
        if self.use_cached(&key)? {
            return Ok(());
        }
        let _claim = if self.engine.options.no_cache {
            None
        } else {
            Some(self.cache.claim(&key, self.cancel, &mut || (self.on_event)(Event::StepWaiting))?)
        };
        // Who had the claim before may have made it; if that failed, another host may have; if none did, it is made here.
        if self.use_cached(&key)? || (self.engine.fetch(&self.cache, &key, self.cancel)? && self.use_cached(&key)?) {
            return Ok(());
        }
        let made = self.run(number, step, run)?;
        let layer = made.as_ref().map(|(layer, _)| layer.diff_id().to_string());
        let entry = self.cache.put(&key, &inputs, layer, &self.engine.options.owner, &step.text)?;
        if let Some(remote) = self.engine.remote {
            remote.put(MadeStep::new(&key, &entry, made.as_ref().map(|(layer, _)| layer.clone())));
        }
        made.into_iter().for_each(|(layer, upper)| self.stack.push(layer, Some(upper)));
        Ok(())
    }

    /// Takes the result of a step from the cache; `false` when it is not there.
    fn use_cached(&mut self, key: &Key) -> Result<bool, Error> {
        let Some(known) = self.engine.known(&self.cache, key)? else { return Ok(false) };
        (self.on_event)(Event::StepCached);
        known.into_iter().for_each(|layer| self.stack.push(layer, None));
        Ok(true)
    }

    /// Runs a command; its changes become a layer, if there are any.
    fn run(&mut self, number: usize, step: &Step, run: &Run) -> Result<Option<(Layer, PathBuf)>, Error> {
        let tree = self.stack.tree()?;
        if self.scratch.is_none() {
            self.scratch = Some(Scratch::create(&self.engine.scratch(), self.engine.sandbox)?);
        }
        let scratch = self.scratch.as_ref().expect("made above");
        let id = container_id(scratch, number);
        let options = &self.engine.options;
        let caches = Shelf::new(&self.engine.state.join("cache-mounts"), options.caches_bytes);
        let mounts = Mounts::prepare(caches, &options.owner, scratch, &id, run, self.cancel)?;
        let limits = &options.limits;
        let disk = StepDisk::create(scratch, &id, limits.disk_bytes, &options.allow_missing)?;
        // In an overlay the uppermost directory decides what the root directory looks like.
        rootfs::write(&Tree::new(tree.node(Tree::ROOT).metadata.clone()), &disk.upper())?;
        mountpoints::write(&tree, &mounts.points, &disk.points())?;
        let mut lowers = self.stack.lowers(&tree, scratch, self.cancel)?;
        lowers.insert(0, disk.points());

        let job = Job {
            lowers,
            disk,
            args: run.args.clone(),
            env: self.environment(run),
            cwd: working_directory(&tree, step.line, &run.cwd)?,
            user: users::resolve(&tree, &run.user)
                .and_then(users::in_a_step)
                .map_err(|why| Error::User { line: step.line, why })?,
            network: match run.network {
                Network::None => NetworkPolicy::none(),
                Network::Default => self.engine.options.network.clone(),
            },
            mounts: mounts.list.clone(),
            limits: limits.clone(),
        };
        let ended = self.execute(number, step, &id, &job, &mounts);
        let released = mounts.release(options.cache_mount_bytes);
        // What stopped the command says more than what its mounts say of it.
        ended.and(released)?;
        let epoch = self.engine.options.epoch.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        let diff = snapshot::read(&job.disk.upper(), epoch, self.engine.options.threads)?;
        if changes_nothing(&diff, &tree) {
            return Ok(None);
        }
        Ok(Some((self.engine.store.commit(&diff)?, job.disk.upper())))
    }

    fn environment(&self, run: &Run) -> Vec<String> {
        const NAME: &str = "SOURCE_DATE_EPOCH=";
        let epoch = self.engine.options.epoch.map(|epoch| format!("{NAME}{epoch}"));
        let given = run.env.iter().any(|variable| variable.starts_with(NAME));
        run.env.iter().cloned().chain(epoch.filter(|_| !given)).collect()
    }

    fn execute(&mut self, number: usize, step: &Step, id: &str, job: &Job, mounts: &Mounts) -> Result<(), Error> {
        let scratch = self.scratch.as_ref().expect("made before");
        let on_event = &mut *self.on_event;
        on_event(Event::SandboxStarted { id });
        let mut tail = Tail::default();
        let mut on_output = |output: Output<'_>| match output {
            Output::Bytes { stream, bytes } => {
                tail.push(bytes);
                on_event(Event::Output { stream, bytes });
            }
            Output::Omitted { bytes } => on_event(Event::OutputOmitted { bytes }),
        };
        let Engine { sandbox, options, .. } = self.engine;
        let (ended, too_large) = mounts.watched(options.cache_mount_bytes, self.cancel, |cancel| {
            sandbox.run(id, job, scratch, cancel, &mut on_output)
        });
        let ended = match ended {
            Err(Error::Runtime { said, .. }) if not_started(&said).is_some() => {
                tail.push(said.as_bytes());
                Outcome::Exited { status: not_started(&said).unwrap_or_default(), out_of_memory: false }.into()
            }
            ended => ended?,
        };
        let Ended { outcome, usage, disk_was_full } = ended;
        if matches!(outcome, Outcome::Exited { .. }) {
            // Whatever the command made of it: without all its writes there is no result, and none to blame it for.
            job.disk.sync()?;
        }
        let tail = tail.lines();
        let passed = |limit, why: String| Error::LimitPassed {
            step: number,
            steps: self.total,
            line: step.line,
            limit,
            why,
            usage: Box::new(usage),
            tail: tail.clone(),
        };
        if let Some(why) = too_large {
            return Err(passed(PassedLimit::Disk, why));
        }
        match outcome {
            Outcome::Exited { status: 0, .. } => Ok(()),
            Outcome::Exited { out_of_memory: true, .. } => Err(passed(
                PassedLimit::Memory,
                format!(
                    "it needed more memory than {}",
                    job.limits
                        .memory_bytes
                        .map_or("the host has".to_owned(), |bytes| format!("the {bytes} bytes it may use"))
                ),
            )),
            Outcome::Exited { status, .. } if disk_was_full => {
                let why = format!(
                    "its disk of {} bytes was full, and it ended with exit status {status}",
                    job.limits.disk_bytes
                );
                Err(passed(PassedLimit::Disk, why))
            }
            Outcome::Exited { status, .. } => Err(Error::CommandFailed {
                step: number,
                steps: self.total,
                line: step.line,
                command: command(&job.args),
                status,
                usage: Box::new(usage),
                tail,
            }),
            Outcome::TimeOver => {
                Err(passed(PassedLimit::Time, format!("it ran longer than {} seconds", job.limits.time.as_secs())))
            }
            Outcome::DiskFull { used_bytes } => {
                let why = format!("it wrote {used_bytes} bytes; at most {} are allowed", job.limits.disk_bytes);
                Err(passed(PassedLimit::Disk, why))
            }
            Outcome::Cancelled => Err(Error::Cancelled),
        }
    }

    fn make_directory_cached(&mut self, step: &Step, action: &Action, path: &str, user: &str) -> Result<(), Error> {
        let inputs = self.engine.inputs(&self.stack.diff_ids(), action);
        let key = inputs.key();
        let layer = match self.engine.known(&self.cache, &key)? {
            Some(known) => known,
            None => {
                let made = self.make_directory(step.line, path, user)?;
                let entry = made.as_ref().map(|layer| layer.diff_id().to_string());
                self.cache.put(&key, &inputs, entry, &self.engine.options.owner, &step.text)?;
                made
            }
        };
        layer.into_iter().for_each(|layer| self.stack.push(layer, None));
        Ok(())
    }

    /// The missing directories of a path as a layer; `None` when none is missing.
    fn make_directory(&self, line: u32, path: &str, user: &str) -> Result<Option<Layer>, Error> {
        let tree = self.stack.tree()?;
        let refuse = |why: String| Error::WorkingDirectory { line, path: path.to_owned(), why };
        let found = tree.resolve(path.as_bytes()).map_err(|error| refuse(error.to_string()))?;
        if let Some(node) = found.node {
            return if tree.node(node).is_directory() {
                Ok(None)
            } else {
                Err(refuse("it is not a directory".to_owned()))
            };
        }
        let User { uid, gid, .. } = users::resolve(&tree, user).map_err(|why| Error::User { line, why })?;
        let mtime = Timestamp { seconds: self.engine.options.epoch.unwrap_or(0), nanoseconds: 0 };
        let metadata = Metadata { mode: 0o755, uid, gid, mtime, ..Metadata::default() };
        let mut diff = Diff::default();
        let (mut at, mut node) = (Vec::new(), Some(Tree::ROOT));
        for name in found.path.components() {
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(name);
            node = node.and_then(|directory| tree.lookup(directory, name));
            match node.map(|node| &tree.node(node).kind) {
                Some(Kind::Directory(_)) => {}
                Some(_) => return Err(refuse("a file is in its way".to_owned())),
                None => {
                    let path = TreePath::parse(&at).map_err(|error| refuse(error.to_string()))?;
                    diff.additions.push(Addition::Entry { path, node: Node::directory(metadata.clone()) });
                }
            }
        }
        Ok(Some(self.engine.store.commit(&diff)?))
    }
}

/// The status that a shell would give where the runtime says that the first program of a command can't be started: that is the
/// Dockerfile's doing, not the runtime's.
fn not_started(said: &str) -> Option<i32> {
    let why = said.split_once("exec: ")?.1;
    [
        ("executable file not found", 127),
        ("no such file or directory", 127),
        ("permission denied", 126),
        ("exec format error", 126),
    ]
    .into_iter()
    .find_map(|(sign, status)| why.contains(sign).then_some(status))
}

/// The working directory without symbolic links, refused where the sandbox mounts something of the host's: a path there
/// is not the image's (the class of CVE-2024-21626).
fn working_directory(tree: &Tree, line: u32, path: &str) -> Result<String, Error> {
    let refuse = |why: String| Error::WorkingDirectory { line, path: path.to_owned(), why };
    let found = tree.resolve(path.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    if matches!(found.path.components().next(), Some(b"proc" | b"sys" | b"dev")) {
        return Err(refuse("it lies in a directory that belongs to the running system; use another".to_owned()));
    }
    match found.node {
        Some(node) if !tree.node(node).is_directory() => Err(refuse("it is not a directory".to_owned())),
        _ => {
            String::from_utf8([b"/", found.path.as_bytes()].concat()).map_err(|_| refuse("it is not UTF-8".to_owned()))
        }
    }
}

/// A command as people read it: what a shell is given to run, of anything else all words.
fn command(args: &[String]) -> String {
    match args {
        [_, .., flag, script] if flag.starts_with('-') && flag.ends_with('c') => script.clone(),
        words => words.join(" "),
    }
}

/// A name for the container of a step: no two builds at work share one.
fn container_id(scratch: &Scratch, number: usize) -> String {
    chain(&[&scratch.path().to_string_lossy(), &number.to_string()])[..12].to_owned()
}

/// Whether a change is none: the upper directory itself is always in it, as it was made before the command.
fn changes_nothing(diff: &Diff, before: &Tree) -> bool {
    let is_untouched_root = |addition: &Addition| match addition {
        Addition::Entry { path, node } => path.is_root() && node.metadata == before.node(Tree::ROOT).metadata,
        Addition::Link { .. } => false,
    };
    diff.removals.is_empty() && diff.additions.iter().all(is_untouched_root)
}

#[cfg(test)]
mod tests;
