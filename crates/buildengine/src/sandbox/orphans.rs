//! What a build that was killed left running: a runtime that was still making its container, and control groups of which no
//! runtime knows.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long something that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(5);

/// Kills the runtimes that note their containers in `state`: the directory is one dead build's own, so whoever was given it
/// was started by that build.
pub(crate) fn end_runtimes(state: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let runtimes = with_argument(state.as_os_str());
        if runtimes.is_empty() {
            return;
        }
        for runtime in runtimes {
            // Held by a descriptor and looked at again: the number may be another's by now.
            if let Ok(process) = pidfd_open(runtime, PidfdFlags::empty())
                && has_argument(&directory(runtime), state.as_os_str())
            {
                let _ = pidfd_send_signal(&process, Signal::KILL);
            }
        }
        thread::sleep(TICK);
    }
    tracing::warn!(state = %state.display(), "a runtime of a dead build does not end");
}

/// Kills what is in the control groups `groups` and removes them.
pub(crate) fn end_groups(groups: &[PathBuf]) {
    let deadline = Instant::now() + PATIENCE;
    for group in groups {
        // What is frozen does not even die.
        let _ = fs::write(group.join("freezer.state"), "THAWED");
        let _ = fs::write(group.join("cgroup.freeze"), "0");
        while group.exists() && fs::remove_dir(group).is_err() {
            for line in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(process) = line.parse().ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(process, Signal::KILL);
                }
            }
            if Instant::now() > deadline {
                tracing::warn!(group = %group.display(), "a control group of a dead build can't be removed");
                break;
            }
            thread::sleep(TICK);
        }
    }
}

/// The processes that were started with that argument.
fn with_argument(argument: &OsStr) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|process| has_argument(&directory(*process), argument)).collect()
}

fn directory(process: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()))
}

fn has_argument(process: &Path, argument: &OsStr) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).any(|word| word == argument.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_was_given_the_directory_is_killed_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let waiter = |argument: &Path| {
            // It has no child that would outlive it.
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", "read x"]).arg(argument).stdin(Stdio::piped()).spawn().unwrap();
            // A process that was just made may not have its arguments yet.
            let started = directory(Pid::from_child(&shell));
            let deadline = Instant::now() + PATIENCE;
            while !has_argument(&started, argument.as_os_str()) && Instant::now() < deadline {
                thread::sleep(TICK);
            }
            shell
        };
        let (mut ours, mut other) = (waiter(dir.path()), waiter(&dir.path().join("below")));
        end_runtimes(dir.path());
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
