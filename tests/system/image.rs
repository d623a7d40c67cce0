//! `drydock image`: tars and layouts in, tars and ext4 images out, checked by the shared checkers.

use std::path::Path;
use std::process::Command;

use drydock_tests::{cache, drydock, privileged, run, shared};

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
        run(Command::new("mmdebstrap").args(suite).arg(&tar));
    }
    run(Command::new(drydock()).args(["image", "ext4"]).arg(&tar).args(["--size", "512MiB", "-o"]).arg(&image));
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 512 << 20);
    verify(&shared, &tar, &image);
}
