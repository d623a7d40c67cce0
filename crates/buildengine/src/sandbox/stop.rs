//! How a container that has to end is ended: all of it is asked with SIGTERM, and killed when nobody in it may still answer.
//!
//! The first process of a container ignores a signal that it neither catches nor blocks (pid_namespaces(7)), and most shells
//! catch none: to wait for those would make every stop last as long as the grace.

use std::time::{Duration, Instant};

use super::{Outcome, cgroup, lossy};

/// SIGTERM in the masks of /proc/PID/status (proc(5)): bit 0 is signal 1.
const TERM: u64 = 1 << (15 - 1);

/// A container that was asked to end.
pub(super) struct Stop {
    /// Why.
    pub(super) outcome: Outcome,
    deadline: Instant,
}

impl Stop {
    pub(super) fn new(outcome: Outcome, grace: Duration) -> Self {
        Self { outcome, deadline: Instant::now() + grace }
    }

    /// Whether it may be killed: the grace is over, or no process of the group acts on SIGTERM.
    pub(super) fn is_over(&self, cgroup: &str) -> bool {
        Instant::now() >= self.deadline || !acts_on_term(cgroup)
    }
}

/// Whether a process of the group catches SIGTERM or blocks it (as who reads a signalfd does). One never knows without a
/// group: then one may.
fn acts_on_term(cgroup: &str) -> bool {
    let Some(processes) = cgroup::processes(cgroup) else { return true };
    let mut statuses = processes.iter().filter_map(|id| lossy::text(format!("/proc/{id}/status")).ok());
    statuses.any(|status| term_is_awaited(&status))
}

fn term_is_awaited(status: &str) -> bool {
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigCgt:").or(line.strip_prefix("SigBlk:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & TERM != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_catches_or_blocks_is_waited_for() {
        let status = |blocked, ignored, caught| {
            format!(
                "Name:\tx\nSigPnd:\t0000000000004000\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
            )
        };
        assert!(term_is_awaited(&status(0, 0, 0x4002)));
        assert!(term_is_awaited(&status(0x4000, 0, 0)));
        assert!(!term_is_awaited(&status(0, 0x4000, 0x2)));
        assert!(!term_is_awaited(""));
    }

    #[test]
    fn a_group_that_is_not_there_is_waited_for_until_the_grace_is_over() {
        let nowhere = "/drydock/no-such-state/no-such-build";
        assert!(!Stop::new(Outcome::Cancelled, Duration::from_secs(60)).is_over(nowhere));
        assert!(Stop::new(Outcome::Cancelled, Duration::ZERO).is_over(nowhere));
    }
}
