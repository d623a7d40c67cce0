//! Numbers for Prometheus: what was answered and how fast, what was built, what is there.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use templates::Templates;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: String,
    /// The pattern of the route, never the path: there are few.
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: String,
}

pub(crate) struct Metrics {
    templates: Templates,
    registry: Mutex<Registry>,
    answers: Family<Answer, Counter>,
    seconds: Family<Route, Histogram>,
    pub(crate) connections: Gauge,
    by_state: Family<State, Gauge>,
    builds: Family<Outcome, Gauge>,
    images: Gauge,
    images_bytes: Gauge,
    collected: Gauge,
    build_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// From a tenth of a millisecond to ten seconds.
fn buckets() -> Histogram {
    Histogram::new([0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn new(templates: Templates) -> Self {
        let metrics = Self {
            templates,
            registry: Mutex::default(),
            answers: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            connections: Gauge::default(),
            by_state: Family::default(),
            builds: Family::default(),
            images: Gauge::default(),
            images_bytes: Gauge::default(),
            collected: Gauge::default(),
            build_seconds: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("drydock");
        registry.register("http_requests", "Requests answered", metrics.answers.clone());
        registry.register("http_request_seconds", "Time to the head of the answer", metrics.seconds.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("templates", "Templates by state", metrics.by_state.clone());
        registry.register("builds", "Builds that ended here, by outcome", metrics.builds.clone());
        registry.register("build_seconds", "Time spent on builds", metrics.build_seconds.clone());
        registry.register("images", "Images kept", metrics.images.clone());
        registry.register("images_bytes", "Bytes of disk that images take", metrics.images_bytes.clone());
        registry.register("images_collected", "Images removed that no template had", metrics.collected.clone());
        Self { registry: Mutex::new(registry), ..metrics }
    }

    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, time: Duration) {
        // Any other method is one of those that nobody may invent labels with.
        let method = match *method {
            Method::GET | Method::POST | Method::DELETE | Method::HEAD | Method::OPTIONS => method.to_string(),
            _ => "other".to_owned(),
        };
        let answer = Answer { method, route: route.to_owned(), status: status.as_u16() };
        self.answers.get_or_create(&answer).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(time.as_secs_f64());
    }

    /// The numbers of now as text. Asks the store, so it may wait.
    pub(crate) fn text(&self) -> Result<String, templates::Error> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let counts = self.templates.counts()?;
        let states = [
            ("pending", counts.pending),
            ("building", counts.building),
            ("ready", counts.ready),
            ("failed", counts.failed),
        ];
        for (state, count) in states {
            self.by_state.get_or_create(&State { state }).set(whole(count));
        }
        self.images.set(whole(counts.images));
        self.images_bytes.set(whole(counts.images_bytes));
        let stats = self.templates.stats();
        let built = [("ready".to_owned(), stats.ready), ("reused".to_owned(), stats.reused)];
        let failed = stats.failed.into_iter().map(|(code, count)| {
            let code = serde_json::to_value(code).ok().and_then(|code| code.as_str().map(str::to_owned));
            (code.unwrap_or_default(), count)
        });
        for (outcome, count) in built.into_iter().chain(failed) {
            self.builds.get_or_create(&Outcome { outcome }).set(whole(count));
        }
        self.collected.set(whole(stats.collected));
        self.build_seconds.set(stats.seconds);
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().expect("no panic while it is held")).expect("a text takes everything");
        Ok(text)
    }
}
