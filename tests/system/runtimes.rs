//! Which OCI runtime runs the steps, what a host may lack, and that neither is passed over in silence.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use drydock_tests::{base_image, cache, drydock, privileged, run};

use crate::left::cgroups_of;

const TOOLS: [&str; 3] = ["mmdebstrap", "runc", "unshare"];

/// A state directory with a step to build.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir_in(cache()).unwrap());
        fs::write(world.path("Dockerfile"), "FROM base\nRUN echo it ran\n").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The arguments of a build, of which every step runs.
    fn build(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut arguments: Vec<String> =
            ["build", "--no-cache", "--network", "none", "--format", "json", "--size", "auto"]
                .map(str::to_owned)
                .into();
        arguments.extend(["--base".to_owned(), format!("base={}", base_image())]);
        arguments.extend([
            "-f".to_owned(),
            text(self.path("Dockerfile")),
            "-o".to_owned(),
            text(self.path("out.ext4")),
        ]);
        arguments.extend(["--state".to_owned(), text(self.state())]);
        arguments
    }

    fn assert_clean(&self) {
        let left = fs::read_dir(self.state().join("scratch")).into_iter().flatten();
        let left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(left.iter().all(|name| ["lock", "runtime.json"].contains(&name.as_str())), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.state().to_str().unwrap()), "no mount stays");
        assert_eq!(cgroups_of(&self.state()), Vec::<PathBuf>::new(), "no cgroup stays");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A program at `path` that hands everything to runc and notes that it was called; `before` is what it does first.
fn wrapper(path: &Path, before: &str) {
    let runc = ["/usr/local/sbin/runc", "/usr/sbin/runc", "/usr/bin/runc"].iter().find(|path| Path::new(path).exists());
    let log = path.with_extension("log");
    let text = format!("#!/bin/sh\necho \"$@\" >>'{}'\n{before}\nexec {} \"$@\"\n", log.display(), runc.unwrap());
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How many containers a [`wrapper`] was asked for since it was last looked at.
fn containers(path: &Path) -> usize {
    let log = path.with_extension("log");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    text.lines().filter(|line| line.contains("--bundle")).count()
}

#[test]
fn a_runtime_that_does_not_work_ends_the_build_with_a_card() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    let broken = world.path("runtime");
    for before in ["echo 'it is broken' >&2; exit 1", "kill -SEGV $$"] {
        wrapper(&broken, &format!("case \"$*\" in *--help*) ;; *) {before};; esac"));
        let output = Command::new(drydock()).args(world.build()).arg("--runtime").arg(&broken).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(card["code"], "runtime_unavailable", "{card}");
        assert!(!world.path("out.ext4").exists());
        world.assert_clean();
    }
    let output = Command::new(drydock()).args(world.build()).args(["--runtime", "/no/such/runtime"]).output().unwrap();
    assert!(
        said(&output).contains("runtime_unavailable") && said(&output).contains("/no/such/runtime"),
        "{}",
        said(&output)
    );
    world.assert_clean();
}

#[test]
fn what_works_is_remembered_until_something_changes() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    let runtime = world.path("runtime");
    let build = |more: &[&str]| {
        run(Command::new(drydock()).args(world.build()).arg("--runtime").arg(&runtime).args(more));
        world.assert_clean();
        containers(&runtime)
    };
    wrapper(&runtime, "");
    assert_eq!(build(&[]), 2, "one is tried, one runs the step");
    assert_eq!(build(&[]), 1, "it is known to work");
    assert_eq!(build(&["--allow-missing", "cgroups"]), 2, "something else is asked for");
    wrapper(&runtime, ": another");
    assert_eq!(build(&["--allow-missing", "cgroups"]), 2, "the program is another");
    assert_eq!(build(&["--allow-missing", "cgroups"]), 1);
    // One that was known to work and does not any more is found out by the step that fails, and tried by the next build.
    let record = fs::read_to_string(world.state().join("scratch/runtime.json")).unwrap();
    let gone = record.replace(runtime.to_str().unwrap(), "/no/such/runtime");
    assert_ne!(gone, record);
    fs::write(world.state().join("scratch/runtime.json"), gone).unwrap();
    let mut failing = Command::new(drydock());
    failing.args(world.build()).arg("--runtime").arg(&runtime).args(["--allow-missing", "cgroups"]);
    assert_eq!(failing.output().unwrap().status.code(), Some(1));
    world.assert_clean();
    assert_eq!(build(&["--allow-missing", "cgroups"]), 2, "it is tried anew");
}

/// Leaves of all control groups those that tell devices apart, without which runc does not run.
const HIDE: &str = "umount --recursive --lazy /sys/fs/cgroup && mount -t tmpfs none /sys/fs/cgroup && \
    mkdir /sys/fs/cgroup/devices && mount -t cgroup -o devices none /sys/fs/cgroup/devices";

/// Drydock on a host that lacks something: in a mount namespace of its own, in which `hide` was done first.
fn hidden(hide: &str, arguments: &[String], more: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("{hide} && exec \"$@\"")).arg("sh").arg(drydock());
    command.args(arguments).args(more).output().unwrap()
}

/// On a host that can't limit memory and processes: the control groups for that are not mounted.
fn without_limits(arguments: &[String], more: &[&str]) -> Output {
    hidden(HIDE, arguments, more)
}

#[test]
fn a_host_without_limits_is_refused_until_it_is_allowed_by_name() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    // That it works with limits and is remembered must not matter where there are none.
    run(Command::new(drydock()).args(world.build()));
    let refused = without_limits(&world.build(), &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let card: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(card["code"], "runtime_unavailable", "{card}");
    for part in ["limits on memory and processes", "--allow-missing cgroups"] {
        assert!(card["message"].as_str().unwrap().contains(part), "{card}");
    }
    world.assert_clean();
    let allowed = without_limits(&world.build(), &["--allow-missing", "cgroups"]);
    assert!(allowed.status.success() && said(&allowed).contains("it ran"), "{}", said(&allowed));
    assert!(said(&allowed).contains("are not limited"), "it is said: {}", said(&allowed));
    world.assert_clean();

    let doctor = ["doctor".to_owned(), "--state".to_owned(), world.state().to_str().unwrap().to_owned()];
    assert_eq!(without_limits(&doctor, &[]).status.code(), Some(1));
    let doctor = said(&without_limits(&doctor, &["--allow-missing", "cgroups"]));
    assert!(doctor.contains("missing, as allowed"), "{doctor}");
}

/// What a program may find that somebody else left: a mount point whose name is no text, and the end of children ignored.
#[test]
fn oddities_of_the_host_and_of_the_caller_are_no_matter() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    let mount = format!(
        "dir=\"{}\"/$(printf 'caf\\351') && mkdir \"$dir\" && mount -t tmpfs none \"$dir\"",
        world.0.path().display()
    );
    for odd in [&mount, "trap '' CHLD"] {
        let built = hidden(odd, &world.build(), &[]);
        assert!(built.status.success() && said(&built).contains("it ran"), "{odd}: {}", said(&built));
        world.assert_clean();
    }
}

#[test]
fn a_host_without_loop_devices_or_user_namespaces_is_refused_until_it_is_allowed_by_name() {
    if !privileged(&TOOLS) {
        return;
    }
    // What takes the place of the one is no loop device, what takes that of the other makes no namespace.
    let lacks = [
        ("mount --bind /dev/null /dev/loop-control", "loop-devices"),
        ("mount --bind /bin/false /usr/bin/unshare", "user-namespaces"),
    ];
    for (hide, missing) in lacks {
        let world = World::new();
        let refused = hidden(hide, &world.build(), &[]);
        assert_eq!(refused.status.code(), Some(1), "{missing}: {}", said(&refused));
        let card: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
        assert_eq!(card["code"], "runtime_unavailable", "{card}");
        assert!(card["message"].as_str().unwrap().contains(&format!("--allow-missing {missing}")), "{card}");
        world.assert_clean();
        let allowed = hidden(hide, &world.build(), &["--allow-missing", missing]);
        assert!(allowed.status.success() && said(&allowed).contains("it ran"), "{missing}: {}", said(&allowed));
        world.assert_clean();
        let without = drydock_tests::sha256(&world.path("out.ext4"));
        // What the host has again is used again, and makes the same image.
        run(Command::new(drydock()).args(world.build()));
        world.assert_clean();
        assert_eq!(drydock_tests::sha256(&world.path("out.ext4")), without, "{missing}");
    }
}

#[test]
fn the_doctor_lists_every_runtime_and_says_which_is_used() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    let mut doctor = Command::new(drydock());
    doctor.args(["doctor", "--format", "json", "--state"]).arg(world.state());
    let output = doctor.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |name: &str| {
        let mut findings = report["findings"].as_array().unwrap().iter();
        findings.find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}")).clone()
    };
    for name in ["runc", "crun", "youki", "runsc"] {
        let finding = find(&format!("runtime {name}"));
        let detail = finding["detail"].as_str().unwrap();
        let is_there = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
            .iter()
            .any(|directory| Path::new(directory).join(name).exists());
        assert_eq!(detail == "not installed", !is_there, "{finding}");
        assert!(!is_there || detail.contains(&format!("/{name}")), "{finding}");
    }
    assert!(find("RUN steps")["detail"].as_str().unwrap().starts_with("run by /"));
    assert_eq!(find("memory and process limits (cgroups)")["works"], true);
    world.assert_clean();
}

#[test]
fn a_step_has_no_file_of_the_host_open_and_bounded_limits() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    // The shell is the first process; it looks itself, since one that has started another may hold a pipe to it.
    let steps = "RUN set -- /proc/1/fd/*; echo $#; ulimit -Hc; ulimit -Sn; test $(ulimit -Hn) -le 524288";
    fs::write(world.path("Dockerfile"), format!("FROM base\n{steps}\n")).unwrap();
    // Files that whoever started the build left open, to a directory of the host too.
    let mut build = Command::new("sh");
    build.args(["-c", "exec 7</etc/hostname 9</ && exec \"$@\"", "sh"]).arg(drydock()).args(world.build());
    let log = String::from_utf8(run(&mut build).stderr).unwrap();
    let said: Vec<&str> = log.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    // 0, 1 and 2, and the directory that it reads.
    assert_eq!(said, ["4", "0", "1024"], "{log}");
    world.assert_clean();
}

#[test]
fn reads_from_the_disk_are_as_slow_as_was_asked() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new();
    // Direct, since what is read from memory is not read from the disk.
    let steps = "RUN dd if=/dev/urandom of=/file bs=1M count=8 conv=fsync && s=$(date +%s%N) && \
        dd if=/file of=/dev/null bs=1M iflag=direct && echo $((($(date +%s%N) - s) / 1000000)) > /took && cat /took";
    fs::write(world.path("Dockerfile"), format!("FROM base\n{steps}\n")).unwrap();
    let took_ms = |more: &[&str]| {
        let log = String::from_utf8(run(Command::new(drydock()).args(world.build()).args(more)).stderr).unwrap();
        let took = log.lines().find_map(|line| line.parse::<u64>().ok());
        took.unwrap_or_else(|| panic!("{log}"))
    };
    let slow = took_ms(&["--io-bytes", "2MiB"]);
    assert!(slow >= 3_000, "8 MiB at 2 MiB a second took {slow} ms");
    let free = took_ms(&[]);
    assert!(free < slow, "without a limit {free} ms, with one {slow} ms");
    world.assert_clean();
}
