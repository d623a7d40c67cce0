//! Whether the service runs, and whether it can work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::App;
use crate::error::ApiError;
use crate::wire::{Fault, Ready, Success, Up};

#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Success<Up>)))]
pub(crate) async fn healthz() -> Json<Success<Up>> {
    Json(Success::of(Up { up: true }))
}

#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = Success<Ready>), (status = 503, body = Fault)),
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Success<Ready>>, ApiError> {
    let checked = tokio::task::spawn_blocking(move || app.templates.check_health()).await;
    let reason = match checked {
        Ok(Ok(())) => return Ok(Json(Success::of(Ready { ready: true, reason: None }))),
        Ok(Err(error)) => {
            tracing::warn!(error = %drydock::explain(&error), "not ready");
            error.to_string()
        }
        Err(_) => "the check failed".to_owned(),
    };
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", format!("not ready: {reason}"));
    Err(error.field("ready", Value::Bool(false)).field("reason", reason).retry_after(5))
}
