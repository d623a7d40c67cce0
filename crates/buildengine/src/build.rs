//! The steps of a plan, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fstree::{Addition, Diff, Kind, Metadata, Node, Timestamp, Tree, TreePath};
use ocilayers::{Layer, Store};
use rustix::fs::{Gid, Mode, RawMode, Uid};

use crate::cache::key::{Inputs, Key, chain};
use crate::cache::store::StepCache;
use crate::cancel::Cancel;
use crate::error::{Error, PassedLimit};
use crate::event::Event;
use crate::limits::Limits;
use crate::output::{Output, Tail};
use crate::plan::{Action, Network, Plan, Run, RunMount, Sharing, Step};
use crate::sandbox::mountpoints::{self, MountPoint};
use crate::sandbox::{Job, JobMount, NetworkPolicy, Outcome, Sandbox, User, rootfs};
use crate::scratch::Scratch;
use crate::stack::Stack;
use crate::{snapshot, users};

/// How a build runs.
#[derive(Clone, Debug, Default)]
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
    /// Whose build it is, in whatever form the host names its users; empty for the host itself. Owners share the results of
    /// steps whose inputs are all public, and nothing else.
    pub owner: String,
    /// Whether the plan holds values that the owner brought beside the Dockerfile (build arguments): then no step is shared.
    pub private: bool,
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
        let roots = self.state.join("roots");
        let mut build = Build {
            engine: self,
            cache: self.cache()?,
            stack: Stack::new(&roots, &self.options.layer_limits, base),
            scratch: None,
            cancel,
            on_event,
            total: plan.steps.len(),
        };
        let mut id = chain(&[&plan.base, &build.stack.diff_ids().join(" ")]);
        let mut added = Vec::with_capacity(plan.steps.len());
        for (index, step) in plan.steps.iter().enumerate() {
            let before = build.stack.diff_ids().len();
            build.step(index + 1, step)?;
            added.push(build.stack.diff_ids().len() - before);
            id = chain(&[&id, &step.text, &build.stack.diff_ids().join(" ")]);
            (build.on_event)(Event::StepFinished { id: &id });
        }
        let Build { stack, scratch, .. } = build;
        scratch.map_or(Ok(()), Scratch::remove)?;
        Ok(Built { layers: stack.into_layers(), added })
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
            match self.known(cache, &inputs.key())? {
                Some(layer) => {
                    below.extend(layer.map(|layer| layer.diff_id().to_string()));
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
        // Who had the claim before may have made it; if that failed, it is made here.
        if self.use_cached(&key)? {
            return Ok(());
        }
        let made = self.run(number, step, run)?;
        let layer = made.as_ref().map(|(layer, _)| layer.diff_id().to_string());
        self.cache.put(&key, &inputs, layer, &self.engine.options.owner, &step.text)?;
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
        let mut lowers = self.stack.lowers(&tree)?;
        if self.scratch.is_none() {
            self.scratch = Some(Scratch::create(&self.engine.state.join("scratch"), self.engine.sandbox)?);
        }
        let scratch = self.scratch.as_ref().expect("made above");
        let id = container_id(scratch, number);
        let caches = self.engine.state.join("cache-mounts");
        let mounts = Mounts::prepare(&caches, &self.engine.options.owner, scratch, &id, run, self.cancel)?;
        let points = scratch.subdirectory(&format!("{id}-mounts"))?;
        mountpoints::write(&tree, &mounts.points, &points)?;
        lowers.insert(0, points);

        let job = Job {
            lowers,
            upper: self.upper(&tree, &id)?,
            args: run.args.clone(),
            env: self.environment(run),
            cwd: working_directory(&tree, step.line, &run.cwd)?,
            user: users::resolve(&tree, &run.user).map_err(|why| Error::User { line: step.line, why })?,
            network: match run.network {
                Network::None => NetworkPolicy::none(),
                Network::Default => self.engine.options.network.clone(),
            },
            mounts: mounts.list.clone(),
            limits: self.engine.options.limits.clone(),
        };
        self.execute(number, step, &id, &job)?;
        drop(mounts);
        let epoch = self.engine.options.epoch.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        let diff = snapshot::read(&job.upper, epoch, self.engine.options.threads)?;
        if changes_nothing(&diff, &tree) {
            return Ok(None);
        }
        Ok(Some((self.engine.store.commit(&diff)?, job.upper)))
    }

    /// An empty upper directory: in an overlay it decides what the root directory looks like, so it looks as in `tree`.
    fn upper(&self, tree: &Tree, id: &str) -> Result<PathBuf, Error> {
        let scratch = self.scratch.as_ref().expect("made before");
        let upper = scratch.subdirectory(&format!("{id}-upper"))?;
        rootfs::write(&Tree::new(tree.node(Tree::ROOT).metadata.clone()), &upper)?;
        Ok(upper)
    }

    fn environment(&self, run: &Run) -> Vec<String> {
        const NAME: &str = "SOURCE_DATE_EPOCH=";
        let epoch = self.engine.options.epoch.map(|epoch| format!("{NAME}{epoch}"));
        let given = run.env.iter().any(|variable| variable.starts_with(NAME));
        run.env.iter().cloned().chain(epoch.filter(|_| !given)).collect()
    }

    fn execute(&mut self, number: usize, step: &Step, id: &str, job: &Job) -> Result<(), Error> {
        let scratch = self.scratch.as_ref().expect("made before");
        let on_event = &mut *self.on_event;
        on_event(Event::SandboxStarted { id });
        let mut tail = Tail::default();
        let outcome = self.engine.sandbox.run(id, job, scratch, self.cancel, &mut |output| match output {
            Output::Bytes { stream, bytes } => {
                tail.push(bytes);
                on_event(Event::Output { stream, bytes });
            }
            Output::Omitted { bytes } => on_event(Event::OutputOmitted { bytes }),
        })?;
        let tail = tail.lines();
        let passed = |limit, why: String| Error::LimitPassed {
            step: number,
            steps: self.total,
            line: step.line,
            limit,
            why,
            tail: tail.clone(),
        };
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
            Outcome::Exited { status, .. } => Err(Error::CommandFailed {
                step: number,
                steps: self.total,
                line: step.line,
                command: job.args.last().cloned().unwrap_or_default(),
                status,
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

/// What a command sees mounted, and the locks that go with it.
#[derive(Debug, Default)]
struct Mounts {
    list: Vec<JobMount>,
    points: Vec<MountPoint>,
    /// Held while the command runs.
    _locks: Vec<fs::File>,
}

impl Mounts {
    fn prepare(
        caches: &Path,
        owner: &str,
        scratch: &Scratch,
        id: &str,
        run: &Run,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let mut mounts = Self::default();
        for mount in &run.mounts {
            match mount {
                RunMount::Tmpfs { target, size_bytes } => {
                    mounts.list.push(JobMount::Tmpfs { target: target.clone(), size_bytes: *size_bytes });
                }
                RunMount::Cache { target, read_only, .. } => {
                    let source = mounts.cache(caches, owner, scratch, mount, cancel)?;
                    let (target, read_only) = (target.clone(), *read_only);
                    mounts.list.push(JobMount::Bind { source, target, read_only });
                }
            }
        }
        mounts.points.extend(mounts.list.iter().map(|mount| MountPoint::directory(mount.target())));
        for (number, file) in run.files.iter().enumerate() {
            let source = scratch.path().join(format!("{id}-file-{number}"));
            let write = fs::write(&source, &file.content).and_then(|()| set_mode(&source, file.mode));
            write.map_err(|error| Error::Scratch { path: source.clone(), source: error })?;
            mounts.points.push(MountPoint::file(&file.path));
            mounts.list.push(JobMount::Bind { source, target: file.path.clone(), read_only: true });
        }
        Ok(mounts)
    }

    /// The directory of a cache mount, made with mode and owner when it is new, locked as asked.
    fn cache(
        &mut self,
        caches: &Path,
        owner: &str,
        scratch: &Scratch,
        mount: &RunMount,
        cancel: &Cancel,
    ) -> Result<PathBuf, Error> {
        let RunMount::Cache { id, sharing, mode, uid, gid, .. } = mount else { unreachable!("asked for caches alone") };
        let name = chain(&["cache mount", owner, id]);
        let failed = |source| Error::Scratch { path: caches.to_owned(), source };
        fs::create_dir_all(caches).map_err(failed)?;
        let place = match lock_cache(&caches.join(format!("{name}.lock")), *sharing, cancel)? {
            Some(lock) => {
                self._locks.push(lock);
                caches.join(&name)
            }
            None => scratch.path().join(&name),
        };
        if !place.exists() {
            let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
            let made = fs::create_dir(&place).and_then(|()| Ok(rustix::fs::chown(&place, owner.0, owner.1)?));
            made.and_then(|()| set_mode(&place, *mode)).map_err(failed)?;
        }
        Ok(place)
    }
}

/// The lock of a cache mount; `None` when it is private and somebody else has it. Waits where it is to be waited.
fn lock_cache(path: &Path, sharing: Sharing, cancel: &Cancel) -> Result<Option<fs::File>, Error> {
    use rustix::fs::{FlockOperation, flock};
    let failed = |source| Error::Scratch { path: path.to_owned(), source };
    let file = fs::File::create(path).map_err(failed)?;
    let operation = match sharing {
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
        Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if sharing == Sharing::Private => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) if cancel.is_cancelled() => return Err(Error::Cancelled),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(50)),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    let mode = RawMode::try_from(mode & 0o7777).expect("twelve bits");
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
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
