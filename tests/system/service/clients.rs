//! The published clients of the service, unchanged, against a server of ours.

use std::path::PathBuf;
use std::process::Command;

use drydock_tests::{base_image, privileged, run, workspace};

use super::packages;
use super::server::{Server, small_base};

/// Many templates at once, and no limit that the clients could meet unmeant.
const SETTINGS: [(&str, &str); 4] = [
    ("DRYDOCK_ACTIVE_PER_OWNER", "1000"),
    ("DRYDOCK_REQUESTS_PER_SECOND", "10000"),
    ("DRYDOCK_REQUESTS_BURST", "10000"),
    ("DRYDOCK_DISK_SIZE_BYTES", "16777216"),
];

/// One request a second: a client has to wait and ask again.
const SLOW: [(&str, &str); 2] = [("DRYDOCK_REQUESTS_PER_SECOND", "1"), ("DRYDOCK_REQUESTS_BURST", "2")];

#[test]
fn the_client_of_npm() {
    if !privileged(&["curl", "node", "npm"]) {
        return;
    }
    let place = packages::of_npm("@nodeops-createos/sandbox@0.7.1");
    // A module is looked for beside the script that names it.
    let script = place.join("published-client.mjs");
    std::fs::copy(workspace().join("tests/clients/published-client.mjs"), &script).unwrap();
    check(|| Command::new("node"), &script);
}

#[test]
fn the_client_of_pypi() {
    if !privileged(&["curl", "python3"]) {
        return;
    }
    let place = packages::of_pypi("createos-sandbox==0.1.3");
    let script = workspace().join("tests/clients/published_client.py");
    check(
        || {
            let mut python = Command::new("python3");
            python.env("PYTHONPATH", &place);
            python
        },
        &script,
    );
}

#[test]
fn the_page_in_a_browser() {
    if !privileged(&["node", "npm", "chromium", "mmdebstrap", "runc"]) {
        return;
    }
    let place = packages::of_npm("puppeteer-core@24.43.1");
    let script = place.join("page.mjs");
    std::fs::copy(workspace().join("tests/clients/page.mjs"), &script).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), base_image(), &[]);
    let mut browser = Command::new("node");
    let output = run(browser.arg(&script).env("SERVER", &server.url).env("KEY", server.key.as_ref().unwrap()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all is as a person expects\n");
    server.stop();
}

/// Schemathesis sends what the document allows and what it forbids. One check is left out: that everything which the document
/// allows is accepted, since no schema says what a Dockerfile is.
#[test]
fn schemathesis_finds_nothing() {
    if !privileged(&["python3"]) {
        return;
    }
    let place = packages::of_pypi("schemathesis==4.32.5");
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), small_base(), &SETTINGS);
    let mut check = Command::new("python3");
    check.args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", server.url), "--seed", "1", "--no-color"]);
    check.args(["--max-examples", "40", "--exclude-checks", "positive_data_acceptance", "--header"]);
    check
        .arg(format!("X-Api-Key: {}", server.key.as_ref().unwrap()))
        .env("PYTHONPATH", &place)
        .current_dir(data.path());
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    server.stop();
}

/// Runs the script against two servers: one that takes everything, one that takes little.
fn check(interpreter: impl Fn() -> Command, script: &PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&data.path().join("a"), small_base(), &SETTINGS);
    let slow = Server::start(&data.path().join("b"), small_base(), &SLOW);
    let output = run(interpreter()
        .arg(script)
        .env("SERVER", &server.url)
        .env("KEY", server.key.as_ref().unwrap())
        .env("SLOW_SERVER", &slow.url)
        .env("SLOW_KEY", slow.key.as_ref().unwrap()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("all is as the client expects\n"), "{said}");
    server.stop();
    slow.stop();
}
