//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
#![forbid(unsafe_code)]

pub mod ast;
mod code;
pub mod diagnostic;
pub mod env;
pub mod expand;
mod goformat;
pub mod instruction;
pub mod limits;
pub mod pattern;
pub mod source;
pub mod span;
mod word;
