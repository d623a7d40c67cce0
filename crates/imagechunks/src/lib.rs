//! An image as a manifest and packs of chunks, so that what two images have in common is stored and sent once.
//!
//! A chunk is some blocks of the image, 64 KiB in the mean, cut where the content says so and not at places: what moved is the same
//! chunk. A pack is one object that holds chunks, each a zstd frame; a build makes at most one, of the chunks that no image has which
//! it knows. The manifest says for every chunk of one image where it is there, its SHA-256 and where it lies; zeros are left out. It is
//! itself known by its SHA-256.
//!
//! ```text
//!   image ──pack──▶ Manifest + one pack of new chunks        (known manifests: chunks that lie in packs already)
//!   Manifest ──fetch──▶ image      each chunk from the Cache, else a range of a pack from a Source; every one verified
//!   Manifest ──Lazy──▶ read_at     of an image that is not there
//! ```
//!
//! Everything here is synchronous. Where packs are is behind [`Source`]; nothing here knows of HTTP, databases or what is in an image.
//! Manifests, packs and what is in the cache are hostile input.
#![forbid(unsafe_code)]

mod cache;
mod cut;
mod digest;
mod error;
mod fetch;
mod lazy;
mod manifest;
mod pack;
mod read;
mod source;

pub use cache::Cache;
pub use digest::Digest;
pub use error::Error;
pub use fetch::{FetchOptions, Fetched, Progress, fetch};
pub use lazy::Lazy;
pub use manifest::{Chunk, MANIFEST_BYTES_MAX, Manifest, PACKS_MAX};
pub use pack::{CHUNK_BYTES, PackOptions, Packed, pack};
pub use source::Source;
