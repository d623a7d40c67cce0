//! Query parameters, read one by one so that an error names the one that is wrong.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::error::ApiError;

/// The parameters of a request; of one given twice the last counts.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // What can't be decoded names no parameter of ours.
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        Ok(Self(pairs.map(|Query(pairs)| pairs.into_iter().collect()).unwrap_or_default()))
    }
}

impl Parameters {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A whole number within `range`.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            _ => {
                let (from, to) = (range.start(), range.end());
                let message = format!("`{name}` is a whole number from {from} to {to}");
                Err(ApiError::bad("invalid_parameter", message).field("field", name))
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => {
                Err(ApiError::bad("invalid_parameter", format!("`{name}` is true or false")).field("field", name))
            }
        }
    }
}
