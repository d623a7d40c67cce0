//! Plans and runs the steps of a Dockerfile over an OCI runtime.
#![forbid(unsafe_code)]
