//! The main job, on the specification's own example: built, checked, mounted, compared, read, booted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use drydock_tests::{
    Mounted, base_image, cache, differences, drydock, fsck, list, privileged, run, sha256, shared, workspace,
};

const TOOLS: [&str; 4] = ["mmdebstrap", "runc", "e2fsck", "umoci"];
const SIZE: u64 = 1 << 30;

struct Built {
    image: PathBuf,
    layout: PathBuf,
    log: String,
}

fn build(output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(workspace().join("examples/python/Dockerfile"));
    command.args(["--base", &format!("nodeops/sandbox:debian={}", base_image()), "--size", "1GiB", "-o"]).arg(output);
    run(command.arg("--state").arg(cache().join("state")).args(more))
}

/// The image of the example, built once a run.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let (image, layout) = (cache().join("rootfs.ext4"), cache().join("built"));
        let _ = fs::remove_dir_all(&layout);
        let output = build(&image, &["--oci", &format!("oci:{}:python", layout.display())]);
        Built { image, layout, log: String::from_utf8(output.stderr).unwrap() }
    })
}

#[test]
fn the_log_is_the_one_of_the_specification() {
    if !privileged(&TOOLS) {
        return;
    }
    let log = &built().log;
    let lines: Vec<&str> = log.lines().collect();
    let position = |start: &str| {
        lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no '{start}' in\n{log}"))
    };
    let from = position("Step 1/2 : FROM nodeops/sandbox:debian");
    assert!(is_id(lines[from + 1].strip_prefix(" ---> ").unwrap()), "{}", lines[from + 1]);
    let run = position("Step 2/2 : RUN apt-get update && apt-get install -y python3 python3-pip");
    assert!(run > from);
    let after = lines[run + 1];
    assert!(after.starts_with(" ---> Running in ") || after == " ---> Using cache", "{after}");
    let done = lines[position("Successfully built ")].strip_prefix("Successfully built ").unwrap();
    assert!(is_id(done), "{done}");
}

fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[test]
fn the_image_is_clean_and_mounts_for_reading_and_writing() {
    if !privileged(&TOOLS) {
        return;
    }
    let image = &built().image;
    assert_eq!(fs::metadata(image).unwrap().len(), SIZE);
    fsck(image);
    let python = Mounted::new(image, "ro").path().join("usr/bin/python3").exists();
    assert!(python);
    let copy = cache().join("written.ext4");
    run(Command::new("cp").arg("--sparse=always").arg(image).arg(&copy));
    {
        let mounted = Mounted::new(&copy, "rw");
        fs::create_dir(mounted.path().join("new")).unwrap();
        fs::write(mounted.path().join("new/file"), vec![7; 3 << 20]).unwrap();
        fs::remove_dir_all(mounted.path().join("usr/share/doc")).unwrap();
    }
    fsck(&copy);
    fs::remove_file(copy).unwrap();
}

#[test]
fn the_tree_is_what_umoci_makes_of_the_layers() {
    if !privileged(&TOOLS) {
        return;
    }
    let Built { image, layout, .. } = built();
    let bundle = cache().join("bundle");
    let _ = fs::remove_dir_all(&bundle);
    run(Command::new("umoci").args(["unpack", "--image", &format!("{}:python", layout.display())]).arg(&bundle));
    let mounted = Mounted::new(image, "ro");
    let (ours, theirs) = (list(mounted.path()), list(&bundle.join("rootfs")));
    fs::remove_dir_all(&bundle).unwrap();
    assert!(ours.len() > 6_000, "a Debian with Python has more than {} paths", ours.len());
    let differences = differences(&ours, &theirs, |path| path == Path::new("lost+found"));
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

#[test]
fn an_independent_reader_finds_the_same_files() {
    if !privileged(&TOOLS) {
        return;
    }
    let image = &built().image;
    let view = ext4_view::Ext4::load_from_path(image).unwrap();
    let mounted = Mounted::new(image, "ro");
    for path in ["/etc/debian_version", "/etc/passwd", "/usr/bin/dpkg", "/var/lib/dpkg/status"] {
        let read = view.read(path).unwrap();
        assert_eq!(read, fs::read(mounted.path().join(&path[1..])).unwrap(), "{path}");
    }
    assert!(view.metadata("/usr/lib/python3").unwrap().is_dir());
    assert!(view.read_link("/bin").unwrap() == "usr/bin");
}

#[test]
fn the_same_build_gives_the_same_bytes_at_any_thread_count() {
    if !privileged(&TOOLS) {
        return;
    }
    let first = sha256(&built().image);
    for threads in ["1", "2"] {
        let again = cache().join(format!("again-{threads}.ext4"));
        build(&again, &["--threads", threads]);
        assert_eq!(sha256(&again), first, "{threads} threads");
        fs::remove_file(again).unwrap();
    }
}

#[test]
fn it_boots_and_python_computes() {
    if !privileged(&["mmdebstrap", "runc", "qemu-system-x86_64", "busybox", "cpio"]) {
        return;
    }
    let Some(shared) = shared() else { return };
    let mut boot = Command::new(shared.join("tools/boot-image"));
    boot.arg(&built().image).args(["echo answer-$(python3 -c 'print(6*7)')", "answer-42"]);
    run(&mut boot);
}

#[test]
fn a_program_that_embeds_it_makes_the_same_image() {
    if !privileged(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let (dockerfile, ours, theirs) =
        (dir.path().join("Dockerfile"), dir.path().join("a.ext4"), dir.path().join("b.ext4"));
    fs::write(&dockerfile, "FROM base\nRUN echo embedded >/embedded\n").unwrap();
    let state = dir.path().join("state");
    let mut embed = Command::new(env!("CARGO_BIN_EXE_embed"));
    embed.arg(&dockerfile).args(["base", base_image()]).arg(&state).arg(&ours);
    let said = String::from_utf8(run(&mut embed).stdout).unwrap();
    let mut build = Command::new(drydock());
    build
        .arg("build")
        .arg("-f")
        .arg(&dockerfile)
        .args(["--base", &format!("base={}", base_image()), "-o"])
        .arg(&theirs);
    run(build.arg("--state").arg(&state));
    assert_eq!(sha256(&ours), sha256(&theirs));
    assert!(said.contains(&sha256(&ours)), "{said}");
}

#[test]
fn a_deterministic_build_is_the_same_from_an_empty_state() {
    if !privileged(&TOOLS) {
        return;
    }
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let dir = tempfile::tempdir_in(cache()).unwrap();
            let (file, image) = (dir.path().join("Dockerfile"), dir.path().join("image.ext4"));
            let text = "FROM base\nENV A=1\nWORKDIR /srv/app\nRUN for n in 1 2 3; do mkdir d$n; echo $A $n >d$n/f; done; rm /etc/motd\nUSER 12:34\nRUN id >/tmp/id\n";
            fs::write(&file, text).unwrap();
            let mut command = Command::new(drydock());
            command.arg("build").arg("-f").arg(&file).args(["--base", &format!("base={}", base_image())]);
            command.args(["--size", "auto", "--source-date-epoch", "1700000000", "-o"]).arg(&image);
            run(command.arg("--state").arg(dir.path().join("state")));
            fsck(&image);
            let view = ext4_view::Ext4::load_from_path(&image).unwrap();
            assert_eq!(view.read_to_string("/srv/app/d2/f").unwrap(), "1 2\n");
            let id = view.read_to_string("/tmp/id").unwrap();
            assert!(id.starts_with("uid=12 gid=34"), "{id}");
            sha256(&image)
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}
