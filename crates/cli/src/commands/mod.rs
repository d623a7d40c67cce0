//! One file for each verb.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod fetch;
pub(crate) mod image;
pub(crate) mod key;
pub(crate) mod listing;
pub(crate) mod manpages;
pub(crate) mod parse;
pub(crate) mod plan;
pub(crate) mod serve;
pub(crate) mod template;
