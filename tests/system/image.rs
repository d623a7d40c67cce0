//! `drydock image`: tars and layouts in, tars and ext4 images out, checked by the shared checkers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use drydock_tests::{MACHINE_TOOLS, Mounted, cache, drydock, fsck, machine, privileged, run, sha256, shared};

fn verify(shared: &Path, tar: &Path, image: &Path) {
    let output = run(Command::new(shared.join("tools/verify-image")).arg(tar).arg(image));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("IDENTICAL"), "{said}");
}

#[test]
fn a_tar_of_every_oddity_becomes_an_identical_image() {
    if !privileged(&["e2fsck", "python3"]) {
        return;
    }
    let Some(shared) = shared() else { return };
    let (tar, image) = (cache().join("stress.tar"), cache().join("stress.ext4"));
    run(Command::new("python3").arg(shared.join("tools/stress-tar.py")).arg(&tar));
    run(Command::new(drydock()).args(["image", "ext4"]).arg(&tar).args(["--size", "auto", "-o"]).arg(&image));
    verify(&shared, &tar, &image);
}

#[test]
fn a_debian_becomes_an_identical_image() {
    if !privileged(&["e2fsck", "python3", "mmdebstrap"]) {
        return;
    }
    let Some(shared) = shared() else { return };
    let (tar, image) = (cache().join("debian.tar"), cache().join("debian.ext4"));
    if !tar.exists() {
        let suite = ["--quiet", "--variant=minbase", "--format=tar", "bookworm"];
        let unfinished = tar.with_extension("unfinished");
        run(Command::new("mmdebstrap").args(suite).arg(&unfinished));
        std::fs::rename(unfinished, &tar).unwrap();
    }
    for block_size in ["4KiB", "2KiB", "1KiB"] {
        let mut write = Command::new(drydock());
        write.args(["image", "ext4", "--block-size", block_size]).arg(&tar);
        run(write.args(["--size", "512MiB", "-o"]).arg(&image));
        assert_eq!(std::fs::metadata(&image).unwrap().len(), 512 << 20);
        verify(&shared, &tar, &image);
        run(Command::new(drydock()).args(["image", "verify"]).arg(&image));
    }
}

#[test]
fn an_image_is_verified_and_damage_is_named() {
    if !privileged(&["mke2fs", "e2fsck"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    // Written by the kernel: deep extents, an index of two levels, attributes, what deleting leaves.
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-b", "4096", "-O", "^orphan_file"]).arg(&image).arg("300M"));
    {
        let mounted = Mounted::new(&image, "rw");
        let script = "cd \"$1\"; mkdir many; cd many; seq -f %050.0f 30000 | xargs touch; cd ..; mkdir a; ln many/*1 a
            truncate -s 100M holes; for at in $(seq 0 3 900); do echo x | dd of=holes bs=4096 seek=$at conv=notrunc status=none; done
            for n in 1 2 3; do setfattr -n user.n$n -v $(printf 'v%.0s' $(seq 900)) holes; done
            rm many/*7; mknod null c 1 3; ln -s $(printf 't%.0s' $(seq 500)) link";
        run(Command::new("sh").args(["-euc", script, "fill"]).arg(mounted.path()));
    }
    fsck(&image);
    let output = run(Command::new(drydock()).args(["image", "verify", "--format", "json"]).arg(&image));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["clean"], true, "{report}");
    assert!(report["counts"]["entries"].as_u64().unwrap() > 27_000, "{report}");

    let file = std::fs::File::options().write(true).open(&image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"\xff", 1_024 + 0x78).unwrap();
    let output = Command::new(drydock()).args(["image", "verify"]).arg(&image).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("superblock, block 0: the checksum of the copy in group 0 is wrong"), "{said}");
    assert!(said.contains("damaged: write it again"), "{said}");
    let output = Command::new(drydock()).args(["image", "verify", "/dev/null"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("shorter than a superblock"));
}

#[test]
fn blocks_of_zeros_are_left_out_when_asked() {
    if !privileged(&["e2fsck"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut zeros = vec![0; 20 << 20];
    zeros[12_345_678] = 1;
    std::fs::write(root.join("zeros"), &zeros).unwrap();
    let tar = scratch.path().join("root.tar");
    run(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg("."));
    let image = |name: &str, flag: &[&str]| {
        let image = scratch.path().join(name);
        run(Command::new(drydock())
            .args(["image", "ext4"])
            .arg(&tar)
            .args(flag)
            .args(["--size", "64MiB", "-o"])
            .arg(&image));
        fsck(&image);
        let mounted = Mounted::new(&image, "ro");
        assert!(std::fs::read(mounted.path().join("zeros")).unwrap() == zeros, "{name}: other bytes");
        std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(mounted.path().join("zeros")).unwrap()) * 512
    };
    assert_eq!((image("full", &[]), image("dug", &["--dig-holes"])), (20 << 20, 4_096));
}

/// A tar of a few files, a link and an attribute's worth of nothing: what every file system of the tables below holds.
fn small_tar(scratch: &Path) -> std::path::PathBuf {
    let (root, tar) = (scratch.join("root"), scratch.join("root.tar"));
    std::fs::create_dir_all(root.join("many")).unwrap();
    for number in 0..700 {
        std::fs::write(root.join(format!("many/file-{number:030}")), [b'x'; 10]).unwrap();
    }
    std::fs::write(root.join("large"), vec![7; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("large", root.join("link")).unwrap();
    let mtime = ["--mtime=@1700000000", "--owner=0", "--group=0", "--sort=name", "-cf"];
    run(Command::new("tar").args(mtime).arg(&tar).arg("-C").arg(&root).arg("."));
    tar
}

/// Flags, and what `dumpe2fs` says then: the beginnings of lines, each with what the rest of it has; `^` before what it has not.
const OPTIONS: [(&str, &[(&str, &str)]); 32] = [
    (
        "",
        &[
            ("Block size:", "4096"),
            ("Reserved block count:", "0"),
            ("Inode count:", "8192"),
            ("Reserved GDT blocks:", "15"),
        ],
    ),
    ("--block-size 1KiB", &[("Block size:", "1024"), ("First block:", "1")]),
    ("--block-size 2KiB", &[("Block size:", "2048")]),
    ("--size 100MiB", &[("Block count:", "25600")]),
    ("--journal none", &[("Filesystem features:", "^has_journal")]),
    ("--journal 12MiB", &[("Filesystem features:", "has_journal"), ("Total journal blocks:", "3072")]),
    ("--journal 2MiB --block-size 1KiB", &[("Total journal blocks:", "2048")]),
    ("--inodes 5000", &[("Inode count:", "5008")]),
    ("--bytes-per-inode 4KiB", &[("Inode count:", "32768")]),
    ("--reserved-blocks 700", &[("Reserved block count:", "700")]),
    ("--label sandbox-root", &[("Filesystem volume name:", "sandbox-root")]),
    ("--uuid 0c5a2e4d-7b61-4138-9e40-526f6f746673", &[("Filesystem UUID:", "0c5a2e4d-7b61-4138-9e40-526f6f746673")]),
    (
        "--hash-seed 11111111-2222-3333-4444-555555555555",
        &[("Directory Hash Seed:", "11111111-2222-3333-4444-555555555555")],
    ),
    ("--time 1000000000", &[("Filesystem created:", "Sun Sep  9 01:46:40 2001")]),
    ("", &[("Filesystem created:", "Tue Nov 14 22:13:20 2023"), ("  Inode table", ""), ("Group 0:", "ITABLE_ZEROED")]),
    ("--inode-tables lazy", &[("Group 0:", "^ITABLE_ZEROED")]),
    ("--inode-tables full", &[("Group 0:", "ITABLE_ZEROED")]),
    ("--grow-factor 0", &[("Filesystem features:", "^resize_inode")]),
    ("--grow-factor 200", &[("Filesystem features:", "resize_inode"), ("Reserved GDT blocks:", "3")]),
    ("--read-only", &[("Filesystem features:", "read-only")]),
    ("--features ^ext_attr", &[("Filesystem features:", "^ext_attr")]),
    ("--features ^dir_index", &[("Filesystem features:", "^dir_index")]),
    ("--features ^filetype", &[("Filesystem features:", "^filetype")]),
    ("--features ^64bit", &[("Filesystem features:", "^64bit"), ("Group descriptor size:", "^64")]),
    ("--features ^flex_bg", &[("Filesystem features:", "^flex_bg"), ("Flex block group size:", "^16")]),
    (
        "--features ^sparse_super --grow-factor 0 --size 600MiB",
        &[("Filesystem features:", "^sparse_super"), ("  Backup superblock at 65536", "")],
    ),
    ("--features ^large_file --grow-factor 0", &[("Filesystem features:", "^large_file")]),
    (
        "--features ^huge_file,^dir_nlink",
        &[("Filesystem features:", "^huge_file"), ("Filesystem features:", "^dir_nlink")],
    ),
    ("--features orphan_file", &[("Filesystem features:", "orphan_file")]),
    ("--features ^extra_isize", &[("Filesystem features:", "^extra_isize")]),
    (
        "--features ^metadata_csum_seed",
        &[("Filesystem features:", "^metadata_csum_seed"), ("Filesystem features:", "metadata_csum")],
    ),
    (
        "--features ^metadata_csum,^metadata_csum_seed",
        &[("Filesystem features:", "^metadata_csum"), ("Checksum type:", "^crc32c")],
    ),
];

#[test]
fn every_option_of_the_file_system_arrives() {
    if !privileged(&["e2fsck", "dumpe2fs", "tar"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (tar, image) = (small_tar(scratch.path()), scratch.path().join("image"));
    for (flags, expected) in OPTIONS {
        let size = if flags.contains("--size") { "" } else { " --size 128MiB" };
        run(Command::new(drydock())
            .args(["image", "ext4"])
            .arg(&tar)
            .arg("-o")
            .arg(&image)
            .args(format!("{flags}{size}").split_whitespace()));
        fsck(&image);
        run(Command::new(drydock()).args(["image", "verify"]).arg(&image));
        let said = run(Command::new("dumpe2fs").arg(&image).env("LC_ALL", "C").env("TZ", "UTC")).stdout;
        let said = String::from_utf8(said).unwrap();
        for (start, rest) in expected {
            let line = said.lines().find_map(|line| line.strip_prefix(start));
            let words: Vec<&str> =
                line.unwrap_or_default().split(|c: char| c.is_whitespace() || "[],".contains(c)).collect();
            let has = |text: &str| words.contains(&text) || line.is_some_and(|line| line.trim() == text);
            let right = rest.strip_prefix('^').map_or_else(|| line.is_some() && has(rest), |rest| !has(rest));
            assert!(right, "{flags}: '{start}' has not '{rest}':\n{said}");
        }
        let mounted = Mounted::new(&image, "ro");
        assert_eq!(std::fs::read_dir(mounted.path().join("many")).unwrap().count(), 700, "{flags}");
        assert_eq!(std::fs::read(mounted.path().join("link")).unwrap(), vec![7; 3 << 20], "{flags}");
    }
}

#[test]
fn full_inode_tables_are_on_the_disk() {
    if !privileged(&["e2fsck", "tar"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let tar = small_tar(scratch.path());
    let allocated = |kind: &str| {
        let image = scratch.path().join(kind);
        let mut write = Command::new(drydock());
        write
            .args(["image", "ext4", "--size", "128MiB", "--bytes-per-inode", "2KiB", "--inode-tables", kind])
            .arg(&tar);
        run(write.arg("-o").arg(&image));
        fsck(&image);
        std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&image).unwrap()) * 512
    };
    // 32,768 inodes of 256 bytes, of which some hundreds are in use.
    let (sparse, full) = (allocated("sparse"), allocated("full"));
    assert!(full - sparse > 7 << 20, "{sparse} bytes, and {full} with full tables");
}

/// Flags that contradict each other or the content, and what is said to that.
const CONTRADICTIONS: [(&str, &str); 13] = [
    ("--features ^metadata_csum", "metadata_csum_seed needs metadata_csum: have both, or leave both out"),
    ("--features ^metadata_csum,^metadata_csum_seed --inode-tables lazy", "need the feature metadata_csum"),
    ("--features ^sparse_super", "needs the feature sparse_super: have it, or set the grow factor to 0"),
    ("--features ^large_file", "needs the feature large_file"),
    ("--features orphan_file --journal none", "orphan_file needs a journal: have one, or leave it out"),
    ("--features inline_data", "'inline_data' is no feature that can be chosen here"),
    ("--features ^has_journal", "chosen by the size of the journal"),
    ("--journal 1MiB", "a journal has 1,024 to 10,240,000 blocks"),
    ("--journal 4097KiB", "write a multiple of them"),
    ("--journal 100MiB", "does not fit into an image of 134217728 bytes; it needs "),
    ("--inodes 100", "the content needs 714 inodes, 100 were asked for"),
    ("--uuid 00000000-0000-0000-0000-000000000000", "the UUID is all zero"),
    ("--label a-label-of-many-letters", "the volume label has more than 16 bytes"),
];

#[test]
fn options_that_contradict_each_other_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (tar, image) = (small_tar(scratch.path()), scratch.path().join("image"));
    for (flags, expected) in CONTRADICTIONS {
        let mut write = Command::new(drydock());
        write.args(["image", "ext4", "--size", "128MiB"]).args(flags.split(' ')).arg(&tar).arg("-o").arg(&image);
        let output = write.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{flags}: {said}");
        let left = std::fs::read_dir(scratch.path()).unwrap().count();
        assert!(left == 2, "{flags}: {left} files are left");
    }
}

/// What the machine does with each disk: mounts it, grows it, reads what is in it, and takes of the new room more than there was before.
const GROW: &str = "for disk in vda vdb; do
    for attempt in $(seq 100); do [ -b /dev/$disk ] && break; sleep 0.1; done
    mkdir /$disk
    mount -t ext4 -o rw /dev/$disk /$disk
    echo before $disk $(df -Pk /$disk | tail -n 1)
    resize2fs /dev/$disk
    echo after $disk $(df -Pk /$disk | tail -n 1)
    echo large $disk $(sha256sum </$disk/large)
    echo many $disk $(cat /$disk/many/* | wc -c)
    fallocate -l 1G /$disk/new
    cp -r /$disk/many /$disk/copied
    umount /$disk
    echo unmounted $disk
done
";

#[test]
fn an_image_grows_while_it_is_mounted() {
    if !privileged(&["e2fsck", "resize2fs", "tar"]) || !privileged(&MACHINE_TOOLS) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let tar = small_tar(scratch.path());
    let disks = ["4KiB", "1KiB"].map(|block_size| {
        let image = scratch.path().join(block_size);
        let mut write = Command::new(drydock());
        write.args(["image", "ext4", "--size", "320MiB", "--block-size", block_size]).arg(&tar);
        run(write.arg("-o").arg(&image));
        std::fs::File::options().write(true).open(&image).unwrap().set_len(2_560 << 20).unwrap();
        image
    });
    let said = machine(&[&disks[0], &disks[1]], &["resize2fs"], GROW, Duration::from_secs(600));
    let line = |start: String| {
        let line = said.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no '{start}' in\n{said}")).split_whitespace().collect::<Vec<_>>()
    };
    let large = sha256(&scratch.path().join("root/large"));
    for (disk, image) in ["vda", "vdb"].iter().zip(&disks) {
        // The second word of df's line, in KiB: what is in the file system less its own tables.
        let [before, after] = ["before", "after"].map(|when| line(format!("{when} {disk}"))[1].parse::<u64>().unwrap());
        assert!(before < 320 << 10 && after > 2_300 << 10, "{disk} grew from {before} to {after} KiB:\n{said}");
        assert_eq!(line(format!("large {disk}"))[0], large, "{said}");
        assert_eq!(line(format!("many {disk}"))[0], "7000", "{said}");
        line(format!("unmounted {disk}"));
        fsck(image);
        let mounted = Mounted::new(image, "ro");
        assert_eq!(std::fs::metadata(mounted.path().join("new")).unwrap().len(), 1 << 30, "{said}");
        assert_eq!(std::fs::read_dir(mounted.path().join("copied")).unwrap().count(), 700, "{said}");
        assert_eq!(sha256(&mounted.path().join("large")), large, "{said}");
    }
}
