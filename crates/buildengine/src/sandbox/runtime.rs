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

use rustix::fs::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::bundle::{self, Host, Isolation};
use super::disk::Fill;
use super::ids::Ids;
use super::network::{Egress, NetworkMode};
use super::overlay::{self, Overlay};
use super::pipes::Pipes;
use super::stop::Stop;
use super::views::Views;
use super::{Ended, Job, JobMount, Outcome, Sandbox, cgroup, orphans, place};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::output::Output;
use crate::scratch::Scratch;
use crate::usage::Usage;

/// Where programs are looked for: administrators' directories too, which a service's PATH may lack.
pub(super) const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How often the caps of a running command are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a runtime may take to end its container before it is killed itself.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// What a helper call of the runtime (kill, delete, --help) may take.
const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// A runtime at a path, and what it was seen to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OciRuntime {
    pub(super) path: PathBuf,
    pub(super) isolation: Isolation,
    /// `run --keep` leaves the cgroup to be read after the end.
    pub(super) keeps: bool,
}

impl OciRuntime {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
    ) -> Result<Ended, Error> {
        let here = scratch.subdirectory(id)?;
        let subdirectory = |name: &str| {
            let path = here.join(name);
            fs::create_dir(&path).map(|()| path.clone()).map_err(|source| Error::Scratch { path, source })
        };
        let (rootfs, state) = (place::create(scratch, id)?, scratch.path().join("runtime"));
        let egress = match job.network.mode {
            NetworkMode::Egress => Some(Egress::of_build(scratch.path(), &job.network)?),
            NetworkMode::None | NetworkMode::Host => None,
        };
        let ids = self.isolation.user_namespaces.then(Ids::take).transpose()?;
        let overlay = match &ids {
            Some(ids) => mapped_overlay(job, &mut Views::new(ids, subdirectory("layers")?), &rootfs)?,
            None => Overlay::mount(&job.lowers, &job.disk.upper(), &job.disk.work(), &rootfs)?,
        };
        let mut views = ids.as_ref().map(|ids| Ok::<_, Error>(Views::new(ids, subdirectory("mounts")?))).transpose()?;
        let job = &Job { mounts: shown(&job.mounts, views.as_mut())?, ..job.clone() };
        let host_sys = match (&ids, job.network.mode) {
            (Some(_), NetworkMode::Host) => Some(host_sys(subdirectory("sys")?)?),
            _ => None,
        };
        let sys = host_sys.clone().or_else(|| ids.as_ref().and(egress.as_ref()).map(Egress::sysfs));
        let cgroup = cgroup::name(scratch, id);
        let first_id = ids.as_ref().map(Ids::first);
        let host = Host { rootfs: &rootfs, cgroup: &cgroup, egress: egress.as_ref(), first_id, sys: sys.as_deref() };
        bundle::write(&here, id, job, &self.isolation, host)?;

        let container = Container { id, here: &here, state: &state, cgroup: &cgroup, first_id };
        let mut watch = Watch::new(job, cancel);
        let outcome = self.supervise(&container, job, &mut watch, output);
        let (usage, disk_was_full) = watch.usage(&cgroup);
        // Whatever happened above, nothing of the container may stay.
        let deleted = self.delete(&state, id);
        let unmounted = overlay.unmount().and(host_sys.map_or(Ok(()), |sys| overlay::unmount_below(&sys)));
        let outcome = outcome?;
        deleted?;
        unmounted?;
        Ok(Ended { outcome, usage, disk_was_full })
    }

    fn sweep(&self, scratch: &Path) -> Result<(), Error> {
        let state = scratch.join("runtime");
        // A runtime that was still making its container would go on, and nothing would tell of it.
        orphans::end_runtimes(&state);
        for container in fs::read_dir(&state).into_iter().flatten().flatten() {
            self.delete(&state, &container.file_name().to_string_lossy())?;
        }
        orphans::end_groups(&cgroup::of_build(scratch));
        Ok(())
    }
}

/// The overlay of a job as the ids of its step see it. It holds what it stands on: the views may end.
fn mapped_overlay(job: &Job, views: &mut Views<'_>, rootfs: &Path) -> Result<Overlay, Error> {
    let lowers = job.lowers.iter().map(|lower| views.show(lower)).collect::<Result<Vec<_>, _>>()?;
    // Upper and work directory have to be on one mount.
    let disk = job.disk.seen_at(views.show(job.disk.dir())?);
    Overlay::mount(&lowers, &disk.upper(), &disk.work(), rootfs)
}

/// Mounts of a job, with the sources as the ids of its step see them.
fn shown(mounts: &[JobMount], mut views: Option<&mut Views<'_>>) -> Result<Vec<JobMount>, Error> {
    let show = |mount: &JobMount| match (mount, views.as_deref_mut()) {
        (JobMount::Bind { source, target, read_only, of_host: false }, Some(views)) => {
            let (source, target) = (views.show(source)?, target.clone());
            Ok(JobMount::Bind { source, target, read_only: *read_only, of_host: false })
        }
        _ => Ok(mount.clone()),
    };
    mounts.iter().map(show).collect()
}

/// The host's sysfs at `at`, without what is mounted in it.
fn host_sys(at: PathBuf) -> Result<PathBuf, Error> {
    rustix::mount::mount_bind("/sys", &at)
        .map_err(|errno| Error::Mount { target: at.clone(), source: errno.into() })?;
    Ok(at)
}

/// Where a container is, on disk and among control groups.
struct Container<'a> {
    id: &'a str,
    /// Its bundle.
    here: &'a Path,
    /// What the runtime knows of it.
    state: &'a Path,
    cgroup: &'a str,
    /// The id of its root on the host.
    first_id: Option<u32>,
}

impl OciRuntime {
    fn supervise(
        &self,
        container: &Container<'_>,
        job: &Job,
        watch: &mut Watch<'_>,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Outcome, Error> {
        let failed = |source| Error::Start { path: self.path.clone(), source };
        let Container { id, here, state, cgroup, first_id } = container;
        let log = here.join("runtime.log");
        let (pipes, stdout, stderr) = Pipes::start(job.limits.output_bytes).map_err(failed)?;
        if let Some(first) = *first_id {
            // A command may open its output again, as /dev/stderr.
            for pipe in [&stdout, &stderr] {
                let owner = (Some(Uid::from_raw(first)), Some(Gid::from_raw(first)));
                rustix::fs::fchown(pipe, owner.0, owner.1).map_err(|errno| failed(errno.into()))?;
            }
        }
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
    /// What the last look saw of a disk that nothing bounds.
    unbounded_bytes: u64,
    disk_was_full: bool,
}

impl<'a> Watch<'a> {
    fn new(job: &'a Job, cancel: &'a Cancel) -> Self {
        let now = Instant::now();
        let next_disk_look = now + Duration::from_secs(1);
        Self { job, cancel, started: now, next_disk_look, unbounded_bytes: 0, disk_was_full: false }
    }

    fn look(&mut self) -> Option<Outcome> {
        if self.cancel.is_cancelled() {
            return Some(Outcome::Cancelled);
        }
        if self.started.elapsed() > self.job.limits.time {
            return Some(Outcome::TimeOver);
        }
        if let Some(fill) = self.job.disk.fill() {
            // The kernel ends no command for it; what it makes of a full disk is its own affair.
            self.disk_was_full |= self.is_full(fill);
            return None;
        }
        let now = Instant::now();
        if now < self.next_disk_look {
            return None;
        }
        let used_bytes = disk_use(&self.job.disk.upper());
        self.unbounded_bytes = used_bytes;
        // A walk over a large result takes its time: at most a tenth of the step goes to looking.
        self.next_disk_look = Instant::now() + Duration::from_secs(1).max(now.elapsed() * 10);
        (used_bytes > self.job.limits.disk_bytes).then_some(Outcome::DiskFull { used_bytes })
    }

    /// What was used up to now, the command having ended, and whether its disk was full.
    fn usage(&self, cgroup: &str) -> (Usage, bool) {
        let fill = self.job.disk.fill();
        let limits = &self.job.limits;
        let usage = Usage {
            disk_bytes: Some(fill.map_or(self.unbounded_bytes, |fill| fill.used_bytes)),
            disk_limit_bytes: Some(limits.disk_bytes),
            memory_peak_bytes: memory_peak(cgroup),
            memory_limit_bytes: limits.memory_bytes,
        };
        (usage, self.disk_was_full || fill.is_some_and(|fill| self.is_full(fill)))
    }

    /// Whether nothing more than was promised can be written. The kernel refuses a write while it still counts some blocks as free, which it
    /// keeps for what is on its way to the disk.
    fn is_full(&self, fill: Fill) -> bool {
        fill.is_full || fill.used_bytes >= self.job.limits.disk_bytes
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
    let mut bytes = Vec::new();
    fs::File::open(log).ok()?.take(1 << 20).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.find(|line| line.level == "error" || line.level == "fatal").map(|line| line.msg)
}

/// The most memory that the cgroup had, in bytes (v2 `memory.peak`, since Linux 5.19; v1 `memory.max_usage_in_bytes`).
fn memory_peak(cgroup: &str) -> Option<u64> {
    let files = [
        format!("/sys/fs/cgroup{cgroup}/memory.peak"),
        format!("/sys/fs/cgroup/memory{cgroup}/memory.max_usage_in_bytes"),
    ];
    files.iter().find_map(|file| fs::read_to_string(file).ok())?.trim().parse().ok()
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

pub(super) fn call(path: &Path, arguments: &[&str]) -> Result<Answer, Error> {
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
