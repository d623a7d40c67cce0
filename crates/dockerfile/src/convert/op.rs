//! Operations: what a builder has to do. Plain data; nothing here knows a Dockerfile.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::mount::Sharing;
use crate::platform::Platform;

/// The place of an operation in [`Conversion::ops`](super::Conversion::ops). Operations only refer to earlier ones.
pub type OpId = usize;

/// One operation, the operations it builds on, and the instruction it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Op {
    /// What to do.
    #[serde(flatten)]
    pub kind: OpKind,
    /// The instruction that made it, the first one if several need the same operation.
    pub origin: Origin,
}

/// Where an operation comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Index of the instruction in the file; of the `FROM` for a trigger of its image.
    pub instruction: usize,
    /// Its first line, from 1.
    pub line: u32,
    /// It is a trigger that the base image brought.
    pub on_build: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum OpKind {
    /// Get files from somewhere.
    Source(Source),
    /// Run a process.
    Exec(Exec),
    /// Make directories and files, copy files.
    File(FileOp),
    /// Lay trees over each other, the last on top.
    Merge {
        /// The trees.
        inputs: Vec<OpId>,
    },
}

/// Files from somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Source {
    /// `docker-image://`, `local://context`, `git://` or an HTTP URL.
    pub id: String,
    /// Platform of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Expected digest or commit, if one was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// Name the downloaded file gets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// Keep `.git` of a repository.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_git_dir: bool,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Exec {
    /// The file system it runs in; `None` is an empty one.
    pub root: Option<OpId>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, `NAME=value`, in order.
    pub env: SharedEnv,
    /// Working directory.
    pub cwd: String,
    /// User, with an optional group; empty is root.
    pub user: String,
    /// Mounts, sorted by destination; secrets and agents last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<ExecMount>,
    /// Secrets that arrive as variables.
    #[serde(rename = "secretEnv", skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<SecretEnv>,
    /// Network, if it is not the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkMode>,
    /// Run with all privileges.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Proxies from the build arguments, as `NAME=value`, for this process only and in no image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<String>,
}

/// Network of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NetworkMode {
    /// No network.
    None,
    /// The host's network.
    Host,
}

/// An environment that many processes share, as `NAME=value` in order.
///
/// Equality is identity: the conversion makes each environment once.
#[derive(Clone, Debug)]
pub struct SharedEnv(Arc<Vec<Arc<str>>>);

impl SharedEnv {
    pub(super) fn new(env: Arc<Vec<Arc<str>>>) -> Self {
        SharedEnv(env)
    }

    /// The variables, `NAME=value`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl PartialEq for SharedEnv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedEnv {}

impl Hash for SharedEnv {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Serialize for SharedEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// A secret as a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SecretEnv {
    /// Name of the secret.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name of the variable.
    pub name: String,
    /// The process runs without it, too.
    pub optional: bool,
}

/// Something mounted for one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ExecMount {
    /// Where.
    pub dest: String,
    /// Writes are refused.
    pub readonly: bool,
    /// Path in the input; empty is its root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Where the content comes from; `None` is an empty directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<OpId>,
    /// What it is.
    #[serde(flatten)]
    pub kind: ExecMountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum ExecMountKind {
    /// A directory of the input.
    Bind,
    /// A directory that lasts from build to build.
    Cache {
        /// Its name: the builder's namespace, a slash, and the mount's `id` or cleaned target.
        #[serde(rename = "cacheID")]
        cache_id: String,
        /// Who may use it at the same time.
        #[serde(serialize_with = "in_capitals")]
        sharing: Sharing,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Size in bytes; 0 is no limit.
        size: i64,
    },
    /// A secret as a file.
    Secret {
        /// Which, and how the file looks.
        secret: Handed,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Which, and how the socket looks.
        ssh: Handed,
    },
}

fn in_capitals<S: Serializer>(sharing: &Sharing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match sharing {
        Sharing::Shared => "SHARED",
        Sharing::Private => "PRIVATE",
        Sharing::Locked => "LOCKED",
    })
}

/// A secret or an agent handed to a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Handed {
    /// Its name; empty is the default agent.
    pub id: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// The process runs without it, too.
    pub optional: bool,
}

/// File actions, done in order; the result is the tree after the last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FileOp {
    /// The tree they change; `None` is an empty one.
    pub base: Option<OpId>,
    /// The actions.
    pub actions: Vec<FileAction>,
}

/// One change to a tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum FileAction {
    /// Copy files.
    Copy(CopyAction),
    /// Make a file.
    Mkfile {
        /// Path.
        mkfile: String,
        /// Content.
        data: String,
        /// Permission bits.
        mode: u32,
    },
    /// Make a directory.
    Mkdir {
        /// Path.
        mkdir: String,
        /// Permission bits.
        mode: u32,
        /// Make its parents, too; it may exist already.
        parents: bool,
        /// Owner, as `USER` takes it; empty is root.
        #[serde(skip_serializing_if = "String::is_empty")]
        owner: String,
    },
}

/// Copying files from another tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct CopyAction {
    /// The tree they come from; `None` is an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<OpId>,
    /// Path there, perhaps with wildcards.
    #[serde(rename = "copy")]
    pub source: String,
    /// Path here; a slash at the end means into that directory.
    pub dest: String,
    /// Owner, as `--chown` takes it; empty is root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Permissions, octal or symbolic; empty is those of the source.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chmod: String,
    /// Unpack local tar archives.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
    /// It comes from the build context or another stage: follow links, match wildcards, copy what is in directories.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub from_tree: bool,
    /// Only what matches (`--parents`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Not what matches (`--exclude`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Paths that must exist (`--parents` without wildcards).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
}

impl OpKind {
    /// Makes `inputs` the list of the operations this one builds on, each once, in the order a builder would first look at
    /// them.
    pub(super) fn list_inputs(&self, inputs: &mut Vec<OpId>) {
        inputs.clear();
        let mut add = |input: Option<OpId>| {
            if let Some(input) = input.filter(|input| !inputs.contains(input)) {
                inputs.push(input);
            }
        };
        match self {
            OpKind::Source(_) => {}
            OpKind::Merge { inputs: trees } => trees.iter().for_each(|tree| add(Some(*tree))),
            OpKind::Exec(exec) => {
                add(exec.root);
                exec.mounts.iter().for_each(|mount| add(mount.input));
            }
            OpKind::File(file) => {
                add(file.base);
                // The reference walks the chain of actions from its end.
                file.actions.iter().rev().for_each(|action| match action {
                    FileAction::Copy(copy) => add(copy.input),
                    FileAction::Mkfile { .. } | FileAction::Mkdir { .. } => {}
                });
            }
        }
    }

    /// Replaces every input by what `to` makes of it.
    pub(super) fn renumber(&mut self, to: impl Fn(OpId) -> OpId) {
        let change = |input: &mut Option<OpId>| *input = input.map(&to);
        match self {
            OpKind::Source(_) => {}
            OpKind::Merge { inputs } => inputs.iter_mut().for_each(|input| *input = to(*input)),
            OpKind::Exec(exec) => {
                change(&mut exec.root);
                exec.mounts.iter_mut().for_each(|mount| change(&mut mount.input));
            }
            OpKind::File(file) => {
                change(&mut file.base);
                file.actions.iter_mut().for_each(|action| match action {
                    FileAction::Copy(copy) => change(&mut copy.input),
                    FileAction::Mkfile { .. } | FileAction::Mkdir { .. } => {}
                });
            }
        }
    }
}
