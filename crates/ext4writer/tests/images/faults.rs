//! What fails says so and leaves nothing behind.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use ext4writer::{Error, Memory, Options, WriteAt, write_image, write_to};
use fstree::{Content, Kind, ReadAt, Tree};

use crate::support::sized;
use crate::trees::{self, Builder, metadata};

/// Fails once so many calls went well.
#[derive(Debug)]
struct Failing {
    inner: Memory,
    left: AtomicI64,
}

impl Failing {
    fn after(calls: i64) -> Self {
        Self { inner: Memory::default(), left: AtomicI64::new(calls) }
    }

    fn call(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
    }
}

impl WriteAt for Failing {
    fn prepare(&self, len_bytes: u64) -> io::Result<()> {
        self.call()?;
        self.inner.prepare(len_bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call()?;
        self.inner.write_all_at(bytes, offset)
    }
}

#[test]
fn every_write_that_fails_is_reported() {
    let builder = trees::everything();
    let options = Options { threads: Some(2), ..sized(64 << 20) };
    let mut calls = 0;
    while let Err(error) = write_to(&builder.tree, &options, &Failing::after(calls)) {
        match error {
            Error::SetSize { source, .. } if calls == 0 => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
            Error::WriteImage { source, .. } => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
            other => panic!("call {calls}: {other}"),
        }
        calls += 1;
    }
    assert!(calls > 10, "only {calls} writes");
}

/// Keeps what was asked for; has no room for more than so many bytes.
#[derive(Debug)]
struct Recording {
    inner: Memory,
    room: u64,
    reserved: Mutex<Vec<Range<u64>>>,
    written: Mutex<Vec<Range<u64>>>,
}

impl Recording {
    fn with_room(room: u64) -> Self {
        Self { inner: Memory::default(), room, reserved: Mutex::default(), written: Mutex::default() }
    }
}

impl WriteAt for Recording {
    fn prepare(&self, len_bytes: u64) -> io::Result<()> {
        self.inner.prepare(len_bytes)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        if len > self.room {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.reserved.lock().unwrap().push(offset..offset + len);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.lock().unwrap().push(offset..offset + u64::try_from(bytes.len()).unwrap());
        self.inner.write_all_at(bytes, offset)
    }
}

/// A tree of one file of 20 MB.
fn one_large_file() -> Builder {
    let mut builder = Builder::new();
    let source = builder.tree.sources.add(Arc::new(FailingSource(AtomicI64::new(i64::MAX))));
    builder.add(Tree::ROOT, "large", metadata(0o644), Kind::File(Content::stored(source, 0, 20_000_000)));
    builder
}

#[test]
fn room_is_made_for_contents_and_each_byte_of_it_is_written() {
    let sink = Recording::with_room(u64::MAX);
    write_to(&one_large_file().tree, &sized(64 << 20), &sink).unwrap();
    let (reserved, mut written) = (sink.reserved.into_inner().unwrap(), sink.written.into_inner().unwrap());
    written.sort_by_key(|range| range.start);
    assert!(reserved.iter().map(|range| range.end - range.start).sum::<u64>() >= 20_000_000, "{reserved:?}");
    for range in reserved {
        let end = written.iter().fold(range.start, |at, write| if write.start <= at { at.max(write.end) } else { at });
        assert!(end >= range.end, "from {end} on nothing was written to {range:?}");
    }
}

#[test]
fn no_room_is_said_before_anything_is_written() {
    let sink = Recording::with_room(10_000_000);
    let error = write_to(&one_large_file().tree, &sized(64 << 20), &sink).unwrap_err();
    assert!(
        matches!(&error, Error::WriteImage { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(sink.written.into_inner().unwrap().is_empty());
}

#[derive(Debug)]
struct FailingSource(AtomicI64);

impl ReadAt for FailingSource {
    fn read_exact_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(1);
        if self.0.fetch_sub(1, Ordering::Relaxed) > 0 {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        }
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn every_read_that_fails_names_the_file_and_leaves_nothing() {
    for reads in 0..6 {
        let mut builder = Builder::new();
        let source = builder.tree.sources.add(Arc::new(FailingSource(AtomicI64::new(reads))));
        let d = builder.directory(Tree::ROOT, "d");
        for name in ["a", "b", "c", "d", "e"] {
            builder.add(d, name, metadata(0o644), Kind::File(Content::stored(source, 0, 5000)));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let result = write_image(&builder.tree, &Options { threads: Some(1), ..sized(16 << 20) }, &path);
        match result {
            Err(Error::ReadContent { path, .. }) => {
                assert!(path.starts_with(b"d/"));
                assert!(is_empty(directory.path()));
                assert!(reads < 5);
            }
            Ok(_) => assert_eq!(reads, 5),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn cancelled_before_and_in_the_middle() {
    let cancel = Arc::new(AtomicBool::new(true));
    let options = Options { cancel: Some(Arc::clone(&cancel)), ..sized(16 << 20) };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    assert!(matches!(write_image(&Builder::new().tree, &options, &path), Err(Error::Cancelled)));
    assert!(is_empty(directory.path()));

    /// Cancels when it is read.
    #[derive(Debug)]
    struct Cancelling(Arc<AtomicBool>);
    impl ReadAt for Cancelling {
        fn read_exact_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
            buf.fill(1);
            self.0.store(true, Ordering::Relaxed);
            Ok(())
        }
    }
    cancel.store(false, Ordering::Relaxed);
    let mut builder = Builder::new();
    let source = builder.tree.sources.add(Arc::new(Cancelling(cancel)));
    builder.add(Tree::ROOT, "f", metadata(0o644), Kind::File(Content::stored(source, 0, 4 << 20)));
    assert!(matches!(write_image(&builder.tree, &options, &path), Err(Error::Cancelled)));
    assert!(is_empty(directory.path()));
}

#[test]
fn an_old_image_stays_when_the_new_one_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, b"old").unwrap();
    let mut builder = Builder::new();
    builder.file(Tree::ROOT, "f", 8 << 20);
    let error = write_image(&builder.tree, &sized(4 << 20), &path).unwrap_err();
    assert!(error.to_string().starts_with("the content does not fit into an image of 4194304 bytes; it needs "));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    write_image(&builder.tree, &Options { durable: true, ..sized(32 << 20) }, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 32 << 20);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn places_where_no_file_can_be() {
    let tree = Builder::new().tree;
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("nowhere/image");
    assert!(matches!(write_image(&tree, &sized(16 << 20), &nowhere), Err(Error::CreateTemporary { .. })));
    let (taken, link) = (directory.path().join("taken"), directory.path().join("link"));
    std::fs::create_dir(&taken).unwrap();
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [&taken, &link] {
        let refused = write_image(&tree, &sized(16 << 20), path);
        assert!(matches!(refused, Err(Error::NotAFile { path: named }) if named == *path));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_a_killed_process_left_is_replaced_and_one_image_is_made_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(dir.path().join(".image.partial"), "left by a killed process").unwrap();
    let builder = trees::everything();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| write_image(&builder.tree, &sized(64 << 20), &path).unwrap());
        }
    });
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["image"]);
    std::os::unix::fs::symlink("/nowhere", dir.path().join(".image.partial")).unwrap();
    let error = write_image(&builder.tree, &sized(64 << 20), &path).unwrap_err();
    assert!(
        matches!(&error, Error::CreateTemporary { source, .. } if source.to_string().contains("in the way")),
        "{error:?}"
    );
}
