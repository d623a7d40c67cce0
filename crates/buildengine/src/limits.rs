//! What one RUN step may use.

use std::time::Duration;

/// Caps of one RUN step. Every one of them ends the step with an error that names it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Wall time. Default: one hour.
    pub time: Duration,
    /// Processes and threads at one moment (cgroup `pids`). Default: 4,096.
    pub pids: u32,
    /// Memory in bytes (cgroup `memory`), or `None` for what the host has. Default: `None`.
    pub memory_bytes: Option<u64>,
    /// Bytes that the step may read a second from the disk of the state directory, and write to it (cgroup `blkio`, `io`),
    /// or `None` for what the disk can do. Default: `None`.
    pub io_bytes: Option<u64>,
    /// The same for reads and writes, counted. Default: `None`.
    pub io_operations: Option<u64>,
    /// Bytes that the step may add to the disk. Looked at about once a second, so a fast writer can pass it by what it
    /// writes in that time. Default: 16 GiB.
    pub disk_bytes: u64,
    /// Bytes of output passed on: of more, the beginning and the last 64 KiB; between them is said how much was left out.
    /// Default: 2 MiB.
    pub output_bytes: u64,
    /// How long a command that is stopped (cancelled, or past a limit) may take after SIGTERM before it is killed. Waited for
    /// is only who catches or blocks the signal. Default: 5 seconds.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(3_600),
            pids: 4_096,
            memory_bytes: None,
            io_bytes: None,
            io_operations: None,
            disk_bytes: 16 << 30,
            output_bytes: 2 << 20,
            grace: Duration::from_secs(5),
        }
    }
}
