//! What every answer has: the id of its request, and JSend where it is an error, wherever that came from.

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::App;
use crate::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that a caller may choose.
const REQUEST_ID_MAX: usize = 64;

pub(crate) async fn envelope(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("request", %id, %method, route);
    let begun = std::time::Instant::now();
    let response = next.run(request).instrument(span).await;
    let mut response = into_jsend(response, &id);
    app.metrics.answered(&method, &route, response.status(), begun.elapsed());
    response.headers_mut().insert(REQUEST_ID, HeaderValue::from_str(&id).expect("letters, digits and a few signs"));
    response
}

fn request_id(request: &Request) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(legal) => id.to_owned(),
        _ => ulid::Ulid::generate().to_string(),
    }
}

fn into_jsend(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    // What is no error of ours was made by the framework: a method that is not there, a body that is too large.
    let error = response.extensions_mut().remove::<ApiError>().unwrap_or_else(|| by_status(status));
    let mut jsend = (status, Json(error.document(id))).into_response();
    for (name, value) in response.headers() {
        if !jsend.headers().contains_key(name) {
            jsend.headers_mut().append(name, value.clone());
        }
    }
    jsend
}

fn by_status(status: StatusCode) -> ApiError {
    let (code, message) = match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing under this path; see /openapi.json"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not have this method; see `allow`"),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is larger than any request of this API"),
        StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request took too long to arrive"),
        status if status.is_server_error() => ("internal", "the service failed; try again, or tell its operator"),
        _ => ("bad_request", "this is no request of this API; see /openapi.json"),
    };
    ApiError::new(status, code, message)
}
