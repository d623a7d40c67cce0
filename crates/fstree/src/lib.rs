//! The tree of a file system: nodes, metadata, extended attributes, hard links as shared nodes, content by reference.
//!
//! ```text
//!   Tree ── NodeId ──▶ Node { metadata, kind, link count }
//!                       └─ File(Content) ──▶ segments ──▶ Sources[SourceId] (a spool, a tar, a file)
//! ```
//!
//! This crate knows nothing of OCI, of ext4 and of Dockerfiles. It holds no file data: a [`Content`] says where the bytes
//! of a file are, and a [`ReadAt`] gives them to whoever writes the image.
#![forbid(unsafe_code)]

mod content;
mod diff;
mod dump;
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
pub use limits::Limits;
pub use node::{DeviceNumber, Directory, Kind, Metadata, Node, Timestamp, Xattrs};
pub use path::{PathError, TreePath, shown};
pub use resolve::{ResolveError, Resolved};
pub use tree::{NodeId, Tree, TreeError};
pub use walk::{Visit, walk};
