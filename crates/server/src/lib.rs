//! The HTTP API of the Templates service: what `templates` does, over JSON.
//!
//! ```text
//!   listen.rs   connections: how many, how long, until when
//!     │ router.rs   every route on one screen, and what each request passes
//!     │   ├─ envelope.rs  request id, JSend for every error
//!     │   ├─ auth.rs      whose key, how many requests a second
//!     │   └─ routes/      parameters, call, answer ──▶ templates
//!     └ metrics.rs  numbers, on a listener of their own
//! ```
//!
//! ```no_run
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let bases = vec![drydock::Base { name: "nodeops/sandbox:debian".into(), place: "oci:base:debian".parse()? }];
//! let builder = templates::DrydockBuilder::new(bases, "data/cache");
//! let templates = templates::Templates::open(templates::Config::new("data"), builder)?;
//! templates.start();
//! let api = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let listeners = server::Listeners { api, metrics: None };
//! let app = server::App::new(templates, 50, 100);
//! let shutdown = std::future::pending(); // or a signal
//! server::serve(app, listeners, std::time::Duration::from_secs(20), shutdown).await;
//! # Ok(())
//! # }
//! ```
//!
//! Whose a request is comes from its key, and every call of `templates` names that owner. A cause of the service's own goes to the
//! log, never to a caller. What a connection may take is bounded: `docs/guide/limits.md`.
//!
//! Nothing here knows how images are made. `error` is the one place that knows status codes.
#![forbid(unsafe_code)]

mod auth;
pub mod config;
mod envelope;
mod error;
mod listen;
mod logs;
mod metrics;
mod openapi;
mod query;
mod router;
mod routes;
mod secret;
mod wire;

use std::sync::Arc;

use templates::Templates;
use tokio::sync::{Semaphore, watch};

pub use listen::{Listeners, serve, serve_builder};
pub use openapi::document;
pub use router::router;
pub use secret::Secret;

use crate::auth::Rate;
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Dry runs at one time. Each may keep a thread for as long as a registry is slow, and the other requests need some too.
const DRY_RUNS_MAX: usize = 8;

/// What every request is answered with.
#[derive(Clone, Debug)]
pub struct App {
    templates: Templates,
    rate: Arc<Rate>,
    metrics: Arc<Metrics>,
    /// Those that may begin.
    dry_runs: Arc<Semaphore>,
    /// Whether the server closes.
    closing: watch::Sender<bool>,
}

impl App {
    /// Answers for `templates`; each key may send so many requests a second, and as many more at once as `burst` says.
    #[must_use]
    pub fn new(templates: Templates, requests_per_second: u32, burst: u32) -> Self {
        let metrics = Arc::new(Metrics::new(templates.clone()));
        Self {
            templates,
            rate: Arc::new(Rate::new(requests_per_second, burst)),
            metrics,
            dry_runs: Arc::new(Semaphore::new(DRY_RUNS_MAX)),
            closing: watch::Sender::new(false),
        }
    }

    /// Calls the service from a thread that may wait.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Templates) -> Result<T, templates::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let templates = self.templates.clone();
        match tokio::task::spawn_blocking(move || call(&templates)).await {
            Ok(done) => done.map_err(ApiError::from),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}
