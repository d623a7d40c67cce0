//! `drydock serve` as a process: real clients, real builds, real kills.

mod chunks;
mod clients;
mod end_to_end;
mod faults;
mod hosts;
mod kills;
mod packages;
mod promises;
mod proxy;
mod server;
mod store;
mod transcripts;
