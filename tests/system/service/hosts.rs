//! `drydock serve` on many hosts: processes with data folders of their own, one database, one directory of objects.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use drydock_tests::{Postgres, base_image, privileged, run, sha256};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::server::{Server, small_base};
use super::store::Store;

/// A step that takes some time and gives another image each time.
fn dockerfile(number: u32) -> String {
    let run = "for n in 1 2 3 4 5 6; do echo line $n; sleep 0.5; done; head -c 16 /dev/urandom >/id";
    format!("FROM nodeops/sandbox:debian\nENV NUMBER={number}\nRUN {run}\n")
}

struct Hosts<'a> {
    dir: &'a Path,
    database: String,
}

impl Drop for Hosts<'_> {
    fn drop(&mut self) {
        // A test that fails after a kill leaves no mount.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(self.dir)) {
            drop(Command::new("umount").args(["--lazy", place]).output());
        }
    }
}

impl Hosts<'_> {
    fn start(&self, name: &str, role: &str) -> Server {
        let objects = self.dir.join("objects").display().to_string();
        let settings = [
            ("DRYDOCK_DATABASE", self.database.as_str()),
            ("DRYDOCK_OBJECTS", &objects),
            ("DRYDOCK_ROLE", role),
            ("DRYDOCK_LEASE_SECONDS", "2"),
            ("DRYDOCK_IMAGE_GRACE_SECONDS", "0"),
            ("DRYDOCK_DISK_SIZE_BYTES", "536870912"),
            ("DRYDOCK_METRICS_LISTEN", "127.0.0.1:0"),
        ];
        Server::start(&self.dir.join(name), base_image(), &settings)
    }
}

pub(super) fn submit(api: &Server, key: &str, dockerfile: &str) -> String {
    let body = json!({ "name": "env", "dockerfile": dockerfile });
    let (status, answer) = api.request(key, "POST", "/v1/templates", Some(&body)).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

pub(super) fn get(api: &Server, key: &str, id: &str) -> Value {
    api.request(key, "GET", &format!("/v1/templates/{id}"), None).unwrap().1["data"].clone()
}

pub(super) fn log(api: &Server, key: &str, id: &str) -> String {
    let (status, log) = api.request(key, "GET", &format!("/v1/templates/{id}/logs"), None).unwrap();
    assert_eq!(status, 200, "{log}");
    log.as_str().unwrap().to_owned()
}

pub(super) fn numbers(log: &str) -> Vec<u64> {
    log.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64()).collect()
}

pub(super) fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(180);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Submitted at one, built by a second, followed and resolved at two; a builder that is killed is replaced; one that sleeps
/// beyond its lease comes back too late.
#[test]
fn processes_are_one_service() {
    if !privileged(&["curl", "mmdebstrap", "runc"]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts { dir: dir.path(), database: server.database("drydock") };
    let here = hosts.start("here", "api");
    let key = here.key.clone().expect("the first one makes the first key");
    let there = hosts.start("there", "api");
    assert_eq!(there.key, None);

    let first = hosts.start("first", "builder");
    let id = submit(&here, &key, &dockerfile(1));
    let logs = std::thread::scope(|scope| {
        let readers = [&here, &there].map(|api| scope.spawn(|| log(api, &key, &id)));
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!(logs[0], logs[1]);
    let lines = numbers(&logs[0]);
    assert!(lines.len() > 6 && lines == (0..u64::try_from(lines.len()).unwrap()).collect::<Vec<_>>(), "{}", logs[0]);
    assert_eq!(log(&there, &key, &id), logs[0], "the same when it is an object");
    let ready = get(&there, &key, &id);
    assert_eq!(ready["status"], "ready", "{}", logs[0]);
    until("a host that only builds counts too", || {
        let metrics = run(Command::new("curl").args(["--silent", "--fail"]).arg(first.metrics.as_ref().unwrap()));
        String::from_utf8(metrics.stdout).unwrap().contains("drydock_builds{outcome=\"ready\"} 1")
    });
    let digest = ready["rootfs_sha256"].as_str().unwrap();
    for (api, name) in [(&here, "here"), (&there, "there")] {
        let (status, resolved) = api.request(&key, "GET", "/v1/templates/env/resolve", None).unwrap();
        assert_eq!((status, &resolved["data"]["rootfs_sha256"]), (200, &ready["rootfs_sha256"]));
        assert_eq!(sha256(&dir.path().join(name).join("images").join(format!("{digest}.ext4"))), digest);
    }

    // kill -9 in the middle.
    let id = submit(&there, &key, &dockerfile(2));
    until("it begins", || get(&here, &key, &id)["status"] == "building");
    first.kill();
    let second = hosts.start("second", "builder");
    until("another host builds it", || get(&here, &key, &id)["status"] == "ready");
    let killed = log(&here, &key, &id);
    assert_eq!(numbers(&killed), (0..u64::try_from(numbers(&killed).len()).unwrap()).collect::<Vec<_>>());
    assert!(killed.contains("\"attempt\":2"), "{killed}");

    // One that is stopped for longer than its lease.
    let id = submit(&here, &key, &dockerfile(3));
    until("it begins", || get(&here, &key, &id)["status"] == "building");
    kill_process(second.pid(), Signal::STOP).unwrap();
    // In the folder of the one that was killed: what that left goes too.
    let third = hosts.start("first", "builder");
    until("another host builds it", || get(&here, &key, &id)["status"] == "ready");
    let ready = get(&here, &key, &id);
    let seen = log(&here, &key, &id);
    kill_process(second.pid(), Signal::CONT).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(get(&here, &key, &id), ready, "what it finishes counts no more");
    assert_eq!(log(&there, &key, &id), seen);
    for (kind, what) in [("manifests", "its image goes"), ("packs", "and its chunks")] {
        until(what, || std::fs::read_dir(dir.path().join("objects").join(kind)).unwrap().count() == 3);
    }
    for host in [third, second, there, here] {
        host.stop();
    }
    assert_eq!(std::fs::read_dir(dir.path().join("objects/tmp")).unwrap().count(), 0);
}

/// A RUN step that one host ran is a hit on another, which never had its layers.
#[test]
fn a_step_of_one_host_is_a_hit_on_another() {
    if !privileged(&["curl", "mmdebstrap", "runc"]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts { dir: dir.path(), database: server.database("drydock") };
    let api = hosts.start("api", "api");
    let key = api.key.clone().unwrap();
    let ready = |id: &str| {
        let log = log(&api, &key, id);
        assert_eq!(get(&api, &key, id)["status"], "ready", "{log}");
        log
    };
    // Run again it would give other bytes, so that the step after it would not be found.
    let steps = "FROM nodeops/sandbox:debian\nRUN cat /proc/sys/kernel/random/uuid >/x\nRUN cat /x\n";
    let first = hosts.start("first", "builder");
    ready(&submit(&api, &key, steps));
    let kept = || String::from_utf8(server.psql("drydock", "SELECT count(*) FROM cached_steps").stdout).unwrap();
    until("both steps are known to all", || kept().trim() == "2");
    first.stop();
    let second = hosts.start("second", "builder");
    let log = ready(&submit(&api, &key, &format!("{steps}ENV A=1\n")));
    assert_eq!(log.lines().filter(|line| line.contains("Using cache")).count(), 2, "{log}");
    second.stop();
    api.stop();
}

/// The answer with a log, of which the beginning was read, and nothing more for a while.
fn read_slowly(api: &Server, key: &str, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(api.url.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET /v1/templates/{id}/logs HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut beginning = vec![0; 64 << 10];
    stream.read_exact(&mut beginning).unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200"));
    std::thread::sleep(Duration::from_millis(500));
    stream
}

/// The objects in a bucket: an image in chunks, its log, and nothing when the template is gone. An image that the store changed is
/// not used.
#[test]
fn objects_may_be_in_a_bucket() {
    if !privileged(&["curl", "python3"]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let store = Store::start();
    let dir = tempfile::tempdir().unwrap();
    let database = server.database("drydock");
    let start = |name: &str, role: &str| {
        let settings = [
            ("DRYDOCK_DATABASE", database.as_str()),
            ("DRYDOCK_OBJECTS", "s3://drydock/of/the service"),
            ("DRYDOCK_ROLE", role),
            ("DRYDOCK_IMAGE_GRACE_SECONDS", "0"),
            ("DRYDOCK_DISK_SIZE_BYTES", "83886080"),
            ("AWS_ENDPOINT_URL", &store.url),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        Server::start(&dir.path().join(name), small_base(), &settings)
    };
    let here = start("here", "api");
    let key = here.key.clone().unwrap();
    let there = start("there", "api");
    let builder = start("builder", "builder");
    let id = submit(&here, &key, "FROM nodeops/sandbox:debian\nWORKDIR /w\n");
    let logs = [&here, &there].map(|api| log(api, &key, &id));
    assert_eq!(logs[0], logs[1]);
    until("the log is an object", || server.psql("drydock", "SELECT 1 FROM log_lines").stdout.is_empty());
    assert_eq!(log(&there, &key, &id), logs[0]);
    let mut names = store.names();
    // Who reads a long one slowly has no copy of it made here.
    let place = format!("/drydock/{}?Signature=none", names[0].replace(' ', "%20"));
    let long = dir.path().join("long.ndjson");
    std::fs::write(&long, logs[0].repeat((20 << 20) / logs[0].len())).unwrap();
    assert!(store.curl(&["--fail", "--upload-file", &long.display().to_string()], &place).is_some());
    let mut slow = read_slowly(&there, &key, &id);
    let copies = || std::fs::read_dir(dir.path().join("there/images/tmp")).unwrap().count();
    assert_eq!(copies(), 0);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 15 << 20, "{} bytes came after the first", rest.len());
    assert_eq!(copies(), 0);
    let digest = get(&here, &key, &id)["rootfs_sha256"].as_str().unwrap().to_owned();
    let pack = names.last().cloned().unwrap_or_default();
    let place = "of/the service";
    let expected = [format!("{place}/logs/{id}/1.ndjson"), format!("{place}/manifests/{digest}/{id}.1")];
    assert!(pack.starts_with(&format!("{place}/packs/{id}.1.")), "{names:?}");
    names.pop();
    assert_eq!(names, expected);
    let resolve = |api: &Server| api.request(&key, "GET", "/v1/templates/env/resolve", None).unwrap();
    let image = |name: &str| dir.path().join(name).join("images").join(format!("{digest}.ext4"));
    assert_eq!(resolve(&there).0, 200);
    assert_eq!(sha256(&image("there")), digest);
    assert_eq!(std::fs::metadata(image("there")).unwrap().len(), 80 << 20);
    // The store lies: the same name, other bytes. It lets nobody replace an object who does not seem to sign.
    let path = format!("/drydock/{}?Signature=none", names[1].replace(' ', "%20"));
    assert!(store.curl(&["--fail", "--request", "PUT", "--data", "other bytes"], &path).is_some());
    assert_eq!(resolve(&here).0, 500);
    assert!(!image("here").exists());
    assert_eq!(there.request(&key, "DELETE", &format!("/v1/templates/{id}"), None).unwrap().0, 200);
    until("nothing is left in the bucket", || store.names().is_empty());
    for host in [builder, there, here] {
        host.stop();
    }
}

/// Where the bucket is not there, or is not for these credentials, the service says so when it starts.
#[test]
fn a_bucket_that_is_not_there_is_said_at_the_start() {
    if !privileged(&["curl", "python3"]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let store = Store::start();
    let dir = tempfile::tempdir().unwrap();
    // One that did start would serve for ever.
    let mut serve = Command::new("timeout");
    serve.arg("60").arg(drydock_tests::drydock()).arg("serve").current_dir(dir.path());
    serve.env("DRYDOCK_DATABASE", server.database("drydock"));
    serve.env("DRYDOCK_OBJECTS", "s3://elsewhere/part").env("DRYDOCK_DATA", dir.path().join("data"));
    serve.env("AWS_ENDPOINT_URL", &store.url).env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = serve.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("s3://elsewhere/part among the objects: there is no such bucket"), "{said}");
}

#[test]
fn keys_are_kept_in_the_database() {
    if !privileged(&[]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let database = server.database("drydock");
    let key = |args: &[&str]| {
        let mut key = Command::new(drydock_tests::drydock());
        let output =
            key.arg("key").args(args).env("DRYDOCK_DATABASE", &database).current_dir(dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let made = key(&["create", "--owner", "alice"]);
    let id = made.split('_').nth(1).unwrap();
    assert!(key(&["list"]).contains(id));
    key(&["revoke", id]);
    assert!(key(&["list"]).contains("revoked"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made here");
    let mut print = Command::new(drydock_tests::drydock());
    print.args(["serve", "--print-config"]).env("DRYDOCK_DATABASE", "postgres://a:hidden@b/c").current_dir(dir.path());
    let printed = String::from_utf8(print.output().unwrap().stdout).unwrap();
    assert!(printed.contains("# database is set, and not shown") && !printed.contains("hidden"), "{printed}");
}
