//! Images packed, fetched and read through the public interface, by sound sources and by others.
#![expect(clippy::unwrap_used, reason = "a test fails with a panic")]

mod common;
mod failures;
mod fetching;
mod killed;
mod lazily;
mod manifests;
