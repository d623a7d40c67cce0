//! A tree as one JSON object a line, and two trees compared.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use fstree::{Content, Kind, Tree, walk};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// One path of a tree. Bytes of names that are no UTF-8 are written as `\xNN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// From the root, which is `.`.
    path: String,
    /// `d`, `f`, `l`, `c`, `b`, `p`, `s`.
    #[serde(rename = "type")]
    kind: char,
    /// Permission, set-id and sticky bits, in octal.
    mode: String,
    uid: u32,
    gid: u32,
    /// Bytes of a file or of the target of a link, else 0.
    size: u64,
    /// Nanoseconds since 1970.
    mtime_ns: i128,
    /// Target of a symbolic link.
    link: Option<String>,
    /// The first path of the node, where it has several.
    hardlink: Option<String>,
    /// Major and minor number of a device.
    rdev: Option<[u32; 2]>,
    /// Names to values in hexadecimal.
    xattrs: BTreeMap<String, String>,
    /// Of a file's content, holes as zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Every path of `tree` in order, told to `see`. `sha256`: contents are read and hashed.
///
/// # Errors
/// A content can't be read, or `see` fails.
pub(crate) fn list(tree: &Tree, sha256: bool, mut see: impl FnMut(Entry) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // The first path of a node and, so that no content is read twice, its digest.
    let mut first: Vec<Option<(String, Option<String>)>> = vec![None; tree.node_slots()];
    walk(tree, |visit| {
        let path = if visit.path.is_empty() { ".".to_owned() } else { shown(visit.path) };
        let (kind, size, link, rdev) = match &visit.node.kind {
            Kind::Directory(_) => ('d', 0, None, None),
            Kind::File(content) => ('f', content.size_bytes(), None, None),
            Kind::Symlink(target) => ('l', u64::try_from(target.len())?, Some(shown(target)), None),
            Kind::CharDevice(number) => ('c', 0, None, Some([number.major(), number.minor()])),
            Kind::BlockDevice(number) => ('b', 0, None, Some([number.major(), number.minor()])),
            Kind::Fifo => ('p', 0, None, None),
            Kind::Socket => ('s', 0, None, None),
        };
        let metadata = &visit.node.metadata;
        let known = first[visit.id.index()].clone();
        let digest = match (&known, &visit.node.kind) {
            (Some((_, digest)), _) => digest.clone(),
            (None, Kind::File(content)) if sha256 => {
                Some(hash(tree, content).with_context(|| format!("can't read the content of {path}"))?)
            }
            _ => None,
        };
        let several = kind != 'd' && tree.names(visit.id) > 1;
        if several && known.is_none() {
            first[visit.id.index()] = Some((path.clone(), digest.clone()));
        }
        let hardlink = several.then(|| known.map_or_else(|| path.clone(), |(path, _)| path));
        see(Entry {
            path,
            kind,
            mode: format!("{:04o}", metadata.mode),
            uid: metadata.uid,
            gid: metadata.gid,
            size,
            mtime_ns: i128::from(metadata.mtime.seconds) * 1_000_000_000 + i128::from(metadata.mtime.nanoseconds),
            link,
            hardlink,
            rdev,
            xattrs: metadata.xattrs.iter().map(|(name, value)| (shown(name), hex(value))).collect(),
            sha256: digest,
        })
    })
}

/// Writes an entry as a line.
pub(crate) fn write_json(entry: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, entry)?;
    Ok(out.write_all(b"\n")?)
}

/// What is in one tree and not the same in the other.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    /// `added`, `removed` or `changed`.
    pub(crate) change: &'static str,
    pub(crate) path: String,
    /// Size in the first tree.
    pub(crate) before: Option<u64>,
    /// Size in the second tree.
    pub(crate) after: Option<u64>,
}

/// How `after` differs from `before`: the largest first, then by path. Contents are compared by their digests.
///
/// # Errors
/// A content can't be read.
pub(crate) fn changes(before: &Tree, after: &Tree) -> anyhow::Result<Vec<Change>> {
    let mut old = BTreeMap::new();
    list(before, true, |entry| {
        old.insert(entry.path.clone(), entry);
        Ok(())
    })?;
    let mut changes = Vec::new();
    list(after, true, |entry| {
        let was = old.remove(&entry.path);
        if was.as_ref() != Some(&entry) {
            let change = if was.is_some() { "changed" } else { "added" };
            changes.push(Change { change, before: was.map(|was| was.size), after: Some(entry.size), path: entry.path });
        }
        Ok(())
    })?;
    let removed = |entry: Entry| Change { change: "removed", before: Some(entry.size), after: None, path: entry.path };
    changes.extend(old.into_values().map(removed));
    changes.sort_by(|a, b| (Reverse(a.before.max(a.after)), &a.path).cmp(&(Reverse(b.before.max(b.after)), &b.path)));
    Ok(changes)
}

/// The digest of a content, holes as zeros.
fn hash(tree: &Tree, content: &Content) -> std::io::Result<String> {
    let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    let zeros = vec![0; CHUNK];
    let skip = |hash: &mut Sha256, mut len: u64| {
        while len > 0 {
            let some = usize::try_from(len).unwrap_or(CHUNK).min(CHUNK);
            hash.update(&zeros[..some]);
            len -= u64::try_from(some).expect("usize fits in u64");
        }
    };
    for run in content.segments() {
        skip(&mut hash, run.file_offset - at);
        let mut done = 0;
        while done < run.len_bytes {
            let some = usize::try_from(run.len_bytes - done).unwrap_or(CHUNK).min(CHUNK);
            tree.sources.get(run.source).read_exact_at(&mut buffer[..some], run.source_offset + done)?;
            hash.update(&buffer[..some]);
            done += u64::try_from(some).expect("usize fits in u64");
        }
        at = run.file_offset + run.len_bytes;
    }
    skip(&mut hash, content.size_bytes() - at);
    Ok(hex(&hash.finalize()))
}

/// A name as text: what is UTF-8 as it is, other bytes as `\xNN`, as Python's `backslashreplace` has it for bytes.
fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
