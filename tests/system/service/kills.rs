//! kill -9 at any moment: whatever was answered is still true afterwards, and nothing is left over.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drydock_tests::{Random, drydock, privileged, run, sha256};

use super::promises::{Promises, act, check, counts};
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
    let enough =
        |promises: &Promises| promises.created.len() > 50 && promises.deleted.len() > 5 && promises.ready.len() > 20;
    // A machine that is busy needs longer lives for enough of them.
    for round in 0..KILLS + KILLS / 4 {
        if round >= KILLS && enough(&promises.lock().unwrap()) {
            break;
        }
        let server = Server::start(data.path(), small_base(), &SETTINGS);
        let over = AtomicBool::new(false);
        let moment = Instant::now() + Duration::from_millis(random.below(if round < KILLS { 200 } else { 2_000 }));
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
    assert!(enough(&promises), "{:?}", counts(&promises));
    check(&server, &key, &promises);
    leftovers(&server, &key, data.path());
    server.stop();
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
