//! Services that stop, and services that are killed: what was there goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use drydock::FailureCode;
use templates::store::{Sqlite, Store};
use templates::{Error, Status, Templates};

use crate::builder::{Scripted, config, ended, ready, service, submit, wait};

#[test]
fn a_service_that_stops_begins_its_builds_again() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let kept = ready(&templates, "kept", "say 1");
    let building = wait(&templates, &submit(&templates, "env", "sleep 700"), |now| now.status == Status::Building);
    templates.stop(Duration::ZERO);
    drop(templates);
    let (templates, builder) = service(dir.path());
    let ended = ended(&templates, &building);
    assert_eq!((ended.status, ended.attempt), (Status::Ready, 2));
    assert_eq!(builder.builds.load(Ordering::SeqCst), 1);
    assert_eq!(wait(&templates, &kept, |_| true), kept);
    assert!(matches!(Templates::open(config(dir.path()), Scripted::default()), Err(Error::InUse { .. })));
}

#[test]
fn a_service_that_drains_ends_its_builds() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let building = wait(&templates, &submit(&templates, "env", "sleep 300"), |now| now.status == Status::Building);
    templates.stop(Duration::from_secs(20));
    assert_eq!(wait(&templates, &building, |_| true).status, Status::Ready);
}

#[test]
fn a_build_whose_host_goes_away_too_often_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let templates = Templates::open(config(dir.path()), Scripted::default()).unwrap();
    let template = submit(&templates, "env", "say 1");
    drop(templates);
    // Three lives that took the job and died.
    let store = Sqlite::open(&dir.path().join("data/templates.db")).unwrap();
    for _ in 0..4 {
        assert!(store.claim("dead", Duration::ZERO).unwrap().is_some());
        std::thread::sleep(Duration::from_millis(3));
    }
    drop(store);
    let (templates, builder) = service(dir.path());
    let ended = ended(&templates, &template);
    assert_eq!(ended.failure.unwrap().code, FailureCode::Interrupted);
    assert_eq!(builder.builds.load(Ordering::SeqCst), 0);
}

#[test]
fn what_nobody_owns_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let kept = ready(&templates, "env", "say 1");
    templates.stop(Duration::ZERO);
    drop(templates);
    let data = dir.path().join("data");
    std::fs::write(data.join("images/0123.ext4"), "orphan").unwrap();
    std::fs::write(data.join("images/tmp/half.ext4"), "half").unwrap();
    std::fs::create_dir(data.join("logs/tpl_01ARZ3NDEKTSV4RRFFQ0000000")).unwrap();
    std::fs::write(data.join("logs/notes"), "not ours").unwrap();
    let (templates, _) = service(dir.path());
    assert!(!data.join("images/0123.ext4").exists());
    assert!(!data.join("images/tmp/half.ext4").exists());
    assert!(!data.join("logs/tpl_01ARZ3NDEKTSV4RRFFQ0000000").exists());
    assert!(data.join("logs/notes").exists());
    assert!(data.join("logs").join(kept.id.as_str()).join("1.ndjson").exists());
    assert!(data.join("images").join(format!("{}.ext4", kept.image_digest.clone().unwrap())).exists());
    assert_eq!(wait(&templates, &kept, |_| true), kept);
}
