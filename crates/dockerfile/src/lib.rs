//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod ast;
mod code;
pub mod config;
pub mod convert;
mod csv;
pub mod diagnostic;
pub mod directive;
pub mod dockerignore;
pub mod duration;
pub mod env;
pub mod expand;
mod flags;
mod goformat;
mod heredoc;
pub mod instruction;
mod json;
pub mod limits;
mod lines;
pub mod mount;
pub mod parse;
pub mod pattern;
pub mod platform;
pub mod policy;
pub mod ports;
pub mod reference;
pub mod render;
pub mod rules;
pub mod signal;
pub mod source;
pub mod span;
mod strict;
mod template;
mod word;

pub use parse::{EmptyContinuation, Mode, Parsed, parse, parse_source};
