//! The examples that compile or run something with packages of Debian.

use std::process::Command;

use drydock_tests::{base_image, cache, drydock, fsck, privileged, run, workspace};

/// Builds an example; what its program said is in the image at `answer`.
fn build(example: &str, answer: &str) {
    if !privileged(&["mmdebstrap", "runc", "e2fsck"]) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let image = dir.path().join("image.ext4");
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(workspace().join("examples").join(example).join("Dockerfile"));
    command.args(["--base", &format!("nodeops/sandbox:debian={}", base_image()), "--size", "auto", "-o"]).arg(&image);
    run(command.arg("--state").arg(dir.path().join("state")));
    fsck(&image);
    let view = ext4_view::Ext4::load_from_path(&image).unwrap();
    assert_eq!(view.read_to_string(answer).unwrap(), "the answer is 42\n");
}

/// Whether what takes hundreds of megabytes of packages runs; said loudly when not.
fn slow(example: &str) -> bool {
    let slow = std::env::var_os("DRYDOCK_SLOW").is_some_and(|value| value == "1");
    if !slow {
        let said = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("NOT RUN: examples/{example} loads hundreds of megabytes; DRYDOCK_SLOW=1 runs it\n").as_bytes(),
        );
        said.unwrap();
    }
    slow
}

#[test]
fn gcc_compiles_and_its_program_runs() {
    build("gcc", "/srv/app/answer.txt");
}

#[test]
fn go_compiles_and_its_program_runs() {
    if slow("go") {
        build("go", "/srv/app/answer.txt");
    }
}

#[test]
fn node_runs_a_program_as_a_user() {
    if slow("node") {
        build("node", "/home/app/answer.txt");
    }
}
