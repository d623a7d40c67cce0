//! A builder that does what the RUN lines of a Dockerfile say: `sleep MILLISECONDS`, `fail`, `panic`, `say TEXT`, `hang`;
//! `fill SEED` adds 256 KiB to the image; `panic at once` panics while it is checked; `look slowly` previews half a second; `move` gives
//! the base another content, before the build opens it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drydock::{Base, Cancel, Checked, Event, Failure, FailureCode, ImageSize, Preview, Request};
use sha2::{Digest, Sha256};
use templates::{
    BuildError, Builder, Config, Error, Made, Order, Owner, Selector, Status, Submission, Template, Templates,
};

pub(crate) const FROM: &str = "FROM nodeops/sandbox:debian\n";

#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    /// How many builds were begun.
    pub(crate) builds: Arc<AtomicUsize>,
    /// Which content the base has.
    pub(crate) base: Arc<AtomicUsize>,
    /// How many previews are under way.
    previews: Arc<AtomicUsize>,
    /// How many were at one time, at the most.
    pub(crate) previews_most: Arc<AtomicUsize>,
}

fn bases() -> Vec<Base> {
    vec![Base { name: "nodeops/sandbox:debian".to_owned(), place: "base.tar".parse().unwrap() }]
}

fn digest(text: &str) -> String {
    digest_of(text.as_bytes())
}

/// The image that a Dockerfile makes.
fn image_of(dockerfile: &str) -> Vec<u8> {
    let mut image = format!("image of {dockerfile}").into_bytes();
    for seed in dockerfile.lines().filter_map(|line| line.strip_prefix("RUN fill ")) {
        // From a multiple of 64 KiB on, as a file would lie in each image that has it.
        image.resize(image.len().next_multiple_of(64 << 10), 0);
        for number in 0..8192 {
            image.extend(Sha256::digest(format!("{seed} {number}")));
        }
    }
    image
}

fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Scripted {
    fn fingerprint(&self, order: &Order<'_>) -> String {
        digest(&format!("{:?} {} {}", order.size, order.dockerfile, self.base.load(Ordering::SeqCst)))
    }
}

impl Builder for Scripted {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn check(&self, order: &Order<'_>) -> Checked {
        assert!(!order.dockerfile.contains("panic at once"), "as the Dockerfile says");
        drydock::check(&Request::new(order.dockerfile.as_bytes(), &bases(), Path::new("")))
    }

    fn preview(&self, order: &Order<'_>, _: &Cancel) -> Result<Preview, BuildError> {
        let checked = self.check(order);
        if !checked.answer.accepted {
            return Err(BuildError::Refused(Box::new(checked.answer)));
        }
        if order.dockerfile.contains("look slowly") {
            let now = self.previews.fetch_add(1, Ordering::SeqCst) + 1;
            self.previews_most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(500));
            self.previews.fetch_sub(1, Ordering::SeqCst);
        }
        let fingerprint = self.fingerprint(order);
        let base_id = digest("base");
        Ok(Preview { base: checked.base.unwrap(), base_id, steps: vec![], fingerprint, answer: checked.answer })
    }

    fn build(
        &self,
        order: &Order<'_>,
        output: &Path,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Made, BuildError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        let failed = |code| Err(BuildError::Failed(Box::new(Failure::new(code, "it failed"))));
        let total = order.dockerfile.lines().count();
        for (index, text) in order.dockerfile.lines().enumerate() {
            on_event(Event::StepStarted { number: index + 1, total, line: 1, text });
            let words = text.strip_prefix("RUN ").unwrap_or_default();
            let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
            match verb {
                "sleep" | "hang" => {
                    let end = std::time::Instant::now() + Duration::from_millis(rest.parse().unwrap_or(u64::MAX >> 20));
                    while std::time::Instant::now() < end {
                        if cancel.is_cancelled() {
                            return failed(FailureCode::Cancelled);
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                "say" => {
                    let bytes = format!("{rest}\n");
                    on_event(Event::Output { stream: drydock::Stream::Stdout, bytes: bytes.as_bytes() });
                }
                "fail" => {
                    let mut card = Failure::new(FailureCode::RunFailed, "it failed");
                    card.tail = vec!["the last words".to_owned()];
                    return Err(BuildError::Failed(Box::new(card)));
                }
                "panic" => panic!("as the Dockerfile says"),
                "move" => drop(self.base.fetch_add(1, Ordering::SeqCst)),
                _ => {}
            }
            on_event(Event::StepFinished { id: &digest(text) });
        }
        let content = image_of(order.dockerfile);
        fs::write(output, &content).unwrap();
        let size_bytes = match order.size {
            ImageSize::Exact(bytes) => bytes,
            ImageSize::Auto { headroom_bytes } => 1 + headroom_bytes,
        };
        let config = serde_json::json!({ "config": { "Env": ["A=1"] } });
        let fingerprint = self.fingerprint(order);
        Ok(Made { digest: digest_of(&content), size_bytes, id: digest(order.dockerfile), config, fingerprint })
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir.join("data"));
    // No busy machine keeps a heartbeat back for so long.
    config.lease = Duration::from_secs(10);
    config
}

/// A service with everything started.
pub(crate) fn service(dir: &Path) -> (Templates, Scripted) {
    let builder = Scripted::default();
    // A process that another test has just forked may hold the lock of a former service for a moment.
    for _ in 0..200 {
        match Templates::open(config(dir), builder.clone()) {
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(50)),
            opened => {
                let templates = opened.unwrap();
                templates.start();
                return (templates, builder);
            }
        }
    }
    panic!("the data stays in use");
}

pub(crate) fn alice() -> Owner {
    "alice".parse().unwrap()
}

pub(crate) fn submission(name: &str, commands: &str) -> Submission {
    let runs: String = commands.split(';').filter(|run| !run.is_empty()).map(|run| format!("RUN {run}\n")).collect();
    Submission::new(name, format!("{FROM}{runs}"))
}

pub(crate) fn submit(templates: &Templates, name: &str, commands: &str) -> Template {
    templates.submit(&alice(), submission(name, commands)).unwrap().template().clone()
}

/// The template once `done` is true of it; a minute is far more than anything here takes.
pub(crate) fn wait(templates: &Templates, template: &Template, done: impl Fn(&Template) -> bool) -> Template {
    for _ in 0..6_000 {
        let now = templates.get(&template.owner, &Selector::Id(template.id.clone())).unwrap();
        if done(&now) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} does not get there", template.id);
}

pub(crate) fn ended(templates: &Templates, template: &Template) -> Template {
    wait(templates, template, |now| now.status.is_final())
}

pub(crate) fn ready(templates: &Templates, name: &str, commands: &str) -> Template {
    let template = ended(templates, &submit(templates, name, commands));
    assert_eq!(template.status, Status::Ready, "{:?}", template.failure);
    template
}
