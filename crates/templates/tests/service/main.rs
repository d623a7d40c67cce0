//! The life of templates with a builder that makes small files: states, limits, names, logs, images, recovery.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builder;
mod chunks;
mod conformance;
mod costs;
mod lives;
mod postgres;
mod recovery;
mod shared;
mod simulation;
