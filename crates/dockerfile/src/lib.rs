//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
#![forbid(unsafe_code)]

pub mod ast;
mod code;
pub mod config;
mod csv;
pub mod diagnostic;
pub mod duration;
pub mod env;
pub mod expand;
mod goformat;
pub mod instruction;
pub mod limits;
pub mod mount;
pub mod pattern;
pub mod platform;
pub mod ports;
pub mod reference;
pub mod rules;
pub mod signal;
pub mod source;
pub mod span;
mod word;
