//! What a build gives besides the image: the layout that other tools read, and what a host has to know.

use std::fs;
use std::path::Path;
use std::process::Command;

use drydock_tests::{base_image, cache, drydock, list, privileged, run, sha256};
use serde_json::{Value, json};

const TOOLS: [&str; 5] = ["mmdebstrap", "runc", "skopeo", "umoci", "buildah"];

const DOCKERFILE: &str = "FROM base
ENV NAME=value
WORKDIR /srv/app
RUN echo made >made && groupadd staff2 && useradd -r -g staff2 app
USER app
EXPOSE 8080
LABEL team=one
RUN true
STOPSIGNAL SIGINT
ENTRYPOINT [\"/bin/cat\"]
CMD [\"made\"]
";

fn build(dir: &Path, more: &[&str]) -> String {
    fs::write(dir.join("Dockerfile"), DOCKERFILE).unwrap();
    let mut command = Command::new(drydock());
    command.arg("build").arg("-f").arg(dir.join("Dockerfile")).args(["--base", &format!("base={}", base_image())]);
    command.args(["--size", "auto", "-o"]).arg(dir.join("out.ext4"));
    let output = run(command.arg("--state").arg(cache().join("state")).args(more));
    String::from_utf8(output.stderr).unwrap()
}

fn json_of(command: &mut Command) -> Value {
    serde_json::from_slice(&run(command).stdout).unwrap()
}

#[test]
fn skopeo_umoci_and_buildah_accept_the_layout_and_its_history() {
    if !privileged(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let layout = dir.path().join("layout");
    build(dir.path(), &["--oci", &format!("{}:one", layout.display())]);
    let image = format!("oci:{}:one", layout.display());

    let config = json_of(Command::new("skopeo").args(["inspect", "--config", &image]));
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/cat"]));
    let layers = config["rootfs"]["diff_ids"].as_array().unwrap().len();
    let history = config["history"].as_array().unwrap();
    let told = history.iter().filter(|entry| entry["empty_layer"] != json!(true)).count();
    assert_eq!(told, layers, "each layer has its line: {history:?}");
    assert_eq!(layers, 3, "the base, WORKDIR and the one RUN that changes something");
    assert!(
        history[0]["created_by"].as_str().is_some_and(|by| by.starts_with("drydock image import")),
        "the base's own"
    );
    assert_eq!(history.last().unwrap()["empty_layer"], json!(true));

    let bundle = dir.path().join("bundle");
    run(Command::new("umoci").arg("unpack").arg("--image").arg(format!("{}:one", layout.display())).arg(&bundle));
    assert_eq!(fs::read_to_string(bundle.join("rootfs/srv/app/made")).unwrap(), "made\n");

    let storage = dir.path().join("storage");
    let buildah = |args: &[&str]| {
        let mut command = Command::new("buildah");
        // It makes a name of the place, and names have no capitals, which the place of a temporary folder may have.
        command
            .current_dir(dir.path())
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        String::from_utf8(run(command.args(["--storage-driver", "vfs"]).args(args)).stdout).unwrap().trim().to_owned()
    };
    let container = buildah(&["from", "oci:layout:one"]);
    let seen = buildah(&["inspect", "--format", "{{.OCIv1.Config.WorkingDir}} {{.OCIv1.Config.User}}", &container]);
    assert_eq!(seen, "/srv/app app");
    buildah(&["rm", &container]);
}

#[test]
fn rootfs_json_tells_the_host_what_to_start_and_as_whom() {
    if !privileged(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    build(dir.path(), &[]);
    let told: Value = serde_json::from_slice(&fs::read(dir.path().join("out.json")).unwrap()).unwrap();
    let image = dir.path().join("out.ext4");
    assert_eq!(told["image"]["sha256"], json!(sha256(&image)));
    assert_eq!(told["image"]["size_bytes"], json!(fs::metadata(&image).unwrap().len()));
    assert_eq!(told["entrypoint"], json!(["/bin/cat"]));
    assert_eq!((&told["cmd"], &told["working_dir"]), (&json!(["made"]), &json!("/srv/app")));
    assert_eq!((&told["exposed_ports"], &told["stop_signal"]), (&json!(["8080/tcp"]), &json!("SIGINT")));
    assert!(told["env"].as_array().unwrap().contains(&json!("NAME=value")));
    assert_eq!(told["user"]["name"], json!("app"));
    assert!(told["user"]["uid"].as_u64().is_some_and(|uid| uid > 0), "{told}");

    // A build that fails leaves what was there as it was.
    fs::write(dir.path().join("Dockerfile"), "FROM base\nRUN exit 3\n").unwrap();
    let mut command = Command::new(drydock());
    command
        .arg("build")
        .arg("-f")
        .arg(dir.path().join("Dockerfile"))
        .args(["--base", &format!("base={}", base_image())]);
    let failed =
        command.args(["--format", "json", "-o"]).arg(&image).arg("--state").arg(cache().join("state")).output();
    let card: Value = serde_json::from_slice(&failed.unwrap().stdout).unwrap();
    assert_eq!((&card["code"], &card["exit_status"], &card["line"]), (&json!("run_failed"), &json!(3), &json!(2)));
    let after: Value = serde_json::from_slice(&fs::read(dir.path().join("out.json")).unwrap()).unwrap();
    assert_eq!(after, told);
}

#[test]
fn a_plan_says_what_is_cached_and_what_changed() {
    if !privileged(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let log = build(dir.path(), &[]);
    assert!(log.contains("Successfully built"), "{log}");
    let plan = || {
        let mut command = Command::new(drydock());
        command.arg("plan").arg(dir.path().join("Dockerfile")).args(["--base", &format!("base={}", base_image())]);
        let output = run(command.arg("--state").arg(cache().join("state")));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(plan().matches("\n  cached").count(), 3, "WORKDIR and two RUN:\n{}", plan());
    fs::write(dir.path().join("Dockerfile"), DOCKERFILE.replace("NAME=value", "NAME=other")).unwrap();
    assert!(plan().contains("  runs: since its last run this changed: the variable NAME"), "{}", plan());
}

/// Whom the umask leaves them, and nobody else: images, tars and layouts alike.
#[test]
fn results_are_for_whom_the_umask_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let (tar, results, state) = (dir.path().join("base.tar"), dir.path().join("results"), dir.path().join("state"));
    fs::create_dir(&results).unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "content").unwrap();
    run(Command::new("tar").arg("--create").arg("--file").arg(&tar).arg("-C").arg(&root).arg("."));
    fs::write(dir.path().join("Dockerfile"), "FROM base\nENV A=1\n").unwrap();
    let in_results = |words: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 027; exec \"$@\"", "sh"]).arg(drydock()).args(words);
        run(command.arg("--state").arg(&state).current_dir(&results));
    };
    in_results(&["image", "import", tar.to_str().unwrap(), "oci:layout:base"]);
    in_results(&["image", "flatten", "oci:layout:base", "-o", "flat.tar"]);
    in_results(&["image", "ext4", "oci:layout:base", "--size", "auto", "-o", "image.ext4"]);
    let build = ["build", "-f", "../Dockerfile", "--base", "base=oci:layout:base", "--size", "auto"];
    in_results(&[&build[..], &["-o", "built.ext4", "--oci", "built:tag"]].concat());

    let entries = list(&results);
    for name in ["flat.tar", "image.ext4", "built.ext4", "built.json", "layout/index.json", "built/index.json"] {
        assert!(entries.contains_key(Path::new(name)), "no {name} among {:?}", entries.keys());
    }
    for (path, entry) in entries.iter().filter(|(path, _)| *path != Path::new("")) {
        let expected = if entry.kind == 'd' { 0o750 } else { 0o640 };
        assert_eq!(entry.mode, expected, "{}: {:o}", path.display(), entry.mode);
    }
}

/// A rename replaces devices too, for whoever may do that: none of the commands does.
#[test]
fn what_is_no_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("root")).unwrap();
    run(Command::new("tar").args(["-c", "-f", &at("base.tar"), "-C", &at("root"), "."]));
    run(Command::new("mkfifo").arg(at("pipe")));
    fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("/dev/null", at("link")).unwrap();
    fs::write(at("Dockerfile"), "FROM base\n").unwrap();
    fs::create_dir(at("below.json")).unwrap();
    let (base, state, tar) = (format!("base={}", at("base.tar")), at("state"), at("base.tar"));
    let before = fs::read_dir(dir.path()).unwrap().count();
    for output in ["pipe", "folder", "link", "below.ext4", "nowhere/image", "base.tar/image"].map(at) {
        let with = |words: &[&str]| [words, &["--state", &state, "-o", &output]].concat().join("\n");
        let mut commands = vec![with(&["build", "-f", &at("Dockerfile"), "--base", &base])];
        // Of these none is `rootfs.json` of an image.
        if !output.ends_with("below.ext4") {
            let fetch = ["template", "fetch", "any", "--cache", &at("chunks"), "-o", &output].join("\n");
            commands.extend([
                with(&["image", "ext4", &tar, "--size", "auto"]),
                with(&["image", "flatten", &tar]),
                fetch,
            ]);
        }
        for command in commands {
            // Nobody is asked for an image before its place is known.
            let service = [("DRYDOCK_URL", "http://127.0.0.1:9"), ("DRYDOCK_API_KEY", "ddk_none")];
            let done = Command::new(drydock()).args(command.lines()).envs(service).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(1), "{command}: {said}");
            let why =
                if output.ends_with("/image") { "creating a temporary file in" } else { "is there and is not a file" };
            assert!(said.contains(why), "{command}: {said}");
        }
    }
    let kinds = ["pipe", "folder", "link"].map(|name| fs::symlink_metadata(at(name)).unwrap().file_type());
    let [pipe, folder, link] = kinds;
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&pipe) && folder.is_dir() && link.is_symlink());
    let kept = ["state", "chunks"].map(std::ffi::OsString::from);
    let after = fs::read_dir(dir.path()).unwrap().filter(|entry| !kept.contains(&entry.as_ref().unwrap().file_name()));
    assert_eq!(after.count(), before, "nothing is left beside them");
}
