//! OCI and Docker images: where they are, what they hold, verified; their layers uncompressed, kept and merged.
//!
//! ```text
//!   ImageRef ──Image::open──▶ Image { config, layers by digest }
//!                               │ Store::layers: blob digest, decompress, diff_id, in parallel
//!                               ▼
//!   Diff ──Store::commit──▶ Layer (an uncompressed tar, named by its diff_id) ──flatten──▶ fstree::Tree
//! ```
//!
//! ```
//! use fstree::{Diff, Removal, TreePath};
//! use ocilayers::{Image, Limits, Store, flatten, import};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (tar, layout, store) = (scratch.path().join("r.tar"), scratch.path().join("layout"), scratch.path().join("store"));
//! # std::fs::write(&tar, [0; 1024])?;
//! let limits = Limits::default();
//! // A tar of a root file system becomes an image; an image becomes layers; a change becomes one more; all one tree.
//! import(&tar, &layout, "debian", &limits)?;
//! let image = Image::open(&format!("oci:{}:debian", layout.display()).parse()?, &limits)?;
//! let store = Store::open(&store, limits)?;
//! let mut layers = store.layers(&image, None)?;
//! let removals = vec![Removal::Path(TreePath::parse(b"etc/hostname")?)];
//! layers.push(store.commit(&Diff { removals, ..Diff::default() })?);
//! let tree = flatten(&layers, &limits)?;
//! assert_eq!(tree.len(), 1, "there was nothing in the tar but its end");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Layers are merged from the lowest up, exactly: a lower symbolic link decides where an upper path lands, so that no
//! merge from the top can be right. Nothing here runs anything but the credential helpers that Docker's config names,
//! and nothing is written but the store and the layouts one asks for.
#![forbid(unsafe_code)]

mod decompress;
mod digest;
mod error;
mod flatten;
#[cfg(fuzzing)]
pub mod fuzzing;
mod image;
mod import;
mod layout;
mod limits;
mod platform;
mod reference;
mod registry;
mod select;
mod source;
mod store;
mod whiteout;

pub use digest::Digest;
pub use error::Error;
pub use flatten::{chain_id, flatten, tree_of_tar};
pub use image::{Image, LayerBlob, OpenOptions};
pub use import::{import, rfc3339};
pub use layout::{Written, write as write_layout};
pub use limits::Limits;
pub use platform::{Platform, PlatformError};
pub use reference::{ImageRef, ReferenceError};
pub use registry::{Credentials, RegistryName, RegistryOptions};
pub use store::{Layer, Store};
pub use whiteout::is_of_the_image;
