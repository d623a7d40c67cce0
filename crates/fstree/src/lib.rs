//! The tree of a file system: nodes, metadata, extended attributes, hard links as shared nodes, content by reference.
//!
//! ```text
//!   Tree ── NodeId ──▶ Node { metadata, kind, link count }
//!                       └─ File(Content) ──▶ segments ──▶ Sources[SourceId] (a spool, a tar, a file)
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use fstree::{Addition, Diff, Kind, Limits, Metadata, Node, Removal, Tree, TreePath, dump, tar};
//!
//! // A tree, changed once, as an archive and back.
//! let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
//! let metadata = Metadata { mode: 0o777, ..Metadata::default() };
//! let node = Node { metadata, kind: Kind::Symlink(b"usr/bin".as_slice().into()) };
//! let additions = vec![Addition::Entry { path: TreePath::parse(b"bin")?, node }];
//! tree.apply(Diff { additions, removals: vec![Removal::Opaque(TreePath::root())], ..Diff::default() })?;
//!
//! let mut archive = Vec::new();
//! tar::write(&tree, &mut archive)?;
//! let len = archive.len().try_into()?;
//! let mut again = Tree::new(Metadata::default());
//! again.apply(tar::read(Arc::new(archive), len, &Limits::default())?)?;
//! assert_eq!(dump(&again), dump(&tree));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows nothing of OCI, of ext4 and of Dockerfiles. It holds no file data: a [`Content`] says where the bytes
//! of a file are, and a [`ReadAt`] gives them to whoever writes the image.
#![forbid(unsafe_code)]

mod content;
mod diff;
mod dump;
mod history;
mod holes;
mod limits;
mod node;
mod path;
mod resolve;
pub mod tar;
mod tree;
mod walk;

pub use content::{Content, ReadAt, Segment, SourceId, Sources};
pub use diff::{Addition, ApplyError, ApplyFault, Diff, Removal};
pub use dump::dump;
pub use history::{DirectorySize, padded_len};
pub use limits::Limits;
pub use node::{DeviceNumber, Directory, Kind, Metadata, Node, Timestamp, Xattrs};
pub use path::{PathError, TreePath, shown};
pub use resolve::{ResolveError, Resolved};
pub use tree::{NodeId, Tree, TreeError};
pub use walk::{Visit, walk};
