//! The API over a builder that makes small files. Every answer is held against the OpenAPI document.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../templates/tests/service/builder.rs"]
#[expect(dead_code, reason = "the builder is that of the tests of templates, which use more of it")]
mod builder;
mod chunks;
mod client;
mod errors;
mod specification;
mod streams;
