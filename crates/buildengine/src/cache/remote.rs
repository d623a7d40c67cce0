//! Results of steps that other hosts have: asked for where this one has none, and told of what was made here.
//!
//! Nothing that comes from there is believed: an entry has to be that of its key, a layer that of its diff_id. Nothing that goes wrong
//! there ends a build or changes what comes of it: then the step just runs.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::time::Duration;

use ocilayers::Layer;
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::store::Entry;
use crate::cancel::Cancel;

/// A place that hosts share. Called from a build, so each call has to come back after a time that is bounded; what fails there is
/// nothing found, and said in the log of whoever implements this.
pub trait RemoteCache: Sync + Debug {
    /// What is kept of a step under its key (64 hexadecimal digits), and how old it is.
    fn step(&self, key: &str, cancel: &Cancel) -> Option<(Vec<u8>, Duration)>;

    /// A file with the layer of that diff_id, as [`MadeStep::write_layer`] wrote it, of at most so many bytes. It is the caller's.
    fn layer(&self, diff_id: &str, bytes_max: u64, cancel: &Cancel) -> Option<File>;

    /// Forgets a layer: what it gave was another one, or none.
    fn refuse_layer(&self, diff_id: &str);

    /// Keeps what a step made, in place of what was kept of it. Returns at once.
    fn put(&self, made: MadeStep);
}

/// The result of a step that was made on this host.
#[derive(Clone, Debug)]
pub struct MadeStep {
    key: String,
    entry: Vec<u8>,
    layer: Option<Layer>,
}

impl MadeStep {
    pub(crate) fn new(key: &Key, entry: &Entry, layer: Option<Layer>) -> Self {
        let kept = Kept { key: key.as_str().to_owned(), entry: entry.clone() };
        let entry = serde_json::to_vec(&kept).expect("entries have string keys");
        Self { key: kept.key, entry, layer }
    }

    /// Its key, 64 hexadecimal digits.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What [`RemoteCache::step`] has to give.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// The diff_id of its layer; none for a step that changed nothing.
    #[must_use]
    pub fn layer(&self) -> Option<String> {
        self.layer.as_ref().map(|layer| layer.diff_id().to_string())
    }

    /// Writes its layer, compressed; nothing if it has none.
    ///
    /// # Errors
    /// It can't be read, or `out` not written.
    pub fn write_layer(&self, out: impl io::Write) -> io::Result<()> {
        self.layer.as_ref().map_or(Ok(()), |layer| layer.write_blob(out))
    }
}

/// An entry as it is kept elsewhere: with its key, since a name can be wrong.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    entry: Entry,
}

/// The entry of that key, if that is what these bytes are.
pub(crate) fn entry(key: &Key, bytes: &[u8]) -> Option<Entry> {
    let kept: Kept = serde_json::from_slice(bytes).ok()?;
    (kept.key == key.as_str()).then_some(kept.entry)
}
