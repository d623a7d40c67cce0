//! What happens to many hosts: the database and the object store are killed, slow, failing or lying; a builder is cut off; clocks differ;
//! certificates are wrong. After each, [`Promises`] are checked, and nothing is left when everything was deleted.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drydock_tests::{Postgres, Random, busybox_base, drydock, privileged, run, sha256, skip};
use serde_json::Value;

use super::hosts::{get, log, numbers, submit, until};
use super::promises::{Promises, act, check, counts};
use super::proxy::{Mood, Proxy};
use super::server::{Server, small_base};
use super::store::Store;

/// How often everything goes wrong: `DRYDOCK_ROUNDS`, or once.
fn rounds() -> u32 {
    std::env::var("DRYDOCK_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// Hosts with one database; what they have beside it is in `settings`.
struct Hosts<'a> {
    dir: &'a Path,
    base: &'a str,
    settings: Vec<(&'a str, String)>,
}

impl Drop for Hosts<'_> {
    fn drop(&mut self) {
        // A host that was killed in the middle of a step leaves mounts, which its next build would sweep: below the folder, or of it.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of_it = |line: &&str| line.contains(&self.dir.display().to_string());
        for place in mounts.lines().rev().filter(of_it).filter_map(|line| line.split(' ').nth(1)) {
            drop(Command::new("umount").args(["--lazy", place]).output());
        }
    }
}

impl<'a> Hosts<'a> {
    fn new(dir: &'a Path, base: &'a str, database: &str) -> Self {
        let settings = [
            ("DRYDOCK_DATABASE", database),
            ("DRYDOCK_LEASE_SECONDS", "2"),
            ("DRYDOCK_IMAGE_GRACE_SECONDS", "0"),
            ("DRYDOCK_INTERRUPTIONS_MAX", "1000"),
            ("DRYDOCK_ACTIVE_PER_OWNER", "8"),
            ("DRYDOCK_REQUESTS_PER_SECOND", "100000"),
            ("DRYDOCK_REQUESTS_BURST", "100000"),
            ("DRYDOCK_DISK_SIZE_BYTES", "16777216"),
            ("DRYDOCK_NETWORK", "none"),
        ];
        Self { dir, base, settings: settings.map(|(name, value)| (name, value.to_owned())).to_vec() }
    }

    fn with(mut self, more: &[(&'a str, &str)]) -> Self {
        self.settings.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
        self
    }

    fn start(&self, name: &str, role: &str, under: &[&str], more: &[(&str, &str)]) -> Server {
        let mut settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.push(("DRYDOCK_ROLE", role));
        settings.extend(more);
        Server::start_under(under, &self.dir.join(name), self.base, &settings)
    }

    /// Deletes everything: nothing is left of it, on any host.
    fn nothing_stays(&self, api: &Server, key: &str, hosts: &[&str], objects: impl Fn() -> Vec<String>) {
        loop {
            let (_, answer) = api.request(key, "GET", "/v1/templates?limit=500", None).unwrap();
            let page = answer["data"]["templates"].as_array().unwrap();
            if page.is_empty() {
                break;
            }
            for template in page {
                let path = format!("/v1/templates/{}", template["id"].as_str().unwrap());
                assert_eq!(api.request(key, "DELETE", &path, None).unwrap().0, 200);
            }
        }
        until("no object stays", || objects().is_empty());
        let files = |dir: &str| -> Vec<String> {
            let of = |host: &&str| std::fs::read_dir(self.dir.join(host).join(dir)).into_iter().flatten().flatten();
            let names = hosts.iter().flat_map(of).map(|entry| entry.file_name().into_string().unwrap());
            names.filter(|name| name != "tmp").collect()
        };
        for dir in ["images", "images/tmp", "logs"] {
            until(&format!("nothing stays in {dir}"), || files(dir).is_empty());
        }
    }
}

/// The database is killed and the store is everything but right, while three clients and two builders work.
#[test]
fn the_database_and_the_store_fail_under_load() {
    if !privileged(&["curl", "python3"]) {
        return;
    }
    let Some(mut server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start();
    let proxy = Proxy::start(&store.url);
    let (database, url) = (server.database("drydock"), proxy.url.clone());
    let hosts = Hosts::new(dir.path(), small_base(), &database).with(&[
        ("DRYDOCK_OBJECTS", "s3://drydock"),
        ("AWS_ENDPOINT_URL", &url),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]);
    let api = hosts.start("api", "api", &[], &[]);
    let key = api.key.clone().unwrap();
    let builders = ["first", "second"].map(|name| hosts.start(name, "builder", &[], &[]));
    let (promises, number, over) = (Mutex::new(Promises::default()), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (api, key, promises, number, over) = (&api, &key, &promises, &number, &over);
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker + 1));
                while !over.load(Ordering::SeqCst) {
                    act(api, key, promises, number, &mut random);
                }
            });
        }
        for _ in 0..rounds() {
            for mood in [Mood::Slow, Mood::Failing, Mood::Cut, Mood::Silent, Mood::Lying] {
                proxy.be(mood);
                std::thread::sleep(Duration::from_millis(500));
            }
            proxy.be(Mood::Right);
            server.kill_hard();
            std::thread::sleep(Duration::from_millis(100));
            server.restart();
            // Longer than a request is sent again.
            proxy.be(Mood::Gone);
            std::thread::sleep(Duration::from_millis(4_000));
            server.kill_hard();
            server.restart();
            proxy.be(Mood::Right);
        }
        // A machine that is busy needs longer for enough of them.
        let end = Instant::now() + Duration::from_secs(60);
        let enough = |promises: &Promises| promises.created.len() > 15 && promises.ready.len() > 5;
        while !enough(&promises.lock().unwrap()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::SeqCst);
    });
    let promises = promises.into_inner().unwrap();
    assert!(promises.created.len() > 15 && promises.ready.len() > 5, "{:?}", counts(&promises));
    check(&api, &key, &promises);
    // Bytes that are not those of the digest are refused, and nothing stays of them.
    let id = submit(&api, &key, "FROM nodeops/sandbox:debian\nWORKDIR /lies\n");
    until("it is ready", || get(&api, &key, &id)["status"] == "ready");
    let digest = get(&api, &key, &id)["rootfs_sha256"].as_str().unwrap().to_owned();
    let image = dir.path().join(format!("api/images/{digest}.ext4"));
    let resolve = || api.request(&key, "GET", &format!("/v1/templates/{id}/resolve"), None).unwrap().0;
    proxy.be(Mood::Lying);
    assert_eq!(resolve(), 500);
    assert!(!image.exists());
    proxy.be(Mood::Right);
    assert_eq!((resolve(), sha256(&image)), (200, digest));
    hosts.nothing_stays(&api, &key, &["api", "first", "second"], || store.names());
    assert_eq!(String::from_utf8_lossy(&server.psql("drydock", "SELECT count(*) FROM log_lines").stdout).trim(), "0");
    for host in builders.into_iter().chain([api]) {
        host.stop();
    }
}

/// A network namespace with one cable to this one; removed when dropped.
struct Island {
    name: String,
    address: String,
}

impl Island {
    fn new() -> Self {
        let pid = std::process::id();
        let name = format!("ddt{pid}");
        let net = format!("10.213.{}", pid % 250);
        let island = Self { address: format!("{net}.1"), name };
        let (name, cable) = (&island.name, island.cable());
        ip(&["netns", "add", name]);
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["address", "add", &format!("{net}.1/24"), "dev", &cable]);
        ip(&["link", "set", &cable, "up"]);
        ip(&["-n", name, "address", "add", &format!("{net}.2/24"), "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        island
    }

    fn cable(&self) -> String {
        format!("{}c", self.name)
    }

    fn cut(&self) {
        ip(&["-n", &self.name, "link", "set", "eth0", "down"]);
    }

    fn mend(&self) {
        ip(&["-n", &self.name, "link", "set", "eth0", "up"]);
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["link", "delete", &self.cable()]).output());
        drop(Command::new("ip").args(["netns", "delete", &self.name]).output());
    }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}

/// A step of some seconds, which says something all the time and gives another image each time.
fn dockerfile(number: u32, seconds: u32) -> String {
    let says = "i=0; while [ $i -lt 10 ]; do echo line $i; i=$((i+1)); sleep 0";
    format!(
        "FROM nodeops/sandbox:debian\nENV NUMBER={number}\nRUN {says}.{}; done; head -c 16 /dev/urandom >/id\n",
        seconds
    )
}

/// Where attempts are counted: on a busy machine a heartbeat may be later than the lease of the other tests.
const PATIENT: (&str, &str) = ("DRYDOCK_LEASE_SECONDS", "6");

/// A builder that the database can't be reached from for longer than its lease, and that comes back while another builds: what it finishes is
/// refused, what it put is collected, the log is that of both.
#[test]
fn a_builder_that_was_cut_off_comes_back_too_late() {
    if !privileged(&["curl", "runc", "ip", "nsenter"]) {
        return;
    }
    let island = Island::new();
    let Some(server) = Postgres::listening(&island.address, None) else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = busybox_base(dir.path());
    let objects = dir.path().join("objects").display().to_string();
    let database = server.database("drydock");
    let hosts = Hosts::new(dir.path(), &base, &database).with(&[("DRYDOCK_OBJECTS", &objects), PATIENT]);
    let api = hosts.start("api", "api", &[], &[]);
    let key = api.key.clone().unwrap();
    let namespace = format!("--net=/run/netns/{}", island.name);
    let cut_off = hosts.start("cut-off", "builder", &["nsenter", &namespace], &[]);
    let id = submit(&api, &key, &dockerfile(1, 3));
    until("it begins", || log_now(&api, &key, &id).contains("line 1"));
    island.cut();
    let other = hosts.start("other", "builder", &[], &[]);
    // The first one is done by now, and the second in the middle.
    until("another host begins it", || {
        let log = log_now(&api, &key, &id);
        log.contains("\"attempt\":2") && log.rfind("line 1").is_some_and(|at| log[at..].contains("line 3"))
    });
    island.mend();
    let ended = log(&api, &key, &id);
    let ready = get(&api, &key, &id);
    assert_eq!((&ready["status"], &ready["attempt"]), (&"ready".into(), &2.into()), "{ended}");
    assert_eq!(numbers(&ended), (0..u64::try_from(numbers(&ended).len()).unwrap()).collect::<Vec<_>>());
    let images = || names(&dir.path().join("objects/manifests"));
    let digest = ready["rootfs_sha256"].as_str().unwrap();
    // It says so itself, once it is through with what it had.
    let done = submit(&api, &key, &dockerfile(2, 0));
    until("the builders go on", || get(&api, &key, &done)["status"] == "ready");
    until("what came too late goes", || {
        images().len() == 2 && names(&dir.path().join("cut-off/images/tmp")).is_empty()
    });
    assert!(images().iter().any(|name| name == digest));
    assert_eq!(get(&api, &key, &id), ready, "what it finished counts no more");
    assert_eq!(log(&api, &key, &id), ended, "its log is whole, from the objects too");
    assert_eq!(api.request(&key, "GET", &format!("/v1/templates/{id}/resolve"), None).unwrap().0, 200);
    hosts.nothing_stays(&api, &key, &["api", "cut-off", "other"], || {
        ["manifests", "packs", "logs"].map(|kind| names(&dir.path().join("objects").join(kind))).concat()
    });
    for host in [other, cut_off, api] {
        host.stop();
    }
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn log_now(api: &Server, key: &str, id: &str) -> String {
    let (_, log) = api.request(key, "GET", &format!("/v1/templates/{id}/logs?follow=false"), None).unwrap();
    log.as_str().map_or_else(|| log.to_string(), str::to_owned)
}

/// Hosts whose clocks are ten minutes behind and ahead: nobody takes a build whose lease holds, times are those of the database, who died is
/// replaced in time. The clocks are moved by libfaketime, below a binary that knows nothing of it.
#[test]
fn clocks_ten_minutes_apart_change_nothing() {
    if !privileged(&["curl", "runc"]) {
        return;
    }
    let Some(fake) = fake_time() else {
        return skip("this test needs faketime; scripts/setup test installs it");
    };
    let Some(server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = busybox_base(dir.path());
    let objects = dir.path().join("objects").display().to_string();
    let database = server.database("drydock");
    let hosts = Hosts::new(dir.path(), &base, &database).with(&[("DRYDOCK_OBJECTS", &objects), PATIENT]);
    let moved = |by: &'static str| {
        [("LD_PRELOAD", fake.as_str()), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]
    };
    let api = hosts.start("api", "api", &[], &[]);
    let key = api.key.clone().unwrap();
    let behind = hosts.start("behind", "all", &[], &moved("-10m"));
    let ahead = hosts.start("ahead", "all", &[], &moved("+10m"));
    let first = submit(&behind, &key, &dockerfile(1, 3));
    let second = submit(&ahead, &key, &dockerfile(2, 3));
    for id in [&first, &second] {
        until("it is built", || get(&api, &key, id)["status"] == "ready");
        let ready = get(&ahead, &key, id);
        assert_eq!(ready["attempt"], 1, "nobody took it from whoever built it: {ready}");
        assert_eq!(get(&behind, &key, id), ready);
        let now = String::from_utf8(run(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M"])).stdout).unwrap();
        let minutes = |time: &str| time[11..13].parse::<i32>().unwrap() * 60 + time[14..16].parse::<i32>().unwrap();
        let apart = |time: &str| (minutes(&now) - minutes(time) + 36 * 60).rem_euclid(24 * 60) - 12 * 60;
        let first: Value = serde_json::from_str(log(&api, &key, id).lines().next().unwrap()).unwrap();
        let written = apart(first["ts"].as_str().unwrap()).abs();
        assert!((7..=13).contains(&written), "the clock of who built it is not moved: {first}");
        for time in ["created_at", "built_at"] {
            let apart = apart(ready[time].as_str().unwrap());
            assert!((-3..=3).contains(&apart), "{time} is that of a host: {ready}");
        }
    }
    let order = ["env@1", "env@2"].map(|name| get(&api, &key, name)["id"].clone());
    assert!(
        order == [first.as_str(), second.as_str()].map(Value::from)
            || order == [second.as_str(), first.as_str()].map(Value::from)
    );
    assert_eq!(get(&api, &key, "env")["id"], second.as_str(), "the one submitted last");
    let third = submit(&api, &key, &dockerfile(3, 3));
    until("it begins", || get(&api, &key, &third)["status"] == "building");
    // Whoever has it.
    let of_ahead = names(&dir.path().join("ahead/logs")).contains(&third);
    let (killed, other) = if of_ahead { (ahead, behind) } else { (behind, ahead) };
    let pid = killed.pid().as_raw_nonzero();
    killed.kill();
    // What libfaketime removes at the end of a process that has one.
    for kind in ["faketime_shm", "sem.faketime_sem"] {
        drop(std::fs::remove_file(format!("/dev/shm/{kind}_{pid}")));
    }
    until("the other host builds it", || get(&api, &key, &third)["status"] == "ready");
    assert_eq!(get(&other, &key, &third)["attempt"], 2);
    for host in [other, api] {
        host.stop();
    }
}

/// Where Debian has the library that moves clocks.
fn fake_time() -> Option<String> {
    let places = std::fs::read_dir("/usr/lib")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")));
    places.filter(|place| place.exists()).map(|place| place.display().to_string()).next()
}

/// TLS to PostgreSQL: a certificate of the authority that the system trusts is taken, any other is not, and neither is one of another name.
#[test]
fn the_certificate_of_the_database_is_checked() {
    if !privileged(&[]) {
        return;
    }
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), rcgen::Issuer::new(params, key))
    };
    let ((trusted, issuer), (other, _)) = (authority(), authority());
    let dir = tempfile::tempdir().unwrap();
    let authorities = ["trusted", "other"].map(|name| dir.path().join(name));
    std::fs::write(&authorities[0], trusted).unwrap();
    std::fs::write(&authorities[1], other).unwrap();
    let server = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Postgres::listening("127.0.0.1", Some((&certificate, &key.serialize_pem())))
    };
    let ask = |address: &str, authority: &Path| {
        let mut list = Command::new(drydock());
        list.args(["key", "list"])
            .env("DRYDOCK_DATABASE", address)
            .env("SSL_CERT_FILE", authority)
            .env_remove("SSL_CERT_DIR");
        list.current_dir(dir.path()).output().unwrap()
    };
    let Some(right) = server("127.0.0.1") else { return };
    let plain = right.database("drydock");
    let encrypted = format!("{plain}?sslmode=require");
    let taken = ask(&encrypted, &authorities[0]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let Some(elsewhere) = server("db.example") else { return };
    let elsewhere = format!("{}?sslmode=require", elsewhere.database("drydock"));
    // The server takes no connection without TLS, so that the first one had it.
    for (address, authority, why) in [
        (&encrypted, &authorities[1], "certificate"),
        (&elsewhere, &authorities[0], "certificate"),
        (&plain, &authorities[0], "no encryption"),
    ] {
        let refused = ask(address, authority);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{address}: {said}");
    }
}
