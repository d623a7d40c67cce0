//! Images of a real registry (`docker-registry`, filled by skopeo), with faults put between us and it by a proxy.
#![cfg(test)]

#[path = "registry/faults.rs"]
mod faults;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "registry/pulls.rs"]
mod pulls;
#[path = "registry/server.rs"]
mod server;
