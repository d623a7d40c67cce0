//! What a Dockerfile will do, before anything is done: plain data, made without I/O.

mod lower;

use serde::Serialize;

use dockerfile::config::ImageConfig;

pub use lower::lower;

/// The steps of a build and the config of its result.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The base image as written in FROM, normalised (`docker.io/library/debian:latest`).
    pub base: String,
    /// One step an instruction, in order; the first is FROM.
    pub steps: Vec<Step>,
    /// The config of the resulting image.
    pub config: ImageConfig,
    /// From MAINTAINER; empty where there is none.
    pub author: String,
}

/// One instruction and what it does.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Line of the Dockerfile on which the instruction starts, from 1.
    pub line: u32,
    /// The instruction as written, continuation lines joined.
    pub text: String,
    /// What it does besides changing the config, in order.
    pub actions: Vec<Action>,
}

/// Something that changes the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A command runs.
    Run(Run),
    /// A directory appears, with its parents, where there is none yet (WORKDIR).
    MakeDirectory {
        /// Absolute path, variables expanded.
        path: String,
        /// Owner as USER names it; empty for root.
        user: String,
    },
}

/// A command and all that may change its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Command and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Working directory: absolute.
    pub cwd: String,
    /// `user[:group]` by names or numbers; empty for root.
    pub user: String,
    /// Network.
    pub network: Network,
    /// Mounts that do not become part of the image.
    pub mounts: Vec<RunMount>,
    /// Files seen by this command alone (heredoc scripts).
    pub files: Vec<InlineFile>,
}

/// The network that a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// That which the operator gives to commands.
    #[default]
    Default,
    /// A loopback device alone.
    None,
}

/// `RUN --mount`, of the kinds a build without context can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunMount {
    /// A directory kept between builds.
    Cache {
        /// Its name; the same name is the same directory.
        id: String,
        /// Where it appears: absolute.
        target: String,
        /// Who may use it at one time.
        sharing: Sharing,
        /// Not writable.
        read_only: bool,
        /// Mode of a fresh directory.
        mode: u32,
        /// Owner of a fresh directory.
        uid: u32,
        /// Group of a fresh directory.
        gid: u32,
    },
    /// A file system in memory.
    Tmpfs {
        /// Where it appears: absolute.
        target: String,
        /// Its size in bytes, where one is given.
        size_bytes: Option<u64>,
    },
}

/// Who may use a cache directory at one time (Dockerfile reference, `RUN --mount=type=cache`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One alone; a second gets a directory of its own.
    Private,
    /// One alone; a second waits.
    Locked,
}

/// A file seen by one command alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InlineFile {
    /// Where: absolute.
    pub path: String,
    /// What it holds.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

#[cfg(test)]
impl Plan {
    /// A plan of these steps.
    pub(crate) fn for_test(steps: Vec<Step>) -> Self {
        Self { base: "base".to_owned(), steps, config: Default::default(), author: String::new() }
    }
}

#[cfg(test)]
impl Step {
    /// A step of one action.
    pub(crate) fn for_test(line: u32, action: Action) -> Self {
        Self { line, text: format!("step on line {line}"), actions: vec![action] }
    }
}
