//! Whole-system tests: the real binary, a real base image, the real kernel. Each topic is a module.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cards;
mod docs;
mod examples;
mod failures;
mod hostile;
mod image;
mod killed;
mod left;
mod listing;
mod network;
mod outputs;
mod peers;
mod quickstart;
mod registry;
mod runtimes;
mod seen;
mod semantics;
mod service;
mod walls;
