//! The step cache: what a RUN step changed, found again by everything that could have changed it.

mod claim;
pub(crate) mod key;
pub(crate) mod store;
