//! The step cache: what a RUN step changed, found again by everything that could have changed it.

mod claim;
pub(crate) mod key;
mod lock;
pub(crate) mod remote;
pub(crate) mod shelf;
pub(crate) mod space;
pub(crate) mod store;
pub(crate) mod whole;
