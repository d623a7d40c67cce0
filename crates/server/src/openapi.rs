//! The description of the API (OpenAPI 3.1), made of the code; `docs/openapi.json` is checked against it.

use axum::Json;
use axum::response::IntoResponse;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes::{chunks, health, templates};
use crate::wire;

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Drydock Templates",
        description = "Build a custom root file system from a Dockerfile. Every answer is a JSend envelope.",
    ),
    paths(
        templates::list,
        templates::create,
        templates::show,
        templates::destroy,
        templates::logs,
        templates::cancel,
        templates::resolve,
        templates::config,
        chunks::manifest,
        chunks::pack,
        health::healthz,
        health::readyz,
    ),
    components(schemas(wire::Fail, wire::Fault, wire::LogLine, wire::FinalFrame, wire::TemplateView)),
    modifiers(&Key),
)]
struct Api;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key")));
        components.add_security_scheme("api_key", key);
    }
}

/// The description.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub(crate) async fn serve() -> impl IntoResponse {
    Json(document())
}
