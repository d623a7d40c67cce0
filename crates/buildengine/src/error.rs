//! The one error of the engine.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::sandbox::Missing;
use crate::usage::Usage;

/// Why a build did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// An instruction that this engine can't carry out.
    #[error("line {line}: {what}")]
    Unsupported {
        /// Where it starts.
        line: u32,
        /// What it is and what to do instead.
        what: String,
    },
    /// A RUN command failed.
    #[error("step {step}/{steps} (line {line}) failed: `{command}` ended with exit status {status}{}", tail_text(tail))]
    CommandFailed {
        /// Number of the step, from 1.
        step: usize,
        /// How many steps there are.
        steps: usize,
        /// Line of the Dockerfile.
        line: u32,
        /// The command.
        command: String,
        /// Its exit status; 128 + n for signal n.
        status: i32,
        /// What it used.
        usage: Box<Usage>,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// A RUN command was ended for what it used, or failed on it.
    #[error("step {step}/{steps} (line {line}) failed: {why}{}", tail_text(tail))]
    LimitPassed {
        /// Number of the step, from 1.
        step: usize,
        /// How many steps there are.
        steps: usize,
        /// Line of the Dockerfile.
        line: u32,
        /// Which limit.
        limit: PassedLimit,
        /// What it used, and what it may use.
        why: String,
        /// What it used.
        usage: Box<Usage>,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// The host asked to stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// The user of an instruction is not in the image.
    #[error("line {line}: {why}")]
    User {
        /// Where the RUN is.
        line: u32,
        /// What is wrong with it.
        why: String,
    },
    /// The working directory can't be used.
    #[error("line {line}: the working directory '{path}' can't be used: {why}")]
    WorkingDirectory {
        /// Where the instruction is.
        line: u32,
        /// The directory.
        path: String,
        /// Why not.
        why: String,
    },
    /// No OCI runtime runs here.
    #[error(
        "no OCI runtime works on this host; install one (Debian: apt-get install runc) and run as root{}",
        tail_text(tried)
    )]
    NoRuntime {
        /// What was tried, and what each said.
        tried: Vec<String>,
    },
    /// The host can't give a part of the isolation that steps should have.
    #[error(
        "this host can't give RUN steps {}: {why}; mend it, or do without: --allow-missing {missing}",
        missing.what()
    )]
    Lacking {
        /// Which part.
        missing: Missing,
        /// What was seen.
        why: String,
    },
    /// The OCI runtime failed, not the command.
    #[error("the OCI runtime {} failed: {said}", path.display())]
    Runtime {
        /// The runtime.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// Commands can't have the network that they should.
    #[error("no network for RUN steps: {why}; {fix}")]
    Network {
        /// What went wrong.
        why: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A program can't be started or watched.
    #[error("can't run {}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Mounting or unmounting failed.
    #[error("can't mount or unmount {} (RUN needs root)", target.display())]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An image to work on can't be written.
    #[error("the files so far can't be written as a file system to work on")]
    DiskImage(#[source] ext4writer::Error),
    /// What a step wrote is not all there.
    #[error(
        "what the step wrote to {} was not all kept by the disk below it; make room there, or name another place with --state",
        path.display()
    )]
    LostWrites {
        /// The file system of the step.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A path for scratch files that overlayfs can't take.
    #[error("the path {} can't hold scratch files: {why}; choose another place", path.display())]
    ScratchPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Scratch files.
    #[error("can't work on scratch files at {}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a step changed can't be read or kept.
    #[error("can't read back what the step changed at {}", path.display())]
    Snapshot {
        /// Where in the upper directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in the result that no layer can hold.
    #[error("the step left something that an image can't hold at '{path}': {why}")]
    Unrepresentable {
        /// Path in the image.
        path: String,
        /// What it is.
        why: String,
    },
    /// Reading, merging or keeping layers failed.
    #[error("the layers can't be read or kept")]
    Layers(#[source] ocilayers::Error),
}

/// A limit of a RUN step; see [`crate::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedLimit {
    /// Memory.
    Memory,
    /// Wall time.
    Time,
    /// Disk.
    Disk,
}

/// Lines below a message, each indented; nothing for none.
fn tail_text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}

impl From<ocilayers::Error> for Error {
    fn from(error: ocilayers::Error) -> Self {
        Self::Layers(error)
    }
}
