//! A tree as text, one line a name: for `ls`, for comparisons and for bug reports.

use std::fmt::Write;

use crate::node::Kind;
use crate::tree::Tree;
use crate::walk::walk;

/// One line for each name, in order: kind, mode, uid, gid, size, time, path, and what the kind needs beside that.
///
/// ```text
/// d 0755 0 0 0 1700000000.000000000 etc
/// f 0644 0 0 12 1700000000.000000000 etc/hostname
/// l 0777 0 0 7 1700000000.000000000 bin -> usr/bin
/// h etc/other = etc/hostname
/// ```
#[must_use]
pub fn dump(tree: &Tree) -> String {
    let mut first_names = vec![None; tree.node_slots()];
    let mut text = String::new();
    let done = walk(tree, |visit| {
        let path = if visit.path.is_empty() { b"." } else { visit.path };
        let path = path.escape_ascii().to_string();
        if let Some(first) = &first_names[visit.id.index()] {
            return writeln!(text, "h {path} = {first}");
        }
        let metadata = &visit.node.metadata;
        let (letter, size, rest) = match &visit.node.kind {
            Kind::Directory(_) => ('d', 0, String::new()),
            Kind::File(content) => ('f', content.size_bytes(), String::new()),
            Kind::Symlink(target) => ('l', length(target), format!(" -> {}", target.escape_ascii())),
            Kind::CharDevice(number) => ('c', 0, format!(" {},{}", number.major(), number.minor())),
            Kind::BlockDevice(number) => ('b', 0, format!(" {},{}", number.major(), number.minor())),
            Kind::Fifo => ('p', 0, String::new()),
            Kind::Socket => ('s', 0, String::new()),
        };
        let (mode, uid, gid) = (metadata.mode, metadata.uid, metadata.gid);
        let (seconds, nanoseconds) = (metadata.mtime.seconds, metadata.mtime.nanoseconds);
        write!(text, "{letter} {mode:04o} {uid} {gid} {size} {seconds}.{nanoseconds:09} {path}{rest}")?;
        for (name, value) in &metadata.xattrs {
            write!(text, " {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        if tree.names(visit.id) > 1 {
            first_names[visit.id.index()] = Some(path);
        }
        writeln!(text)
    });
    done.expect("writing to a string does not fail");
    text
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize fits in u64")
}
