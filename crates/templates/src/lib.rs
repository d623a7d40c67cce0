//! The life of templates: a Dockerfile is submitted under a name, built by a worker, and then resolved by that name to the image a
//! sandbox boots. What was answered stays true: rows, log lines and images survive a kill at any moment.
//!
//! ```text
//!   submit ──▶ Store: one row, which is the job ──claim (lease, attempt)──▶ worker ──▶ Builder (drydock)
//!                 ▲                                                       │   │
//!                 │ finish: the image's digest and the state              │   └─▶ log: one file an attempt, followed by position
//!                 └───────────────────────────────────────────────────────┘
//!   resolve(name) ──▶ the image of the latest ready template of that owner
//! ```
//!
//! ```no_run
//! use templates::{Config, DrydockBuilder, Owner, Submission, Templates};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bases = vec![drydock::Base { name: "nodeops/sandbox:debian".into(), place: "oci:base:debian".parse()? }];
//! let templates = Templates::open(Config::new("drydock-data"), DrydockBuilder::new(bases, "drydock-data/cache"))?;
//! templates.start();
//! let owner: Owner = "alice".parse()?;
//! let mine = templates.submit(&owner, Submission::new("my-env", "FROM nodeops/sandbox:debian\nRUN true"))?;
//! println!("{} is {}", mine.template().id, mine.template().status.as_str());
//! # Ok(())
//! # }
//! ```
//!
//! Everything here is synchronous and runs in threads of its own; a server calls it from a pool for blocking work. Nothing here
//! knows of HTTP. Only [`store`] touches the database.
#![forbid(unsafe_code)]

mod artifact;
mod builder;
mod chunks;
mod clock;
mod config;
mod error;
mod fetches;
mod follow;
mod hub;
mod key;
pub mod lifecycle;
mod log;
mod objects;
mod publish;
mod recover;
mod service;
mod shared;
mod steps;
pub mod store;
mod template;
mod worker;

pub use builder::{BuildError, Builder, DrydockBuilder, Made, Order};
pub use clock::{Clock, SystemClock, Time};
pub use config::Config;
pub use error::Error;
pub use follow::{End, Follower, Piece};
pub use key::{ApiKey, KeyRecord};
pub use lifecycle::Status;
pub use service::{Page, Resolved, Stats, Submission, Submitted, Templates, create_key, make_data};
pub use template::{Invalid, Name, Owner, Selector, Template, TemplateId};
