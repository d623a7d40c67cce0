//! An archive to the additions it stands for. File data is not read: contents refer to the archive.

use std::io;
use std::sync::Arc;

use tar::Header;

use super::header::Fields;
use super::input::{Input, Random};
use super::pax::Records;
use super::{BLOCK, Fault, TarError, acl, base64, sparse};
use crate::content::{Content, ReadAt, Segment, SourceId};
use crate::diff::{Addition, Diff};
use crate::limits::Limits;
use crate::node::{DeviceNumber, Kind, Metadata, Node, Timestamp, Xattrs};
use crate::path::TreePath;

/// The longest target of a symbolic link, in bytes (PATH_MAX without its NUL).
const SYMLINK_MAX: usize = 4_095;
/// The longest name of an extended attribute, in bytes.
const XATTR_NAME_MAX: usize = 255;
/// Reads the headers of the archive `source`, which is `len` bytes long.
///
/// The answer has additions alone, in the order of the archive; `.wh.` names are names like any other here. The last entry
/// of a name wins when it is applied. What follows the end of the archive is ignored.
///
/// # Errors
/// The first entry that breaks the format, that is no kind of file, or that passes a limit; with its place and name.
pub fn read(source: Arc<dyn ReadAt>, len: u64, limits: &Limits) -> Result<Diff, TarError> {
    let mut diff = Diff::default();
    let id = diff.sources.add(Arc::clone(&source));
    let mut reader = Reader::new(Random::new(source, len), id, limits);
    while let Some(addition) = reader.next_addition()? {
        diff.additions.push(addition);
    }
    Ok(diff)
}

/// Reads an archive entry by entry, from its start to its end: all formats and limits of [`read`].
#[derive(Debug)]
pub struct Reader<I> {
    input: I,
    id: SourceId,
    limits: Limits,
    /// Where the header of the next entry is.
    offset: u64,
    /// Files so far.
    entries: u32,
    /// Records for all entries that follow.
    global: Records,
    /// Records for the next file, however many GNU long names stand in between.
    local: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    metadata_left: u64,
    /// The size that the entry before states, if it is a hard link.
    link_size: u64,
    /// Place and name of the file before: when its data is cut off, this is found where the next header should be.
    before: (u64, Vec<u8>),
}

/// What an entry is made of once all its headers are read.
struct Parts<'a> {
    fields: Fields<'a>,
    records: Records,
    name: Vec<u8>,
    /// Where its data starts.
    data: u64,
    /// How much data is stored.
    size: u64,
}

impl<I: Input> Reader<I> {
    /// A reader of the archive that `input` gives. Contents refer to it as `source`, by the offsets of the archive.
    pub fn new(input: I, source: SourceId, limits: &Limits) -> Self {
        Self {
            input,
            id: source,
            limits: *limits,
            offset: 0,
            entries: 0,
            global: Records::default(),
            local: None,
            long_name: None,
            long_link: None,
            metadata_left: limits.metadata_bytes,
            link_size: 0,
            before: (0, Vec::new()),
        }
    }

    /// A reader that begins with the entry whose header is at `offset`.
    pub(super) fn starting_at(input: I, source: SourceId, limits: &Limits, offset: u64) -> Self {
        Self { offset, ..Self::new(input, source, limits) }
    }

    /// Where the header of the next entry is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether something was said for all entries that follow.
    pub(super) fn has_global(&self) -> bool {
        !self.global.is_empty()
    }

    /// What the archive comes from.
    pub fn input_mut(&mut self) -> &mut I {
        &mut self.input
    }

    /// What the archive comes from, when the reader is no longer needed.
    pub fn into_input(self) -> I {
        self.input
    }

    /// The next addition; `None` at the end of the archive. Of a file, all that was asked of the input lies before its data.
    ///
    /// # Errors
    /// As [`read`]. After an error the reader is of no more use.
    pub fn next_addition(&mut self) -> Result<Option<Addition>, TarError> {
        while let Some(header) = self.next_header()? {
            let Some(addition) = self.entry(&header)? else { continue };
            if self.entries == self.limits.nodes {
                let (offset, name) = std::mem::take(&mut self.before);
                let why = Fault::Limit { what: "entries before it", max: self.limits.nodes.into() };
                return Err(TarError::Entry { offset, name, why });
            }
            self.entries += 1;
            return Ok(Some(addition));
        }
        Ok(None)
    }

    /// The next header that is not zero; `None` at the end of the archive.
    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        let len = self.input.read_at(self.offset, header.as_mut_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let (offset, name) = std::mem::take(&mut self.before);
                TarError::Entry { offset, name, why: Fault::Truncated }
            }
            _ => TarError::Read { offset: self.offset, source: error },
        })?;
        if len == 0 {
            return self.end();
        }
        if len < header.as_bytes().len() {
            return Err(self.fault(&[], Fault::Truncated));
        }
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return self.end();
        }
        Ok(Some(header))
    }

    fn end(&self) -> Result<Option<Header>, TarError> {
        if self.local.is_some() || self.long_name.is_some() || self.long_link.is_some() {
            return Err(self.fault(&[], Fault::Pax { what: "no entry follows it" }));
        }
        Ok(None)
    }

    /// Reads inside the archive.
    fn bytes(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), TarError> {
        match self.input.read_at(offset, buffer) {
            Ok(len) if len == buffer.len() => Ok(()),
            Ok(_) => Err(self.fault(&[], Fault::Truncated)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.fault(&[], Fault::Truncated)),
            Err(source) => Err(TarError::Read { offset, source }),
        }
    }

    fn fault(&self, name: &[u8], why: Fault) -> TarError {
        TarError::Entry { offset: self.offset, name: name.to_vec(), why }
    }

    /// Reads one entry and steps over it. Headers for other entries give nothing by themselves.
    fn entry(&mut self, header: &Header) -> Result<Option<Addition>, TarError> {
        let link_size = std::mem::take(&mut self.link_size);
        let fields = Fields::parse(header).map_err(|why| match link_size {
            0 => self.fault(&[], why),
            size => self.fault(&[], Fault::DataOfLink { size }),
        })?;
        let size = fields.size().map_err(|why| self.fault(&[], why))?;
        match fields.flag() {
            b'x' | b'g' | b'L' | b'K' => self.extension(fields.flag(), size).map(|()| None),
            _ => self.file(fields, size).map(Some),
        }
    }

    /// A header that describes what follows it.
    fn extension(&mut self, flag: u8, size: u64) -> Result<(), TarError> {
        let data = self.extension_data(size)?;
        let wrap = |reader: &Self, why| reader.fault(&[], why);
        match flag {
            b'g' => {
                // Looked at by themselves: to go through all there are for each header takes forever where there are many of both.
                let mut added = Records::default();
                added.add(&data, &self.limits).map_err(|why| wrap(self, why))?;
                added.refuse_of_one_file().map_err(|why| wrap(self, why))?;
                let mut records = std::mem::take(&mut self.global);
                records.add(&data, &self.limits).map_err(|why| wrap(self, why))?;
                self.global = records;
            }
            b'x' => {
                let mut records = self.local.take().unwrap_or_default();
                records.add(&data, &self.limits).map_err(|why| wrap(self, why))?;
                self.local = Some(records);
            }
            _ => {
                let text = data.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
                *(if flag == b'L' { &mut self.long_name } else { &mut self.long_link }) = Some(text);
            }
        }
        self.offset = after(self.offset + BLOCK, size);
        Ok(())
    }

    fn extension_data(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > self.limits.header_bytes {
            let why = Fault::Limit { what: "bytes of extended header", max: self.limits.header_bytes };
            return Err(self.fault(&[], why));
        }
        self.spend(size)?;
        let mut data = vec![0; usize::try_from(size).expect("below the limit")];
        self.bytes(self.offset + BLOCK, &mut data)?;
        Ok(data)
    }

    /// Counts bytes that stay in memory.
    fn spend(&mut self, bytes: u64) -> Result<(), TarError> {
        let max = self.limits.metadata_bytes;
        let left = self.metadata_left.checked_sub(bytes);
        self.metadata_left = left
            .ok_or_else(|| self.fault(&[], Fault::Limit { what: "bytes of names, attributes and sparse maps", max }))?;
        Ok(())
    }

    /// A file of any kind.
    fn file(&mut self, fields: Fields<'_>, header_size: u64) -> Result<Addition, TarError> {
        let local = self.local.take().unwrap_or_default();
        let records = self.global.overlay(local);
        let (long_name, long_link) = (self.long_name.take(), self.long_link.take());
        let own_name = || long_name.unwrap_or_else(|| fields.name());
        let name = records.get("GNU.sparse.name").or(records.get("path")).map_or_else(own_name, <[u8]>::to_vec);
        self.spend(
            u64::try_from(name.len() + records.len_bytes() + size_of::<Addition>()).expect("usize fits in u64"),
        )?;
        let size = records.number("size").map_err(|why| self.fault(&name, why))?.unwrap_or(header_size);
        let mut parts = Parts { fields, records, name, data: self.offset + BLOCK, size };
        let addition = self.addition(&mut parts, long_link).map_err(|error| match error {
            TarError::Entry { offset, why, .. } => TarError::Entry { offset, name: parts.name.clone(), why },
            error => error,
        })?;
        self.before = (self.offset, std::mem::take(&mut parts.name));
        self.offset = after(parts.data, parts.size);
        Ok(addition)
    }

    fn addition(&mut self, parts: &mut Parts<'_>, long_link: Option<Vec<u8>>) -> Result<Addition, TarError> {
        let wrap = fault_at(self.offset);
        if parts.name.is_empty() {
            return Err(wrap(Fault::NoName));
        }
        let path = TreePath::parse(&parts.name).map_err(|error| wrap(error.into()))?;
        let own_link = || long_link.unwrap_or_else(|| parts.fields.link_name().to_vec());
        let link = parts.records.get("linkpath").map_or_else(own_link, <[u8]>::to_vec);
        let flag = parts.fields.flag();
        let kind = match flag {
            // Old writers mark a directory by its name alone, as BSD tar did.
            0 | b'0' | b'7' if parts.name.ends_with(b"/") => {
                self.without_data(parts, Kind::Directory(Default::default()))?
            }
            0 | b'0' | b'7' | b'S' => Kind::File(self.content(parts)?),
            b'1' => {
                let target = TreePath::parse(&link).map_err(|error| wrap(error.into()))?;
                // Old pax and star state the size of the target here and store nothing.
                self.link_size = std::mem::take(&mut parts.size);
                return Ok(Addition::Link { path, target });
            }
            b'2' => {
                let target = symlink(link).map_err(wrap)?;
                self.without_data(parts, target)?
            }
            b'3' => self.without_data(parts, Kind::CharDevice(device(parts).map_err(wrap)?))?,
            b'4' => self.without_data(parts, Kind::BlockDevice(device(parts).map_err(wrap)?))?,
            b'5' => self.without_data(parts, Kind::Directory(Default::default()))?,
            b'6' => self.without_data(parts, Kind::Fifo)?,
            flag => return Err(wrap(Fault::Kind { flag })),
        };
        let metadata = metadata(parts, &self.limits).map_err(wrap)?;
        Ok(Addition::Entry { path, node: Node { metadata, kind } })
    }

    /// Tools disagree on whether data follows such an entry: one that has some is refused.
    fn without_data(&self, parts: &Parts<'_>, kind: Kind) -> Result<Kind, TarError> {
        if parts.size == 0 { Ok(kind) } else { Err(self.fault(&[], Fault::UnexpectedData { size: parts.size })) }
    }

    fn content(&mut self, parts: &mut Parts<'_>) -> Result<Content, TarError> {
        let wrap = |reader: &Self, why| reader.fault(&[], why);
        let sparse = self.sparse(parts)?;
        let stored = parts.size;
        // That so much is there shows when the next header is read.
        if parts.data.checked_add(stored).is_none() {
            return Err(wrap(self, Fault::Truncated));
        }
        let max = self.limits.file_bytes;
        let real = sparse.as_ref().map_or(stored, |(real, ..)| *real);
        if real > max {
            return Err(wrap(self, Fault::Limit { what: "bytes", max }));
        }
        let Some((real, map, start)) = sparse else { return Ok(Content::stored(self.id, parts.data, stored)) };
        self.spend(u64::try_from(map.len() * size_of::<Segment>()).expect("usize fits in u64"))?;
        let fault = |what| Fault::Sparse { what };
        let (mut source_offset, mut segments) = (start, Vec::with_capacity(map.len()));
        for (file_offset, len_bytes) in map {
            segments.push(Segment { file_offset, source: self.id, source_offset, len_bytes });
            let next = source_offset.checked_add(len_bytes);
            source_offset = next.ok_or_else(|| wrap(self, fault("runs longer than the archive")))?;
        }
        if source_offset != parts.data + stored {
            return Err(wrap(self, fault("its runs do not add up to the data that is stored")));
        }
        Content::sparse(real, segments).ok_or_else(|| wrap(self, fault("runs that overlap, go back or pass the end")))
    }

    /// Of a sparse file: its real size, its map, and where the data of its runs starts.
    fn sparse(&mut self, parts: &mut Parts<'_>) -> Result<Option<(u64, sparse::Map, u64)>, TarError> {
        let wrap = fault_at(self.offset);
        let missing = || wrap(Fault::Sparse { what: "the real size is missing" });
        if parts.fields.flag() == b'S' {
            let map = self.old_sparse(parts)?;
            let gnu = parts.fields.gnu().ok_or_else(|| wrap(Fault::Kind { flag: b'S' }))?;
            let real = super::header::unsigned(&gnu.realsize, "real size").map_err(wrap)?;
            return Ok(Some((real, map, parts.data)));
        }
        let records = &parts.records;
        let real = records.number("GNU.sparse.realsize").and_then(|real| match real {
            Some(real) => Ok(Some(real)),
            None => records.number("GNU.sparse.size"),
        });
        let real = real.map_err(wrap)?;
        if records.get("GNU.sparse.major") == Some(b"1") {
            let (map, start) = self.map_1_0(parts)?;
            return Ok(Some((real.ok_or_else(missing)?, map, start)));
        }
        let map = match records.get("GNU.sparse.map") {
            Some(text) => sparse::map_0_1(text, &self.limits),
            None if !records.sparse_0_0.is_empty() => sparse::map_0_0(records.sparse_0_0.clone(), &self.limits),
            // A file of nothing but a hole has an empty map, which takes its own key back.
            None if real.is_some() => Ok(sparse::Map::new()),
            None => return Ok(None),
        };
        Ok(Some((real.ok_or_else(missing)?, map.map_err(wrap)?, parts.data)))
    }

    /// The map of an old sparse header: fields in the header, then in extension blocks before the data.
    fn old_sparse(&mut self, parts: &mut Parts<'_>) -> Result<sparse::Map, TarError> {
        let wrap = fault_at(self.offset);
        let gnu = parts.fields.gnu().ok_or_else(|| wrap(Fault::Kind { flag: b'S' }))?;
        let mut map = sparse::Map::new();
        sparse::old_fields(&gnu.sparse, &mut map, &self.limits).map_err(wrap)?;
        let mut extended = gnu.is_extended();
        while extended {
            let mut block = [0; 512];
            self.bytes(parts.data, &mut block)?;
            let before = map.len();
            extended = sparse::old_extension(&block, &mut map, &self.limits).map_err(wrap)?;
            if extended && map.len() == before {
                return Err(wrap(Fault::Sparse { what: "an extension that adds nothing" }));
            }
            parts.data += BLOCK;
        }
        Ok(map)
    }

    fn map_1_0(&mut self, parts: &Parts<'_>) -> Result<(sparse::Map, u64), TarError> {
        let wrap = fault_at(self.offset);
        let (mut map, mut at) = (sparse::Map10::default(), parts.data);
        loop {
            if at.saturating_add(BLOCK) > parts.data.saturating_add(parts.size) {
                return Err(wrap(Fault::Sparse { what: "the map is longer than the data" }));
            }
            let mut block = [0; 512];
            self.bytes(at, &mut block)?;
            at += BLOCK;
            if map.block(&block, &self.limits).map_err(wrap)? {
                return Ok((map.finish(&self.limits).map_err(wrap)?, at));
            }
        }
    }
}

/// A fault of the entry at `offset`, whose name is added later.
fn fault_at(offset: u64) -> impl Fn(Fault) -> TarError + Copy {
    move |why| TarError::Entry { offset, name: Vec::new(), why }
}

/// The next multiple of a block after `size` bytes from `start`. Saturates: what is too large is found truncated.
fn after(start: u64, size: u64) -> u64 {
    start.saturating_add(size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX))
}

fn symlink(target: Vec<u8>) -> Result<Kind, Fault> {
    if target.is_empty() || target.len() > SYMLINK_MAX || target.contains(&0) {
        return Err(Fault::SymlinkTarget { len_bytes: target.len() });
    }
    Ok(Kind::Symlink(target.into_boxed_slice()))
}

fn device(parts: &Parts<'_>) -> Result<DeviceNumber, Fault> {
    let (major, minor) = parts.fields.device()?;
    let major = parts.records.number("SCHILY.devmajor")?.unwrap_or(major);
    let minor = parts.records.number("SCHILY.devminor")?.unwrap_or(minor);
    let narrow = |number: u64| u32::try_from(number).ok();
    let number = narrow(major).zip(narrow(minor)).and_then(|(major, minor)| DeviceNumber::new(major, minor));
    number.ok_or(Fault::Device { major, minor })
}

fn metadata(parts: &Parts<'_>, limits: &Limits) -> Result<Metadata, Fault> {
    let mtime = match parts.records.time("mtime")? {
        Some(mtime) => mtime,
        None => Timestamp { seconds: parts.fields.mtime()?, nanoseconds: 0 },
    };
    let mode = u16::try_from(parts.fields.mode()? & 0o7777).expect("twelve bits");
    let uid = owner(parts.records.number("uid")?.map_or_else(|| parts.fields.uid(), Ok)?, "uid")?;
    let gid = owner(parts.records.number("gid")?.map_or_else(|| parts.fields.gid(), Ok)?, "gid")?;
    Ok(Metadata { mode, uid, gid, mtime, xattrs: xattrs(&parts.records, limits)? })
}

/// A user or group number; 2^32 - 1 means "none" to the kernel.
fn owner(number: u64, field: &'static str) -> Result<u32, Fault> {
    u32::try_from(number).ok().filter(|&number| number != u32::MAX).ok_or(Fault::Number { field })
}

fn xattrs(records: &Records, limits: &Limits) -> Result<Xattrs, Fault> {
    let mut found = Xattrs::new();
    if records.is_empty() {
        return Ok(found);
    }
    for (name, value) in records.with_prefix("LIBARCHIVE.xattr.") {
        found.insert(percent_decode(name)?.into(), base64::decode(value)?.into());
    }
    for (key, name) in [("RHT.security.selinux", "security.selinux")] {
        if let Some(value) = records.get(key) {
            found.insert(name.as_bytes().into(), value.into());
        }
    }
    for (key, name) in
        [("SCHILY.acl.access", "system.posix_acl_access"), ("SCHILY.acl.default", "system.posix_acl_default")]
    {
        if let Some(text) = records.get(key) {
            found.insert(name.as_bytes().into(), acl::to_xattr(text)?.into());
        }
    }
    // The exact bytes win over every other form.
    found.extend(records.with_prefix("SCHILY.xattr.").map(|(name, value)| (name.into(), value.into())));
    found.retain(|name, _| {
        let known = is_of_linux(name);
        if !known {
            tracing::warn!(name = %name.escape_ascii(), "an extended attribute of another system is left out");
        }
        known
    });
    check_xattrs(&found, limits)?;
    Ok(found)
}

fn check_xattrs(found: &Xattrs, limits: &Limits) -> Result<(), Fault> {
    let len = |bytes: &[u8]| u64::try_from(bytes.len()).expect("usize fits in u64");
    let total: u64 = found.iter().map(|(name, value)| len(name) + len(value)).sum();
    if total > limits.xattr_bytes {
        return Err(Fault::Limit { what: "bytes of extended attributes", max: limits.xattr_bytes });
    }
    if found.values().any(|value| len(value) > limits.xattr_value_bytes) {
        return Err(Fault::Limit { what: "bytes of one extended attribute", max: limits.xattr_value_bytes });
    }
    if found.keys().any(|name| name.len() > XATTR_NAME_MAX) {
        return Err(Fault::Limit { what: "bytes of the name of an extended attribute", max: 255 });
    }
    Ok(())
}

/// Whether Linux knows the name space of an attribute (xattr(7)).
fn is_of_linux(name: &[u8]) -> bool {
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    spaces.iter().any(|space| name.len() > space.len() && name.starts_with(space))
        || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

fn percent_decode(text: &[u8]) -> Result<Vec<u8>, Fault> {
    let fault = Fault::Pax { what: "an attribute name with a broken '%' escape" };
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(fault.clone())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| fault.clone())?);
        rest = &after[2..];
    }
    if bytes.contains(&0) { Err(fault) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attributes() {
        assert_eq!(percent_decode(b"user.a%3Db").unwrap(), b"user.a=b");
        assert!(percent_decode(b"a%3").is_err() && percent_decode(b"a%zz").is_err() && percent_decode(b"%00").is_err());
    }

    #[test]
    fn an_archive_of_nothing() {
        for bytes in [vec![], vec![0; 512], vec![0; 10_240]] {
            let len = u64::try_from(bytes.len()).unwrap();
            assert!(read(Arc::new(bytes), len, &Limits::default()).unwrap().additions.is_empty());
        }
    }

    #[test]
    fn a_header_that_is_cut_off() {
        let error = read(Arc::new(vec![b'x'; 100]), 100, &Limits::default()).unwrap_err();
        assert!(matches!(error, TarError::Entry { why: Fault::Truncated, .. }), "{error}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn what_stays_in_memory_is_counted() {
        let content = |runs: u64| {
            let source = crate::content::Sources::default().add(Arc::new(vec![]));
            let run = |n: u64| Segment { file_offset: n * 2, source, source_offset: 0, len_bytes: 1 };
            Content::sparse(runs * 2, (0..runs).map(run).collect()).unwrap()
        };
        let read_with = |files: u32, runs: u64, metadata_bytes: u64| {
            let mut tree = crate::Tree::new(Metadata::default());
            tree.sources.add(Arc::new(vec![0_u8]));
            for n in 0..files {
                let node = Node { metadata: Metadata::default(), kind: Kind::File(content(runs)) };
                tree.insert(crate::Tree::ROOT, n.to_string().as_bytes(), node).unwrap();
            }
            let mut archive = Vec::new();
            crate::tar::write(&tree, &mut archive).unwrap();
            let len = u64::try_from(archive.len()).unwrap();
            read(Arc::new(archive), len, &Limits { metadata_bytes, ..Limits::default() })
                .map(|diff| diff.additions.len())
        };
        assert_eq!(read_with(100, 1, 100_000).unwrap(), 101);
        for (files, runs) in [(1_000, 1), (10, 1_000)] {
            let error = read_with(files, runs, 100_000).unwrap_err();
            assert!(matches!(error, TarError::Entry { why: Fault::Limit { .. }, .. }), "{error}");
        }
    }
}
