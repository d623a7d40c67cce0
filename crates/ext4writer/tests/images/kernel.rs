//! The kernel mounts the images: it is the judge of everything, attributes and access control lists included. Needs root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ext4writer::{BlockSize, Features, Journal, Options};
use fstree::{Kind, Metadata, NodeId, Tree, walk};

use crate::support::{Image, bytes_of, fsck, image, sized, skip};
use crate::trees::{self, Builder, metadata};
use crate::unmount::unmount;

/// A mounted image.
struct Mount(PathBuf);

impl Mount {
    /// `None`, after it was said, where mounting is not possible.
    fn new(image: &Image, how: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("mounting an image needs root");
            return None;
        }
        let at = image.directory.path().join("mount");
        fs::create_dir_all(&at).unwrap();
        fs::set_permissions(image.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("mount").args(["-t", "ext4", "-o", how]).args([&image.path, &at]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && said.contains("loop device") {
            skip(&format!("mounting an image needs loop devices: {said}"));
            return None;
        }
        assert!(output.status.success(), "mount: {said}");
        Some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// The kernel mounts an image for reading and finds the tree; where it can't be mounted, that was said.
pub(crate) fn compare_mounted(tree: &Tree, image: &Image) {
    if let Some(mount) = Mount::new(image, "loop,ro") {
        compare(tree, &mount.0);
    }
}

/// What the kernel finds is the tree, all of it.
fn compare(tree: &Tree, root: &Path) {
    let mut inodes: BTreeMap<NodeId, u64> = BTreeMap::new();
    let done: Result<(), ()> = walk(tree, |visit| {
        let path = root.join(OsStr::from_bytes(visit.path));
        let found = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = &visit.node.metadata;
        let shown = visit.path.escape_ascii();
        assert_eq!(found.mode() & 0o7777, u32::from(expected.mode), "{shown}");
        assert_eq!((found.uid(), found.gid()), (expected.uid, expected.gid), "{shown}");
        let time = (found.mtime(), found.mtime_nsec());
        assert_eq!(time, (expected.mtime.seconds, i64::from(expected.mtime.nanoseconds)), "{shown}");
        if !visit.node.is_directory() {
            assert_eq!(found.nlink(), u64::from(tree.names(visit.id)), "{shown}");
            assert_eq!(*inodes.entry(visit.id).or_insert(found.ino()), found.ino(), "{shown}: not a hard link");
        }
        compare_kind(tree, visit.id, &path);
        assert_eq!(
            xattrs_of(&path),
            expected.xattrs.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(),
            "{shown}"
        );
        Ok(())
    });
    done.unwrap();
}

fn compare_kind(tree: &Tree, id: NodeId, path: &Path) {
    let found = fs::symlink_metadata(path).unwrap();
    let file_type = found.file_type();
    let number = |number: fstree::DeviceNumber| rustix::fs::makedev(number.major(), number.minor());
    match &tree.node(id).kind {
        Kind::Directory(entries) => {
            let added = usize::from(id == Tree::ROOT && !entries.contains_key(b"lost+found".as_slice()));
            assert_eq!(fs::read_dir(path).unwrap().count(), entries.len() + added);
            let subdirectories = entries.values().filter(|&&id| tree.node(id).is_directory()).count() + added;
            let links = if subdirectories + 2 > 65_000 { 1 } else { subdirectories + 2 };
            assert_eq!(found.nlink(), u64::try_from(links).unwrap(), "{}", path.display());
        }
        Kind::File(content) => {
            assert_eq!(found.len(), content.size_bytes());
            if content.size_bytes() < 64 << 20 {
                assert!(fs::read(path).unwrap() == bytes_of(tree, content), "{}: other bytes", path.display());
            }
        }
        Kind::Symlink(target) => assert_eq!(fs::read_link(path).unwrap().as_os_str().as_bytes(), &**target),
        Kind::CharDevice(device) => assert_eq!((file_type.is_char_device(), found.rdev()), (true, number(*device))),
        Kind::BlockDevice(device) => assert_eq!((file_type.is_block_device(), found.rdev()), (true, number(*device))),
        Kind::Fifo => assert!(file_type.is_fifo()),
        Kind::Socket => assert!(file_type.is_socket()),
    }
}

fn xattrs_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

#[test]
fn the_kernel_reads_every_class() {
    let mut builder = trees::everything();
    trees::times(&mut builder);
    let image = image(&builder.tree, &sized(128 << 20));
    let Some(mount) = Mount::new(&image, "loop,ro") else { return };
    compare(&builder.tree, &mount.0);
}

#[test]
fn the_kernel_reads_and_writes_small_blocks() {
    let mut builder = trees::of_any_block_size();
    trees::times(&mut builder);
    let many = builder.directory(Tree::ROOT, "many");
    for i in 0..5_000 {
        builder.add(many, format!("{i:0200}"), metadata(0o600), Kind::Fifo);
    }
    for block_size in [BlockSize::Kib1, BlockSize::Kib2] {
        let image = image(&builder.tree, &Options { block_size, ..sized((300 << 20) + 511) });
        let Some(mount) = Mount::new(&image, "loop,ro") else { return };
        compare(&builder.tree, &mount.0);
        drop(mount);
        let Some(mount) = Mount::new(&image, "loop,rw") else { return };
        for i in 0..2_000 {
            fs::write(mount.0.join(format!("many/new {i}")), vec![b'x'; 1_500]).unwrap();
        }
        assert!(fill(&mount.0.join("full")) > 0);
        compare_names(&builder.tree, &mount.0);
        drop(mount);
        fsck("-fn", &image.path);
    }
}

#[test]
fn the_kernel_reads_large_directories() {
    let mut builder = Builder::new();
    let many = builder.directory(Tree::ROOT, "many");
    for i in 0..70_000 {
        builder.directory(many, format!("subdirectory-{i}"));
    }
    let long = builder.directory(Tree::ROOT, "long");
    for i in 0..7_000 {
        // Characters beyond ASCII: the hash takes them as signed.
        builder.add(long, [format!("{i:0250}").as_bytes(), b"\xC3\xA9"].concat(), metadata(0o600), Kind::Fifo);
    }
    let image = image(&builder.tree, &sized(1 << 30));
    let Some(mount) = Mount::new(&image, "loop,ro") else { return };
    compare(&builder.tree, &mount.0);
}

#[test]
fn a_list_lets_its_user_read_and_nobody_else() {
    let mut builder = Builder::new();
    trees::acls(&mut builder);
    builder.tree.metadata_mut(Tree::ROOT).mode = 0o755;
    let image = image(&builder.tree, &sized(16 << 20));
    let Some(mount) = Mount::new(&image, "loop,ro") else { return };
    let read_as = |id| {
        let path = mount.0.join("acls/file");
        Command::new("cat").arg(path).uid(id).gid(id).current_dir("/").output().unwrap().status.success()
    };
    assert!(read_as(1000), "the list names user 1000");
    assert!(!read_as(1001), "user 1001 is one of the others");
}

#[test]
fn the_kernel_writes_and_the_image_stays_clean() {
    // 1 MiB has no journal, 3 groups and a bit have a short last group.
    for size in [1 << 20, 64 << 20, (400 << 20) + 8192] {
        let mut builder = Builder::new();
        trees::names(&mut builder);
        let d = builder.directory(Tree::ROOT, "d");
        if size > 1 << 20 {
            for i in 0..2_000 {
                builder.file(d, format!("file {i}"), 10);
            }
        }
        let image = image(&builder.tree, &sized(size));
        let Some(mount) = Mount::new(&image, "loop,rw") else { return };
        for i in 0..20 {
            fs::write(mount.0.join(format!("d/new {i}")), vec![b'x'; 3000]).unwrap();
        }
        fs::create_dir(mount.0.join("d/directory")).unwrap();
        for i in (0..2_000).step_by(3).filter(|_| size > 1 << 20) {
            fs::remove_file(mount.0.join(format!("d/file {i}"))).unwrap();
        }
        // Until it is full, and then some space again.
        if size == 64 << 20 {
            let full = fs::write(mount.0.join("full"), vec![b'y'; 64 << 20]).unwrap_err();
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
            fs::remove_file(mount.0.join("full")).unwrap();
        }
        drop(mount);
        fsck("-fn", &image.path);
    }
}

#[test]
fn an_image_that_is_read_only_is_not_mounted_for_writing() {
    let mut builder = Builder::new();
    builder.file(Tree::ROOT, "f", 10_000);
    let options = Options { read_only: true, journal: Journal::None, ..sized(16 << 20) };
    let image = image(&builder.tree, &options);
    let Some(mount) = Mount::new(&image, "loop,ro") else { return };
    compare(&builder.tree, &mount.0);
    drop(mount);
    let at = image.directory.path().join("mount");
    let output = Command::new("mount").args(["-t", "ext4", "-o", "loop,rw"]).args([&image.path, &at]).output().unwrap();
    let is_mounted_for_writing = output.status.success() && fs::write(at.join("new"), "x").is_ok();
    if output.status.success() {
        unmount(&at);
    }
    assert!(!is_mounted_for_writing);
}

/// Small files until not one block is left.
fn fill(directory: &Path) -> usize {
    fs::create_dir(directory).unwrap();
    for number in 0.. {
        match fs::write(directory.join(number.to_string()), vec![b'z'; 4096 * (1 + number % 40)]) {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error.kind(), std::io::ErrorKind::StorageFull), "{error}");
                return number;
            }
        }
    }
    unreachable!("a disk ends")
}

#[test]
fn filled_to_the_last_block_emptied_and_crashed() {
    for block_size in BlockSize::ALL {
        fill_empty_and_crash(block_size);
    }
}

fn fill_empty_and_crash(block_size: BlockSize) {
    let mut builder = Builder::new();
    trees::sizes(&mut builder);
    trees::names(&mut builder);
    let image = image(&builder.tree, &Options { block_size, ..sized((150 << 20) + 4096) });
    let Some(mount) = Mount::new(&image, "loop,rw") else { return };
    for round in 0..3 {
        let place = mount.0.join(format!("full{round}"));
        assert!(fill(&place) > 100);
        fs::remove_dir_all(&place).unwrap();
    }
    compare_names(&builder.tree, &mount.0);
    // The image as it is in the middle of writing: its journal has what was committed.
    fs::create_dir(mount.0.join("lively")).unwrap();
    let lively = mount.0.join("lively");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let name = lively.join((number % 200).to_string());
                fs::write(&name, vec![b'q'; number % 50_000]).unwrap();
                if number % 3 == 0 {
                    fs::rename(&name, lively.join(format!("renamed{}", number % 77))).unwrap();
                }
                if number % 50 == 0 {
                    fs::File::open(&lively).unwrap().sync_all().unwrap();
                }
            }
        });
        for crash in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let copy = image.directory.path().join("crashed");
            // What a crash leaves: all that has reached the disk by a moment, which freezing is not needed for.
            let copied = Command::new("cp").arg("--sparse=always").args([&image.path, &copy]).status().unwrap();
            assert!(copied.success());
            let replayed = Command::new("e2fsck").arg("-fp").arg(&copy).output().unwrap();
            let said = String::from_utf8_lossy(&replayed.stdout);
            assert!(replayed.status.code().is_some_and(|code| code < 4), "{block_size:?}, crash {crash}: {said}");
            fsck("-fn", &copy);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(mount);
    fsck("-fn", &image.path);
}

/// All names of the tree are there, whatever else is.
fn compare_names(tree: &Tree, root: &Path) {
    let done: Result<(), ()> = walk(tree, |visit| {
        fs::symlink_metadata(root.join(OsStr::from_bytes(visit.path))).unwrap();
        Ok(())
    });
    done.unwrap();
}

#[test]
fn a_shared_block_of_attributes_is_left_by_who_changes_them() {
    let mut builder = Builder::new();
    for i in 0..50 {
        let xattrs = [(b"user.same"[..].into(), vec![b's'; 400].into())].into();
        let kind = Kind::File(fstree::Content::default());
        builder.add(Tree::ROOT, format!("f{i}"), Metadata { xattrs, ..metadata(0o644) }, kind);
    }
    let xattrs = [(b"trusted.same"[..].into(), vec![b't'; 400].into())];
    for i in 0..3 {
        let metadata = Metadata { xattrs: xattrs.clone().into(), ..metadata(0o644) };
        builder.add(Tree::ROOT, format!("t{i}"), metadata, Kind::File(fstree::Content::default()));
    }
    let image = image(&builder.tree, &sized(32 << 20));
    let Some(mount) = Mount::new(&image, "loop,rw") else { return };
    compare(&builder.tree, &mount.0);
    rustix::fs::setxattr(mount.0.join("t0"), "trusted.same", b"changed", rustix::fs::XattrFlags::empty()).unwrap();
    fs::remove_file(mount.0.join("t1")).unwrap();
    assert_eq!(xattrs_of(&mount.0.join("t0"))[&b"trusted.same"[..]], b"changed");
    assert_eq!(xattrs_of(&mount.0.join("t2"))[&b"trusted.same"[..]], vec![b't'; 400]);
    drop(mount);
    fsck("-fn", &image.path);
}

#[test]
fn images_shrink_and_grow_again() {
    for block_size in BlockSize::ALL {
        shrink_and_grow_again(block_size);
    }
}

fn shrink_and_grow_again(block_size: BlockSize) {
    let mut builder = Builder::new();
    trees::sizes(&mut builder);
    let image = image(&builder.tree, &Options { block_size, ..sized(600 << 20) });
    for size in ["200M", "-M", "700M", "120M"] {
        let mut resize = Command::new("resize2fs");
        match size {
            "-M" => resize.arg("-M").arg(&image.path),
            _ => resize.arg(&image.path).arg(size),
        };
        fsck("-fp", &image.path);
        if size == "700M" {
            fs::File::options().write(true).open(&image.path).unwrap().set_len(700 << 20).unwrap();
        }
        let output = resize.output().expect("resize2fs of e2fsprogs is installed");
        assert!(output.status.success(), "{block_size:?}, {size}: {}", String::from_utf8_lossy(&output.stderr));
        fsck("-fn", &image.path);
        crate::support::read_back(&builder.tree, &image.path);
    }
}

#[test]
fn images_grow() {
    let mut builder = Builder::new();
    trees::sizes(&mut builder);
    let sizes = [(20 << 20, 300 << 20), (200 << 20, 3_u64 << 30), ((400 << 20) + 4096, 5 << 30)];
    for (block_size, (from, to)) in
        BlockSize::ALL.into_iter().flat_map(|block_size| sizes.map(|size| (block_size, size)))
    {
        let image = image(&builder.tree, &Options { block_size, ..sized(from) });
        fs::File::options().write(true).open(&image.path).unwrap().set_len(to).unwrap();
        let output = Command::new("resize2fs").arg(&image.path).output().expect("resize2fs of e2fsprogs is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fsck("-fn", &image.path);
        crate::support::read_back(&builder.tree, &image.path);
    }
}

#[test]
fn the_kernel_reads_and_changes_values_in_inodes() {
    for block_size in BlockSize::ALL {
        let mut builder = Builder::new();
        let file = || Kind::File(fstree::Content::default());
        let with = |list: &[(&[u8], usize, u8)]| {
            let xattrs = list.iter().map(|&(name, len, byte)| (name.into(), vec![byte; len].into()));
            Metadata { xattrs: xattrs.collect(), ..metadata(0o644) }
        };
        // The largest there is, equal values of several files, blocks that are shared, and one beside what a block holds.
        builder.add(Tree::ROOT, "largest", with(&[(b"user.v", 65_536, b'l')]), file());
        for number in 0..3 {
            builder.add(Tree::ROOT, format!("same{number}"), with(&[(b"user.v", 20_000, b's')]), file());
        }
        builder.add(Tree::ROOT, "other name", with(&[(b"trusted.w", 20_000, b's')]), file());
        let many = [
            (&b"user.a"[..], 70, b'a'),
            (b"user.b", 5_000, b'b'),
            (b"security.c", 30_000, b'c'),
            (b"user.d", 700, b'd'),
        ];
        builder.add(Tree::ROOT, "many", with(&many), Kind::Directory(Default::default()));
        let image = image(&builder.tree, &Options { block_size, ..sized((30 << 20) + 700) });
        crate::support::verify(&image.path);
        let Some(mount) = Mount::new(&image, "loop,rw") else { return };
        compare(&builder.tree, &mount.0);
        let path = |name: &str| mount.0.join(name);
        fs::remove_file(path("largest")).unwrap();
        fs::remove_file(path("same0")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path("same1"), "user.v", &[b'n'; 40_000], flags).unwrap();
        rustix::fs::setxattr(path("same2"), "user.v", b"short", flags).unwrap();
        fs::write(path("new"), "new").unwrap();
        rustix::fs::setxattr(path("new"), "user.v", &[b's'; 20_000], flags).unwrap();
        assert_eq!(xattrs_of(&path("same1"))[&b"user.v"[..]], vec![b'n'; 40_000]);
        assert_eq!(xattrs_of(&path("other name"))[&b"trusted.w"[..]], vec![b's'; 20_000]);
        drop(mount);
        fsck("-fn", &image.path);
        crate::support::verify(&image.path);
    }
}

#[test]
fn the_kernel_reads_and_writes_an_index_of_three_levels() {
    let mut builder = Builder::new();
    let d = builder.directory(Tree::ROOT, "d");
    for number in 0..60_000 {
        builder.add(d, format!("{number:0250}"), metadata(0o600), Kind::Fifo);
    }
    let options = Options { block_size: BlockSize::Kib1, ..sized(300 << 20) };
    let image = image(&builder.tree, &options);
    crate::support::verify(&image.path);
    let Some(mount) = Mount::new(&image, "loop,rw") else { return };
    compare_names(&builder.tree, &mount.0);
    for number in 0..3_000 {
        fs::write(mount.0.join(format!("d/new-{number:0200}")), "x").unwrap();
        fs::remove_file(mount.0.join(format!("d/{:0250}", number * 7))).unwrap();
    }
    drop(mount);
    fsck("-fn", &image.path);
    crate::support::verify(&image.path);
}

#[test]
fn the_kernel_uses_the_orphan_file() {
    for block_size in BlockSize::ALL {
        let mut builder = Builder::new();
        builder.file(Tree::ROOT, "f", 100_000);
        let features = Features::default() | Features::ORPHAN_FILE;
        let image = image(&builder.tree, &Options { block_size, features, ..sized(64 << 20) });
        crate::support::verify(&image.path);
        let Some(mount) = Mount::new(&image, "loop,rw") else { return };
        // A file that is open has no name any more: it is in the orphan file, also of a copy that is made now.
        let open = fs::File::open(mount.0.join("f")).unwrap();
        fs::remove_file(mount.0.join("f")).unwrap();
        fs::File::open(&mount.0).unwrap().sync_all().unwrap();
        let copy = image.directory.path().join("crashed");
        let copied = Command::new("cp").arg("--sparse=always").args([&image.path, &copy]).status().unwrap();
        assert!(copied.success());
        let mended = Command::new("e2fsck").arg("-fy").arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&mended.stdout);
        assert!(mended.status.code() == Some(1) && said.contains("orphan"), "{block_size:?}: {said}");
        drop(open);
        drop(mount);
        fsck("-fn", &image.path);
        crate::support::verify(&image.path);
    }
}
