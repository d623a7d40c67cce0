//! Trees and changes as PAX archives: the same tree gives the same bytes.
//!
//! What a plain ustar header can hold stands there; everything else is a PAX record. Holes are kept as GNU sparse files of
//! format 1.0.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{BLOCK, TarError, base64};
use crate::content::{Content, ReadAt, Segment, Sources};
use crate::diff::Addition;
use crate::node::{Kind, Metadata, Node};
use crate::path::TreePath;
use crate::tree::Tree;
use crate::walk::walk;

/// Bytes moved at a time.
const CHUNK: usize = 1 << 20;
/// The largest number an octal field of 8 and of 12 bytes holds.
const OCTAL_8_MAX: u64 = 0o7_777_777;
const OCTAL_12_MAX: u64 = 0o77_777_777_777;

/// Writes every name of `tree` in order; further names of a node are hard links to the first. Sockets are left out.
///
/// # Errors
/// `out` fails, or reading a content does.
pub fn write(tree: &Tree, out: &mut dyn Write) -> Result<(), TarError> {
    let mut writer = Writer::new(&tree.sources, out);
    // Hard links need the first name; of a socket, which tar has not, there is none to write.
    let mut first_names: Vec<Option<Box<[u8]>>> = vec![None; tree.node_slots()];
    walk(tree, |visit| {
        if matches!(visit.node.kind, Kind::Socket) {
            return Ok(());
        }
        if let Some(first) = &first_names[visit.id.index()] {
            return writer.link(visit.path, first);
        }
        if tree.names(visit.id) > 1 {
            first_names[visit.id.index()] = Some(visit.path.into());
        }
        writer.node(visit.path, visit.node)
    })?;
    writer.finish()
}

/// Writes additions in their order, sockets left out. Removals have no form in tar: who writes a layer gives them as names.
///
/// # Errors
/// `out` fails, or reading a content does.
pub fn write_additions<'a>(
    additions: impl IntoIterator<Item = &'a Addition>,
    sources: &Sources,
    out: &mut dyn Write,
) -> Result<(), TarError> {
    let mut writer = Writer::new(sources, out);
    let mut sockets: BTreeSet<&TreePath> = BTreeSet::new();
    for addition in additions {
        match addition {
            // Tar has no sockets; they mean nothing without the process that made them.
            Addition::Entry { path, node: Node { kind: Kind::Socket, .. } } => drop(sockets.insert(path)),
            Addition::Link { path, target } if sockets.contains(target) => drop(sockets.insert(path)),
            Addition::Entry { path, node } => writer.node(path.as_bytes(), node)?,
            Addition::Link { path, target } => writer.link(path.as_bytes(), target.as_bytes())?,
        }
    }
    writer.finish()
}

struct Writer<'a> {
    sources: &'a Sources,
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(sources: &'a Sources, out: &'a mut dyn Write) -> Self {
        Self { sources, out, buffer: vec![0; CHUNK] }
    }

    fn node(&mut self, path: &[u8], node: &Node) -> Result<(), TarError> {
        let mut entry = Entry::new(path, &node.metadata);
        match &node.kind {
            Kind::Directory(_) => entry.header.set_entry_type(EntryType::Directory),
            Kind::File(content) => return self.file(entry, content),
            Kind::Symlink(target) => {
                entry.header.set_entry_type(EntryType::Symlink);
                entry.link(target);
            }
            Kind::CharDevice(number) | Kind::BlockDevice(number) => {
                let is_char = matches!(node.kind, Kind::CharDevice(_));
                entry.header.set_entry_type(if is_char { EntryType::Char } else { EntryType::Block });
                entry.header.set_device_major(number.major())?;
                entry.header.set_device_minor(number.minor())?;
            }
            Kind::Fifo => entry.header.set_entry_type(EntryType::Fifo),
            Kind::Socket => unreachable!("left out by the callers"),
        }
        entry.write(self.out)
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TarError> {
        let mut entry = Entry::new(path, &Metadata { mode: 0o644, ..Metadata::default() });
        entry.header.set_entry_type(EntryType::Link);
        entry.link(target);
        entry.write(self.out)
    }

    fn file(&mut self, mut entry: Entry, content: &Content) -> Result<(), TarError> {
        entry.header.set_entry_type(EntryType::Regular);
        let stored: u64 = content.segments().iter().map(|segment| segment.len_bytes).sum();
        if stored == content.size_bytes() {
            entry.size(stored);
            entry.write(self.out)?;
        } else {
            let map = map_1_0(content);
            entry.record("GNU.sparse.major", b"1");
            entry.record("GNU.sparse.minor", b"0");
            entry.record("GNU.sparse.name", &entry.path.clone());
            entry.record("GNU.sparse.realsize", content.size_bytes().to_string().as_bytes());
            entry.size(length(&map) + stored);
            entry.write(self.out)?;
            self.out.write_all(&map)?;
        }
        content.segments().iter().try_for_each(|segment| self.copy(segment))?;
        pad(self.out, stored)?;
        Ok(())
    }

    fn copy(&mut self, segment: &Segment) -> io::Result<()> {
        let source: &dyn ReadAt = self.sources.get(segment.source);
        let mut done = 0;
        while done < segment.len_bytes {
            let len = usize::try_from(segment.len_bytes - done).unwrap_or(CHUNK).min(CHUNK);
            source.read_exact_at(&mut self.buffer[..len], segment.source_offset + done)?;
            self.out.write_all(&self.buffer[..len])?;
            done += length(&self.buffer[..len]);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), TarError> {
        self.out.write_all(&[0; 1024])?;
        Ok(())
    }
}

/// A header on its way, and the records for what it can't hold.
struct Entry {
    path: Vec<u8>,
    header: Header,
    records: Vec<u8>,
}

impl Entry {
    fn new(path: &[u8], metadata: &Metadata) -> Self {
        let path = if path.is_empty() { b"./".to_vec() } else { path.to_vec() };
        let mut entry = Self { path, header: Header::new_ustar(), records: Vec::new() };
        entry.header.set_mode(metadata.mode.into());
        for (key, number) in [("uid", metadata.uid), ("gid", metadata.gid)] {
            if u64::from(number) > OCTAL_8_MAX {
                entry.record(key, number.to_string().as_bytes());
            }
        }
        let fits = |number: u32| u64::from(number).min(OCTAL_8_MAX);
        entry.header.set_uid(fits(metadata.uid));
        entry.header.set_gid(fits(metadata.gid));
        entry.mtime(metadata);
        entry.size(0);
        let path = entry.path.clone();
        put(&mut entry.header.as_old_mut().name, &path).unwrap_or_else(|| entry.record("path", &path));
        for (name, value) in &metadata.xattrs {
            let (key, value) = xattr_record(name, value);
            append(&mut entry.records, &key, &value);
        }
        entry
    }

    fn mtime(&mut self, metadata: &Metadata) {
        let (seconds, nanoseconds) = (metadata.mtime.seconds, metadata.mtime.nanoseconds);
        match u64::try_from(seconds).ok().filter(|&seconds| seconds <= OCTAL_12_MAX) {
            Some(seconds) if nanoseconds == 0 => self.header.set_mtime(seconds),
            fits => {
                self.header.set_mtime(fits.unwrap_or(0));
                self.record("mtime", time(seconds, nanoseconds).as_bytes());
            }
        }
    }

    fn size(&mut self, bytes: u64) {
        if bytes > OCTAL_12_MAX {
            self.record("size", bytes.to_string().as_bytes());
        }
        self.header.set_size(bytes.min(OCTAL_12_MAX));
    }

    fn link(&mut self, target: &[u8]) {
        put(&mut self.header.as_old_mut().linkname, target).unwrap_or_else(|| self.record("linkpath", target));
    }

    fn record(&mut self, key: &str, value: &[u8]) {
        append(&mut self.records, key.as_bytes(), value);
    }

    fn write(mut self, out: &mut dyn Write) -> Result<(), TarError> {
        if !self.records.is_empty() {
            let mut header = Header::new_ustar();
            put(&mut header.as_old_mut().name, b"PaxHeaders/x").expect("a short name fits");
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_size(length(&self.records));
            header.set_mtime(0);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            out.write_all(&self.records)?;
            pad(out, length(&self.records))?;
        }
        self.header.set_cksum();
        out.write_all(self.header.as_bytes())?;
        Ok(())
    }
}

/// Fills a text field; `None`, with the start of it in the field, when it is too long or not plain ASCII.
fn put(field: &mut [u8], text: &[u8]) -> Option<()> {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
    (text.len() <= field.len() && text.is_ascii()).then_some(())
}

/// Appends a PAX record: its length counts its own digits.
fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + digits(rest);
    if digits(len) > digits(rest) {
        len = rest + digits(len);
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The record of an extended attribute: the exact bytes, but for a name with `=`, which would end the key: libarchive's
/// form has that encoded.
fn xattr_record<'a>(name: &[u8], value: &'a [u8]) -> (Vec<u8>, Cow<'a, [u8]>) {
    if !name.contains(&b'=') {
        return ([b"SCHILY.xattr.", name].concat(), Cow::Borrowed(value));
    }
    let mut key = b"LIBARCHIVE.xattr.".to_vec();
    for &byte in name {
        match byte {
            b'=' | b'%' => key.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => key.push(byte),
        }
    }
    (key, Cow::Owned(base64::encode(value)))
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Seconds as PAX writes them: before 1970 the fraction counts away from zero.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (false, _) | (true, 0) => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), nanoseconds),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    };
    let mut text = format!("{sign}{whole}");
    if fraction > 0 {
        let _ = write!(text, ".{fraction:09}");
    }
    text
}

/// The map of a sparse file of format 1.0, filled up to a block. A hole at the end is an empty run there: without it GNU tar
/// makes the file too short.
fn map_1_0(content: &Content) -> Vec<u8> {
    let mut runs: Vec<(u64, u64)> = content.segments().iter().map(|run| (run.file_offset, run.len_bytes)).collect();
    if runs.last().is_none_or(|(start, len)| start + len < content.size_bytes()) {
        runs.push((content.size_bytes(), 0));
    }
    let mut text = format!("{}\n", runs.len());
    for (start, len) in runs {
        let _ = write!(text, "{start}\n{len}\n");
    }
    let mut bytes = text.into_bytes();
    let block = usize::try_from(BLOCK).expect("512 fits");
    bytes.resize(bytes.len().next_multiple_of(block), 0);
    bytes
}

fn pad(out: &mut dyn Write, len: u64) -> io::Result<()> {
    let missing = usize::try_from(len.next_multiple_of(BLOCK) - len).expect("less than a block");
    out.write_all(&[0; 512][..missing])
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize fits in u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for len in 0..1_200 {
            let mut records = Vec::new();
            append(&mut records, b"k", &vec![b'v'; len]);
            let stated: usize =
                records.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |n, d| n * 10 + usize::from(d - b'0'));
            assert_eq!(stated, records.len());
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(-2, 500_000_000), "-1.500000000");
        assert_eq!(time(-1, 1), "-0.999999999");
        assert_eq!(time(-86_400, 0), "-86400");
        assert_eq!(time(5, 1), "5.000000001");
    }
}
