//! The image of a template in chunks, for hosts that have most of them already: its manifest, and ranges of the packs it names.

use std::ops::Range;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use imagechunks::Digest;
use templates::Owner;

use crate::App;
use crate::error::{ApiError, NO_STORE};
use crate::routes::templates::selector;
use crate::wire::{Fail, Fault};

const BYTES: &str = "application/octet-stream";

/// The manifest of the image that a sandbox of this name boots. Its `ETag` is its SHA-256.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}/chunks",
    tag = "templates",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`")),
    responses(
        (status = 200, description = "Which chunks the image has and where they are", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 401, body = Fail),
        (status = 404, body = Fail),
        (status = 409, description = "The image is not kept in chunks", body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn manifest(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let selector = selector(&id)?;
    let manifest = app.call(move |templates| templates.manifest(&owner, &selector)).await?;
    let tag = format!("\"{}\"", Digest::of(&manifest));
    let headers = [(header::CONTENT_TYPE, BYTES.to_owned()), (header::ETAG, tag)];
    Ok(([NO_STORE], headers, manifest).into_response())
}

/// Bytes of a pack that the manifest of the template names.
#[utoipa::path(
    get,
    path = "/v1/templates/{id}/chunks/{pack}",
    tag = "templates",
    security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "`tpl_<ulid>`, a name, or `name@N`; an id, so that the next version changes nothing"),
        ("pack" = String, Path, description = "The name of a pack in the manifest"),
        ("Range" = String, Header, description = "`bytes=FIRST-LAST`, at most 16 MiB; more than one range can't be asked for"),
    ),
    responses(
        (status = 206, description = "The bytes", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 400, description = "There is no range", body = Fail),
        (status = 401, body = Fail),
        (status = 404, description = "There is no such template, or its manifest does not name the pack", body = Fail),
        (status = 409, description = "The image is not kept in chunks", body = Fail),
        (status = 416, description = "It is no range, or too large", body = Fail),
        (status = 429, body = Fail),
        (status = 500, body = Fault),
    ),
)]
pub(crate) async fn pack(
    State(app): State<App>,
    Extension(owner): Extension<Owner>,
    Path((id, pack)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let selector = selector(&id)?;
    let range = range(&headers)?;
    let (first, last) = (range.start, range.end - 1);
    let bytes = app.call(move |templates| templates.pack_range(&owner, &selector, &pack, range)).await?;
    // How long the pack is does not matter to anybody: a manifest names the bytes that are wanted.
    let place = format!("bytes {first}-{last}/*");
    let headers = [(header::CONTENT_TYPE, BYTES.to_owned()), (header::CONTENT_RANGE, place)];
    Ok((StatusCode::PARTIAL_CONTENT, [NO_STORE], headers, bytes).into_response())
}

/// The one range of a request (RFC 9110, section 14.2).
fn range(headers: &HeaderMap) -> Result<Range<u64>, ApiError> {
    let wanted = "say which bytes of the pack are wanted: `Range: bytes=FIRST-LAST`";
    let Some(text) = headers.get(header::RANGE) else {
        return Err(ApiError::bad("range_required", wanted).field("field", "Range"));
    };
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let parsed = || {
        let (first, last) = text.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
        (first < end).then_some(first..end)
    };
    parsed().ok_or_else(|| {
        ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "invalid_range", wanted).field("field", "Range")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Range<u64>, StatusCode> {
        let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
        range(&headers).map_err(|error| error.status)
    }

    #[test]
    fn one_range_is_taken() {
        assert_eq!(of("bytes=0-0"), Ok(0..1));
        assert_eq!(of("bytes=10-4095"), Ok(10..4096));
        assert_eq!(range(&HeaderMap::new()).unwrap_err().status, StatusCode::BAD_REQUEST);
        for wrong in [
            "",
            "bytes=",
            "bytes=-5",
            "bytes=5-",
            "bytes=5-4",
            "bytes=0-1,4-5",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(of(wrong), Err(StatusCode::RANGE_NOT_SATISFIABLE), "{wrong}");
        }
    }
}
