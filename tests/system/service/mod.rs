//! `drydock serve` as a process: real clients, real builds, real kills.

mod clients;
mod end_to_end;
mod hosts;
mod kills;
mod server;
mod transcripts;
