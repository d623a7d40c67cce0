//! Every route, and what each request passes on its way to it.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::error::ApiError;
use crate::routes::{chunks, health, page, templates};
use crate::{App, auth, envelope, openapi};

/// The largest body: a Dockerfile of 64 KiB, six bytes of JSON for each, and a refusal that names the Dockerfile's own limit.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest a request may take to arrive and be answered; streams have been answered by then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole API.
pub fn router(app: App) -> Router {
    let api = Router::new()
        .route("/v1/templates", get(templates::list).post(templates::create))
        .route("/v1/templates/{id}", get(templates::show).delete(templates::destroy))
        .route("/v1/templates/{id}/logs", get(templates::logs))
        .route("/v1/templates/{id}/cancel", post(templates::cancel))
        .route("/v1/templates/{id}/resolve", get(templates::resolve))
        .route("/v1/templates/{id}/config", get(templates::config))
        .route("/v1/templates/{id}/chunks", get(chunks::manifest))
        .route("/v1/templates/{id}/chunks/{pack}", get(chunks::pack))
        .route_layer(from_fn_with_state(app.clone(), auth::authenticate));
    Router::new()
        .merge(api)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(openapi::serve))
        .route("/", get(page::index))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), envelope::envelope))
        .layer(map_response(harden))
        .with_state(app)
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed; try again, or tell its operator")
        .into_response()
}

/// Nothing here is to be guessed at or framed by a browser.
async fn harden(mut response: Response) -> Response {
    use axum::http::{HeaderValue, header};
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
