//! The life of templates with a builder that makes small files: states, limits, names, logs, images, recovery.

mod builder;
mod conformance;
mod lives;
mod recovery;
