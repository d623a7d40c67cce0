//! `drydock image`: tars and layouts in, tars and ext4 images out, checked by the shared checkers.

use std::path::Path;
use std::process::Command;

use drydock_tests::{Mounted, cache, drydock, fsck, privileged, run, shared};

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
