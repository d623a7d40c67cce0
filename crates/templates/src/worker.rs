//! Builds what is queued: claim, build, finish. One thread builds, a second one keeps the lease alive beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drydock::{Cancel, Event, Failure, FailureCode, Log, explain};
use tracing::span::EnteredSpan;

use crate::artifact::remove_file;
use crate::builder::{BuildError, Made, Order};
use crate::error::Error;
use crate::log::{self, Level, LogWriter};
use crate::publish::{Closing, Publisher};
use crate::recover;
use crate::service::Inner;
use crate::store::{Beat, Claim, Finished, Outcome, StoreError};
use crate::template::{Template, TemplateId};

/// How often a worker without work looks for a lease that is over.
const POLL: Duration = Duration::from_secs(1);

/// How often the second thread looks after its build.
const TICK: Duration = Duration::from_millis(200);

/// How often the lease is made longer where many hosts are one service, at least.
const BEAT: Duration = Duration::from_secs(1);

/// How often a final state is tried to be written while the store fails.
const FINISH_TRIES: u32 = 5;

/// How long a build that is done waits for objects that can't be reached.
const OBJECTS_PATIENCE: Duration = Duration::from_secs(600);

/// Why a build is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its owner cancelled it.
    Cancelled,
    /// It ran too long.
    TimedOut,
    /// It is not ours any more.
    Lost,
    /// The service stops.
    Stopping,
    /// Its log can't be written.
    NoLog,
}

/// A build under way, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Running {
    cancel: Cancel,
    why: Mutex<Option<Why>>,
}

impl Running {
    /// Asks it to stop; the first reason counts.
    pub(crate) fn stop(&self, why: Why) {
        self.why.lock().expect("no panic while it is held").get_or_insert(why);
        self.cancel.cancel();
    }

    fn why(&self) -> Option<Why> {
        *self.why.lock().expect("no panic while it is held")
    }
}

/// Builds until the service stops.
pub(crate) fn work(inner: &Inner) {
    while !inner.is_stopping() {
        let seen = inner.hub.work_seen();
        match inner.claim() {
            Ok(Some(claim)) => run(inner, &claim),
            Ok(None) => inner.hub.wait_for_work(seen, POLL),
            Err(error) => {
                tracing::error!(error = %explain(&error), "can't look for work");
                inner.hub.wait_for_work(seen, POLL);
            }
        }
    }
}

/// One attempt, from its first log line to its state.
fn run(inner: &Inner, claim: &Claim) {
    let id = &claim.template.id;
    let running = Arc::new(Running::default());
    inner.running.lock().expect("no panic while it is held").insert(id.clone(), Arc::clone(&running));
    inner.hub.state(id);
    let span = tracing::info_span!("build", %id, attempt = claim.template.attempt);
    let begun = Instant::now();
    if let Err(error) = span.in_scope(|| attempt(inner, claim, &running)) {
        // The lease runs out, and the build begins again.
        tracing::error!(%id, error = %explain(&error), "the attempt could not be ended");
        if let Err(error) = discard(inner, claim) {
            tracing::error!(%id, error = %explain(&error), "what it left can't be removed");
        }
    }
    inner.stats.lock().expect("no panic while it is held").seconds += begun.elapsed().as_secs_f64();
    inner.running.lock().expect("no panic while it is held").remove(id);
    // It was deleted while its log was begun, or its log is kept where all hosts find it.
    if (inner.shared.is_some() || matches!(inner.store.by_id(id), Ok(None)))
        && let Err(error) = recover::remove_logs(&log::directory(&inner.logs, id))
    {
        tracing::error!(%id, error = %explain(&error), "a log that is not needed here can't be removed");
    }
}

fn attempt(inner: &Inner, claim: &Claim, running: &Running) -> Result<(), Error> {
    let template = &claim.template;
    let (log, publisher) = match begin_log(inner, template) {
        Ok(begun) => begun,
        Err(error) => return without_log(inner, claim, error),
    };
    let result = if interrupted_too_often(inner, claim) {
        let often = claim.interruptions;
        let message = format!("the host of the build went away {often} times; it is not tried again");
        Err(Box::new(Failure::new(FailureCode::Interrupted, message)))
    } else {
        let (stop, stopped) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| look_after(inner, claim, running, (&log, publisher.as_ref()), stopped));
            let result = guarded(inner, claim, running, &log);
            drop(stop);
            result
        })
    };
    let mut log = Closing { writer: whole(log), publisher: publisher.map(whole) };
    keeping_the_lease(inner, claim, running, || match (result, running.why()) {
        // Another worker has it: nothing of ours is wanted.
        (_, Some(Why::Lost)) => discard(inner, claim),
        (Err(_), Some(Why::Stopping)) => {
            log.say("The service stops; the build begins again when it is back.", Level::Info, inner.clock.now())?;
            log.sync()?;
            inner.hub.lines(&template.id);
            discard(inner, claim)?;
            inner.store.release(&template.id, template.attempt)?;
            inner.hub.state(&template.id);
            Ok(())
        }
        (Ok(made), _) => ready(inner, claim, running, made, &mut log),
        (Err(card), why) => failed(inner, claim, running, card_of(inner, *card, why), &mut log),
    })
}

/// Whether the build is not begun again.
fn interrupted_too_often(inner: &Inner, claim: &Claim) -> bool {
    claim.interruptions > inner.config.interruptions_max
}

/// Nothing was built, since nobody could see what. What the owner wants says the store: nothing beside this attempt has asked it.
fn without_log(inner: &Inner, claim: &Claim, error: Error) -> Result<(), Error> {
    let (id, attempt) = (&claim.template.id, claim.template.attempt);
    let cancelled = matches!(inner.store.heartbeat(id, attempt, inner.config.lease), Ok(Beat::Cancelled));
    let why = if cancelled { Why::Cancelled } else { Why::NoLog };
    end_failed(inner, claim, card_of(inner, no_log(), Some(why)), Err(error))
}

/// Ends an attempt, and keeps its lease meanwhile: an image may be on its way to the objects for long.
fn keeping_the_lease<T>(inner: &Inner, claim: &Claim, running: &Running, end: impl FnOnce() -> T) -> T {
    let (id, attempt) = (&claim.template.id, claim.template.attempt);
    let (stop, stopped) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(beat(inner)) == Err(RecvTimeoutError::Timeout) {
                match inner.store.heartbeat(id, attempt, inner.config.lease) {
                    Ok(Beat::Held | Beat::Cancelled) => {}
                    Ok(Beat::Lost) => running.stop(Why::Lost),
                    Err(error) => tracing::warn!(error = %explain(&error), "the lease can't be made longer"),
                }
            }
        });
        let ended = end();
        drop(stop);
        ended
    })
}

/// How often the lease is made longer. Another host hears of a cancellation by the heartbeat alone.
fn beat(inner: &Inner) -> Duration {
    if inner.shared.is_some() { BEAT.min(inner.config.lease / 3) } else { inner.config.lease / 3 }
}

/// Does what the end of a build needs of the objects, again while they can't be reached and the build is still ours.
fn patiently<T>(inner: &Inner, running: &Running, mut once: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let end = Instant::now() + OBJECTS_PATIENCE;
    loop {
        let waits = Instant::now() < end && !inner.is_stopping() && running.why() != Some(Why::Lost);
        match once() {
            Err(error @ Error::Object { .. }) if waits => {
                tracing::warn!(error = %explain(&error), "the build is done, and waits for the objects");
            }
            done => return done,
        }
        std::thread::sleep(BEAT);
    }
}

/// The log of an attempt, and what publishes it to other hosts.
fn begin_log(inner: &Inner, template: &Template) -> Result<(Mutex<LogWriter>, Option<Mutex<Publisher>>), Error> {
    let (id, attempt, bytes_max) = (&template.id, template.attempt, inner.config.log_bytes_max);
    let Some(shared) = &inner.shared else {
        return Ok((Mutex::new(LogWriter::create(&inner.logs, id, attempt, bytes_max, None)?), None));
    };
    let first = shared.store.log_next(id)?;
    let log = LogWriter::create(&inner.logs, id, attempt, bytes_max, Some(first))?;
    let publisher = Publisher::open(shared, &inner.logs, id, attempt, first)?;
    Ok((Mutex::new(log), Some(Mutex::new(publisher))))
}

/// What a lock held; a panic while it was held left it usable.
fn whole<T>(lock: Mutex<T>) -> T {
    lock.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a build comes to before it is under its name.
enum Product {
    /// An image at the temporary place.
    Built(Made),
    /// One that was there.
    Found(Finished),
}

/// The build itself; a panic in it is the host's fault and ends nothing else.
fn guarded(inner: &Inner, claim: &Claim, running: &Running, log: &Mutex<LogWriter>) -> Result<Product, Box<Failure>> {
    catch_unwind(AssertUnwindSafe(|| build(inner, claim, running, log))).unwrap_or_else(|_| {
        tracing::error!(id = %claim.template.id, "the builder panicked");
        let message = "the builder failed in a way that it should not; this is a bug";
        Err(Box::new(Failure::new(FailureCode::HostFault, message)))
    })
}

fn build(inner: &Inner, claim: &Claim, running: &Running, log: &Mutex<LogWriter>) -> Result<Product, Box<Failure>> {
    let template = &claim.template;
    let size = inner.image_size(template.disk_size_bytes);
    let order = Order {
        dockerfile: &claim.dockerfile,
        size,
        no_cache: claim.no_cache,
        owner: template.owner.as_str(),
        remote: None,
    };
    let preview = inner.builder.preview(&order, &running.cancel).map_err(BuildError::card)?;
    if !claim.no_cache
        && let Ok(Some(found)) = inner.store.finished(&template.owner, &preview.fingerprint)
        && inner.has_image(&found.digest)
    {
        return Ok(Product::Found(found));
    }
    let output = inner.images.temporary(&template.id, template.attempt);
    let mut text = Log::default();
    let mut span: Option<EnteredSpan> = None;
    let mut on_event = |event: Event<'_>| {
        let now = inner.clock.now();
        let mut grew = false;
        let mut log = log.lock().expect("no panic while it is held");
        if let Event::StepStarted { number, total, line, .. } = event {
            // One span ends before the next begins.
            drop(span.take());
            span = Some(tracing::info_span!("step", number, total, line).entered());
            log.step(number);
        }
        text.event(&event, &mut |stream, bytes| match log.output(stream, bytes, now) {
            Ok(wrote) => grew |= wrote,
            Err(error) => {
                tracing::error!(error = %explain(&error), "the log can't be written");
                running.stop(Why::NoLog);
            }
        });
        drop(log);
        if grew {
            inner.hub.lines(&template.id);
        }
    };
    let order = Order { remote: inner.remote(), ..order };
    let made = inner.builder.build(&order, &output, &running.cancel, &mut on_event).map_err(BuildError::card)?;
    Ok(Product::Built(made))
}

/// Beside a build: keeps the lease, passes on what the owner and the clock want, shows output that waits for its newline, and publishes.
fn look_after(
    inner: &Inner,
    claim: &Claim,
    running: &Running,
    (log, publisher): (&Mutex<LogWriter>, Option<&Mutex<Publisher>>),
    stopped: Receiver<()>,
) {
    let template = &claim.template;
    let (begun, mut beaten) = (Instant::now(), Instant::now());
    let beat = beat(inner);
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if begun.elapsed() > inner.config.build_timeout {
            running.stop(Why::TimedOut);
        }
        let flushed = log.lock().expect("no panic while it is held").flush(inner.clock.now());
        match flushed {
            Ok(true) => inner.hub.lines(&template.id),
            Ok(false) => {}
            Err(_) => running.stop(Why::NoLog),
        }
        match publisher.map(|publisher| publisher.lock().expect("no panic while it is held").publish()) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => running.stop(Why::Lost),
            Some(Err(error)) => tracing::warn!(error = %explain(&error), "the log can't be published yet"),
        }
        if beaten.elapsed() < beat {
            continue;
        }
        beaten = Instant::now();
        match inner.store.heartbeat(&template.id, template.attempt, inner.config.lease) {
            Ok(Beat::Held) => {}
            Ok(Beat::Cancelled) => running.stop(Why::Cancelled),
            Ok(Beat::Lost) => running.stop(Why::Lost),
            Err(error) => tracing::warn!(error = %explain(&error), "the lease can't be made longer"),
        }
    }
}

/// A card that says why a build was stopped, where it was.
fn card_of(inner: &Inner, card: Failure, why: Option<Why>) -> Failure {
    match why {
        Some(Why::Cancelled) => Failure::new(FailureCode::Cancelled, "the build was cancelled"),
        Some(Why::TimedOut) => {
            let seconds = inner.config.build_timeout.as_secs();
            let message = format!("the build ran longer than {seconds} seconds, all that it may");
            Failure::new(FailureCode::BuildTimeout, message).hint("do less in one template, or build parts beforehand")
        }
        Some(Why::NoLog) => no_log(),
        Some(Why::Lost | Why::Stopping) | None => card,
    }
}

fn no_log() -> Failure {
    Failure::new(FailureCode::HostFault, "the log of the build could not be written")
}

fn ready(inner: &Inner, claim: &Claim, running: &Running, product: Product, log: &mut Closing) -> Result<(), Error> {
    let (id, attempt) = (&claim.template.id, claim.template.attempt);
    // Before the lock: it may take long.
    patiently(inner, running, || put_objects(inner, claim, &product))?;
    // Images appear and are collected under one lock: an image that comes back is not collected meanwhile.
    let images = inner.images_lock.lock().expect("no panic while it is held");
    let finished = match product {
        Product::Built(made) => {
            let allocated_bytes = inner.images.keep(&inner.images.temporary(id, attempt), &made.digest)?;
            Finished {
                digest: made.digest,
                size_bytes: made.size_bytes,
                allocated_bytes,
                image_id: made.id,
                config: made.config.to_string(),
                fingerprint: made.fingerprint,
                reused: false,
            }
        }
        Product::Found(found) if inner.has_image(&found.digest) => {
            log.say(" ---> Using the finished image of the same Dockerfile and base", Level::Info, inner.clock.now())?;
            found
        }
        Product::Found(_) => return again(inner, claim),
    };
    let short = finished.image_id.get(..12).unwrap_or(&finished.image_id);
    log.say(&format!("Successfully built {short}"), Level::Info, inner.clock.now())?;
    patiently(inner, running, || log.end())?;
    inner.hub.lines(id);
    let digest = finished.digest.clone();
    let held = match finish(inner, claim, &Outcome::Ready(finished)) {
        Err(Error::Store(StoreError::ImageGone)) => return again(inner, claim),
        held => held?,
    };
    if held {
        forget_lines(inner, id);
    } else if !inner.store.images()?.contains(&digest) {
        inner.images.remove(&digest)?;
    }
    drop(images);
    Ok(())
}

/// Puts an image that was made where all hosts find it. If this attempt loses its template meanwhile, the collector removes it.
fn put_objects(inner: &Inner, claim: &Claim, product: &Product) -> Result<(), Error> {
    let (Some(shared), Product::Built(made)) = (&inner.shared, product) else { return Ok(()) };
    let template = &claim.template;
    let image = inner.images.temporary(&template.id, template.attempt);
    shared.put_image(template, &made.digest, &image)
}

/// The image that was to be used was collected in the last moment: the build begins again, and makes it.
fn again(inner: &Inner, claim: &Claim) -> Result<(), Error> {
    inner.store.release(&claim.template.id, claim.template.attempt)?;
    inner.hub.wake_workers();
    Ok(())
}

fn failed(inner: &Inner, claim: &Claim, running: &Running, card: Failure, log: &mut Closing) -> Result<(), Error> {
    let said = say_why(inner, &card, log).and_then(|()| patiently(inner, running, || log.end()));
    inner.hub.lines(&claim.template.id);
    end_failed(inner, claim, card, said)
}

/// The last words of a log.
fn say_why(inner: &Inner, card: &Failure, log: &mut Closing) -> Result<(), Error> {
    let place = match (card.step, card.steps, card.line) {
        (Some(step), Some(steps), Some(line)) => format!("step {step}/{steps} (line {line}): "),
        (_, _, Some(line)) => format!("line {line}: "),
        _ => String::new(),
    };
    let now = inner.clock.now();
    log.say(&format!("ERROR: {place}{}", card.message), Level::Error, now)?;
    match &card.hint {
        Some(hint) => log.say(&format!("HINT: {hint}"), Level::Error, now),
        None => Ok(()),
    }
}

/// Fails the template, if its log could be ended. If not, the build begins again when its lease runs out; but nobody wants one that
/// was cancelled, and the last that is tried has to end.
fn end_failed(inner: &Inner, claim: &Claim, card: Failure, said: Result<(), Error>) -> Result<(), Error> {
    let id = &claim.template.id;
    let ends = card.code == FailureCode::Cancelled || interrupted_too_often(inner, claim);
    let is_kept = said.is_ok();
    match said {
        Err(error) if ends => tracing::error!(%id, error = %explain(&error), "the build ends without its log"),
        said => said?,
    }
    discard(inner, claim)?;
    if finish(inner, claim, &Outcome::Failed(card))? && is_kept {
        forget_lines(inner, id);
    }
    Ok(())
}

/// Removes the lines of a template that ended, which are archived.
fn forget_lines(inner: &Inner, id: &TemplateId) {
    if let Some(shared) = &inner.shared
        && let Err(error) = shared.store.forget_log(id)
    {
        // The collector does it, as it archives those that could not be.
        tracing::warn!(%id, error = %explain(&error), "lines that are kept elsewhere can't be removed yet");
    }
}

/// Writes the final state; whether it was ours to write. A store that fails for a moment is asked again.
fn finish(inner: &Inner, claim: &Claim, outcome: &Outcome) -> Result<bool, Error> {
    let (id, attempt) = (&claim.template.id, claim.template.attempt);
    let mut tries = 1;
    let held = loop {
        match inner.store.finish(id, attempt, outcome) {
            Ok(held) => break held,
            Err(error) if tries == FINISH_TRIES || matches!(error, StoreError::ImageGone) => return Err(error.into()),
            Err(error) => tracing::warn!(%id, error = %explain(&error), "the state can't be written yet"),
        }
        std::thread::sleep(TICK * tries);
        tries += 1;
    };
    if held {
        let mut stats = inner.stats.lock().expect("no panic while it is held");
        match outcome {
            Outcome::Ready(image) => {
                stats.ready += 1;
                stats.reused += u64::from(image.reused);
            }
            Outcome::Failed(card) => *stats.failed.entry(card.code).or_default() += 1,
        }
    }
    inner.hub.state(id);
    Ok(held)
}

/// Removes what an attempt may have left of its image.
fn discard(inner: &Inner, claim: &Claim) -> Result<(), Error> {
    let path: &Path = &inner.images.temporary(&claim.template.id, claim.template.attempt);
    remove_file(path)
}
