//! One tar to one ext4 image by another writer: `peers mkext4|arcbox TAR IMAGE BYTES`.
//!
//! mkext4 wants every size declared first: the headers are read once, with the contents stepped over, then each content is
//! handed in from its place in the tar. arcbox reads the tar as a stream.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use mkext4::sink::FileSink;
use mkext4::{FsBuilder, InodeHandle, Meta, Options, ROOT, SpecialKind};
use tar::EntryType;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, tar, image, bytes] = arguments.as_slice() else {
        return Err("usage: peers mkext4|arcbox TAR IMAGE BYTES".into());
    };
    let bytes = bytes.parse()?;
    match peer.as_str() {
        "mkext4" => with_mkext4(Path::new(tar), Path::new(image), bytes),
        "arcbox" => with_arcbox(Path::new(tar), Path::new(image), bytes),
        _ => Err("there is mkext4 and arcbox".into()),
    }
}

fn with_arcbox(tar: &Path, image: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let mut formatter = arcbox_ext4::Formatter::new(image, 4_096, bytes)?;
    formatter.unpack_tar(BufReader::with_capacity(1 << 20, File::open(tar)?))?;
    Ok(formatter.close()?)
}

fn with_mkext4(tar: &Path, image: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let mut builder = FsBuilder::new(Options::new(bytes, *b"drydock compares", 0))?;
    let mut known: HashMap<String, InodeHandle> = HashMap::from([(String::new(), ROOT)]);
    let mut contents = Vec::new();
    let mut archive = tar::Archive::new(File::open(tar)?);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let name = name.trim_start_matches("./").trim_matches('/').to_owned();
        if name.is_empty() {
            continue;
        }
        let attributes = attributes(&mut entry)?;
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let parent = *known.get(parent).ok_or("a directory comes after what is in it")?;
        let header = entry.header();
        let seconds = i64::try_from(header.mtime()?)?;
        let meta = Meta::new(
            u16::try_from(header.mode()? & 0o7777)?,
            u32::try_from(header.uid()?)?,
            u32::try_from(header.gid()?)?,
            (seconds, 0),
        );
        let target = entry
            .link_name_bytes()
            .map(|target| String::from_utf8(target.into_owned()))
            .transpose()?
            .unwrap_or_default();
        let device = || -> Result<_, Box<dyn Error>> {
            Ok((header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()))
        };
        let made = match header.entry_type() {
            EntryType::Directory => builder.mkdir(parent, last, meta)?,
            EntryType::Symlink => builder.symlink(parent, last, &target, meta)?,
            EntryType::Link => {
                let first = target.trim_start_matches("./").trim_matches('/');
                builder.hardlink(parent, last, *known.get(first).ok_or("a link to nothing")?)?;
                continue;
            }
            EntryType::Char => {
                let (major, minor) = device()?;
                builder.mknod(parent, last, meta, SpecialKind::Char { major, minor })?
            }
            EntryType::Block => {
                let (major, minor) = device()?;
                builder.mknod(parent, last, meta, SpecialKind::Block { major, minor })?
            }
            EntryType::Fifo => builder.mknod(parent, last, meta, SpecialKind::Fifo)?,
            _ => {
                let file = builder.file(parent, last, meta, entry.size())?;
                if entry.size() > 0 {
                    contents.push((file, entry.raw_file_position(), entry.size()));
                }
                file
            }
        };
        for (key, value) in attributes {
            builder.set_xattr(made, &key, &value)?;
        }
        known.insert(name, made);
    }
    let layout = builder.seal()?;
    let mut sink = FileSink::create(image, layout.image_len())?;
    let mut writer = layout.writer(&mut sink)?;
    let mut tar = File::open(tar)?;
    for (file, offset, len) in contents {
        tar.seek(SeekFrom::Start(offset))?;
        writer.fill(file, &mut (&mut tar).take(len))?;
    }
    writer.finish()?;
    Ok(())
}

type Attributes = Vec<(String, Vec<u8>)>;

fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Attributes, Box<dyn Error>> {
    let mut all = Vec::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if let Some(key) = record.key()?.strip_prefix("SCHILY.xattr.") {
            all.push((key.to_owned(), record.value_bytes().to_vec()));
        }
    }
    Ok(all)
}
