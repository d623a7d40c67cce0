//! What went wrong, as the API says it: the one place that knows status codes.
//!
//! 4xx are JSend's `fail` with flat `data`: `code`, `message`, and what belongs to them (`line`, `column`, `help`, `field`). 5xx are
//! JSend's `error`: the cause goes to the log of the operator, the caller gets the request's id.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use drydock::{JsonAnswer, JsonDiagnostic, Severity};
use serde::Serialize;
use serde_json::{Map, Value, json};
use templates::Error;

/// An answer that is none of success.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// More members of `data`.
    pub(crate) fields: Map<String, Value>,
    /// Every problem of a Dockerfile.
    pub(crate) diagnostics: Option<Vec<Problem>>,
    /// Seconds after which it may go well.
    pub(crate) retry_after: Option<u64>,
}

/// One problem of a Dockerfile.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// The stable name of its kind.
    pub(crate) code: String,
    /// `error` refuses the file, `warning` does not.
    pub(crate) severity: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// Where it begins: line, from 1.
    pub(crate) line: u32,
    /// Where it begins: character of the line, from 1.
    pub(crate) column: u32,
    /// Where it ends: line.
    pub(crate) end_line: u32,
    /// One past its last character.
    pub(crate) end_column: u32,
}

impl From<&JsonDiagnostic> for Problem {
    fn from(one: &JsonDiagnostic) -> Self {
        Self {
            code: one.code.name().to_owned(),
            severity: if one.severity == Severity::Error { "error" } else { "warning" }.to_owned(),
            message: one.message.clone(),
            help: one.help.clone(),
            line: one.place.line,
            column: one.place.column,
            end_line: one.place.end_line,
            end_column: one.place.end_column,
        }
    }
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (fields, diagnostics, retry_after) = (Map::new(), None, None);
        Self { status, code, message: message.into(), fields, diagnostics, retry_after }
    }

    /// The request is not one.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The JSend document.
    pub(crate) fn document(&self, request_id: &str) -> Value {
        let mut data = Map::new();
        if self.status.is_server_error() {
            data.insert("code".to_owned(), self.code.into());
            data.insert("request_id".to_owned(), request_id.into());
            data.extend(self.fields.clone());
            return json!({ "status": "error", "message": self.message, "data": data });
        }
        data.insert("code".to_owned(), self.code.into());
        data.insert("message".to_owned(), self.message.clone().into());
        data.extend(self.fields.clone());
        match &self.diagnostics {
            None => json!({ "status": "fail", "data": data }),
            Some(problems) => json!({ "status": "fail", "data": data, "diagnostics": problems }),
        }
    }

    /// The error of a Dockerfile: flat for the first problem, and all of them beside it.
    fn refused(answer: &JsonAnswer) -> Self {
        let mut errors = answer.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return Self::bad("dockerfile_refused", "the Dockerfile was refused");
        };
        let more = match errors.count() + answer.omitted {
            0 => String::new(),
            1 => " (and 1 more problem)".to_owned(),
            more => format!(" (and {more} more problems)"),
        };
        let message = format!("line {}: {}{more}", first.place.line, first.message);
        let mut error = Self::bad(first.code.name(), message);
        error = error.field("line", first.place.line).field("column", first.place.column);
        if let Some(help) = &first.help {
            error = error.field("help", help.clone());
        }
        error.diagnostics = Some(answer.diagnostics.iter().map(Problem::from).collect());
        error
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        use StatusCode as S;
        let message = error.to_string();
        match error {
            Error::NotFound => Self::new(S::NOT_FOUND, "template_not_found", message),
            Error::NoAttempt { .. } => Self::new(S::NOT_FOUND, "attempt_not_found", message),
            Error::Name { .. } => Self::bad("invalid_name", message).field("field", "name"),
            Error::Refused { answer } => Self::refused(&answer),
            Error::BaseMismatch { .. } => Self::bad("base_mismatch", message).field("field", "base"),
            Error::DiskSize { .. } => Self::bad("invalid_disk_size", message).field("field", "disk_size_bytes"),
            Error::TooManyActive { limit, active } => {
                let active: Vec<String> = active.iter().map(ToString::to_string).collect();
                let error = Self::new(S::TOO_MANY_REQUESTS, "concurrent_build_limit", message);
                error.field("limit", limit).field("active", active.join(", ")).retry_after(5)
            }
            Error::KeyReused => Self::new(S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message),
            Error::OverQuota { .. } => Self::new(S::FORBIDDEN, "storage_quota_exceeded", message),
            Error::NotActive => Self::new(S::CONFLICT, "build_ended", message),
            Error::NoManifest | Error::ChunksAlone => Self::new(S::CONFLICT, "not_in_chunks", message),
            Error::PackRange { .. } => {
                Self::new(S::RANGE_NOT_SATISFIABLE, "invalid_range", message).field("field", "Range")
            }
            Error::StorageFull => Self::new(S::SERVICE_UNAVAILABLE, "storage_full", message).retry_after(60),
            Error::Preview(why) => {
                Self::new(S::SERVICE_UNAVAILABLE, "base_unavailable", format!("the base image can't be opened: {why}"))
                    .retry_after(10)
            }
            error => {
                tracing::error!(error = %drydock::explain(&error), "a request failed");
                Self::new(S::INTERNAL_SERVER_ERROR, "internal", "the service failed; try again, or tell its operator")
            }
        }
    }
}

/// The body is made where the id of the request is known: in `envelope`.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("X-Api-Key"));
        }
        response.headers_mut().insert(NO_STORE.0, NO_STORE.1);
        response.extensions_mut().insert(self);
        response
    }
}

/// No cache on the way keeps what is somebody's own.
pub(crate) const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
