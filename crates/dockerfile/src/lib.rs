//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
#![forbid(unsafe_code)]

pub mod env;
pub mod expand;
mod goformat;
pub mod limits;
pub mod pattern;
mod word;
