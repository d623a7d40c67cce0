//! One file a noun: its parameters, its calls, its answers.

pub(crate) mod chunks;
pub(crate) mod health;
pub(crate) mod page;
pub(crate) mod templates;
