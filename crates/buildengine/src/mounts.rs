//! What a RUN step sees mounted that does not become part of the image: cache directories, memory, files of a heredoc.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode, RawMode, Uid};

use crate::cache::key::chain;
use crate::cache::shelf::{Held, Shelf};
use crate::cache::space;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::plan::{Run, RunMount, Sharing};
use crate::sandbox::JobMount;
use crate::sandbox::mountpoints::MountPoint;
use crate::scratch::Scratch;

/// How often the caps of cache mounts are looked at; more rarely where looking takes long.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether the build was cancelled.
const TICK: Duration = Duration::from_millis(50);

/// The mounts of one command, with the cache directories held.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// For the sandbox.
    pub(crate) list: Vec<JobMount>,
    /// Where they appear.
    pub(crate) points: Vec<MountPoint>,
    shelf: Shelf,
    /// The cache directories in use, by name.
    caches: Vec<(String, Held)>,
}

impl Mounts {
    /// Those of `run`; cache directories of `owner` are on `shelf`, everything else is made in `scratch` under names that begin
    /// with `id`.
    ///
    /// # Errors
    /// One can't be made, or the build was cancelled while it waited for one.
    pub(crate) fn prepare(
        shelf: Shelf,
        owner: &str,
        scratch: &Scratch,
        id: &str,
        run: &Run,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let mut mounts = Self { list: Vec::new(), points: Vec::new(), shelf, caches: Vec::new() };
        let places = mounts.caches(owner, scratch, run, cancel)?;
        for mount in &run.mounts {
            let mount = match mount {
                RunMount::Tmpfs { target, size_bytes } => {
                    JobMount::Tmpfs { target: target.clone(), size_bytes: *size_bytes }
                }
                RunMount::Cache { id, target, read_only, .. } => {
                    let source = places[id.as_str()].clone();
                    JobMount::Bind { source, target: target.clone(), read_only: *read_only, of_host: false }
                }
            };
            mounts.points.push(MountPoint::directory(mount.target()));
            mounts.list.push(mount);
        }
        for (number, file) in run.files.iter().enumerate() {
            let source = scratch.path().join(format!("{id}-file-{number}"));
            let write = fs::write(&source, &file.content).and_then(|()| set_mode(&source, file.mode));
            write.map_err(|error| Error::Scratch { path: source.clone(), source: error })?;
            mounts.points.push(MountPoint::file(&file.path));
            mounts.list.push(JobMount::Bind { source, target: file.path.clone(), read_only: true, of_host: false });
        }
        Ok(mounts)
    }

    /// Where the cache directories of `run` are, by id, held as asked; a private one that somebody else has is made anew in `scratch`.
    fn caches<'r>(
        &mut self,
        owner: &str,
        scratch: &Scratch,
        run: &'r Run,
        cancel: &Cancel,
    ) -> Result<BTreeMap<&'r str, PathBuf>, Error> {
        // One id twice in a command is one directory. All builds ask in one order: else of two that want the same two each could have
        // one and wait for the other.
        let mut wanted = BTreeMap::new();
        for mount in &run.mounts {
            if let RunMount::Cache { id, sharing, mode, uid, gid, .. } = mount {
                let fresh = move |path: &Path| make(path, *mode, *uid, *gid);
                wanted.entry(id.as_str()).or_insert((*sharing, fresh));
            }
        }
        let mut places = BTreeMap::new();
        for (id, (sharing, fresh)) in wanted {
            let name = chain(&["cache mount", owner, id]);
            let held = match sharing {
                Sharing::Shared => Some(self.shelf.get(&name, cancel, fresh)?),
                Sharing::Locked => Some(self.shelf.get_alone(&name, cancel, fresh)?),
                Sharing::Private => self.shelf.try_get_alone(&name, fresh)?,
            };
            let place = held.as_ref().map_or_else(|| scratch.path().join(&name), |held| held.path().to_owned());
            if let Some(held) = held {
                // It grows from here on. If this build dies, whoever wants to know its size measures it.
                held.forget_size().map_err(|source| Error::Scratch { path: place.clone(), source })?;
                self.caches.push((name, held));
            } else if !place.exists() {
                fresh(&place)?;
            }
            places.insert(id, place);
        }
        Ok(places)
    }

    /// Runs `run`, and cancels it when a cache directory takes more than `bytes_max`; says so then.
    pub(crate) fn watched<T>(
        &self,
        bytes_max: u64,
        cancel: &Cancel,
        run: impl FnOnce(&Cancel) -> T,
    ) -> (T, Option<String>) {
        if self.caches.is_empty() {
            return (run(cancel), None);
        }
        let inner = Cancel::default();
        let (running, ended) = channel::<()>();
        let inner = &inner;
        thread::scope(|scope| {
            let watcher = scope.spawn(move || self.watch(bytes_max, cancel, inner, &ended));
            let result = run(inner);
            drop(running);
            (result, watcher.join().expect("looking does not panic"))
        })
    }

    fn watch(&self, bytes_max: u64, cancel: &Cancel, inner: &Cancel, ended: &Receiver<()>) -> Option<String> {
        let mut next = Instant::now() + LOOK;
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if cancel.is_cancelled() {
                inner.cancel();
            }
            if Instant::now() < next {
                continue;
            }
            let started = Instant::now();
            if let Some(why) = self.caches.iter().find_map(|(_, held)| too_large(held, bytes_max)) {
                inner.cancel();
                return Some(why);
            }
            next = Instant::now() + LOOK.max(started.elapsed() * 10);
        }
        None
    }

    /// Lets go of the cache directories: what is too large is emptied, and others may have to go.
    ///
    /// # Errors
    /// One can't be measured or removed.
    pub(crate) fn release(self, bytes_max: u64) -> Result<(), Error> {
        let Self { shelf, caches, .. } = self;
        if caches.is_empty() {
            return Ok(());
        }
        for (name, held) in caches {
            let failed = |source| Error::Scratch { path: held.path().to_owned(), source };
            let bytes = space::used(held.path()).map_err(failed)?.filter(|&bytes| bytes <= bytes_max);
            held.note_size(bytes.unwrap_or(0)).map_err(failed)?;
            drop(held);
            if bytes.is_none() {
                // When another build uses it too, that one sees the same at its end.
                shelf.remove(&name)?;
            }
        }
        shelf.prune()
    }
}

/// Why a cache directory is too large; one that can't be measured is left to the end of the step.
fn too_large(held: &Held, bytes_max: u64) -> Option<String> {
    match space::used(held.path()) {
        Ok(Some(bytes)) if bytes <= bytes_max => None,
        Ok(Some(bytes)) => Some(format!("a cache mount took {bytes} bytes; at most {bytes_max} are allowed")),
        Ok(None) => Some("a cache mount had more directories below each other than are looked into".to_owned()),
        Err(error) => {
            tracing::warn!(path = %held.path().display(), %error, "a cache mount could not be measured");
            None
        }
    }
}

fn make(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<(), Error> {
    let owned = || rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let made = fs::create_dir(path).and_then(|()| Ok(owned()?)).and_then(|()| set_mode(path, mode));
    made.map_err(|source| Error::Scratch { path: path.to_owned(), source })
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    let mode = RawMode::try_from(mode & 0o7777).expect("twelve bits");
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}
