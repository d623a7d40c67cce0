//! OCI and Docker images: where they are, what they hold, verified; their layers uncompressed, kept and merged.
//!
//! ```text
//!   ImageRef ──Image::open──▶ Image { config, layers by digest }
//!                               │ Store::layers: blob digest, decompress, diff_id, in parallel
//!                               ▼
//!   Diff ──Store::commit──▶ Layer (an uncompressed tar, named by its diff_id) ──flatten──▶ fstree::Tree
//! ```
//!
//! Layers are merged from the lowest up, exactly: a lower symbolic link decides where an upper path lands, so that no
//! merge from the top can be right. Nothing here runs anything, and nothing is written but the store and the layouts one
//! asks for.
#![forbid(unsafe_code)]

mod blobs;
mod decompress;
mod digest;
mod error;
mod flatten;
mod image;
mod import;
mod layout;
mod limits;
mod reference;
mod select;
mod store;
mod whiteout;

pub use digest::Digest;
pub use error::Error;
pub use flatten::{chain_id, flatten, tree_of_tar};
pub use image::{Image, LayerBlob};
pub use import::{import, rfc3339};
pub use layout::{Written, write as write_layout};
pub use limits::Limits;
pub use reference::{ImageRef, ReferenceError};
pub use store::{Layer, Store};
