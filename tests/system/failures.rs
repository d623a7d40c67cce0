//! Builds that end badly: they say why and leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use drydock_tests::{base_image, busybox_base, cache, drydock, privileged, run};
use rustix::process::{Pid, Signal, kill_process};

use crate::left::{self, cgroups_of};

const TOOLS: [&str; 2] = ["mmdebstrap", "runc"];

/// A folder with a Dockerfile in which a build fails; the state of the builds is shared, so that the base is unpacked once.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(steps: &str) -> Self {
        let dir = tempfile::tempdir_in(cache()).unwrap();
        fs::write(dir.path().join("Dockerfile"), format!("FROM base\n{steps}")).unwrap();
        Self { dir }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(drydock());
        command.arg("build").arg("-f").arg(self.dir.path().join("Dockerfile"));
        command.args(["--base", &format!("base={}", base_image()), "--size", "auto", "-o"]);
        command.arg(self.dir.path().join("out.ext4")).arg("--state").arg(cache().join("failing-state")).args(more);
        command
    }

    /// Nothing but the Dockerfile is left: no output, no scratch, no mount, no container, no process.
    fn assert_clean(&self, marker: &str) {
        let left: BTreeSet<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, BTreeSet::from(["Dockerfile".into()]), "only the Dockerfile stays");
        let state = cache().join("failing-state");
        left::assert_nothing(&state);
        assert_eq!(processes_with(marker), Vec::<String>::new(), "no process stays");
    }
}

pub(crate) fn processes_with(marker: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let number: u32 = process.file_name().to_str()?.parse().ok()?;
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (number != std::process::id() && line.contains(marker)).then_some(line)
    });
    commands.collect()
}

/// The cases share one state folder, so that one at a time looks at what is left in it.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_failing_command_is_named_with_step_line_status_and_last_output() {
    if !privileged(&TOOLS) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let case = Case::new("ENV A=1\n\nRUN echo the last words; exit 3\n");
    let output = case.command(&[]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["step 3/3", "line 4", "exit status 3", "the last words"] {
        let error = &said[said.rfind("error:").unwrap_or_else(|| panic!("no error in\n{said}"))..];
        assert!(error.contains(part), "'{part}' is not in\n{error}");
    }
    case.assert_clean("the last words");
}

#[test]
fn a_signal_in_the_middle_of_a_command_ends_all_of_it() {
    if !privileged(&TOOLS) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let case = Case::new("RUN trap '' TERM INT; echo started; (sleep 98765 & sleep 98765)\n");
        let mut child = case.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "started"));
        assert!(!cgroups_of(&cache().join("failing-state")).is_empty(), "a running step has a cgroup");
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
        let rest: Vec<String> = lines.collect();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + number), "{status:?} {:?} {rest:?}", status.signal());
        assert!(rest.iter().any(|line| line.contains("cancelled")), "{rest:?}");
        case.assert_clean("98765");
    }
}

#[test]
fn what_a_killed_build_left_is_swept_by_the_next() {
    if !privileged(&TOOLS) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let case = Case::new("RUN echo started; sleep 87654\n");
    let mut child = case.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "started"));
    child.kill().unwrap();
    child.wait().unwrap();
    let next = Case::new("RUN exit 7\n");
    assert_eq!(next.command(&[]).output().unwrap().status.code(), Some(1));
    next.assert_clean("87654");
}

#[test]
fn limits_end_a_command_and_are_named() {
    if !privileged(&TOOLS) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (steps, more, part) in [
        ("RUN sleep 76543\n", &["--step-timeout", "2"][..], "longer than 2 seconds"),
        ("RUN head -c 300M /dev/zero >/big\n", &["--disk", "100MiB"][..], "its disk of 104857600 bytes was full"),
        ("RUN head -c 300M /dev/zero | tail >/dev/null\n", &["--memory", "50MiB"][..], "more memory"),
    ] {
        let case = Case::new(steps);
        let output = case.command(more).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(part), "'{part}' is not in\n{said}");
        case.assert_clean("76543");
    }
}

#[test]
fn an_image_that_is_too_small_says_how_much_is_needed() {
    if !privileged(&TOOLS) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let case = Case::new("ENV A=1\n");
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(case.dir.path().join("Dockerfile"));
    command.args(["--base", &format!("base={}", base_image()), "--size", "20MiB", "-o"]);
    command.arg(case.dir.path().join("out.ext4")).arg("--state").arg(cache().join("failing-state"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let (_, needed) = said.split_once("it needs ").unwrap_or_else(|| panic!("not how much is needed:\n{said}"));
    let needed: u64 = needed.split(' ').next().and_then(|number| number.parse().ok()).expect("a number of bytes");
    case.assert_clean("no such process");
    let exact = case.dir.path().join("exact.ext4");
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(case.dir.path().join("Dockerfile"));
    command.args(["--base", &format!("base={}", base_image()), "--size", &needed.to_string(), "-o"]).arg(&exact);
    drydock_tests::run(command.arg("--state").arg(cache().join("failing-state")));
    assert_eq!(fs::metadata(&exact).unwrap().len(), needed);
    drydock_tests::fsck(&exact);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let dockerfile = drydock_tests::workspace().join("examples/python/Dockerfile");
    for verb in [&["plan"][..], &["plan", "--format", "json"], &["parse"], &["check"]] {
        let mut child = Command::new(drydock());
        child.args(verb).arg(&dockerfile).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{verb:?}: {} {said}", output.status);
    }
}

/// A file system in memory, smaller than what a step may write.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir_in(cache()).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(dir.path()));
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_step_whose_writes_the_disk_below_did_not_keep_fails() {
    if !privileged(&["runc", "busybox"]) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let base = busybox_base(dir.path());
    let disk = SmallDisk::new("64m");
    let state = disk.0.path().join("state");
    let build = |steps: &str| {
        fs::write(dir.path().join("Dockerfile"), format!("FROM base\n{steps}\n")).unwrap();
        let mut command = Command::new(drydock());
        command.args(["build", "--no-cache", "--format", "json", "--network", "none", "--size", "auto", "-f"]);
        command.arg(dir.path().join("Dockerfile")).args(["--base", &format!("base={base}"), "-o"]);
        let output = command.arg(dir.path().join("out.ext4")).arg("--state").arg(&state).output().unwrap();
        left::assert_nothing(&state);
        output
    };
    // The step's own disk has room for it, and the command hears of nothing.
    let lost = build("RUN head -c 209715200 /dev/zero >/file && echo written");
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert_eq!(lost.status.code(), Some(1), "{said}");
    assert!(said.contains("written"), "{said}");
    let card: serde_json::Value = serde_json::from_slice(&lost.stdout).unwrap();
    assert_eq!(card["code"], "host_fault", "{card}");
    assert!(card["message"].as_str().unwrap().contains("not all kept by the disk below"), "{card}");
    assert!(!dir.path().join("out.ext4").exists());
    let small = build("RUN head -c 2097152 /dev/zero >/file && echo written");
    assert!(small.status.success(), "{}", String::from_utf8_lossy(&small.stderr));
}
