//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
//!
//! ```text
//!   bytes ──source──▶ Source ──parse──▶ syntax tree ──instruction──▶ typed ──convert──▶ config, operations
//!                                            └──── policy, rules ────┴──▶ diagnostics, each with a code, a place and a fix
//! ```
//!
//! ```
//! use dockerfile::analysis::{AnalysisOptions, analyze};
//! use dockerfile::policy::Policy;
//! use dockerfile::reference::Reference;
//! use dockerfile::source::Source;
//!
//! // What a service accepts: one stage on a base of its list, and no build context.
//! let policy = Policy { allowed_bases: vec![Reference::parse("debian")?], ..Policy::default() };
//! let options = AnalysisOptions { policy: Some(policy), ..AnalysisOptions::default() };
//! let source = Source::decode(b"FROM debian\nENV A=1\nCOPY a b\nRUN echo $A\n");
//! let found = analyze(&source, &options).diagnostics;
//! let codes: Vec<&str> = found.iter().map(|one| one.code.name()).collect();
//! assert_eq!(codes, ["copy-not-available"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - No I/O, no clock, no environment, no other crate of Drydock: it builds for `wasm32-unknown-unknown`.
//! - Parsing always gives a tree; problems are diagnostics, collected, never thrown.
//! - [`parse::Mode::BuildKit`] means what BuildKit means, bug for bug; the strict mode is a subset of it, with the same results.
//! - What a file can cost is bounded by [`limits`], whatever it says.
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
