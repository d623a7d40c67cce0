//! Dockerfiles: text to syntax tree, typed instructions, image config and operations, with diagnostics and policy.
#![forbid(unsafe_code)]
