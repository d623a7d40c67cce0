//! Caps on what an archive or a stack of layers may ask for.

/// Caps with defaults that no real image reaches. Everything above them is an error that names the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Nodes of a tree over its whole life, about 350 bytes of memory each. Against archives of empty files. Default: 4,000,000.
    pub nodes: u32,
    /// Bytes of one extended (PAX or GNU) header, and of the records of all that are for one file or for all files. Against headers
    /// that fill memory. Default: 1 MiB.
    pub header_bytes: u64,
    /// Bytes of all extended attributes of one entry. Default: 1 MiB.
    pub xattr_bytes: u64,
    /// Bytes of one extended attribute, the kernel's own cap. Default: 64 KiB.
    pub xattr_value_bytes: u64,
    /// Runs of one sparse file. Default: 1,000,000.
    pub sparse_segments: u64,
    /// Size of one file, holes included. Default: 1 TiB.
    pub file_bytes: u64,
    /// Bytes that the entries of a whole archive take in memory: names, targets, attributes, sparse maps. Default: 1 GiB.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 4_000_000,
            header_bytes: 1 << 20,
            xattr_bytes: 1 << 20,
            xattr_value_bytes: 64 << 10,
            sparse_segments: 1_000_000,
            file_bytes: 1 << 40,
            metadata_bytes: 1 << 30,
        }
    }
}
