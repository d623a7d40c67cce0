//! Commands that mean harm: each ends as it should, the host is as before, and nothing of them is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use drydock_tests::{Mounted, base_image, cache, drydock, privileged, run};
use rustix::process::Pid;
use serde_json::json;

use crate::failures::processes_with;
use crate::left;

const TOOLS: [&str; 2] = ["mmdebstrap", "runc"];

/// One at a time: some of them take all that the machine has, for as long as they may.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A state folder of one test's own, in which the base is there already.
struct World {
    dir: tempfile::TempDir,
    /// Stands in every command in the place of [`MARKER`], so that the processes of this test are known.
    marker: String,
    _turn: MutexGuard<'static, ()>,
}

/// What every hostile command carries.
const MARKER: &str = "31415926";

impl World {
    /// `None`, said loudly, where such commands can't run.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(10);
        if !privileged(&TOOLS) {
            return None;
        }
        // Of this run too: a run that was killed may have left its processes.
        let marker = format!("{}{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir_in(cache()).unwrap();
        // Layers and root file systems are never written to once they have their name, so names are all that is copied.
        run(Command::new("cp").arg("-al").args([warm(), &dir.path().join("state")]));
        Some(Self { dir, marker, _turn: turn })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self, steps: &str, more: &[&str]) -> Command {
        let dockerfile = self.dir.path().join("Dockerfile");
        fs::write(&dockerfile, format!("FROM base\n{}", steps.replace(MARKER, &self.marker))).unwrap();
        let mut command = Command::new(drydock());
        command.arg("build").arg("-f").arg(dockerfile).args(["--no-cache", "--size", "auto"]);
        command.args(["--base", &format!("base={}", base_image()), "-o"]).arg(self.dir.path().join("out.ext4"));
        command.arg("--state").arg(self.state()).args(more);
        command
    }

    /// What a build of these steps ended with and said, after a look at what is left of it.
    fn build(&self, steps: &str, more: &[&str]) -> Output {
        let output = self.command(steps, more).output().unwrap();
        self.assert_nothing_left();
        output
    }

    #[track_caller]
    fn assert_fails(&self, steps: &str, more: &[&str], parts: &[&str]) {
        let output = self.build(steps, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{steps}{said}");
        let error = &said[said.rfind("error:").unwrap_or_else(|| panic!("{steps}has no error in\n{said}"))..];
        parts.iter().for_each(|part| assert!(error.contains(part), "{steps}'{part}' is not in\n{error}"));
    }

    #[track_caller]
    fn assert_builds(&self, steps: &str) {
        let output = self.build(steps, &[]);
        assert_eq!(output.status.code(), Some(0), "{steps}{}", String::from_utf8_lossy(&output.stderr));
    }

    fn assert_nothing_left(&self) {
        left::assert_nothing(&self.state());
        assert_eq!(processes_with(&self.marker), Vec::<String>::new(), "no process stays");
    }
}

/// A state in which one build has run.
fn warm() -> &'static Path {
    static WARM: OnceLock<PathBuf> = OnceLock::new();
    WARM.get_or_init(|| {
        let state = cache().join("hostile-base");
        let dir = tempfile::tempdir_in(cache()).unwrap();
        fs::write(dir.path().join("Dockerfile"), "FROM base\nRUN true\n").unwrap();
        let mut command = Command::new(drydock());
        command.arg("build").arg("-f").arg(dir.path().join("Dockerfile")).args(["--no-cache", "--size", "auto"]);
        command.args(["--base", &format!("base={}", base_image()), "-o"]).arg(dir.path().join("out.ext4"));
        run(command.arg("--state").arg(&state));
        state
    })
}

#[test]
fn a_memory_hog_is_told_what_it_may_use() {
    let Some(world) = World::new() else { return };
    world.assert_fails(
        "RUN : 31415926; head -c 300M /dev/zero | tail >/dev/null\n",
        &["--memory", "50MiB"],
        &["more memory than the 52428800 bytes"],
    );
}

#[test]
fn floods_and_sleepers_end_with_their_time() {
    let Some(world) = World::new() else { return };
    for command in
        ["yes 31415926", "sleep 31415926", "exec >&- 2>&-; sleep 31415926", "yes 31415926 >/dev/null & sleep 31415926"]
    {
        world.assert_fails(&format!("RUN {command}\n"), &["--step-timeout", "1"], &["line 2", "longer than 1 seconds"]);
    }
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    let Some(world) = World::new() else { return };
    world.assert_fails(
        "RUN : 31415926; b() { b | b & }; b; exec sleep 31415926\n",
        &["--step-timeout", "2", "--pids", "64"],
        &["longer than 2 seconds", "Cannot fork"],
    );
}

#[test]
fn the_grace_is_for_who_catches_sigterm_and_not_longer() {
    let Some(world) = World::new() else { return };
    let stopped = |command: &str, grace: &str| {
        let started = Instant::now();
        let output = world.build(&format!("RUN {command}\n"), &["--step-timeout", "1", "--stop-grace", grace]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
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
    let Some(world) = World::new() else { return };
    world.assert_builds(
        "RUN setsid sh -c 'trap \"\" HUP TERM; sleep 31415926' >/dev/null 2>&1 </dev/null & echo started\n",
    );
}

/// The number of ptrace(2).
const PTRACE: u32 = if cfg!(target_arch = "x86_64") { 101 } else { 117 };

/// Each of these commands succeeds where what it tries is refused.
#[test]
fn the_host_can_not_be_changed_or_read() {
    let Some(world) = World::new() else { return };
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
    world.assert_builds(&steps);
    // The commands above fail since they are refused, not since a program is missing.
    world.assert_builds(
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
    let Some(world) = World::new() else { return };
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
    let output = world.build(&format!("RUN perl - <<'EOF'\n$me = $$;\n{script}EOF\n"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
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
    let Some(world) = World::new() else { return };
    world.assert_builds("RUN test $$ -le 2 && test $(ls -d /proc/[0-9]* | wc -l) -le 5\n");
}

#[test]
fn a_working_directory_that_leads_out_of_the_image_is_refused() {
    let Some(world) = World::new() else { return };
    for target in ["/proc", "/proc/self/fd/7", "../../proc/1/root"] {
        let steps = format!("RUN : 31415926; ln -s {target} /tmp/out\nWORKDIR /tmp/out\nRUN true\n");
        world.assert_fails(&steps, &[], &["the working directory '/tmp/out' can't be used"]);
    }
}

#[test]
fn a_path_300_levels_deep_is_built() {
    let Some(world) = World::new() else { return };
    world.assert_builds(
        "RUN i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; echo x >deepest\n",
    );
}

#[test]
fn a_full_disk_is_the_commands_own_and_the_card_says_so() {
    let Some(world) = World::new() else { return };
    let filled = |then: &str| {
        let steps = format!("RUN : 31415926; head -c 100M /dev/zero >/big || {{ {then} rm /big; exit 3; }}\n");
        let output = world.build(&steps, &["--disk", "50MiB", "--format", "json"]);
        assert_eq!(output.status.code(), Some(1));
        let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output, card)
    };
    // Whoever makes room at once may not be seen on a busy machine; what to do is said all the same.
    let (_, card) = filled("");
    assert!(card["hint"].as_str().is_some_and(|hint| hint.contains("remove caches and downloads")), "{card}");
    let (output, card) = filled("sleep 1;");
    assert_eq!((&card["code"], &card["line"]), (&json!("disk_full"), &json!(2)), "{card}");
    let usage = &card["usage"];
    assert_eq!(usage["disk_limit_bytes"], json!(50 << 20), "{card}");
    assert!(usage["memory_peak_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{card}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("No space left on device") && said.contains("used: disk "), "{said}");
    // All that was promised can be written, and not much more.
    world.assert_builds("RUN head -c 16M /dev/zero >/big\n");
    let fills = |mebibytes: u32| format!("RUN : 31415926; head -c {mebibytes}M /dev/zero >/big && sync\n");
    let fits = world.build(&fills(50), &["--disk", "50MiB"]);
    assert_eq!(fits.status.code(), Some(0), "{}", String::from_utf8_lossy(&fits.stderr));
    world.assert_fails(&fills(54), &["--disk", "50MiB"], &["its disk of 52428800 bytes was full"]);
}

#[test]
fn an_eater_of_inodes_eats_its_own() {
    let Some(world) = World::new() else { return };
    world.assert_fails(
        "RUN : 31415926; mkdir /many; i=0; while [ $i -lt 100000 ]; do : >/many/$i; i=$((i+1)); done\n",
        &["--disk", "16MiB"],
        &["No space left on device", "its disk of 16777216 bytes was full"],
    );
}

#[test]
fn a_preallocated_giant_is_refused_by_the_disk() {
    let Some(world) = World::new() else { return };
    world.assert_fails("RUN : 31415926; fallocate -l 100G /giant\n", &[], &["No space left on device"]);
}

/// The number of setxattr(2).
const SETXATTR: u32 = if cfg!(target_arch = "x86_64") { 188 } else { 5 };

#[test]
fn marks_of_layers_and_overlays_mean_nothing_when_a_command_makes_them() {
    let Some(world) = World::new() else { return };
    world.assert_fails("RUN : 31415926; : >/etc/.wh.passwd\n", &[], &["etc/.wh.passwd", "use another name"]);
    world.assert_fails("RUN : 31415926; : >/etc/.wh..wh..opq\n", &[], &["use another name"]);
    let set = |name: &str| format!("perl -e 'exit(syscall({SETXATTR}, \"/etc\", \"{name}\", \"y\", 1, 0) != 0)'");
    world.assert_builds(&format!(
        "RUN : 31415926; if {}; then exit 66; fi\n\
         RUN {}; touch /etc/new\n\
         RUN test -s /etc/passwd && test -e /etc/new && rm /etc/new\n\
         RUN test -s /etc/passwd && ! test -e /etc/new\n",
        set("trusted.overlay.opaque"),
        set("user.overlay.opaque"),
    ));
}

/// The first id of the range in `/proc/self/uid_map`, as a command printed it.
fn first_id(line: &str) -> Option<u32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let ["0", first, "65536"] = fields[..] else { return None };
    first.parse().ok()
}

#[test]
fn a_command_is_nobody_on_the_host_and_shares_no_id_with_another() {
    let Some(world) = World::new() else { return };
    let mut children = Vec::new();
    for number in 0..2 {
        let steps = format!("RUN cat /proc/self/uid_map; id -u; exec sleep 31415926 # {number}\n");
        let mut child = world.command(&steps, &["--step-timeout", "60"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.find_map(|line| first_id(&line)).expect("a map of ids");
        assert_eq!(lines.next().as_deref(), Some("0"), "inside it is root");
        children.push((child, lines, first));
    }
    let ids: Vec<u32> = children.iter().map(|(_, _, first)| *first).collect();
    assert!(ids[0].abs_diff(ids[1]) >= 65_536 && ids.iter().all(|&id| id >= 65_536), "{ids:?}");
    // The last of them has told its ids, and may not have become the sleeper yet.
    let deadline = Instant::now() + Duration::from_secs(60);
    while owners_of_sleepers(&world.marker).len() < ids.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let owners = owners_of_sleepers(&world.marker);
    assert!(ids.iter().all(|id| owners.contains(id)) && !owners.contains(&0), "{ids:?} {owners:?}");
    for (child, lines, _) in &mut children {
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        lines.for_each(drop);
        child.wait().unwrap();
    }
    world.assert_nothing_left();
}

/// Whom the processes belong to that sleep for so long.
fn owners_of_sleepers(marker: &str) -> Vec<u32> {
    let wanted = format!("sleep\0{marker}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let sleepers = processes
        .filter(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()));
    sleepers.map(|process| process.metadata().unwrap().uid()).collect()
}

#[test]
fn set_id_programs_work_inside_and_reach_nothing_outside() {
    let Some(world) = World::new() else { return };
    let secret = tempfile::Builder::new().prefix("secret-of-the-host").tempfile_in(cache()).unwrap();
    world.assert_builds(&format!(
        "RUN : 31415926; cp /usr/bin/id /usr/local/bin/whoisit && cp /usr/bin/cat /usr/local/bin/reader && \\\n\
             chmod u+s /usr/local/bin/whoisit /usr/local/bin/reader && echo hidden >/root/file && chmod 600 /root/file\n\
         USER 1000:1000\n\
         RUN test $(id -u) = 1000 && test $(whoisit -u) = 0 && test $(reader /root/file) = hidden && ! cat /root/file\n\
         RUN ! reader {}\n",
        secret.path().display()
    ));
}

#[test]
fn files_have_the_ids_that_the_command_saw() {
    let Some(world) = World::new() else { return };
    world.assert_builds(
        "RUN : 31415926; groupadd -g 4321 team && useradd -u 1234 -g team -m app && echo x >/home/app/x && chown app:team /home/app/x\n\
         RUN test $(stat -c %u:%g /home/app/x) = 1234:4321 && test $(stat -c %u:%g /etc/passwd) = 0:0\n\
         USER app\n\
         RUN echo more >>/home/app/x && echo y >/home/app/y && echo said >/dev/stderr && ! chown root /home/app/y\n\
         RUN test $(stat -c %u:%g /home/app/y) = 1234:4321\n",
    );
    let image = Mounted::new(&world.dir.path().join("out.ext4"), "ro");
    let owner = |path: &str| {
        let found = fs::symlink_metadata(image.path().join(path)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!((owner("home/app/y"), owner("etc/passwd"), owner("")), ((1234, 4321), (0, 0), (0, 0)));
}

#[test]
fn what_a_step_leaves_is_out_of_reach_of_the_hosts_accounts() {
    let Some(world) = World::new() else { return };
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o755)).unwrap();
    // On the disk it is a set-id program of the host's own root.
    world.assert_builds(
        "RUN --mount=type=cache,target=/cache cp /bin/true /cache/31415926 && chmod 4777 /cache/31415926 /cache\n",
    );
    let mount = fs::read_dir(world.state().join("cache-mounts")).unwrap().map(|entry| entry.unwrap().path());
    let mount = mount.into_iter().find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::metadata(mount.join(&world.marker)).unwrap().mode() & 0o7777, 0o4777);
    for name in ["cache-mounts", "roots", "scratch", "steps"] {
        let mode = fs::metadata(world.state().join(name)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700, "{name} has mode {mode:o}");
    }
}

#[test]
fn a_state_folder_where_nobody_may_go_will_do() {
    let Some(world) = World::new() else { return };
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    world.assert_builds("RUN --mount=type=cache,target=/cache echo x >/cache/x && test $(stat -c %u /cache/x) = 0\n");
}
