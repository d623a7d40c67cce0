//! A template over the API and the command line, from its Dockerfile to a file system that is clean and has what it should.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use drydock_tests::{Mounted, base_image, busybox_base, drydock, fsck, privileged, run};
use serde_json::{Value, json};

use super::server::{Server, small_base};

const DOCKERFILE: &str =
    "FROM nodeops/sandbox:debian\nENV GREETING=hello\nRUN echo $GREETING from $(cat /etc/debian_version) >/greeting\n";

fn template(server: &Server, key: &str, args: &[&str], dockerfile: &str) -> Output {
    use std::io::Write;
    let mut command = Command::new(drydock());
    command.arg("template").args(args).env("DRYDOCK_URL", &server.url).env("DRYDOCK_API_KEY", key);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn a_template_of_a_real_debian() {
    if !privileged(&["curl", "mmdebstrap", "runc", "e2fsck"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), base_image(), &[]);
    let key = server.key.clone().unwrap();
    let plan = json_of(&template(&server, &key, &["--json", "create", "env", "-f", "-", "--dry-run"], DOCKERFILE));
    let cached: Vec<&Value> = plan["steps"].as_array().unwrap().iter().map(|step| &step["cached"]).collect();
    assert_eq!(cached, [&Value::Null, &Value::Null, &json!(false)]);

    let created = template(&server, &key, &["--json", "create", "env", "-f", "-"], DOCKERFILE);
    assert!(created.status.success(), "{created:?}");
    assert!(String::from_utf8_lossy(&created.stderr).contains("Step 3/3 : RUN echo"), "{created:?}");
    let created = json_of(&created);
    assert_eq!((&created["status"], &created["ext4_size_bytes"]), (&json!("ready"), &json!(512 << 20)));
    let image = data.path().join("images").join(format!("{}.ext4", created["rootfs_sha256"].as_str().unwrap()));
    look_inside(&image);

    let plan = json_of(&template(&server, &key, &["--json", "create", "env", "-f", "-", "--dry-run"], DOCKERFILE));
    assert_eq!(plan["steps"][2]["cached"], true);
    let again = json_of(&template(&server, &key, &["--json", "create", "again", "-f", "-"], DOCKERFILE));
    assert_eq!(again["rootfs_sha256"], created["rootfs_sha256"]);
    let log = template(&server, &key, &["logs", "again"], "");
    assert!(String::from_utf8_lossy(&log.stdout).contains("Using the finished image"), "{log:?}");
    assert!(template(&server, &key, &["rm", "again"], "").status.success());

    let resolved = json_of(&template(&server, &key, &["--json", "resolve", "env@1"], ""));
    assert_eq!(resolved["id"], created["id"]);
    assert!(resolved["config"]["config"]["Env"].as_array().unwrap().contains(&json!("GREETING=hello")));
    let log = template(&server, &key, &["logs", "env"], "");
    assert!(log.status.success() && String::from_utf8_lossy(&log.stdout).contains("Successfully built"), "{log:?}");

    failures(&server, &key);
    let listed = String::from_utf8(template(&server, &key, &["list"], "").stdout).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let removed = template(&server, &key, &["rm", "env"], "");
    assert!(removed.status.success(), "{removed:?}");
    assert!(!template(&server, &key, &["get", "env"], "").status.success());
    server.stop();
}

fn look_inside(image: &Path) {
    fsck(image);
    let mounted = Mounted::new(image, "ro");
    let greeting = std::fs::read_to_string(mounted.path().join("greeting")).unwrap();
    assert!(greeting.starts_with("hello from 12"), "{greeting}");
}

fn failures(server: &Server, key: &str) {
    let refused = template(server, key, &["create", "env", "-f", "-"], "FROM ubuntu\nCOPY a b\n");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("1:6: error: ") && said.contains("2:1: error: "), "{said}");
    let failing = "FROM nodeops/sandbox:debian\nRUN echo one; no-such-command\n";
    let failed = template(server, key, &["create", "broken", "-f", "-"], failing);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stdout).unwrap();
    for part in ["run_failed", "step 2 of 2, line 2", "| one", "hint      the command was not found"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    let wrong = template(server, "ddk_0", &["list"], "");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("API key"), "{wrong:?}");
}

#[test]
fn a_log_does_not_speak_to_the_terminal_of_its_reader() {
    if !privileged(&["runc", "script", "busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &busybox_base(dir.path()), &[]);
    let key = server.key.clone().unwrap();
    // Sets the clipboard, and moves up by a character of one byte more.
    let said = r"FROM nodeops/sandbox:debian
RUN printf 'A\033]52;c;eA==\007B\302\2331AC\n'
";
    let created = template(&server, &key, &["create", "env", "-f", "-"], said);
    assert!(created.status.success(), "{created:?}");
    let to_a_file = template(&server, &key, &["logs", "env"], "").stdout;
    assert!(
        String::from_utf8_lossy(&to_a_file).contains("A\u{1b}]52;c;eA==\u{7}B\u{9b}1AC"),
        "a file gets it as it was"
    );
    let mut script = Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &format!("{} template logs env", drydock().display()),
        "/dev/null",
    ]);
    script.env("DRYDOCK_URL", &server.url).env("DRYDOCK_API_KEY", &key).stdin(std::process::Stdio::null());
    let shown = String::from_utf8(run(&mut script).stdout).unwrap();
    assert!(shown.contains("Step 2/2"), "{shown:?}");
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{shown:?}");
    server.stop();
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), small_base(), &[]);
    let second =
        Command::new(drydock()).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"), "{second:?}");
    server.stop();
}

#[test]
fn the_data_of_a_service_is_for_its_account_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key =
        Command::new(drydock()).args(["key", "create", "--owner", "alice", "--data"]).arg(&data).output().unwrap();
    assert!(key.status.success(), "{key:?}");
    assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn keys_are_made_listed_and_revoked_while_the_server_runs() {
    if !privileged(&["curl"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), small_base(), &[]);
    let drydock = |args: &[&str]| {
        let output = Command::new(drydock()).arg("key").args(args).arg("--data").arg(data.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let (true, key) = drydock(&["create", "--owner", "alice"]) else { panic!("no key") };
    let status = || server.request(&key, "GET", "/v1/templates", None).unwrap().0;
    assert_eq!(status(), 200);
    let (_, listed) = drydock(&["list"]);
    assert!(listed.contains("alice") && listed.contains("default"), "{listed}");
    let (id, secret) = key.strip_prefix("ddk_").unwrap().split_once('_').unwrap();
    assert!(listed.contains(id) && !listed.contains(secret));
    assert!(drydock(&["revoke", id]).0);
    assert_eq!(status(), 401, "at once");
    assert!(!drydock(&["revoke", id]).0);
    for name in ["templates.db", "templates.db-wal"] {
        let bytes = std::fs::read(data.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "the secret is in {name}");
    }
    server.stop();
}

#[test]
fn a_name_switches_at_once_while_it_is_resolved() {
    if !privileged(&["curl"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let settings = [("DRYDOCK_REQUESTS_PER_SECOND", "100000"), ("DRYDOCK_REQUESTS_BURST", "100000")];
    let server = Server::start(data.path(), small_base(), &settings);
    let key = server.key.clone().unwrap();
    let build = |number: u32| {
        let body = json!({ "name": "env", "dockerfile": format!("FROM nodeops/sandbox:debian\nENV N={number}\n") });
        let (_, created) = server.request(&key, "POST", "/v1/templates", Some(&body)).unwrap();
        let id = created["data"]["id"].as_str().unwrap();
        let (_, log) = server.request(&key, "GET", &format!("/v1/templates/{id}/logs"), None).unwrap();
        assert!(log.as_str().unwrap().contains("\"status\":\"ready\""), "{log}");
    };
    build(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let resolver = scope.spawn(|| {
            let (mut last, mut looks) = (1, 0);
            while !done.load(Ordering::SeqCst) {
                let (status, answer) = server.request(&key, "GET", "/v1/templates/env/resolve", None).unwrap();
                let version = answer["data"]["version"].as_u64().unwrap_or_else(|| panic!("{status}: {answer}"));
                let number = answer["data"]["config"]["config"]["Env"].as_array().unwrap().last().unwrap().clone();
                assert_eq!(number, json!(format!("N={}", version - 1)), "config and version are of one template");
                assert!(version >= last);
                (last, looks) = (version, looks + 1);
            }
            looks
        });
        (1..10).for_each(build);
        done.store(true, Ordering::SeqCst);
        assert!(resolver.join().unwrap() > 5);
    });
    server.stop();
}

#[test]
fn the_configuration_that_is_printed_is_the_one_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let print = |args: &[&str]| {
        let output = Command::new(drydock())
            .args(["serve", "--print-config"])
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let first = print(&["--base", "a=oci:b:c", "--listen", "127.0.0.1:1"]);
    std::fs::write(dir.path().join("drydock.toml"), &first).unwrap();
    assert_eq!(print(&[]), first);
    std::fs::write(dir.path().join("drydock.toml"), "listne = 1").unwrap();
    let refused = Command::new(drydock()).arg("serve").current_dir(dir.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown field `listne`"), "{refused:?}");
}
