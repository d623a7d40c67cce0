//! Which runtimes a host has and what each can do, seen by really running a command in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::bundle::Isolation;
use super::missing::Missing;
use super::network::{NetworkMode, NetworkPolicy};
use super::runtime::{DIRECTORIES, OciRuntime, call};
use super::{Job, JobMount, Outcome, Sandbox, StepDisk, User, cgroup};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::limits::Limits;
use crate::output::Output;
use crate::scratch::Scratch;

/// The runtimes looked for, best first.
const CANDIDATES: [&str; 4] = ["runc", "crun", "youki", "runsc"];
/// Memory that the probe may use, in bytes: that it is limited is what is tried.
const PROBE_MEMORY: u64 = 256 << 20;

/// The disk of the probe, in bytes.
const PROBE_DISK: u64 = 16 << 20;

/// A runtime that was looked for.
#[derive(Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Where it is, and what came of running a command in it; `None` where it is not installed.
    pub tried: Option<(PathBuf, Result<OciRuntime, Error>)>,
}

/// One thing a sandbox should do, and whether it does.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// What it is.
    pub name: String,
    /// Whether it was seen to work.
    pub works: bool,
    /// Whether a host without it is not fit for RUN steps as they are asked for.
    pub required: bool,
    /// What was seen, and how to mend it where it does not work.
    pub detail: String,
}

/// Where the runtimes are that are chosen from: at `path`, or each that is installed.
pub(super) fn places(path: Option<&Path>) -> Vec<PathBuf> {
    match path {
        Some(path) => vec![path.to_owned()],
        None => CANDIDATES.iter().filter_map(|name| installed(name)).collect(),
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

/// Every runtime that is looked for, or that at `path` alone, each tried in a directory below `scratch_root`.
#[must_use]
pub fn candidates(path: Option<&Path>, scratch_root: &Path, allowed: &[Missing]) -> Vec<Candidate> {
    let try_at = |path: PathBuf| {
        let tried = OciRuntime::at(&path, scratch_root, allowed);
        (path, tried)
    };
    match path {
        Some(path) => {
            vec![Candidate { name: path.display().to_string(), tried: Some(try_at(path.to_owned())) }]
        }
        None => CANDIDATES
            .into_iter()
            .map(|name| Candidate { name: name.to_owned(), tried: installed(name).map(try_at) })
            .collect(),
    }
}

impl OciRuntime {
    /// The first installed runtime that really runs a command here. It is tried in a directory below `scratch_root`;
    /// `allowed` is what may be missing.
    ///
    /// # Errors
    /// None is installed, or none works; the error names what was tried and what each said.
    pub fn find(scratch_root: &Path, allowed: &[Missing]) -> Result<Self, Error> {
        let mut tried = Vec::new();
        for path in places(None) {
            match Self::at(&path, scratch_root, allowed) {
                Ok(runtime) => return Ok(runtime),
                Err(error) => tried.push(format!("{}: {}", path.display(), chain(&error))),
            }
        }
        Err(Error::NoRuntime { tried })
    }

    /// The runtime at `path`, after it was seen to run a command.
    ///
    /// # Errors
    /// It does not run, can't run a command on this host, or lacks what may not be missing.
    pub fn at(path: &Path, scratch_root: &Path, allowed: &[Missing]) -> Result<Self, Error> {
        let help = call(path, &["run", "--help"])?;
        let keeps = help.stdout.contains("--keep");
        let mut runtime = Self { path: path.to_owned(), isolation: Isolation::full(), keeps };
        match runtime.settle(scratch_root, allowed) {
            Err(Error::Lacking { missing: missing @ Missing::UserNamespaces, .. }) if allowed.contains(&missing) => {
                runtime.isolation = Isolation { user_namespaces: false, ..Isolation::full() };
                runtime.settle(scratch_root, allowed)?;
            }
            settled => settled?,
        }
        Ok(runtime)
    }

    /// Finds out whether a command runs, with control groups or, where that is allowed, without.
    fn settle(&mut self, scratch_root: &Path, allowed: &[Missing]) -> Result<(), Error> {
        let lacks = |why| Error::Lacking { missing: Missing::Cgroups, why };
        let first = match cgroup::lacking() {
            Some(why) => lacks(why),
            None => match self.try_true(scratch_root, NetworkPolicy::none(), allowed) {
                Ok(()) => return Ok(()),
                // Without control groups it would lack the same.
                Err(error @ Error::Lacking { .. }) => return Err(error),
                Err(error) => error,
            },
        };
        // What is missing may be the control groups alone.
        self.isolation.cgroups = false;
        match (self.try_true(scratch_root, NetworkPolicy::none(), allowed), first) {
            (Ok(()), _) if allowed.contains(&Missing::Cgroups) => Ok(()),
            (Ok(()), Error::Lacking { missing, why }) => Err(Error::Lacking { missing, why }),
            (Ok(()), first) => Err(lacks(chain(&first))),
            (Err(error), Error::Lacking { .. }) | (Err(_), error) => Err(error),
        }
    }

    /// First line of its `--version`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn version(&self) -> Result<String, Error> {
        let version = call(&self.path, &["--version"])?.stdout;
        Ok(version.lines().next().unwrap_or_default().to_owned())
    }

    /// Says in the log what is missing, as the operator has allowed.
    pub(super) fn warn_of_what_is_missing(&self) {
        if !self.isolation.cgroups {
            let runtime = self.path.display();
            tracing::warn!(%runtime, "no control groups, as allowed: memory and processes of RUN steps are not limited");
        }
        if !self.isolation.user_namespaces {
            let runtime = self.path.display();
            tracing::warn!(%runtime, "no user namespaces, as allowed: root of a RUN step is root of the host, in a cage");
        }
    }

    /// What works, for a report to an operator; it is tried in a directory below `scratch_root`.
    #[must_use]
    pub fn capabilities(&self, scratch_root: &Path) -> Vec<Capability> {
        let cgroups = self.isolation.cgroups;
        let limits = if cgroups { "a command ran in a control group of its own" } else { "missing, as allowed" };
        let users = self.isolation.user_namespaces;
        let ids = if users { "a command was nobody on the host, over mapped mounts" } else { "missing, as allowed" };
        let keeps = if self.keeps { "known" } else { "not known to this runtime" };
        let capability = |name: &str, works, detail: &str| Capability {
            name: name.to_owned(),
            works,
            required: false,
            detail: detail.to_owned(),
        };
        vec![
            capability("memory and process limits (cgroups)", cgroups, limits),
            capability("out-of-memory kills are told apart", self.keeps, &format!("'run --keep' is {keeps}")),
            capability("ids of a step's own (user namespaces)", users, ids),
            probe_disk(scratch_root),
            self.probe_egress(scratch_root),
        ]
    }

    fn probe_egress(&self, scratch_root: &Path) -> Capability {
        let tried = self.try_true(
            scratch_root,
            NetworkPolicy { mode: NetworkMode::Egress, ..NetworkPolicy::default() },
            &Missing::ALL,
        );
        let detail = match &tried {
            Ok(()) => "a command ran in a network of its own, behind a filter".to_owned(),
            Err(error) => chain(error),
        };
        let name = "network of RUN steps (egress)".to_owned();
        Capability { name, works: tried.is_ok(), required: true, detail }
    }

    /// Runs the host's own `true` over the host's own `/usr`, read-only, in a full sandbox.
    fn try_true(&self, scratch_root: &Path, network: NetworkPolicy, allowed: &[Missing]) -> Result<(), Error> {
        let scratch = Scratch::create(scratch_root, self)?;
        let lower = scratch.subdirectory("probe-lower")?;
        let mut mounts = Vec::new();
        for directory in ["usr", "bin", "lib", "lib64", "proc", "sys", "dev"] {
            let source = Path::new("/").join(directory);
            if source.exists() {
                fs::create_dir(lower.join(directory))
                    .map_err(|source| Error::Scratch { path: lower.clone(), source })?;
                if !matches!(directory, "proc" | "sys" | "dev") {
                    mounts.push(JobMount::Bind {
                        source,
                        target: format!("/{directory}"),
                        read_only: true,
                        of_host: true,
                    });
                }
            }
        }
        let job = Job {
            lowers: vec![lower],
            disk: StepDisk::create(&scratch, "probe", PROBE_DISK, allowed)?,
            args: vec!["/bin/true".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            network,
            mounts,
            limits: Limits { time: Duration::from_secs(60), memory_bytes: Some(PROBE_MEMORY), ..Limits::default() },
        };
        let mut said = Vec::new();
        let ended = self.run("probe", &job, &scratch, &Cancel::default(), &mut |output| {
            if let Output::Bytes { bytes, .. } = output {
                said.extend_from_slice(bytes);
            }
        })?;
        scratch.remove()?;
        match ended.outcome {
            Outcome::Exited { status: 0, .. } => Ok(()),
            outcome => Err(Error::Runtime {
                path: self.path.clone(),
                said: format!("'true' ended with {outcome:?} {}", String::from_utf8_lossy(&said)),
            }),
        }
    }
}

/// Whether a step has a disk of its own; what is not allowed to be missing was found by running a command.
fn probe_disk(scratch_root: &Path) -> Capability {
    let tried = StepDisk::probe(scratch_root, PROBE_DISK);
    let detail = match &tried {
        Ok(()) => "an ext4 file system was mounted through a loop device".to_owned(),
        Err(error) => chain(error),
    };
    Capability {
        name: "a disk of a step's own (loop devices)".to_owned(),
        works: tried.is_ok(),
        required: false,
        detail,
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
