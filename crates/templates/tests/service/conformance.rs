//! What every store has to do. A second one calls [`conforms`] with itself.

use std::sync::Arc;
use std::time::Duration;

use drydock::{Failure, FailureCode};
use templates::store::{
    Beat, Cancelled, Finished, InsertLimits, Inserted, NewTemplate, Outcome, Sqlite, Store, StoreError,
};
use templates::{ApiKey, KeyRecord, Owner, Selector, Status, TemplateId, Time};

pub(crate) const LIMITS: InsertLimits = InsertLimits {
    active_per_owner: 2,
    owner_quota_bytes: 1_000,
    images_quota_bytes: 100,
    idempotency_kept: Duration::from_secs(60),
};

pub(crate) fn id(number: u32) -> TemplateId {
    format!("tpl_01ARZ3NDEKTSV4RRFFQ{number:07}").parse().unwrap()
}

pub(crate) fn new(number: u32, owner: &str, name: &str) -> NewTemplate {
    NewTemplate {
        id: id(number),
        owner: owner.parse().unwrap(),
        name: name.parse().unwrap(),
        base: "nodeops/sandbox:debian".to_owned(),
        dockerfile: format!("FROM x{number}"),
        disk_size_bytes: None,
        size_bytes: 100,
        no_cache: false,
        idempotency: None,
    }
}

pub(crate) fn image(digest: &str) -> Outcome {
    Outcome::Ready(Finished {
        digest: digest.to_owned(),
        size_bytes: 100,
        allocated_bytes: 10,
        image_id: "id".to_owned(),
        config: "{}".to_owned(),
        fingerprint: format!("f{digest}"),
        reused: false,
    })
}

pub(crate) fn card() -> Failure {
    Failure::new(FailureCode::RunFailed, "it failed")
}

/// A lease that does not end while a test runs.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// Lets the clock of any store move.
fn pass() {
    std::thread::sleep(Duration::from_millis(3));
}

/// Claims what comes next and ends it so.
fn build(store: &dyn Store, outcome: &Outcome) -> TemplateId {
    let claim = store.claim("here", LONG).unwrap().expect("something is pending");
    assert!(store.finish(&claim.template.id, claim.template.attempt, outcome).unwrap());
    claim.template.id
}

pub(crate) fn conforms(fresh: &dyn Fn() -> Arc<dyn Store>) {
    inserts_within_the_limits(fresh().as_ref());
    two_hundred_at_once(&fresh());
    claims_and_fences(fresh().as_ref());
    owners_take_turns(fresh().as_ref());
    names_and_versions(fresh().as_ref());
    images_are_counted(fresh().as_ref());
    cancels(fresh().as_ref());
    replays(fresh().as_ref());
    lists(fresh().as_ref());
    keys(fresh().as_ref());
}

fn inserts_within_the_limits(store: &dyn Store) {
    for number in 0..2 {
        let inserted = store.insert(&new(number, "alice", "a"), &LIMITS).unwrap();
        assert!(matches!(inserted, Inserted::Created(template) if template.status == Status::Pending));
    }
    let third = store.insert(&new(2, "alice", "a"), &LIMITS).unwrap();
    assert_eq!(third, Inserted::TooManyActive(vec![id(0), id(1)]));
    assert!(matches!(store.insert(&new(3, "bob", "a"), &LIMITS).unwrap(), Inserted::Created(_)));
    assert_eq!(build(store, &image("d0")), id(0));
    // 100 of the image, 100 of the one that is pending, and 900 more.
    let large = NewTemplate { size_bytes: 900, ..new(4, "alice", "a") };
    assert_eq!(store.insert(&large, &LIMITS).unwrap(), Inserted::OverQuota(200));
    let full = InsertLimits { images_quota_bytes: 10, ..LIMITS };
    assert_eq!(store.insert(&new(4, "alice", "a"), &full).unwrap(), Inserted::StorageFull);
    assert_eq!(store.by_id(&id(4)).unwrap(), None, "a refusal stores nothing");
}

fn two_hundred_at_once(store: &Arc<dyn Store>) {
    let accepted: usize = std::thread::scope(|scope| {
        let submit = |thread: u32| {
            let one = move |number| store.insert(&new(thread * 25 + number, "alice", "a"), &LIMITS).unwrap();
            scope.spawn(move || (0..25).filter(|&number| matches!(one(number), Inserted::Created(_))).count())
        };
        let threads: Vec<_> = (0..8).map(submit).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 2);
}

fn claims_and_fences(store: &dyn Store) {
    assert_eq!(store.claim("here", LONG).unwrap(), None);
    store.insert(&new(1, "alice", "a"), &LIMITS).unwrap();
    let first = store.claim("here", LONG).unwrap().unwrap();
    assert_eq!((first.template.attempt, first.interruptions), (1, 0));
    assert_eq!((first.template.status, first.dockerfile.as_str()), (Status::Building, "FROM x1"));
    assert_eq!(store.claim("there", LONG).unwrap(), None, "the lease holds");
    assert_eq!(store.heartbeat(&id(1), 1, Duration::ZERO).unwrap(), Beat::Held);
    assert_eq!(store.heartbeat(&id(1), 1, LONG).unwrap(), Beat::Held);
    pass();
    assert_eq!(store.claim("there", LONG).unwrap(), None, "the lease is longer");
    assert_eq!(store.heartbeat(&id(1), 1, Duration::ZERO).unwrap(), Beat::Held);
    pass();
    let second = store.claim("there", LONG).unwrap().expect("the lease is over");
    assert_eq!((second.template.attempt, second.interruptions), (2, 1));
    // The first worker comes back: nothing it says counts.
    assert_eq!(store.heartbeat(&id(1), 1, LONG).unwrap(), Beat::Lost);
    assert!(!store.finish(&id(1), 1, &image("d")).unwrap());
    assert!(!store.release(&id(1), 1).unwrap());
    assert_eq!(store.by_id(&id(1)).unwrap().unwrap().status, Status::Building);
    assert!(store.release(&id(1), 2).unwrap());
    assert!(store.release(&id(1), 2).unwrap(), "said again");
    assert_eq!(store.by_id(&id(1)).unwrap().unwrap().status, Status::Pending);
    let third = store.claim("here", LONG).unwrap().unwrap();
    assert_eq!((third.template.attempt, third.interruptions), (3, 1), "a release is no interruption");
    assert_eq!(store.end_leases("there").unwrap(), []);
    assert_eq!(store.end_leases("here").unwrap(), [id(1)]);
    let fourth = store.claim("here", LONG).unwrap().unwrap();
    assert_eq!((fourth.template.attempt, fourth.interruptions), (4, 2));
    for said in ["once", "again, after an answer that was lost"] {
        assert!(store.finish(&id(1), 4, &Outcome::Failed(card())).unwrap(), "{said}");
    }
    assert!(!store.finish(&id(1), 4, &image("d")).unwrap(), "failed is final");
    let failed = store.by_id(&id(1)).unwrap().unwrap();
    assert_eq!((failed.status, failed.failure, failed.built_at), (Status::Failed, Some(card()), None));
}

fn owners_take_turns(store: &dyn Store) {
    for (number, owner) in [(1, "alice"), (2, "alice"), (3, "bob")] {
        store.insert(&new(number, owner, "a"), &LIMITS).unwrap();
    }
    let next = || store.claim("here", LONG).unwrap().unwrap().template.id;
    assert_eq!([next(), next(), next()], [id(1), id(3), id(2)], "who builds nothing comes first");
    // Somebody who queues hundreds, and others who come later with one.
    let unlimited = InsertLimits { active_per_owner: 1_000, owner_quota_bytes: u64::MAX >> 1, ..LIMITS };
    (100..400).for_each(|number| drop(store.insert(&new(number, "glutton", "a"), &unlimited).unwrap()));
    assert_eq!(next(), id(100));
    for number in 4..7 {
        store.insert(&new(number, &format!("owner-{number}"), "a"), &LIMITS).unwrap();
        pass();
    }
    assert_eq!([next(), next(), next(), next()], [id(4), id(5), id(6), id(101)]);
    // What ends in any way makes room again.
    assert!(store.finish(&id(100), 1, &Outcome::Failed(card())).unwrap());
    store.delete(&id(101)).unwrap();
    store.cancel(&id(102), &card()).unwrap();
    store.delete(&id(103)).unwrap();
    store.insert(&new(7, "owner-4", "a"), &LIMITS).unwrap();
    assert_eq!([next(), next(), next()], [id(104), id(105), id(7)]);
    assert!(store.release(&id(104), 1).unwrap());
    assert_eq!(next(), id(104), "the oldest of its owner, again");
}

fn names_and_versions(store: &dyn Store) {
    let alice: Owner = "alice".parse().unwrap();
    let get = |text: &str| store.get(&alice, &text.parse::<Selector>().unwrap()).unwrap().map(|found| found.id);
    store.insert(&new(1, "alice", "env"), &LIMITS).unwrap();
    assert_eq!(get("env"), None, "nothing is ready");
    assert_eq!(get(id(1).as_str()), Some(id(1)));
    build(store, &image("d1"));
    assert_eq!(get("env"), Some(id(1)));
    store.insert(&new(2, "alice", "env"), &LIMITS).unwrap();
    build(store, &Outcome::Failed(card()));
    assert_eq!(get("env"), Some(id(1)), "a rebuild that fails changes nothing");
    store.insert(&new(3, "alice", "env"), &LIMITS).unwrap();
    store.insert(&new(4, "alice", "env"), &LIMITS).unwrap();
    let [third, fourth] = [0, 1].map(|_| store.claim("here", LONG).unwrap().unwrap().template);
    assert!(store.finish(&fourth.id, 1, &image("d4")).unwrap());
    assert!(store.finish(&third.id, 1, &image("d3")).unwrap());
    assert_eq!(get("env"), Some(id(4)), "the one submitted last, whichever is built last");
    assert_eq!([get("env@1"), get("env@2"), get("env@3"), get("env@4")], [Some(id(1)), Some(id(4)), Some(id(3)), None]);
    assert!(store.delete(&id(4)).unwrap());
    assert!(!store.delete(&id(4)).unwrap());
    assert_eq!((get("env"), get("env@2")), (Some(id(3)), None));
    store.insert(&new(5, "alice", "env"), &LIMITS).unwrap();
    build(store, &image("d5"));
    assert_eq!((get("env@2"), get("env@4")), (None, Some(id(5))), "numbers never come again");
    let bob: Owner = "bob".parse().unwrap();
    assert_eq!(store.get(&bob, &"env".parse().unwrap()).unwrap(), None);
    assert_eq!(store.get(&bob, &Selector::Id(id(5))).unwrap(), None);
}

fn images_are_counted(store: &dyn Store) {
    let alice: Owner = "alice".parse().unwrap();
    for number in 1..3 {
        store.insert(&new(number, "alice", "a"), &LIMITS).unwrap();
        build(store, &image("same"));
    }
    assert_eq!(store.images().unwrap(), ["same"]);
    assert_eq!(store.finished(&alice, "fsame").unwrap().unwrap().digest, "same");
    assert_eq!(store.finished(&"bob".parse().unwrap(), "fsame").unwrap(), None, "another owner's is not used");
    assert_eq!(store.image_config(&id(1)).unwrap().as_deref(), Some("{}"));
    pass();
    store.delete(&id(1)).unwrap();
    assert_eq!(store.unreferenced(Duration::ZERO).unwrap(), [""; 0]);
    assert!(!store.forget_image("same").unwrap());
    std::thread::sleep(Duration::from_secs(1));
    store.delete(&id(2)).unwrap();
    assert_eq!(store.unreferenced(Duration::from_secs(1)).unwrap(), [""; 0], "its grace began with the last delete");
    assert_eq!(store.unreferenced(Duration::ZERO).unwrap(), ["same"]);
    assert!(store.forget_image("same").unwrap());
    assert_eq!(store.images().unwrap(), [""; 0]);
    assert_eq!(store.counts().unwrap().images, 0);
    // A build that found it before it went.
    store.insert(&new(3, "alice", "a"), &LIMITS).unwrap();
    store.claim("here", LONG).unwrap().unwrap();
    let Outcome::Ready(found) = image("same") else { unreachable!("it is ready") };
    let reused = Outcome::Ready(Finished { reused: true, ..found });
    assert!(matches!(store.finish(&id(3), 1, &reused), Err(StoreError::ImageGone)));
    assert_eq!(store.by_id(&id(3)).unwrap().unwrap().status, Status::Building);
    assert!(store.finish(&id(3), 1, &image("same")).unwrap());
}

fn cancels(store: &dyn Store) {
    assert_eq!(store.cancel(&id(1), &card()).unwrap(), Cancelled::Missing);
    store.insert(&new(1, "alice", "a"), &LIMITS).unwrap();
    assert!(
        matches!(store.cancel(&id(1), &card()).unwrap(), Cancelled::Withdrawn(template) if template.failure == Some(card()))
    );
    assert_eq!(store.cancel(&id(1), &card()).unwrap(), Cancelled::TooLate);
    store.insert(&new(2, "alice", "a"), &LIMITS).unwrap();
    store.claim("here", LONG).unwrap().unwrap();
    assert!(matches!(store.cancel(&id(2), &card()).unwrap(), Cancelled::Asked(template) if template.id == id(2)));
    assert_eq!(store.heartbeat(&id(2), 1, LONG).unwrap(), Beat::Cancelled);
    store.delete(&id(2)).unwrap();
    assert_eq!(store.heartbeat(&id(2), 1, LONG).unwrap(), Beat::Lost);
}

fn replays(store: &dyn Store) {
    let keyed = |number, hash: &str| NewTemplate {
        idempotency: Some(("key".to_owned(), hash.to_owned())),
        ..new(number, "alice", "a")
    };
    assert!(matches!(store.insert(&keyed(1, "h"), &LIMITS).unwrap(), Inserted::Created(_)));
    store.insert(&new(2, "alice", "a"), &LIMITS).unwrap();
    let again = store.insert(&keyed(3, "h"), &LIMITS).unwrap();
    assert!(matches!(again, Inserted::Replayed(template) if template.id == id(1)), "before the limit is looked at");
    assert_eq!(store.insert(&keyed(4, "other"), &LIMITS).unwrap(), Inserted::KeyReused);
    let bob = NewTemplate { owner: "bob".parse().unwrap(), ..keyed(5, "other") };
    assert!(matches!(store.insert(&bob, &LIMITS).unwrap(), Inserted::Created(_)), "keys are an owner's own");
    store.cancel(&id(2), &card()).unwrap();
    pass();
    let short = InsertLimits { idempotency_kept: Duration::ZERO, ..LIMITS };
    assert!(matches!(store.insert(&keyed(6, "h"), &short).unwrap(), Inserted::Created(_)), "keys grow old");
    store.delete(&id(6)).unwrap();
    assert!(
        matches!(store.insert(&keyed(7, "other"), &LIMITS).unwrap(), Inserted::Created(_)),
        "a key goes with its template"
    );
}

fn lists(store: &dyn Store) {
    let unlimited = InsertLimits { active_per_owner: 1_000, owner_quota_bytes: u64::MAX >> 1, ..LIMITS };
    for number in 0..25 {
        store.insert(&new(number, "alice", "a"), &unlimited).unwrap();
    }
    let alice: Owner = "alice".parse().unwrap();
    let mut seen = Vec::new();
    for offset in (0..30).step_by(7) {
        let (page, total) = store.list(&alice, 7, offset).unwrap();
        assert_eq!(total, 25);
        seen.extend(page.into_iter().map(|template| template.id));
    }
    assert_eq!(seen, (0..25).rev().map(id).collect::<Vec<_>>(), "newest first, the same order on each page");
    assert_eq!(store.list(&"bob".parse().unwrap(), 7, 0).unwrap(), (vec![], 0));
}

fn keys(store: &dyn Store) {
    let key = ApiKey::generate();
    let record =
        KeyRecord { id: key.id().to_owned(), owner: "alice".parse().unwrap(), created_at: Time(1), revoked_at: None };
    store.add_key(&record, &[7; 32]).unwrap();
    assert_eq!(store.key(key.id()).unwrap(), Some((record.clone(), vec![7; 32])));
    assert_eq!(store.key("other").unwrap(), None);
    assert!(store.revoke_key(key.id(), Time(2)).unwrap());
    assert!(!store.revoke_key(key.id(), Time(3)).unwrap());
    assert_eq!(store.keys().unwrap(), [KeyRecord { revoked_at: Some(Time(2)), ..record }]);
}

#[test]
fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conforms(&|| {
        number.set(number.get() + 1);
        Arc::new(Sqlite::open(&dir.path().join(format!("{}.db", number.get()))).unwrap())
    });
}

#[test]
fn sqlite_is_opened_again_and_refuses_a_newer_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("templates.db");
    Sqlite::open(&path).unwrap().insert(&new(1, "alice", "a"), &LIMITS).unwrap();
    assert!(Sqlite::open(&path).unwrap().by_id(&id(1)).unwrap().is_some());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let refused = Sqlite::open(&path).unwrap_err();
    assert!(refused.to_string().contains("format 99"), "{refused}");
}
