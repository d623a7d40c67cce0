//! Where commands of a Dockerfile run. Only this part of Drydock mounts file systems and starts processes.
//!
//! ```text
//!   lowers (the tree so far, an image of disk.rs; uppers of earlier steps; mount points)
//!      │ overlay
//!      │ each of them as the ids of the step see it (ids.rs, views.rs)
//!   root file system (place.rs) ──▶ bundle.rs: config.json ──▶ runtime.rs: runc, runsc, ... by path
//!      │
//!   upper, on the step's own disk (disk.rs) ──▶ snapshot.rs: the layer of the step
//! ```

mod block_io;
pub(crate) mod bundle;
pub(crate) mod cgroup;
pub(crate) mod disk;
mod found;
pub(crate) mod ids;
mod kernel;
mod lossy;
mod missing;
pub(crate) mod mountpoints;
pub(crate) mod network;
mod orphans;
pub(crate) mod overlay;
mod pipes;
pub(crate) mod place;
mod probe;
mod remembered;
pub(crate) mod rootfs;
pub(crate) mod runtime;
mod stop;
mod views;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::Error;
use crate::limits::Limits;
use crate::output::Output;
use crate::scratch::Scratch;
use crate::usage::Usage;

pub use disk::StepDisk;
pub use found::FoundRuntime;
pub use missing::Missing;
pub use network::{AllowedAddress, NetworkMode, NetworkPolicy};
pub use probe::{Candidate, Capability, candidates};
pub use runtime::OciRuntime;

/// A command to run and everything around it, resolved: no names to look up, no symbolic links to follow.
#[derive(Clone, Debug)]
pub struct Job {
    /// The directories of the root file system, uppermost first.
    pub lowers: Vec<PathBuf>,
    /// Where what the command changes is kept.
    pub disk: StepDisk,
    /// Command and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory: absolute, a directory, without symbolic links.
    pub cwd: String,
    /// User and groups.
    pub user: User,
    /// Network of the command.
    pub network: NetworkPolicy,
    /// Host directories and memory file systems seen by the command alone.
    pub mounts: Vec<JobMount>,
    /// What it may use.
    pub limits: Limits,
}

/// A numeric user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// First group.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
}

/// Something mounted for one command that does not become part of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobMount {
    /// A host directory or file.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the sandbox: absolute.
        target: String,
        /// Not writable.
        read_only: bool,
        /// Its owners are the host's own, not ids of images.
        of_host: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// In the sandbox: absolute.
        target: String,
        /// Its size in bytes, or `None` for the default of the kernel.
        size_bytes: Option<u64>,
    },
}

impl JobMount {
    /// Where it appears in the sandbox.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// By itself.
    Exited {
        /// Exit status; 128 + n for signal n.
        status: i32,
        /// Whether the kernel killed a process of it for lack of memory.
        out_of_memory: bool,
    },
    /// Stopped: [`Limits::time`] was over.
    TimeOver,
    /// Stopped: [`Limits::disk_bytes`] was passed.
    DiskFull {
        /// What it used when it was seen, in bytes.
        used_bytes: u64,
    },
    /// Stopped: the build was cancelled.
    Cancelled,
}

/// How a command ended, and what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Whether its disk was seen to be full, be it of data or of files.
    pub disk_was_full: bool,
}

/// Nothing is known of what it used.
impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, usage: Usage::default(), disk_was_full: false }
    }
}

/// Runs commands over a root file system made of layers.
pub trait Sandbox: Debug {
    /// Runs `job` under the name `id`, keeps everything it needs in `scratch`, and hands output to `output` as it comes, no more
    /// than [`Limits::output_bytes`] of it.
    /// When it returns, no process and no mount of the job is left.
    ///
    /// # Errors
    /// The sandbox could not be made or taken down. A failing command is an [`Outcome`], not an error.
    fn run(
        &self,
        id: &str,
        job: &Job,
        scratch: &Scratch,
        cancel: &Cancel,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Ended, Error>;

    /// Ends what a build that died may have left under `scratch`: containers, then mounts.
    ///
    /// # Errors
    /// Something of it can't be ended.
    fn sweep(&self, scratch: &Path) -> Result<(), Error>;
}
