//! Commands that mean harm: each ends as it should, the host is as before, and nothing of them is left.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drydock_tests::{base_image, cache, drydock, privileged};

use crate::failures::{cgroups_of, processes_with};

const TOOLS: [&str; 2] = ["mmdebstrap", "runc"];

/// The cases share one state folder, so that the base is unpacked once and one at a time looks at what is left in it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn turn() -> Option<MutexGuard<'static, ()>> {
    privileged(&TOOLS).then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

fn state() -> PathBuf {
    cache().join("hostile-state")
}

/// What a build of these steps ended with and said, after a look at what is left of it.
fn build(steps: &str, more: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir_in(cache()).unwrap();
    fs::write(dir.path().join("Dockerfile"), format!("FROM base\n{steps}")).unwrap();
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(dir.path().join("Dockerfile")).args(["--no-cache", "--size", "auto"]);
    command.args(["--base", &format!("base={}", base_image()), "-o"]).arg(dir.path().join("out.ext4"));
    let output = command.arg("--state").arg(state()).args(more).output().unwrap();
    assert_nothing_left();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What every hostile command carries, so that its processes are known.
const MARKER: &str = "31415926";

fn assert_nothing_left() {
    let mut scratch = fs::read_dir(state().join("scratch")).unwrap();
    assert!(!scratch.any(|entry| entry.unwrap().path().is_dir()), "no scratch folder stays");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(state().to_str().unwrap()), "no mount stays");
    assert_eq!(processes_with(MARKER), Vec::<String>::new(), "no process stays");
    assert_eq!(cgroups_of(&state()), Vec::<PathBuf>::new(), "no cgroup stays");
}

#[track_caller]
fn assert_fails(steps: &str, more: &[&str], parts: &[&str]) {
    let (status, said) = build(steps, more);
    assert_eq!(status, Some(1), "{steps}{said}");
    let error = &said[said.rfind("error:").unwrap_or_else(|| panic!("{steps}has no error in\n{said}"))..];
    parts.iter().for_each(|part| assert!(error.contains(part), "{steps}'{part}' is not in\n{error}"));
}

#[track_caller]
fn assert_builds(steps: &str) {
    let (status, said) = build(steps, &[]);
    assert_eq!(status, Some(0), "{steps}{said}");
}

#[test]
fn a_memory_hog_is_told_what_it_may_use() {
    let Some(_turn) = turn() else { return };
    assert_fails(
        "RUN : 31415926; head -c 300M /dev/zero | tail >/dev/null\n",
        &["--memory", "50MiB"],
        &["more memory than the 52428800 bytes"],
    );
}

#[test]
fn floods_and_sleepers_end_with_their_time() {
    let Some(_turn) = turn() else { return };
    for command in
        ["yes 31415926", "sleep 31415926", "exec >&- 2>&-; sleep 31415926", "yes 31415926 >/dev/null & sleep 31415926"]
    {
        assert_fails(&format!("RUN {command}\n"), &["--step-timeout", "1"], &["line 2", "longer than 1 seconds"]);
    }
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    let Some(_turn) = turn() else { return };
    assert_fails(
        "RUN : 31415926; b() { b | b & }; b; sleep 31415926\n",
        &["--step-timeout", "2", "--pids", "64"],
        &["longer than 2 seconds", "Cannot fork"],
    );
}

#[test]
fn the_grace_is_for_who_catches_sigterm_and_not_longer() {
    let Some(_turn) = turn() else { return };
    let stopped = |command: &str, grace: &str| {
        let started = Instant::now();
        let (status, said) = build(&format!("RUN {command}\n"), &["--step-timeout", "1", "--stop-grace", grace]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("longer than 1 seconds"), "{said}");
        (started.elapsed(), said)
    };
    let (_, said) = stopped("trap 'echo cleaned up; exit 0' TERM; sleep 31415926", "60");
    assert!(said.contains("cleaned up"), "{said}");
    // Both graces are longer than any machine is slow: that they are not waited for is what is seen.
    let (took, _) = stopped("trap '' TERM; sleep 31415926", "600");
    assert!(took < Duration::from_secs(300), "{took:?}");
    let (took, _) = stopped("trap : TERM; while :; do sleep 31415926; done", "2");
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_daemon_ends_with_its_step() {
    let Some(_turn) = turn() else { return };
    assert_builds("RUN setsid sh -c 'trap \"\" HUP TERM; sleep 31415926' >/dev/null 2>&1 </dev/null & echo started\n");
}

/// The number of ptrace(2).
const PTRACE: u32 = if cfg!(target_arch = "x86_64") { 101 } else { 117 };

/// Each of these commands succeeds where what it tries is refused.
#[test]
fn the_host_can_not_be_changed_or_read() {
    let Some(_turn) = turn() else { return };
    let secret = tempfile::Builder::new().prefix("secret-of-the-host").tempfile_in(cache()).unwrap();
    let on_host = format!("/proc/{}/root{}", std::process::id(), secret.path().display());
    let refused = [
        "echo drydock >/proc/sys/kernel/hostname".to_owned(),
        "echo 1 >/proc/sys/vm/drop_caches".to_owned(),
        "echo h >/proc/sysrq-trigger".to_owned(),
        "mkdir /sys/fs/cgroup/drydock-hostile".to_owned(),
        "echo 0 >/sys/kernel/mm/ksm/run".to_owned(),
        "mount -t tmpfs none /mnt".to_owned(),
        "mount --bind / /mnt".to_owned(),
        "umount /proc".to_owned(),
        "unshare --mount true".to_owned(),
        "nsenter --target 1 --net true".to_owned(),
        "mknod /tmp/null c 1 3".to_owned(),
        "mknod /tmp/whiteout c 0 0".to_owned(),
        "mknod /tmp/disk b 8 0".to_owned(),
        "cat /dev/sda".to_owned(),
        "head -c 1 /proc/kcore | grep -q .".to_owned(),
        "hostname hostile".to_owned(),
        format!("cat {}", secret.path().display()),
        format!("cat {on_host}"),
        "grep -q 'Seccomp:.0' /proc/self/status".to_owned(),
        format!("kill -0 {}", std::process::id()),
        // PTRACE_ATTACH: to a process of the host.
        format!("perl -e 'exit(syscall({PTRACE}, 16, {}, 0, 0) < 0)'", std::process::id()),
    ];
    let steps: String = refused.iter().map(|command| format!("RUN if {command}; then exit 66; fi\n")).collect();
    assert_builds(&steps);
    // The commands above fail since they are refused, not since a program is missing.
    assert_builds(
        "RUN for program in mount umount unshare nsenter mknod hostname grep head cat mkdir perl; do command -v $program || exit 1; done\n",
    );
}

#[test]
fn processes_of_the_host_are_not_seen() {
    let Some(_turn) = turn() else { return };
    assert_builds("RUN test $$ -le 2 && test $(ls -d /proc/[0-9]* | wc -l) -le 5\n");
}

#[test]
fn a_working_directory_that_leads_out_of_the_image_is_refused() {
    let Some(_turn) = turn() else { return };
    for target in ["/proc", "/proc/self/fd/7", "../../proc/1/root"] {
        let steps = format!("RUN : 31415926; ln -s {target} /tmp/out\nWORKDIR /tmp/out\nRUN true\n");
        assert_fails(&steps, &[], &["the working directory '/tmp/out' can't be used"]);
    }
}

#[test]
fn a_path_300_levels_deep_is_built() {
    let Some(_turn) = turn() else { return };
    assert_builds("RUN i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; echo x >deepest\n");
}
