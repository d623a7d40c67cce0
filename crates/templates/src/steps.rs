//! Results of steps that the hosts of one service share: entries are rows, layers are objects. A build asks where its own host has
//! nothing, and what it made is put beside it, so that a database or a store that is slow or away costs a build some seconds at most.

use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drydock::{Cancel, MadeStep, RemoteCache, explain};

use crate::artifact::remove_file;
use crate::error::Error;
use crate::objects::create;
use crate::shared::Shared;

/// How long an answer is waited for: about as long as a step takes that is worth being kept.
const STEP: Duration = Duration::from_secs(3);
/// Likewise for a layer.
const LAYER: Duration = Duration::from_secs(60);
/// How long nobody is asked after one that did not answer.
const AWAY: Duration = Duration::from_secs(30);
/// How often a build that waits looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(100);
/// Results that wait to be put.
const WAITING_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct SharedSteps {
    shared: Arc<Shared>,
    /// Nothing is asked until then.
    away: Mutex<Option<Instant>>,
    waiting: SyncSender<MadeStep>,
    /// Until the thread that puts them takes it.
    made: Mutex<Option<Receiver<MadeStep>>>,
}

impl SharedSteps {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (waiting, made) = sync_channel(WAITING_MAX);
        Self { shared, away: Mutex::default(), waiting, made: Mutex::new(Some(made)) }
    }

    /// Puts what builds make until `is_over`.
    pub(crate) fn put_made(&self, is_over: impl Fn() -> bool) {
        let Some(made) = lock(&self.made).take() else { return };
        while !is_over() {
            match made.recv_timeout(TICK) {
                Ok(made) => {
                    if let Err(error) = self.shared.put_step(&made) {
                        tracing::warn!(error = %explain(&error), "other hosts do not learn of a step");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// An answer of the database or the objects, if it comes in time. Who does not answer is left alone for a while.
    fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        cancel: &Cancel,
        ask: impl FnOnce(&Shared) -> Result<Option<T>, Error> + Send + 'static,
    ) -> Option<T> {
        if lock(&self.away).is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let (tell, told) = channel();
        let shared = Arc::clone(&self.shared);
        // What comes too late goes with the channel.
        let thread = std::thread::Builder::new().name("step cache".to_owned());
        thread.spawn(move || drop(tell.send(ask(&shared)))).ok()?;
        let end = Instant::now() + patience;
        let why = loop {
            match told.recv_timeout(TICK) {
                Ok(Ok(found)) => return found,
                Ok(Err(error)) => break explain(&error),
                Err(RecvTimeoutError::Disconnected) => break "the question failed".to_owned(),
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return None,
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    break format!("no answer came within {} seconds", patience.as_secs());
                }
            }
        };
        tracing::warn!(why, "the results of other hosts are not used for {} seconds", AWAY.as_secs());
        *lock(&self.away) = Some(Instant::now() + AWAY);
        None
    }
}

/// A panic while it is held leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl RemoteCache for SharedSteps {
    fn step(&self, key: &str, cancel: &Cancel) -> Option<(Vec<u8>, Duration)> {
        let key = key.to_owned();
        self.ask(STEP, cancel, move |shared| Ok(shared.store.cached_step(&key)?))
    }

    fn layer(&self, diff_id: &str, bytes_max: u64, cancel: &Cancel) -> Option<File> {
        let name = name_of(diff_id)?;
        self.ask(LAYER, cancel, move |shared| shared.layer(&name, bytes_max))
    }

    fn refuse_layer(&self, diff_id: &str) {
        let Some(name) = name_of(diff_id) else { return };
        self.ask::<()>(STEP, &Cancel::default(), move |shared| {
            shared.store.forget_layer(&name)?;
            shared.objects.remove_layer(&name)?;
            Ok(None)
        });
    }

    fn put(&self, made: MadeStep) {
        match self.waiting.try_send(made) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!("other hosts do not learn of a step: {WAITING_MAX} before it still wait to be put");
            }
        }
    }
}

/// What a layer is called among the objects: the digits of its diff_id.
fn name_of(diff_id: &str) -> Option<String> {
    let digits = diff_id.strip_prefix("sha256:")?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == 64 && digits.bytes().all(is_digit)).then(|| digits.to_owned())
}

impl Shared {
    fn layer(&self, name: &str, bytes_max: u64) -> Result<Option<File>, Error> {
        if !self.store.use_layer(name)? {
            return Ok(None);
        }
        let found = self.objects.layer(name, bytes_max)?;
        if found.is_none() {
            // Whoever was to put it did not come to it; the next one does.
            self.store.forget_layer(name)?;
        }
        Ok(found)
    }

    /// Keeps a result: its layer first, so that who finds the entry finds that too.
    fn put_step(&self, made: &MadeStep) -> Result<(), Error> {
        if let Some(name) = made.layer().as_deref().and_then(name_of)
            && !self.store.use_layer(&name)?
        {
            let temporary = self.objects.temporary();
            let mut file = create(&temporary)?;
            let put = made.write_layer(&mut file).map_err(Error::file(&temporary)).and_then(|()| {
                let bytes = file.metadata().map_err(Error::file(&temporary))?.len();
                self.store.add_layer(&name, bytes)?;
                self.objects.put_layer(&name, &file)
            });
            remove_file(&temporary)?;
            put?;
        }
        Ok(self.store.put_cached_step(made.key(), made.entry())?)
    }

    /// Removes what was not used for long, and what is more than `bytes_max`.
    pub(crate) fn collect_steps(&self, bytes_max: u64) -> Result<(), Error> {
        for name in self.store.forget_old_steps(bytes_max)? {
            self.objects.remove_layer(&name)?;
        }
        Ok(())
    }

    /// Layers that were put after their row was gone, or whose collector was killed.
    pub(crate) fn collect_layers(&self) -> Result<(), Error> {
        let layers = self.objects.layers()?;
        let known = self.store.layers(&layers)?;
        for orphan in layers.iter().filter(|name| !known.contains(*name)) {
            self.objects.remove_layer(orphan)?;
        }
        Ok(())
    }
}
