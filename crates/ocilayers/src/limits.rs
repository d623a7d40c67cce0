//! Caps on images.

/// Caps with defaults that no real image reaches. Everything above them is an error that names the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Caps on each layer's entries.
    pub tree: fstree::Limits,
    /// Bytes of a manifest, an index or a config. Default: 4 MiB.
    pub json_bytes: u64,
    /// Layers of an image. Default: 512.
    pub layers: usize,
    /// Indexes inside indexes. Default: 4.
    pub index_depth: usize,
    /// Uncompressed bytes of one layer. Default: 64 GiB.
    pub layer_bytes: u64,
    /// How many bytes a compressed byte may become, once a layer is larger than [`Self::ratio_from_bytes`].
    /// Default: 2,000.
    pub ratio: u64,
    /// Bytes that a store keeps on the disk; beyond it the layers that were used least recently go, unless they are in use.
    /// Default: 64 GiB.
    pub store_bytes: u64,
    /// Uncompressed size from which [`Self::ratio`] counts. Default: 1 GiB.
    pub ratio_from_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tree: fstree::Limits::default(),
            json_bytes: 4 << 20,
            layers: 512,
            index_depth: 4,
            layer_bytes: 64 << 30,
            store_bytes: 64 << 30,
            ratio: 2_000,
            ratio_from_bytes: 1 << 30,
        }
    }
}
