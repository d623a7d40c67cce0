//! An OCI runtime (runc, runsc, ...) as a program of its own: started, watched, ended.
//!
//! Never in this process: a runtime forks, and a crash of it must not take the host program down. Which one runs is a
//! path, so that an operator changes the isolation by changing the path.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::bundle::{self, Isolation};
use super::network::{Egress, NetworkMode, NetworkPolicy};
use super::overlay::Overlay;
use super::pipes::Pipes;
use super::stop::Stop;
use super::{Job, JobMount, Outcome, Sandbox, User, cgroup};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::limits::Limits;
use crate::output::Output;
use crate::scratch::Scratch;

/// The runtimes looked for, best first.
const CANDIDATES: [&str; 3] = ["runc", "crun", "runsc"];
/// Where they are looked for: administrators' directories too, which a service's PATH may lack.
const DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How often the caps of a running command are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a runtime may take to end its container before it is killed itself.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// What a helper call of the runtime (kill, delete, --help) may take.
const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// A runtime at a path, and what it was seen to do.
#[derive(Clone, Debug)]
pub struct OciRuntime {
    path: PathBuf,
    isolation: Isolation,
    /// `run --keep` leaves the cgroup to be read after the end.
    keeps: bool,
}

/// What a host can do for RUN steps.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// The runtime.
    pub path: PathBuf,
    /// First line of its `--version`.
    pub version: String,
    /// What works and what does not, each seen by trying it.
    pub capabilities: Vec<Capability>,
}

/// One thing a sandbox should do, and whether it does.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// What it is.
    pub name: &'static str,
    /// Whether it was seen to work.
    pub works: bool,
    /// What was seen, and how to mend it where it does not work.
    pub detail: String,
}

impl OciRuntime {
    /// The first installed runtime that really runs a command here.
    ///
    /// # Errors
    /// None is installed, or none works; the error names what was tried and what each said.
    pub fn find(scratch_root: &Path) -> Result<Self, Error> {
        let mut tried = Vec::new();
        for name in CANDIDATES {
            let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
            let Some(path) = places.find(|path| path.exists()) else { continue };
            match Self::at(&path, scratch_root) {
                Ok(runtime) => return Ok(runtime),
                Err(error) => tried.push(format!("{}: {}", path.display(), chain(&error))),
            }
        }
        Err(Error::NoRuntime { tried })
    }

    /// The runtime at `path`, after it was seen to run a command.
    ///
    /// # Errors
    /// It does not run, or can't run a command on this host.
    pub fn at(path: &Path, scratch_root: &Path) -> Result<Self, Error> {
        let help = call(path, &["run", "--help"])?;
        let keeps = help.stdout.contains("--keep");
        let mut runtime = Self { path: path.to_owned(), isolation: Isolation::full(), keeps };
        match runtime.try_true(scratch_root, NetworkPolicy::none()) {
            Ok(()) => Ok(runtime),
            Err(first) => {
                // A host without usable cgroups still isolates; what it lacks is said, never passed over.
                runtime.isolation.cgroups = false;
                runtime.try_true(scratch_root, NetworkPolicy::none()).map_err(|_| first)?;
                tracing::warn!(runtime = %path.display(), "no cgroups here: memory and process limits are not enforced");
                Ok(runtime)
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What works, for a report to an operator; it is tried in a directory below `scratch_root`.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub fn probe(&self, scratch_root: &Path) -> Result<Probe, Error> {
        let version = call(&self.path, &["--version"])?.stdout;
        let capabilities = vec![
            Capability {
                name: "memory and process limits (cgroups)",
                works: self.isolation.cgroups,
                detail: if self.isolation.cgroups {
                    "a command ran inside its own cgroup".to_owned()
                } else {
                    "the runtime runs commands only without cgroups; mount cgroup v2, or v1 with pids and memory"
                        .to_owned()
                },
            },
            Capability {
                name: "out-of-memory kills are told apart",
                works: self.keeps,
                detail: format!("'run --keep' is {}", if self.keeps { "known" } else { "not known to this runtime" }),
            },
            self.probe_egress(scratch_root),
        ];
        Ok(Probe {
            path: self.path.clone(),
            version: version.lines().next().unwrap_or_default().to_owned(),
            capabilities,
        })
    }

    fn probe_egress(&self, scratch_root: &Path) -> Capability {
        let tried =
            self.try_true(scratch_root, NetworkPolicy { mode: NetworkMode::Egress, ..NetworkPolicy::default() });
        let detail = match &tried {
            Ok(()) => "a command ran in a network of its own, behind a filter".to_owned(),
            Err(error) => chain(error),
        };
        Capability { name: "network of RUN steps (egress)", works: tried.is_ok(), detail }
    }

    /// Runs the host's own `true` over the host's own `/usr`, read-only, in a full sandbox.
    fn try_true(&self, scratch_root: &Path, network: NetworkPolicy) -> Result<(), Error> {
        let scratch = Scratch::create(scratch_root, self)?;
        let lower = scratch.subdirectory("probe-lower")?;
        let mut mounts = Vec::new();
        for directory in ["usr", "bin", "lib", "lib64", "proc", "sys", "dev"] {
            let source = Path::new("/").join(directory);
            if source.exists() {
                fs::create_dir(lower.join(directory))
                    .map_err(|source| Error::Scratch { path: lower.clone(), source })?;
                if !matches!(directory, "proc" | "sys" | "dev") {
                    mounts.push(JobMount::Bind { source, target: format!("/{directory}"), read_only: true });
                }
            }
        }
        let job = Job {
            lowers: vec![lower],
            upper: scratch.subdirectory("upper")?,
            args: vec!["/bin/true".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            network,
            mounts,
            limits: Limits { time: Duration::from_secs(60), ..Limits::default() },
        };
        let mut said = Vec::new();
        let outcome = self.run("probe", &job, &scratch, &Cancel::default(), &mut |output| {
            if let Output::Bytes { bytes, .. } = output {
                said.extend_from_slice(bytes);
            }
        })?;
        scratch.remove()?;
        match outcome {
            Outcome::Exited { status: 0, .. } => Ok(()),
            outcome => Err(Error::Runtime {
                path: self.path.clone(),
                said: format!("'true' ended with {outcome:?} {}", String::from_utf8_lossy(&said)),
            }),
        }
    }

    fn command(&self, state: &Path) -> Command {
        let mut command = runtime_command(&self.path);
        command.arg("--root").arg(state);
        command
    }

    /// Removes what the runtime knows of the container; it is no error when it knows nothing.
    fn delete(&self, state: &Path, id: &str) -> Result<(), Error> {
        if !state.join(id).exists() {
            return Ok(());
        }
        let answer = wait(self.command(state).args(["delete", "--force", id]), &self.path)?;
        if answer.success || !state.join(id).exists() {
            return Ok(());
        }
        Err(Error::Runtime { path: self.path.clone(), said: answer.stderr })
    }
}

impl Sandbox for OciRuntime {
    fn run(
        &self,
        id: &str,
        job: &Job,
        scratch: &Scratch,
        cancel: &Cancel,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Outcome, Error> {
        let here = scratch.subdirectory(id)?;
        let subdirectory = |name: &str| {
            let path = here.join(name);
            fs::create_dir(&path).map(|()| path.clone()).map_err(|source| Error::Scratch { path, source })
        };
        let (work, merged, state) = (subdirectory("work")?, subdirectory("merged")?, scratch.path().join("runtime"));
        let egress = match job.network.mode {
            NetworkMode::Egress => Some(Egress::of_build(scratch.path(), &job.network)?),
            NetworkMode::None | NetworkMode::Host => None,
        };
        let overlay = Overlay::mount(&job.lowers, &job.upper, &work, &merged)?;
        let cgroup = cgroup::name(scratch, id);
        bundle::write(&here, &merged, id, job, egress.as_ref(), &self.isolation, &cgroup)?;

        let container = Container { id, here: &here, state: &state, cgroup: &cgroup };
        let ended = self.supervise(&container, job, cancel, output);
        // Whatever happened above, nothing of the container may stay.
        let deleted = self.delete(&state, id);
        let unmounted = overlay.unmount();
        let outcome = ended?;
        deleted?;
        unmounted?;
        Ok(outcome)
    }

    fn sweep(&self, scratch: &Path) -> Result<(), Error> {
        let state = scratch.join("runtime");
        let Ok(containers) = fs::read_dir(&state) else { return Ok(()) };
        for container in containers.flatten() {
            self.delete(&state, &container.file_name().to_string_lossy())?;
        }
        Ok(())
    }
}

/// Where a container is, on disk and among control groups.
struct Container<'a> {
    id: &'a str,
    /// Its bundle.
    here: &'a Path,
    /// What the runtime knows of it.
    state: &'a Path,
    cgroup: &'a str,
}

impl OciRuntime {
    fn supervise(
        &self,
        container: &Container<'_>,
        job: &Job,
        cancel: &Cancel,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Outcome, Error> {
        let failed = |source| Error::Start { path: self.path.clone(), source };
        let Container { id, here, state, cgroup } = container;
        let log = here.join("runtime.log");
        let (pipes, stdout, stderr) = Pipes::start(job.limits.output_bytes).map_err(failed)?;
        let mut command = self.command(state);
        command.arg("--log").arg(&log).args(["--log-format", "json", "run"]);
        if self.keeps {
            command.arg("--keep");
        }
        command.arg("--bundle").arg(here).arg(id).stdin(Stdio::null());
        command.stdout(stdout).stderr(stderr);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the writing ends of the pipes: without this the output would never end.
        drop(command);

        let mut watch = Watch::new(job, cancel);
        let mut stop: Option<Stop> = None;
        while child.try_wait().map_err(failed)?.is_none() {
            if !pipes.next(TICK, output) {
                // A command may close its output and go on.
                thread::sleep(Duration::from_millis(2));
            }
            if let Some(stop) = &stop {
                if stop.is_over(cgroup) {
                    self.kill(&mut child, container)?;
                }
            } else if let Some(outcome) = watch.look() {
                self.signal(container, "TERM")?;
                stop = Some(Stop::new(outcome, job.limits.grace));
            }
        }
        let status = child.wait().map_err(failed)?;
        // Whoever held the pipes died with the container.
        pipes.finish(output);
        if let Some(stop) = stop {
            return Ok(stop.outcome);
        }
        let status = exit_status(status);
        if status != 0
            && let Some(said) = runtime_error(&log)
        {
            return Err(Error::Runtime { path: self.path.clone(), said });
        }
        Ok(Outcome::Exited { status, out_of_memory: out_of_memory(cgroup) })
    }

    /// Kills everything in the container: with its first process the kernel ends its process namespace.
    fn kill(&self, child: &mut Child, container: &Container<'_>) -> Result<(), Error> {
        let failed = |source| Error::Start { path: self.path.clone(), source };
        let deadline = Instant::now() + KILL_PATIENCE;
        while child.try_wait().map_err(failed)?.is_none() {
            // The container may not be there yet, or be there no more: only the end of the child tells.
            self.signal(container, "KILL")?;
            if Instant::now() > deadline {
                child.kill().map_err(failed)?;
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends a signal to every process in the container: the runtime freezes the group for it, or uses `cgroup.kill`, so that
    /// nothing forks away. Without a group its first process gets it alone.
    fn signal(&self, container: &Container<'_>, signal: &str) -> Result<(), Error> {
        let Container { id, state, .. } = container;
        let all = wait(self.command(state).args(["kill", "--all", id, signal]), &self.path)?;
        if !all.success {
            wait(self.command(state).args(["kill", id, signal]), &self.path)?;
        }
        Ok(())
    }
}

/// Looks at what may end a running command.
struct Watch<'a> {
    job: &'a Job,
    cancel: &'a Cancel,
    started: Instant,
    next_disk_look: Instant,
}

impl<'a> Watch<'a> {
    fn new(job: &'a Job, cancel: &'a Cancel) -> Self {
        let now = Instant::now();
        Self { job, cancel, started: now, next_disk_look: now + Duration::from_secs(1) }
    }

    fn look(&mut self) -> Option<Outcome> {
        if self.cancel.is_cancelled() {
            return Some(Outcome::Cancelled);
        }
        if self.started.elapsed() > self.job.limits.time {
            return Some(Outcome::TimeOver);
        }
        let now = Instant::now();
        if now < self.next_disk_look {
            return None;
        }
        let used_bytes = disk_use(&self.job.upper);
        // A walk over a large result takes its time: at most a tenth of the step goes to looking.
        self.next_disk_look = Instant::now() + Duration::from_secs(1).max(now.elapsed() * 10);
        (used_bytes > self.job.limits.disk_bytes).then_some(Outcome::DiskFull { used_bytes })
    }
}

/// What the files below `dir` take on the disk, in bytes. What vanishes while it looks is not counted.
fn disk_use(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0_u64;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks() * 512);
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    bytes
}

fn read_in_background(mut reader: io::PipeReader) -> Receiver<Vec<u8>> {
    // Bounded: a command that writes faster than the host reads waits, as with any pipe.
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) if sender.send(buffer[..len].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "reading the output of a command failed");
                    return;
                }
            }
        }
    });
    receiver
}

/// The last error in the runtime's own log: what tells a failing runtime from a failing command.
fn runtime_error(log: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let mut text = String::new();
    fs::File::open(log).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.find(|line| line.level == "error" || line.level == "fatal").map(|line| line.msg)
}

/// Whether the kernel killed a process of the cgroup for lack of memory (v2 `memory.events`, v1 `memory.oom_control`).
fn out_of_memory(cgroup: &str) -> bool {
    let files =
        [format!("/sys/fs/cgroup{cgroup}/memory.events"), format!("/sys/fs/cgroup/memory{cgroup}/memory.oom_control")];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.is_some_and(|kills| kills.trim() != "0")
}

fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

fn call(path: &Path, arguments: &[&str]) -> Result<Answer, Error> {
    wait(runtime_command(path).args(arguments), path)
}

/// A call of the runtime, away from the terminal's signals: this program decides when a container ends.
pub(super) fn runtime_command(path: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(path);
    command.env_clear().env("PATH", DIRECTORIES.join(":")).process_group(0);
    command
}

/// Runs a short call of the runtime to its end, at most [`CALL_PATIENCE`].
pub(super) fn wait(command: &mut Command, path: &Path) -> Result<Answer, Error> {
    let failed = |source| Error::Start { path: path.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    let (error_reader, error_writer) = io::pipe().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(error_writer);
    let mut child = command.spawn().map_err(failed)?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (stdout, stderr) = (read_in_background(reader), read_in_background(error_reader));
    let deadline = Instant::now() + CALL_PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().map_err(failed)?;
            break child.wait().map_err(failed)?;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |chunks: Receiver<Vec<u8>>| {
        let mut bytes = Vec::new();
        while let Ok(chunk) = chunks.recv_timeout(Duration::from_secs(1)) {
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    Ok(Answer { success: status.success(), stdout: text(stdout), stderr: text(stderr) })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
