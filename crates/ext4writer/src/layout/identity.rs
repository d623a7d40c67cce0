//! UUID and hash seed of an image whose caller names none: made from the tree, so that equal trees give equal images.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fstree::{Kind, Node, Tree};
use sha2::{Digest, Sha256};

use crate::checksum::Checksum;
use crate::features::Features;
use crate::options::{Options, Placement};
use crate::units::u64_of;

/// What tells a file system from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `s_uuid`.
    pub(crate) uuid: [u8; 16],
    /// `s_hash_seed`.
    pub(crate) hash_seed: [u8; 16],
    /// What `s_checksum_seed` is the checksum of: the UUID, unless it is of another image of the same base.
    checksums_of: [u8; 16],
}

impl Identity {
    /// As the options say, and by the tree where they say nothing.
    pub(crate) fn of(tree: &Tree, options: &Options) -> Self {
        if options.placement == Placement::Stable {
            return Self::of_base(tree, options);
        }
        if let (Some(uuid), Some(hash_seed)) = (options.uuid, options.hash_seed) {
            return Self { uuid, hash_seed, checksums_of: uuid };
        }
        let [first, second] = halves(digest(tree));
        let uuid = options.uuid.unwrap_or(version_8(first));
        Self { uuid, hash_seed: options.hash_seed.unwrap_or(second), checksums_of: uuid }
    }

    /// Seeds that all images with the same lowest layer have, so that what is the same in them has the same checksums and hashes.
    /// Only the UUID tells them apart, where the seed of the checksums can be another (`metadata_csum_seed`).
    fn of_base(tree: &Tree, options: &Options) -> Self {
        let [first, second] = halves(digest_of_base(tree));
        let uuid = options.uuid.unwrap_or_else(|| version_8(halves(digest(tree))[0]));
        let has_seed = options.features.contains(Features::METADATA_CSUM_SEED);
        let checksums_of = if has_seed { first } else { uuid };
        Self { uuid, hash_seed: options.hash_seed.unwrap_or(second), checksums_of }
    }

    /// The seed of every checksum of the file system.
    pub(crate) fn checksums(&self) -> Checksum {
        Checksum::of_file_system(self.checksums_of)
    }
}

fn halves(digest: [u8; 32]) -> [[u8; 16]; 2] {
    [0, 16].map(|at: usize| std::array::from_fn(|byte| digest[at + byte]))
}

/// The bits that a UUID of a maker's own kind has (RFC 9562, 5.8).
fn version_8(mut uuid: [u8; 16]) -> [u8; 16] {
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// Everything that a tree says without its contents being read. What varies in length has its length before it.
fn digest(tree: &Tree) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut bytes = |bytes: &[u8]| {
        hash.update(u64_of(bytes.len()).to_le_bytes());
        hash.update(bytes);
    };
    // Numbers of nodes depend on how a tree came to be; that of its first name does not.
    let mut linked = BTreeMap::new();
    let done: Result<(), Infallible> = fstree::walk(tree, |visit| {
        bytes(visit.path);
        if tree.names(visit.id) > 1 {
            let next = u64_of(linked.len());
            bytes(&linked.entry(visit.id).or_insert(next).to_le_bytes());
        }
        add_node(visit.node, &mut bytes);
        Ok(())
    });
    match done {
        Ok(()) => hash.finalize().into(),
    }
}

/// What the first layer brought that is no directory, whatever came of it in later ones: those change directories in place.
fn digest_of_base(tree: &Tree) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut bytes = |bytes: &[u8]| {
        hash.update(u64_of(bytes.len()).to_le_bytes());
        hash.update(bytes);
    };
    for index in tree.generations().next().into_iter().flatten() {
        let (_, node) = tree.remembered(index);
        if !node.is_directory() {
            add_node(node, &mut bytes);
        }
    }
    hash.finalize().into()
}

fn add_node(node: &Node, bytes: &mut dyn FnMut(&[u8])) {
    let metadata = &node.metadata;
    let (seconds, nanoseconds) = (metadata.mtime.seconds.to_le_bytes(), metadata.mtime.nanoseconds.to_le_bytes());
    bytes(&[&metadata.mode.to_le_bytes()[..], &metadata.uid.to_le_bytes(), &metadata.gid.to_le_bytes()].concat());
    bytes(&[&seconds[..], &nanoseconds].concat());
    for (name, value) in &metadata.xattrs {
        bytes(name);
        bytes(value);
    }
    match &node.kind {
        Kind::Directory(_) => bytes(b"d"),
        Kind::Fifo => bytes(b"p"),
        Kind::Socket => bytes(b"s"),
        Kind::Symlink(target) => bytes(&[b"l", &target[..]].concat()),
        Kind::CharDevice(number) | Kind::BlockDevice(number) => {
            let letter: &[u8] = if matches!(node.kind, Kind::CharDevice(_)) { b"c" } else { b"b" };
            bytes(&[letter, &number.major().to_le_bytes(), &number.minor().to_le_bytes()].concat());
        }
        Kind::File(content) => {
            bytes(&[b"f", &content.size_bytes().to_le_bytes()[..]].concat());
            for run in content.segments() {
                bytes(&[run.file_offset.to_le_bytes(), run.len_bytes.to_le_bytes()].concat());
            }
        }
    }
}
