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

/// System calls that no command may make: name, number on `x86_64` and on `aarch64` (-1 where there is none), arguments. The
/// arguments are such that the kernel, if it were asked, would change nothing.
const REFUSED_CALLS: [(&str, i32, i32, &str); 50] = [
    ("acct", 163, 89, "0"),
    ("add_key", 248, 217, "0, 0, 0, 0, 0"),
    ("bpf", 321, 280, "99, 0, 0"),
    ("clock_settime", 227, 112, "99, 0"),
    ("clone into a new user namespace", 56, 220, "0x10000011, 0, 0, 0, 0"),
    ("clone into a new cgroup namespace", 56, 220, "0x02000011, 0, 0, 0, 0"),
    ("delete_module", 176, 106, "0, 0"),
    ("fanotify_init", 300, 262, "-1, 0"),
    ("finit_module", 313, 273, "-1, 0, 0"),
    ("fsconfig", 431, 431, "-1, 0, 0, 0, 0"),
    ("fsmount", 432, 432, "-1, 0, 0"),
    ("fsopen", 430, 430, "0, 0"),
    ("init_module", 175, 105, "0, 0, 0"),
    ("io_uring_enter", 426, 426, "-1, 0, 0, 0, 0, 0"),
    ("io_uring_register", 427, 427, "-1, 0, 0, 0"),
    ("io_uring_setup", 425, 425, "0, 0"),
    ("ioperm", 173, -1, "0, 0, 0"),
    ("iopl", 172, -1, "9"),
    ("kcmp", 312, 272, "0, 0, 99, 0, 0"),
    ("kexec_file_load", 320, 294, "-1, -1, 0, 0, 0"),
    ("kexec_load", 246, 104, "0, 99, 0, 0"),
    ("keyctl", 250, 219, "99, 0, 0, 0, 0"),
    ("mbind", 237, 235, "0, 0, 0, 0, 0, 0"),
    ("migrate_pages", 256, 238, "0, 0, 0, 0"),
    ("mount", 165, 40, "0, 0, 0, 0, 0"),
    ("mount_setattr", 442, 442, "-1, 0, 0, 0, 0"),
    ("move_mount", 429, 429, "-1, 0, -1, 0, 0"),
    ("move_pages", 279, 239, "0, 0, 0, 0, 0, 0"),
    ("open_by_handle_at", 304, 265, "-1, 0, 0"),
    ("open_tree", 428, 428, "-1, 0, 0"),
    ("perf_event_open", 298, 241, "0, 0, 0, 0, 0"),
    ("personality without address randomisation", 135, 92, "0x0040000"),
    ("pivot_root", 155, 41, "0, 0"),
    ("quotactl", 179, 60, "0, 0, 0, 0"),
    ("reboot", 169, 142, "0, 0, 0, 0"),
    ("request_key", 249, 218, "0, 0, 0, 0"),
    ("set_mempolicy", 238, 237, "99, 0, 0"),
    ("setns", 308, 268, "-1, 0"),
    ("settimeofday", 170, 170, "0, 0"),
    ("socket of AF_ALG", 41, 198, "38, 5, 0"),
    ("socket of AF_ALG, in 64 bits", 41, 198, "0x100000026, 5, 0"),
    ("socket of AF_VSOCK", 41, 198, "40, 1, 0"),
    ("socket of AF_VSOCK, in 64 bits", 41, 198, "0x100000028, 1, 0"),
    ("swapoff", 168, 225, "0"),
    ("swapon", 167, 224, "0, 0"),
    ("syslog", 103, 116, "99, 0, 0"),
    ("umount2", 166, 39, "0, 0"),
    ("unshare of the user namespace", 272, 97, "0x10000000"),
    ("userfaultfd", 323, 282, "0"),
    ("vhangup", 153, 58, ""),
];
/// The numbers of clone3(2), everywhere, and of socket(2).
const CLONE3: i32 = 435;
const SOCKET: i32 = if cfg!(target_arch = "x86_64") { 41 } else { 198 };

/// Root in a step gets EPERM, which says that nobody looked at the arguments; who wants clone3 is told that there is none, so
/// that the C library takes clone.
#[test]
fn dangerous_system_calls_are_refused() {
    let Some(_turn) = turn() else { return };
    let call = |name: &str, number: i32, arguments: &str, wanted: &str| {
        format!(
            "$! = 0; $r = syscall({number}, {arguments}); print \"CALL {name}: \", $r < 0 ? $! + 0 : 'done', \" wanted {wanted}\\n\"; exit if $$ != $me;\n"
        )
    };
    let number = |x86_64, aarch64| if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 };
    let here = REFUSED_CALLS.iter().filter(|(_, x86_64, aarch64, _)| number(*x86_64, *aarch64) >= 0);
    let mut script: String =
        here.map(|(name, x86_64, aarch64, arguments)| call(name, number(*x86_64, *aarch64), arguments, "1")).collect();
    script += &call("clone3", CLONE3, "0, 0", "38");
    for (family, name) in [(1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK")] {
        script += &call(&format!("socket of {name}"), SOCKET, &format!("{family}, 2, 0"), "done");
    }
    let (status, said) = build(&format!("RUN perl - <<'EOF'\n$me = $$;\n{script}EOF\n"), &[]);
    assert_eq!(status, Some(0), "{said}");
    let calls: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("CALL ")).collect();
    assert_eq!(calls.len(), script.lines().count(), "{said}");
    for call in calls {
        let (_, results) = call.split_once(": ").unwrap();
        let (got, wanted) = results.split_once(" wanted ").unwrap();
        assert_eq!(got, wanted, "{call}");
    }
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
