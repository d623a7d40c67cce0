//! What a service answered while things went wrong, and whether it is so afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use drydock_tests::Random;
use serde_json::{Value, json};

use super::server::Server;

/// Everything that the server ever answered.
#[derive(Default)]
pub(super) struct Promises {
    /// Ids of templates that were created, and the Dockerfile of each.
    pub(super) created: BTreeMap<String, String>,
    /// Ids whose deletion was sent; answered or not, nothing is known of them but below.
    pub(super) deleting: BTreeSet<String>,
    /// Ids whose deletion was answered.
    pub(super) deleted: BTreeSet<String>,
    /// Ids that were seen ready, and the digest of each.
    pub(super) ready: BTreeMap<String, String>,
    /// The lines of logs that were seen.
    pub(super) lines: BTreeMap<String, Vec<String>>,
}

pub(super) fn counts(promises: &Promises) -> [usize; 4] {
    [promises.created.len(), promises.deleted.len(), promises.ready.len(), promises.lines.len()]
}

/// One request at random; what is answered is a promise.
pub(super) fn act(server: &Server, key: &str, promises: &Mutex<Promises>, number: &AtomicU64, random: &mut Random) {
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

/// Every answer is still true, and every template that stayed is ready.
pub(super) fn check(server: &Server, key: &str, promises: &Promises) {
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
