//! The failure card: every code, reached by a build that really fails so, with what a person needs to mend it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use drydock_tests::{assert_no_problems, base_image, busybox_base, cache, drydock, privileged, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A build that fails.
struct Row {
    dockerfile: &'static str,
    /// More arguments of `drydock build`; `DIR` is the folder of the test.
    more: &'static [&'static str],
    code: &'static str,
    /// Members of the card, as JSON.
    members: &'static [(&'static str, &'static str)],
    /// A part of the hint; empty: there is none.
    hint: &'static str,
    /// Whether trying again can help.
    retryable: bool,
}

const ROW: Row = Row { dockerfile: "", more: &[], code: "run_failed", members: &[], hint: "", retryable: false };

const ROWS: &[Row] = &[
    Row {
        dockerfile: "FROM base\nENV A=1\n\nRUN echo out; echo the last words; exit 3\nRUN never\n",
        members: &[
            ("step", "3"),
            ("steps", "4"),
            ("line", "4"),
            ("command", r#""echo out; echo the last words; exit 3""#),
            ("exit_status", "3"),
            ("tail", r#"["out","the last words"]"#),
        ],
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN echo the last words >&2; exit 3\n",
        members: &[("exit_status", "3"), ("tail", r#"["the last words"]"#)],
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN sh -c 'kill -SEGV $$'\n",
        code: "run_signalled",
        members: &[("signal", "11"), ("exit_status", "null"), ("line", "2")],
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN sh -c 'kill -9 $$'\n",
        code: "run_signalled",
        members: &[("signal", "9")],
        hint: "memory",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN head -c 300M /dev/zero | tail >/dev/null\n",
        more: &["--memory", "50MiB"],
        code: "out_of_memory",
        members: &[("step", "2"), ("line", "2")],
        hint: "fewer parallel jobs",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN head -c 300M /dev/zero >/big && sleep 60\n",
        more: &["--disk", "100MiB"],
        code: "disk_full",
        members: &[("step", "2")],
        hint: "remove caches",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN echo waiting; sleep 60\n",
        more: &["--step-timeout", "1"],
        code: "step_timeout",
        members: &[("step", "2"), ("line", "2")],
        hint: "what it waits for",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN sleep 60\n",
        more: &["--timeout", "1"],
        code: "build_timeout",
        hint: "more time",
        retryable: true,
        ..ROW
    },
    Row { dockerfile: "FROM base\nCOPY . /\n", code: "dockerfile_refused", ..ROW },
    Row { dockerfile: "FROM missing\n", code: "base_not_found", ..ROW },
    Row { dockerfile: "FROM unreachable\n", code: "base_unreachable", retryable: true, ..ROW },
    Row { dockerfile: "FROM damaged\n", more: &["--state", "DIR/another-state"], code: "base_corrupt", ..ROW },
    Row {
        dockerfile: "FROM base\nRUN true\n",
        more: &["--runtime", "/bin/false"],
        code: "runtime_unavailable",
        retryable: true,
        ..ROW
    },
    Row { dockerfile: "FROM base\n", more: &["--size", "20MiB"], code: "image_too_small", hint: "larger disk", ..ROW },
    Row {
        dockerfile: "FROM base\nUSER nobody-knows\nRUN true\n",
        code: "instruction_failed",
        members: &[("line", "3")],
        ..ROW
    },
    Row { dockerfile: "FROM base\nWORKDIR /proc/x\nRUN true\n", code: "instruction_failed", ..ROW },
    Row { dockerfile: "FROM base\n", more: &["--state", "/proc/nowhere"], code: "host_fault", retryable: true, ..ROW },
    // Hints.
    Row {
        dockerfile: "FROM base\nRUN --network=none apt-get install -y no-such-package\n",
        members: &[("exit_status", "100")],
        hint: "apt-get update",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN --network=none apt-get update -o APT::Update::Error-Mode=any\n",
        hint: "resolved",
        retryable: true,
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN no-such-program\n",
        members: &[("exit_status", "127")],
        hint: "not found",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN [\"no-such-program\"]\n",
        members: &[("exit_status", "127")],
        hint: "not found",
        ..ROW
    },
    Row { dockerfile: "FROM base\nRUN sudo true\n", members: &[("exit_status", "127")], hint: "leave sudo out", ..ROW },
    Row { dockerfile: "FROM base\nRUN /etc/passwd\n", members: &[("exit_status", "126")], hint: "chmod +x", ..ROW },
    Row {
        dockerfile: "FROM base\nRUN [\"/etc/passwd\", \"an argument\"]\n",
        members: &[("exit_status", "126"), ("command", r#""/etc/passwd an argument""#)],
        hint: "chmod +x",
        ..ROW
    },
    Row { dockerfile: "FROM small\nRUN bash -c true\n", members: &[("exit_status", "127")], hint: "no bash", ..ROW },
    Row {
        dockerfile: "FROM small\nSHELL [\"/bin/bash\", \"-c\"]\nRUN true\n",
        members: &[("exit_status", "127"), ("line", "3")],
        hint: "no bash",
        ..ROW
    },
    Row {
        dockerfile: "FROM base\nRUN --mount=type=tmpfs,target=/t,size=1m head -c 2M /dev/zero >/t/f\n",
        hint: "remove caches",
        ..ROW
    },
    Row { dockerfile: "FROM base\nUSER nobody\nRUN touch /etc/mine\n", hint: "change the user", ..ROW },
];

/// The folder of the builds: one state, so that the base is unpacked once.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir_in(cache()).unwrap());
        busybox_base(place.0.path());
        let damaged = place.path("damaged");
        let (sound, _) = base_image().strip_prefix("oci:").unwrap().rsplit_once(':').unwrap();
        run(Command::new("cp").arg("-r").arg(sound).arg(&damaged));
        damage(&damaged.join("blobs/sha256"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, number: usize, row: &Row) -> Command {
        let file = self.path(&format!("Dockerfile-{number}"));
        fs::write(&file, row.dockerfile).unwrap();
        let mut command = Command::new(drydock());
        command
            .arg("build")
            .arg("-f")
            .arg(file)
            .args(["--format", "json", "-o"])
            .arg(self.path(&format!("{number}.ext4")));
        let here = |layout: &str, tag: &str| format!("oci:{}:{tag}", self.path(layout).display());
        for (name, place) in [
            ("base", base_image().to_owned()),
            ("small", here("layout", "busybox")),
            ("missing", here("no-such-folder", "x")),
            ("damaged", here("damaged", "debian")),
            ("unreachable", "docker://127.0.0.1:1/x:latest".to_owned()),
        ] {
            command.args(["--base", &format!("{name}={place}")]);
        }
        let given = |name: &str| row.more.contains(&name);
        if !given("--state") {
            command.arg("--state").arg(self.path("state"));
        }
        if !given("--size") {
            command.args(["--size", "auto"]);
        }
        command.args(row.more.iter().map(|argument| argument.replace("DIR", self.0.path().to_str().unwrap())));
        command
    }

    fn problems(&self, number: usize, row: &Row) -> Vec<String> {
        let output = self.command(number, row).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let Ok(card) = serde_json::from_slice::<Value>(&output.stdout) else {
            return vec![format!("{}no card: {} {said}", row.dockerfile, String::from_utf8_lossy(&output.stdout))];
        };
        let mut wrong = Vec::new();
        let mut check = |good: bool, what: &str| {
            if !good {
                wrong.push(format!("{}{what} in {card:#}\n{said}", row.dockerfile));
            }
        };
        check(output.status.code() == Some(1), "the exit status is not 1");
        check(card["code"] == row.code, &format!("the code is not {}", row.code));
        check(card["retryable"] == row.retryable, "retryable is wrong");
        check(card["message"].as_str().is_some_and(|text| !text.is_empty()), "no message");
        for (member, wanted) in row.members {
            check(card[member] == serde_json::from_str::<Value>(wanted).unwrap(), &format!("{member} is not {wanted}"));
        }
        let hint = card["hint"].as_str().unwrap_or_default();
        check(
            hint.contains(row.hint) && row.hint.is_empty() == hint.is_empty(),
            &format!("the hint is not '{}'", row.hint),
        );
        check(hint.is_empty() || said.contains(hint), "the hint is not shown to people");
        check(!self.path(&format!("{number}.ext4")).exists(), "there is an image");
        wrong
    }
}

/// Changes a byte in the middle of the largest file.
fn damage(blobs: &Path) {
    let files = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(largest, bytes).unwrap();
}

#[test]
fn every_failure_has_its_code_and_says_what_to_do() {
    if !privileged(&["mmdebstrap", "runc", "busybox"]) {
        return;
    }
    let place = Place::new();
    assert_no_problems(ROWS, |number, row| place.problems(number, row));
}

#[test]
fn a_cancelled_build_has_a_card() {
    if !privileged(&["mmdebstrap", "runc", "busybox"]) {
        return;
    }
    let place = Place::new();
    let row = Row { dockerfile: "FROM small\nRUN echo started; sleep 60\n", ..ROW };
    let mut build = place.command(0, &row).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "started"));
    kill_process(Pid::from_child(&build), Signal::TERM).unwrap();
    let rest: Vec<String> = lines.collect();
    let output = build.wait_with_output().unwrap();
    let card: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {rest:?}"));
    assert_eq!((&card["code"], &card["retryable"]), (&Value::from("cancelled"), &Value::from(true)));
}
