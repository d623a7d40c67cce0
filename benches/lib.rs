//! Shared parts of the benches.

/// The most memory this process has had, in MiB (proc(5), VmHWM); 0 where `/proc` does not say it.
#[must_use]
pub fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() >> 10
}
