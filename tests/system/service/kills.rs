//! kill -9 at any moment: whatever was answered is still true afterwards, and nothing is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drydock_tests::{Random, drydock, privileged, run, sha256};
use serde_json::{Value, json};

use super::server::{Server, small_base};

const KILLS: u64 = 200;

const SETTINGS: [(&str, &str); 6] = [
    ("DRYDOCK_ACTIVE_PER_OWNER", "8"),
    ("DRYDOCK_REQUESTS_PER_SECOND", "100000"),
    ("DRYDOCK_REQUESTS_BURST", "100000"),
    ("DRYDOCK_DISK_SIZE_BYTES", "16777216"),
    // A build may meet many kills.
    ("DRYDOCK_INTERRUPTIONS_MAX", "1000"),
    ("DRYDOCK_IMAGE_GRACE_SECONDS", "0"),
];

/// Everything that the server ever answered.
#[derive(Default)]
struct Promises {
    /// Ids of templates that were created, and the Dockerfile of each.
    created: BTreeMap<String, String>,
    /// Ids whose deletion was sent; answered or not, nothing is known of them but below.
    deleting: BTreeSet<String>,
    /// Ids whose deletion was answered.
    deleted: BTreeSet<String>,
    /// Ids that were seen ready, and the digest of each.
    ready: BTreeMap<String, String>,
    /// The lines of logs that were seen.
    lines: BTreeMap<String, Vec<String>>,
}

#[test]
fn what_was_answered_stays_true() {
    if !privileged(&["curl"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let promises = Mutex::new(Promises::default());
    let key = String::from_utf8(
        run(std::process::Command::new(drydock())
            .args(["key", "create", "--owner", "alice", "--data"])
            .arg(data.path()))
        .stdout,
    );
    let key = key.unwrap().trim().to_owned();
    let number = AtomicU64::new(0);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..KILLS {
        let server = Server::start(data.path(), small_base(), &SETTINGS);
        let over = AtomicBool::new(false);
        let moment = Instant::now() + Duration::from_millis(random.below(200));
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (server, over, number, promises, key) = (&server, &over, &number, &promises, &key);
                let mut random = Random(random.0 ^ (worker + 1));
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        act(server, key, promises, number, &mut random);
                    }
                });
            }
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            let pid = server.pid();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            over.store(true, Ordering::SeqCst);
        });
        server.kill();
    }
    let server = Server::start(data.path(), small_base(), &SETTINGS);
    let promises = promises.into_inner().unwrap();
    assert!(
        promises.created.len() > 50 && promises.deleted.len() > 5 && promises.ready.len() > 20,
        "{:?}",
        counts(&promises)
    );
    check(&server, &key, &promises);
    leftovers(&server, &key, data.path());
    server.stop();
}

fn counts(promises: &Promises) -> [usize; 4] {
    [promises.created.len(), promises.deleted.len(), promises.ready.len(), promises.lines.len()]
}

/// One request at random; what is answered is a promise.
fn act(server: &Server, key: &str, promises: &Mutex<Promises>, number: &AtomicU64, random: &mut Random) {
    let known = |random: &mut Random| -> Option<String> {
        let promises = promises.lock().unwrap();
        let count = promises.created.len();
        let at = usize::try_from(random.below(u64::try_from(count.max(1)).unwrap())).unwrap();
        promises.created.keys().nth(at).filter(|id| !promises.deleting.contains(*id)).cloned()
    };
    match random.below(8) {
        0..=2 => {
            let number = number.fetch_add(1, Ordering::SeqCst);
            let dockerfile = format!("FROM nodeops/sandbox:debian\nWORKDIR /w{number}\nENV A={number}\n");
            let body = json!({ "name": format!("env-{}", number % 7), "dockerfile": dockerfile });
            if let Some((200, answer)) = server.request(key, "POST", "/v1/templates", Some(&body)) {
                let id = answer["data"]["id"].as_str().unwrap().to_owned();
                promises.lock().unwrap().created.insert(id, dockerfile);
            }
        }
        3..=4 => {
            let Some(id) = known(random) else { return };
            if let Some((200, answer)) = server.request(key, "GET", &format!("/v1/templates/{id}"), None)
                && let Some(digest) = answer["data"]["rootfs_sha256"].as_str()
            {
                promises.lock().unwrap().ready.insert(id, digest.to_owned());
            }
        }
        5..=6 => {
            let Some(id) = known(random) else { return };
            let path = format!("/v1/templates/{id}/logs?follow=false");
            if let Some((200, log)) = server.request(key, "GET", &path, None) {
                let log = log_lines(&log);
                let mut promises = promises.lock().unwrap();
                let seen = promises.lines.entry(id).or_default();
                if log.len() > seen.len() {
                    *seen = log;
                }
            }
        }
        _ => {
            let Some(id) = known(random) else { return };
            promises.lock().unwrap().deleting.insert(id.clone());
            if let Some((200, _)) = server.request(key, "DELETE", &format!("/v1/templates/{id}"), None) {
                promises.lock().unwrap().deleted.insert(id);
            }
        }
    }
}

/// The lines of a log, without the frame at its end. A log of one line is read as its JSON.
fn log_lines(log: &Value) -> Vec<String> {
    let text = log.as_str().map_or_else(|| log.to_string(), str::to_owned);
    text.lines().filter(|line| line.contains("\"seq\"")).map(str::to_owned).collect()
}

fn check(server: &Server, key: &str, promises: &Promises) {
    for (id, dockerfile) in &promises.created {
        let path = format!("/v1/templates/{id}");
        if promises.deleted.contains(id) {
            assert_eq!(server.request(key, "GET", &path, None).unwrap().0, 404, "{id} is back");
            continue;
        }
        let (_, log) = server.request(key, "GET", &format!("{path}/logs"), None).unwrap();
        let (status, answer) = server.request(key, "GET", &format!("{path}?include=dockerfile"), None).unwrap();
        if status == 404 && promises.deleting.contains(id) {
            continue;
        }
        let template = &answer["data"];
        assert_eq!(
            (status, &template["status"], &template["dockerfile"]),
            (200, &json!("ready"), &json!(dockerfile)),
            "{answer}"
        );
        if let Some(digest) = promises.ready.get(id) {
            assert_eq!(template["rootfs_sha256"], *digest, "{id} was ready with another image");
        }
        let lines = log_lines(&log);
        if let Some(seen) = promises.lines.get(id) {
            assert_eq!(lines[..seen.len()], *seen, "lines of {id} that were seen are gone");
        }
    }
}

/// Nothing is there that no template has.
fn leftovers(server: &Server, key: &str, data: &std::path::Path) {
    let mut offset = 0;
    let (mut digests, mut ids) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let (_, answer) =
            server.request(key, "GET", &format!("/v1/templates?limit=500&offset={offset}"), None).unwrap();
        let page = answer["data"]["templates"].as_array().unwrap();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        digests.extend(page.iter().map(|template| format!("{}.ext4", template["rootfs_sha256"].as_str().unwrap())));
        ids.extend(page.iter().map(|template| template["id"].as_str().unwrap().to_owned()));
    }
    let names = |dir: &str| -> BTreeSet<String> {
        std::fs::read_dir(data.join(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    // The collector comes by within a moment.
    let end = Instant::now() + Duration::from_secs(20);
    let mut images = digests.clone();
    images.insert("tmp".to_owned());
    while names("images") != images && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(names("images"), images);
    assert_eq!(names("images/tmp"), BTreeSet::new());
    assert_eq!(names("logs"), ids);
    for name in digests {
        assert_eq!(format!("{}.ext4", sha256(&data.join("images").join(&name))), name);
    }
}
