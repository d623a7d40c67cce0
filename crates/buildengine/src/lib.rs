//! Plans and runs the steps of a Dockerfile over an OCI runtime: each RUN step becomes a layer.
//!
//! ```text
//!   dockerfile::Conversion ──plan::lower──▶ Plan ──build──▶ for each step:
//!        RUN: cache ─hit─▶ layer
//!               └─miss─▶ overlay ▶ sandbox ▶ upper directory ▶ snapshot (Diff) ▶ layer store ▶ cache
//!        WORKDIR: the missing directories as a layer, made without any mount
//! ```
//!
//! ```
//! use buildengine::plan::{self, Action};
//! use dockerfile::analysis::{AnalysisOptions, analyze};
//! use dockerfile::source::Source;
//!
//! // A plan is a value, made without looking at anything but the text.
//! let source = Source::decode(b"FROM debian\nENV A=1\nRUN make\n");
//! let analysis = analyze(&source, &AnalysisOptions::default());
//! let plan = plan::lower(&analysis.dockerfile, &analysis.conversion)?;
//! assert_eq!(plan.base, "docker.io/library/debian:latest");
//! assert!(plan.steps[1].actions.is_empty(), "ENV changes the config alone");
//! assert!(matches!(&plan.steps[2].actions[..], [Action::Run(_)]));
//! # Ok::<(), buildengine::Error>(())
//! ```
//!
//! [`Engine::build`] carries it out. What is true of it at any moment:
//!
//! - What a step may use, see and reach is decided here and by the runtime; what the host can't give is an error, unless allowed by name.
//! - A result is kept when it is complete, under a key of all that may change it; failures are not kept.
//! - A build that ends, however it ends, leaves no process, mount, interface or scratch file; what a killed one left is swept by the next.
//!
//! Nothing here knows of HTTP or databases, and of disk formats only that `ext4writer` makes what loop devices mount. [`Engine::build`] needs root for RUN steps that are not cached, and for
//! nothing else.
mod build;
mod cache;
mod cancel;
mod error;
mod event;
mod limits;
mod mounts;
mod output;
pub mod plan;
mod private;
mod roots;
pub mod sandbox;
mod scratch;
mod snapshot;
mod stack;
mod usage;
mod users;

pub use build::{Built, Engine, Forecast, Options};
pub use cache::remote::{MadeStep, RemoteCache};
pub use cache::whole::write_whole;
pub use cancel::Cancel;
pub use error::{Error, PassedLimit};
pub use event::Event;
pub use limits::Limits;
pub use output::{Output, Stream};
pub use scratch::Scratch;
pub use snapshot::read as read_upper;
pub use usage::Usage;
pub use users::resolve as resolve_user;
