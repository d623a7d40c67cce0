//! Templates: list, create, show, destroy, logs, cancel, resolve.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use templates::{Owner, Selector, Submission, Submitted, Templates};
use tokio::time::timeout;

use crate::App;
use crate::error::{ApiError, NO_STORE, Problem};
use crate::logs;
use crate::query::Parameters;
use crate::wire::{
    CreateTemplate, Destroyed, Fail, Fault, Pagination, PlanView, PlannedStep, ResolvedView, Success, TemplateList,
    TemplateView,
};

/// Templates on one page of a list that asks for no number.
const LIMIT_DEFAULT: u64 = 50;
/// Templates on one page of a list.
const LIMIT_MAX: u64 = 500;

/// The largest number that every client can count to: 2^53 - 1.
const NUMBER_MAX: u64 = 9_007_199_254_740_991;

/// How long a dry run is waited for: it has an answer of its own before the request has none.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(25);

/// The longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What an id, a name or `name@N` asks for. What can be none of them is not there.
pub(crate) fn selector(text: &str) -> Result<Selector, ApiError> {
    text.parse().map_err(|_| ApiError::from(templates::Error::NotFound))
}

/// List the caller's templates, newest first.
#[utoipa::path(
    get,
    path = "/v1/templates",
    tag = "templates",
    security(("api_key" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "Max items to return", minimum = 1, maximum = 500),
        ("offset" = Option<u64>, Query, description = "Pagination offset", minimum = 0, maximum = 9007199254740991i64),
    ),
    responses(
        (status = 200, body = Success<TemplateList<'static>>),
        (status = 400, body = Fail),
        (status = 401, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let limit = u32::try_from(limit).expect("at most 500");
    let offset = parameters.number("offset", 0..=NUMBER_MAX)?.unwrap_or(0);
    let page = app.call(move |templates| templates.list(&owner, limit, offset)).await?;
    let templates: Vec<_> = page.templates.into_iter().map(TemplateView::listed).collect();
    let pagination = Pagination { total: page.total, limit, offset, count: templates.len() };
    Ok(Json(Success::of(TemplateList { templates: &templates, data: &templates, pagination })).into_response())
}

/// Submit a Dockerfile for async build, or see with `dry_run=true` what a build would do.
#[utoipa::path(
    post,
    path = "/v1/templates",
    tag = "templates",
    security(("api_key" = [])),
    params(
        ("dry_run" = Option<bool>, Query, description = "Answer the plan, and store nothing"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again answer what the first made", max_length = 255),
    ),
    request_body = CreateTemplate,
    responses(
        (status = 200, description = "The template, pending; with `dry_run` the plan", body = Created),
        (status = 400, body = Fail),
        (status = 401, body = Fail),
        (status = 403, body = Fail),
        (status = 413, body = Fail),
        (status = 415, body = Fail),
        (status = 422, description = "The Idempotency-Key came before with another body", body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
        (status = 503, body = Fault),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Result<Json<CreateTemplate>, JsonRejection>,
) -> Result<Response, ApiError> {
    let dry_run = parameters.flag("dry_run")?.unwrap_or(false);
    let Json(body) = body.map_err(|rejection| body_error(&rejection))?;
    let submission = Submission {
        name: body.name,
        dockerfile: body.dockerfile,
        base: body.base,
        disk_size_bytes: body.disk_size_bytes,
        no_cache: body.no_cache.unwrap_or(false),
        idempotency_key: idempotency_key(&headers)?,
    };
    if dry_run {
        let preview = dry_run_of(&app, owner, submission);
        let late = |_| templates::Error::Preview(format!("nothing came for {} seconds", DRY_RUN_TIMEOUT.as_secs()));
        let preview = timeout(DRY_RUN_TIMEOUT, preview).await.map_err(late)??;
        return Ok(Json(Success::of(plan(preview))).into_response());
    }
    let submitted = app.call(move |templates| templates.submit(&owner, submission)).await?;
    let replayed = matches!(submitted, Submitted::Replayed(_));
    let (Submitted::Created(template) | Submitted::Replayed(template)) = submitted;
    let mut response = Json(Success::of(TemplateView::of(template, None))).into_response();
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, header::HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The plan, when it is its turn; whoever waits for that keeps no thread.
async fn dry_run_of(app: &App, owner: Owner, submission: Submission) -> Result<drydock::Preview, ApiError> {
    let turn = Arc::clone(&app.dry_runs).acquire_owned().await.expect("nobody closes it");
    let preview = move |templates: &Templates| {
        // Until it has ended, also when nobody waits for it any more.
        let _turn = turn;
        templates.preview(&owner, &submission)
    };
    app.call(preview).await
}

/// What a submission is answered with.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the answer; the answers themselves are the types in it")]
pub(crate) enum Created {
    Template(Box<Success<TemplateView>>),
    Plan(Success<PlanView>),
}

fn plan(preview: drydock::Preview) -> PlanView {
    let step = |step: drydock::PreviewStep| PlannedStep {
        line: step.line,
        text: step.text,
        cached: step.cached,
        reason: step.reason,
    };
    PlanView {
        base: preview.base,
        base_digest: format!("sha256:{}", preview.base_id),
        steps: preview.steps.into_iter().map(step).collect(),
        diagnostics: preview.answer.diagnostics.iter().map(Problem::from).collect(),
    }
}

fn body_error(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body is JSON: send `Content-Type: application/json`",
        ),
        JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than any request of this API; a Dockerfile has at most 64 KiB",
        ),
        other => ApiError::bad("invalid_json", other.body_text()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad("invalid_idempotency_key", "an Idempotency-Key is 1 to 255 visible ASCII characters")
            .field("field", "Idempotency-Key")),
    }
}

/// What can be added to a template.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the parameter")]
pub(crate) enum Include {
    Dockerfile,
}

/// Details of one template. A name gives the latest ready one.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}",
    tag = "templates",
    security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`"),
        ("include" = inline(Option<Include>), Query, description = "`dockerfile` adds the original source"),
    ),
    responses(
        (status = 200, body = Success<TemplateView>),
        (status = 400, body = Fail),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<Success<TemplateView>>, ApiError> {
    let include = match parameters.text("include") {
        None => false,
        Some("dockerfile") => true,
        Some(_) => {
            let error = ApiError::bad("invalid_parameter", "`include` may be `dockerfile`, and nothing else");
            return Err(error.field("field", "include"));
        }
    };
    let selector = selector(&id)?;
    let found = app.call(move |templates| {
        let template = templates.get(&owner, &selector)?;
        let dockerfile = if include { Some(templates.dockerfile(&template)?) } else { None };
        Ok(TemplateView::of(template, dockerfile))
    });
    Ok(Json(Success::of(found.await?)))
}

/// Delete a template. Sandboxes made from it are not affected.
#[utoipa::path(
    delete,
    path = "/v1/templates/{id}",
    tag = "templates",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`")),
    responses(
        (status = 200, body = Success<Destroyed>),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn destroy(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
) -> Result<Json<Success<Destroyed>>, ApiError> {
    let selector = selector(&id)?;
    let id = app.call(move |templates| templates.delete(&owner, &selector)).await?;
    Ok(Json(Success::of(Destroyed { id: id.to_string(), status: "destroyed" })))
}

/// The build log as newline-delimited JSON, one `LogLine` a line and a `FinalFrame` at the end; follows the build to its end.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}/logs",
    tag = "templates",
    security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`"),
        ("follow" = Option<bool>, Query, description = "`false` answers what there is so far"),
        ("since" = Option<u64>, Query, description = "Begin with the line of this `seq`", minimum = 0, maximum = 9007199254740991i64),
        ("attempt" = Option<u32>, Query, description = "Only this attempt", minimum = 1, maximum = 4294967295i64),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String),
        (status = 400, body = Fail),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn logs(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let follow = parameters.flag("follow")?.unwrap_or(true);
    let since = parameters.number("since", 0..=NUMBER_MAX)?.unwrap_or(0);
    let attempt = parameters.number("attempt", 1..=u64::from(u32::MAX))?;
    let attempt = attempt.map(|attempt| u32::try_from(attempt).expect("in range"));
    let selector = selector(&id)?;
    let follower = app.call(move |templates| templates.logs(&owner, &selector, attempt, since)).await?;
    let headers = [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson")),
        NO_STORE,
        // A proxy that gathers the answer would hold back a log.
        (HeaderName::from_static("x-accel-buffering"), header::HeaderValue::from_static("no")),
    ];
    Ok((headers, logs::body(follower, follow, app.closing.subscribe())).into_response())
}

/// End a build that has not ended; it fails as `cancelled`.
#[utoipa::path(
    post,
    path = "/v1/templates/{id}/cancel",
    tag = "templates",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "`tpl_<ulid>`")),
    responses(
        (status = 200, body = Success<TemplateView>),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 409, description = "The build has ended", body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
) -> Result<Json<Success<TemplateView>>, ApiError> {
    let selector = selector(&id)?;
    let template = app.call(move |templates| templates.cancel(&owner, &selector)).await?;
    Ok(Json(Success::of(TemplateView::of(template, None))))
}

/// The image that a sandbox of this name boots, and its config.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}/resolve",
    tag = "templates",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`")),
    responses(
        (status = 200, body = Success<ResolvedView>),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn resolve(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
) -> Result<Json<Success<ResolvedView>>, ApiError> {
    let selector = selector(&id)?;
    let resolved = app.call(move |templates| templates.resolve(&owner, &selector)).await?;
    Ok(Json(Success::of(ResolvedView::of(resolved.template, resolved.config))))
}

/// The config of the image that a sandbox of this name boots, for who has the image elsewhere: nothing is made ready here.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}/config",
    tag = "templates",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`")),
    responses(
        (status = 200, body = Success<ResolvedView>),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn config(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
) -> Result<Json<Success<ResolvedView>>, ApiError> {
    let selector = selector(&id)?;
    let (template, config) = app.call(move |templates| templates.image_config(&owner, &selector)).await?;
    Ok(Json(Success::of(ResolvedView::of(template, config))))
}
