//! Connections: how many, how long they may take, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::App;
use crate::router::router;

/// Connections at one time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;

/// The time a client has for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The time that sent bytes may stay unread or unacknowledged.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The time that answers under way have once the server closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// The API.
    pub api: TcpListener,
    /// Metrics, where they are wanted.
    pub metrics: Option<TcpListener>,
}

/// Answers until `shutdown` ends; then stops the service (builds have `drain` to end, followers are told where to go on) and
/// closes.
pub async fn serve(app: App, listeners: Listeners, drain: Duration, shutdown: impl Future<Output = ()>) {
    serve_at_most(CONNECTIONS_MAX, app, listeners, drain, shutdown).await;
}

async fn serve_at_most(
    connections_max: usize,
    app: App,
    listeners: Listeners,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(connections_max));
    if let Some(listener) = listeners.metrics {
        tokio::spawn(serve_metrics(app.clone(), listener));
    }
    let service = router(app.clone());
    tokio::pin!(shutdown);
    loop {
        // Who stops the server does not wait until a connection ends.
        let (slot, accepted) = tokio::select! {
            next = next(&listeners.api, &slots) => next,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others will be closed.
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(stream) = prepared(stream) else { continue };
        let service = TowerToHyperService::new(service.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let connections = app.metrics.connections.clone();
        connections.inc();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            connections.dec();
            drop(slot);
        });
    }
    drop(listeners.api);
    // Builds first: followers see the end of those that end in time.
    let templates = app.templates.clone();
    drop(tokio::task::spawn_blocking(move || templates.stop(drain)).await);
    app.closing.send_replace(true);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(CLOSE_TIMEOUT) => tracing::warn!("some connections did not end in time"),
    }
}

/// The next connection, once there may be one more.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("it is never closed");
    (slot, listener.accept().await)
}

/// Serves a host that only builds: nothing but metrics, where they are wanted, until `shutdown` ends; then builds have `drain` to end.
pub async fn serve_builder(
    app: App,
    metrics: Option<TcpListener>,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let templates = app.templates.clone();
    if let Some(listener) = metrics {
        tokio::spawn(serve_metrics(app, listener));
    }
    shutdown.await;
    drop(tokio::task::spawn_blocking(move || templates.stop(drain)).await);
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    // A peer that went away, or that never reads, is noticed by the kernel.
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    Ok(stream)
}

async fn serve_metrics(app: App, listener: TcpListener) {
    let metrics = move || {
        let metrics = Arc::clone(&app.metrics);
        async move {
            let text = tokio::task::spawn_blocking(move || metrics.text()).await;
            match text {
                Ok(Ok(text)) => {
                    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                    ([(header::CONTENT_TYPE, kind)], text).into_response()
                }
                Ok(Err(error)) => {
                    tracing::error!(error = %drydock::explain(&error), "the numbers can't be counted");
                    axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response()
                }
                Err(_) => axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    if let Err(error) = axum::serve(listener, Router::new().route("/metrics", get(metrics))).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_without_room_for_a_connection_closes_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let builder = templates::DrydockBuilder::new(Vec::new(), data.join("cache"));
        let templates = templates::Templates::open(templates::Config::new(data), builder).unwrap();
        let api = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let listeners = Listeners { api, metrics: None };
        let (app, asked) = (App::new(templates, 1, 1), std::future::ready(()));
        let served = serve_at_most(0, app, listeners, Duration::ZERO, asked);
        tokio::time::timeout(Duration::from_secs(20), served).await.expect("it closes");
    }
}
