//! Plans and runs the steps of a Dockerfile over an OCI runtime: each RUN step becomes a layer.
//!
//! ```text
//!   dockerfile::Conversion ──plan::lower──▶ Plan ──build──▶ for each step:
//!        RUN: cache ─hit─▶ layer
//!               └─miss─▶ overlay ▶ sandbox ▶ upper directory ▶ snapshot (Diff) ▶ layer store ▶ cache
//!        WORKDIR: the missing directories as a layer, made without any mount
//! ```
//!
//! Nothing here knows of HTTP or databases, and of disk formats only that `ext4writer` makes what loop devices mount. [`build`] needs root for RUN steps that are not cached, and for
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
mod roots;
pub mod sandbox;
mod scratch;
mod snapshot;
mod stack;
mod usage;
mod users;

pub use build::{Built, Engine, Forecast, Options};
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
