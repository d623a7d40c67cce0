//! Judges: e2fsck, the reader `ext4-view`, and what a test says when it cannot run.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use ext4_view::{Ext4, FileType};
use ext4writer::{ImageSize, Options, Report, write_image};
use fstree::{Content, Kind, Tree, walk};
use tempfile::TempDir;

/// An image on disk that goes away with its directory.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) directory: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) report: Report,
}

/// Says loudly that a test does not run; with `DRYDOCK_REQUIRE_ALL=1`, as in CI, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("DRYDOCK_REQUIRE_ALL").is_none_or(|value| value != "1"), "can't be skipped here: {why}");
    eprintln!("SKIPPED: {why}");
}

pub(crate) fn sized(bytes: u64) -> Options {
    Options { size: ImageSize::Exact(bytes), ..Options::default() }
}

/// Writes an image and has e2fsck judge it.
pub(crate) fn image(tree: &Tree, options: &Options) -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let report = write_image(tree, options, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), report.image_bytes);
    let image = Image { directory, path, report };
    check(&image);
    image
}

/// Writes an image, has e2fsck judge it, and reads it back.
pub(crate) fn image_of(tree: &Tree, options: &Options) -> Image {
    let image = image(tree, options);
    read_back(tree, &image.path);
    image
}

/// `e2fsck -fn` finds nothing, and `e2fsck -fp` on a copy mends nothing.
pub(crate) fn check(image: &Image) {
    fsck("-fn", &image.path);
    let copy = image.directory.path().join("copy");
    // Sparse, as the image is: 64 GiB of zeros would not do.
    let copied = Command::new("cp").arg("--sparse=always").args([&image.path, &copy]).status().unwrap();
    assert!(copied.success());
    fsck("-fp", &copy);
    let same = Command::new("cmp").args([&image.path, &copy]).output().unwrap();
    // What differs is in the superblock: e2fsck says when it last looked.
    let first = String::from_utf8_lossy(&same.stdout).into_owned();
    let byte = first.split("byte ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    assert!(byte.is_none_or(|byte| (1024..2048).contains(&byte)), "e2fsck -fp changed the image: {first}");
    std::fs::remove_file(copy).unwrap();
}

pub(crate) fn fsck(how: &str, path: &Path) {
    let output = Command::new("e2fsck").arg(how).arg(path).output().expect("e2fsck of e2fsprogs is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "e2fsck {how}: {}\n{text}", output.status);
}

/// The reader of our own finds nothing wrong.
pub(crate) fn verify(path: &Path) {
    let image = File::open(path).unwrap();
    let report = ext4verify::verify(&image, image.metadata().unwrap().len()).unwrap();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.is_clean(), "{findings:#?}");
}

/// The bytes of a file, holes as zeros.
pub(crate) fn bytes_of(tree: &Tree, content: &Content) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(content.size_bytes()).unwrap()];
    for segment in content.segments() {
        let start = usize::try_from(segment.file_offset).unwrap();
        let end = start + usize::try_from(segment.len_bytes).unwrap();
        tree.sources.get(segment.source).read_exact_at(&mut bytes[start..end], segment.source_offset).unwrap();
    }
    bytes
}

/// What an independent reader finds is the tree. It does not read link counts, attributes and device numbers: the kernel does.
pub(crate) fn read_back(tree: &Tree, image: &Path) {
    let fs = Ext4::load(Box::new(File::open(image).unwrap())).unwrap();
    let done: Result<(), ()> = walk(tree, |visit| {
        let path = [b"/", visit.path].concat();
        let shown = path.escape_ascii();
        // The reader has a limit of its own.
        if path.len() > 4000 {
            return Ok(());
        }
        let found = fs.symlink_metadata(path.as_slice()).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let expected = &visit.node.metadata;
        assert_eq!(found.mode() & 0o7777, expected.mode, "{shown}");
        assert_eq!((found.uid(), found.gid()), (expected.uid, expected.gid), "{shown}");
        let time = found.modified();
        assert_eq!(
            (time.seconds(), time.nanoseconds()),
            (expected.mtime.seconds, expected.mtime.nanoseconds),
            "{shown}"
        );
        let file_type = match &visit.node.kind {
            Kind::Directory(entries) => {
                let names =
                    fs.read_dir(path.as_slice()).unwrap().map(|entry| entry.unwrap().file_name().as_ref().to_vec());
                let mut names: BTreeSet<Vec<u8>> = names.collect();
                assert!(names.remove(b".".as_slice()) && names.remove(b"..".as_slice()), "{shown}");
                let mut expected: BTreeSet<Vec<u8>> = entries.keys().map(|name| name.to_vec()).collect();
                if visit.path.is_empty() {
                    expected.insert(b"lost+found".to_vec());
                }
                assert_eq!(names, expected, "{shown}");
                FileType::Directory
            }
            Kind::File(content) => {
                assert_eq!(found.len(), content.size_bytes(), "{shown}");
                if content.size_bytes() < 64 << 20 {
                    assert!(fs.read(path.as_slice()).unwrap() == bytes_of(tree, content), "{shown}: other bytes");
                }
                FileType::Regular
            }
            Kind::Symlink(target) => {
                assert_eq!(fs.read_link(path.as_slice()).unwrap().as_ref(), &**target, "{shown}");
                FileType::Symlink
            }
            Kind::CharDevice(_) => FileType::CharacterDevice,
            Kind::BlockDevice(_) => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
        };
        assert_eq!(found.file_type(), file_type, "{shown}");
        Ok(())
    });
    done.unwrap();
}
