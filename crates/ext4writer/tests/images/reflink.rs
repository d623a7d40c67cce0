//! On a file system whose files can share blocks an image takes over contents instead of copying them. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ext4writer::{Memory, Report, write_image, write_to};
use fstree::{Content, Kind, Tree};

use crate::support::{fsck, sized, skip};
use crate::trees::metadata;
use crate::unmount::unmount;

/// A file system of that kind on a loop device; `None`, after it was said, where it can't be had.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, directory: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip(&format!("mounting {kind} needs root"));
            return None;
        }
        let (image, at) = (directory.join(kind), directory.join(format!("{kind}-mount")));
        File::create(&image).unwrap().set_len(600 << 20).unwrap();
        let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            skip(&format!("mkfs.{kind} is not there; scripts/setup test installs it"));
            return None;
        }
        fs::create_dir(&at).unwrap();
        let output = Command::new("mount").args(["-t", kind, "-o", "loop"]).args([&image, &at]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("unknown filesystem type") {
            // No package brings a kernel: this one has not got it.
            eprintln!("SKIPPED: this kernel does not mount {kind}");
            return None;
        }
        assert!(output.status.success(), "mount: {said}");
        Some(Self(at))
    }

    fn free_bytes(&self) -> u64 {
        Command::new("sync").arg("-f").arg(&self.0).status().unwrap();
        let found = rustix::fs::statvfs(&self.0).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Files at block boundaries of `source` and beside them, 100 MiB of them large.
fn tree(source: File) -> Tree {
    let mut tree = Tree::new(metadata(0o755));
    let source = tree.sources.add(Arc::new(source));
    let mut add = |name: &str, offset, len| {
        let kind = Kind::File(Content::stored(source, offset, len));
        tree.insert(Tree::ROOT, name.as_bytes(), fstree::Node { metadata: metadata(0o644), kind }).unwrap();
    };
    for number in 0..10_u64 {
        add(&format!("aligned{number}"), number * (10 << 20), (10 << 20) - number * 777);
    }
    add("beside", 512, 300_000);
    add("short", 4_096, 30_000);
    add("empty", 4_096, 0);
    tree
}

/// A file whose every block is another.
fn fill(path: &Path) -> File {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
    for block in 0..(100 << 20) / 4_096_u64 {
        let bytes: Vec<u8> = (0..512).flat_map(|word: u64| (block * 512 + word).to_le_bytes()).collect();
        file.write_all_at(&bytes, block * 4_096).unwrap();
    }
    file
}

fn write(tree: &Tree, path: &Path) -> Report {
    write_image(tree, &sized(200 << 20), path).unwrap()
}

#[test]
fn contents_are_shared_where_they_can_be_and_the_bytes_are_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    for kind in ["xfs", "btrfs"] {
        let Some(mounted) = Mounted::new(kind, scratch.path()) else { continue };
        let tree = tree(fill(&mounted.0.join("source")));
        let before = mounted.free_bytes();
        let path = mounted.0.join("image");
        let report = write(&tree, &path);
        let taken = before - mounted.free_bytes().min(before);
        assert!(report.shared_bytes > 99 << 20, "{kind}: {report:?}");
        assert!(report.written_bytes < 5 << 20, "{kind}: {report:?}");
        assert!(taken < 20 << 20, "{kind}: the image takes {taken} bytes");
        fsck("-fn", &path);
        let memory = Memory::default();
        let copied = write_to(&tree, &sized(200 << 20), &memory).unwrap();
        assert_eq!(copied.shared_bytes, 0);
        assert!(fs::read(&path).unwrap() == memory.into_bytes(), "{kind}: other bytes");
        // The image is its own: what is written to it later is not in the source.
        let image = File::options().write(true).open(&path).unwrap();
        image.write_all_at(&vec![0; 4 << 20], 100 << 20).unwrap();
        assert!(
            fs::read(mounted.0.join("source"))
                .unwrap()
                .chunks(8)
                .enumerate()
                .all(|(at, word)| { u64::from_le_bytes(word.try_into().unwrap()) == u64::try_from(at).unwrap() })
        );
    }
}
