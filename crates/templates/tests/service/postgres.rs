//! PostgreSQL as the store: the same as SQLite, and then many hosts, and a server that crashes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use drydock_tests::Postgres as Server;
use templates::TemplateId;
use templates::store::{InsertLimits, Inserted, Outcome, Postgres, Store};

use crate::conformance::{LIMITS, LONG, card, conforms, id, image, new};

/// Hosts of one service.
const HOSTS: usize = 8;

/// Submissions of one host at one moment.
const SUBMISSIONS: u32 = 25;

fn hosts(address: &str) -> Vec<Postgres> {
    (0..HOSTS).map(|_| Postgres::open(address).unwrap()).collect()
}

/// How often a race is run: `DRYDOCK_ROUNDS`, or a few times.
fn rounds() -> u32 {
    std::env::var("DRYDOCK_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap())
}

#[test]
fn postgres() {
    let Some(server) = Server::start() else { return };
    let number = Cell::new(0);
    conforms(&|| {
        number.set(number.get() + 1);
        Arc::new(Postgres::open(&server.database(&format!("conforms{}", number.get()))).unwrap())
    });
}

/// What the triggers keep of owners and images is what the rows come to.
pub(crate) fn turns_are_right(server: &Server) {
    let wrong = "SELECT turns.*, real.* FROM turns FULL JOIN
                 (SELECT owner, count(*) AS active, count(*) FILTER (WHERE status = 'building') AS building, sum(size_bytes) AS bytes,
                         min(created_at) FILTER (WHERE status = 'pending') AS since
                  FROM templates WHERE status IN ('pending', 'building') GROUP BY owner) AS real USING (owner)
                 WHERE (turns.active, turns.building, turns.coming_bytes, turns.waiting_since) IS DISTINCT FROM
                       (coalesce(real.active, 0), coalesce(real.building, 0), coalesce(real.bytes, 0), real.since)";
    let total = "SELECT 1 WHERE (SELECT coalesce(sum(allocated_bytes), 0) FROM images)
                 <> (SELECT sum(allocated_bytes) FROM images_total)";
    for query in [wrong, total] {
        let found = server.psql("drydock", query);
        let said = [found.stdout, found.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(found.status.success() && said[0].is_empty(), "{said:?}");
    }
}

#[test]
fn hosts_that_begin_at_once_make_one_database() {
    let Some(server) = Server::start() else { return };
    let address = server.database("drydock");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let address = &address;
            scope.spawn(move || {
                let store = Postgres::open(address).unwrap();
                store.insert(&new(number, "alice", "a"), &InsertLimits { active_per_owner: 100, ..LIMITS }).unwrap();
            });
        }
    });
    assert_eq!(Postgres::open(&address).unwrap().counts().unwrap().pending, 8);
    assert!(server.psql("drydock", "UPDATE drydock_format SET version = 99").status.success());
    let refused = Postgres::open(&address).unwrap_err();
    assert!(refused.to_string().contains("format 99"), "{refused}");
}

#[test]
fn what_can_not_be_connected_to_is_said() {
    let Some(server) = Server::start() else { return };
    let address = server.database("drydock");
    let said = |address: &str| drydock::explain(&Postgres::open(address).unwrap_err()).to_string();
    assert!(said("mysql://a:secret@b").contains("postgres://USER"), "{}", said("mysql://a:secret@b"));
    assert!(!said("mysql://a:secret@b").contains("secret"));
    assert!(said(&format!("{address}x")).contains("does not exist"), "{}", said(&format!("{address}x")));
    let checked = said(&format!("{address}?sslmode=require"));
    assert!(checked.contains("TLS"), "{checked}");
}

/// 200 submissions at one moment, from 8 hosts: the limit holds exactly.
#[test]
fn the_limit_of_an_owner_holds_over_all_hosts() {
    let Some(server) = Server::start() else { return };
    let hosts = hosts(&server.database("drydock"));
    for round in 0..rounds() {
        let owner = format!("owner-{round}");
        let start = Barrier::new(HOSTS * usize::try_from(SUBMISSIONS).unwrap());
        let accepted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for number in 0..u32::try_from(HOSTS).unwrap() * SUBMISSIONS {
                let (host, start, accepted) =
                    (&hosts[usize::try_from(number / SUBMISSIONS).unwrap()], &start, &accepted);
                let submission = new(round * 1_000 + number, &owner, "a");
                scope.spawn(move || {
                    start.wait();
                    match host.insert(&submission, &LIMITS).unwrap() {
                        Inserted::Created(_) => drop(accepted.fetch_add(1, Ordering::SeqCst)),
                        Inserted::TooManyActive(active) => assert_eq!(active.len(), 2),
                        other => panic!("{other:?}"),
                    }
                });
            }
        });
        assert_eq!(accepted.load(Ordering::SeqCst), 2, "round {round}");
    }
}

#[test]
fn a_database_of_before_chunks_is_brought_to_the_format_of_today() {
    let Some(server) = Server::start() else { return };
    let address = server.database("drydock");
    let store = Postgres::open(&address).unwrap();
    store.insert(&new(1, "alice", "a"), &LIMITS).unwrap();
    drop(store);
    let before = "DROP TABLE pack_refs, packs, manifests, cached_steps, cached_layers, hosts; DROP INDEX templates_based; UPDATE drydock_format SET version = 3";
    assert!(server.psql("drydock", before).status.success());
    let store = Postgres::open(&address).unwrap();
    assert!(store.by_id(&id(1)).unwrap().is_some());
    for table in ["manifests", "packs", "pack_refs", "cached_steps"] {
        assert!(server.psql("drydock", &format!("SELECT * FROM {table}")).status.success(), "{table}");
    }
}

#[test]
fn hosts_that_claim_at_once_get_a_job_each() {
    let Some(server) = Server::start() else { return };
    let hosts = hosts(&server.database("drydock"));
    for round in 0..rounds() {
        for number in 0..8 {
            let submission = new(round * 1_000 + number, &format!("owner-{number}"), "a");
            assert!(matches!(hosts[0].insert(&submission, &LIMITS).unwrap(), Inserted::Created(_)));
        }
        let start = Barrier::new(HOSTS);
        let claims: Vec<_> = std::thread::scope(|scope| {
            let claim = |host: &'_ Postgres| {
                start.wait();
                host.claim("host", LONG).unwrap().expect("there are as many as hosts").template
            };
            let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(move || claim(host))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut taken: Vec<&TemplateId> = claims.iter().map(|template| &template.id).collect();
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), HOSTS, "round {round}");
        for template in &claims {
            assert!(hosts[0].finish(&template.id, template.attempt, &Outcome::Failed(card())).unwrap());
        }
        turns_are_right(&server);
    }
}

/// What a host that works was answered.
#[derive(Default)]
struct Answers {
    created: Vec<TemplateId>,
    /// The digest of each that was said to be ready.
    ready: BTreeMap<TemplateId, String>,
    deleted: Vec<TemplateId>,
}

impl Answers {
    fn is_enough(&self) -> bool {
        self.created.len() > 50 && self.ready.len() > 20 && self.deleted.len() > 5
    }
}

/// A server that crashes again and again under hosts that work: every answer stays true, and nobody gets an error.
#[test]
fn a_crash_of_the_server_takes_no_answer_back() {
    let Some(mut server) = Server::start() else { return };
    let hosts = hosts(&server.database("drydock"));
    let (number, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let answers = Mutex::new(Answers::default());
    let unlimited = InsertLimits {
        active_per_owner: 10_000,
        owner_quota_bytes: u64::MAX >> 1,
        images_quota_bytes: u64::MAX >> 1,
        ..LIMITS
    };
    std::thread::scope(|scope| {
        for host in &hosts {
            let (number, over, answers, unlimited) = (&number, &over, &answers, &unlimited);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    live(host, number.fetch_add(1, Ordering::SeqCst), unlimited, answers);
                }
            });
        }
        for pause in [150, 350, 250, 450] {
            std::thread::sleep(Duration::from_millis(pause));
            server.kill();
            std::thread::sleep(Duration::from_millis(pause));
            server.restart();
        }
        // A machine that is busy needs longer for enough of them.
        for _ in 0..600 {
            if answers.lock().unwrap().is_enough() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::SeqCst);
    });
    let answers = answers.into_inner().unwrap();
    assert!(answers.is_enough(), "{}", answers.created.len());
    let store = &hosts[0];
    for id in &answers.created {
        let found = store.by_id(id).unwrap();
        assert_eq!(found.is_none(), answers.deleted.contains(id), "{id}");
        if let (Some(found), Some(digest)) = (found, answers.ready.get(id)) {
            assert_eq!(found.image_digest.as_ref(), Some(digest), "{id}");
        }
    }
    let counts = store.counts().unwrap();
    let there = answers.created.len() - answers.deleted.len();
    assert_eq!(
        usize::try_from(counts.pending + counts.building + counts.ready + counts.failed).unwrap(),
        there,
        "none is made twice"
    );
    turns_are_right(&server);
}

/// One template from its submission to its end, and some deleted.
fn live(host: &Postgres, number: u32, limits: &InsertLimits, answers: &Mutex<Answers>) {
    let submission = new(number, "alice", "a");
    assert!(matches!(host.insert(&submission, limits).unwrap(), Inserted::Created(_)));
    answers.lock().unwrap().created.push(id(number));
    let Some(claim) = host.claim("host", LONG).unwrap() else { return };
    let template = claim.template;
    assert_eq!((template.attempt, claim.interruptions), (1, 0), "no claim was lost with its answer");
    let digest = format!("d{}", template.id);
    assert!(host.finish(&template.id, template.attempt, &image(&digest)).unwrap());
    answers.lock().unwrap().ready.insert(template.id.clone(), digest);
    if number.is_multiple_of(5) {
        assert!(host.delete(&template.id).unwrap());
        answers.lock().unwrap().deleted.push(template.id);
    }
}
