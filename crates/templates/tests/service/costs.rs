//! What the verbs of PostgreSQL cost where many templates are, and that claims at one moment are of different owners.
//!
//! `DRYDOCK_SIMULATE=BUILDERS,OWNERS,TEMPLATES` says how many there are (`benches/simulate`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use drydock_tests::Postgres as Server;
use templates::store::{Beat, InsertLimits, Inserted, Postgres, Store};

use crate::conformance::{LIMITS, LONG, image, new};
use crate::simulation::size;

/// Who works at one moment.
const THREADS: u32 = 8;

/// What each of them builds.
const BUILDS: u32 = 20;

/// Rows as the service would have made them: nine of ten ready, the others pending, of owners in turn.
fn fill(server: &Server, owners: usize, templates: usize) {
    let rows = format!("generate_series(1, {templates}) AS n");
    let id = "'tpl_01ARZ3NDEKTSV4RRF' || lpad(n::text, 9, '0')";
    let images = format!(
        "INSERT INTO images SELECT md5(n::text) || md5('x' || n), 536870912, 1048576, drydock_now() FROM {rows} WHERE n % 10 > 0"
    );
    let ready = format!(
        "INSERT INTO templates (id, owner, name, base, dockerfile, status, size_bytes, no_cache, created_at, built_at, version, attempt,
                                image_digest, image_id, config, fingerprint)
         SELECT {id}, 'owner-' || n % {owners}, 'env-' || n, 'base', 'FROM base', 'ready', 536870912, false, n, n, 1, 1,
                md5(n::text) || md5('x' || n), 'id', '{{}}', md5(n::text) FROM {rows} WHERE n % 10 > 0"
    );
    let pending = format!(
        "INSERT INTO templates (id, owner, name, base, dockerfile, status, size_bytes, no_cache, created_at)
         SELECT {id}, 'owner-' || n / 10 % {owners}, 'env', 'base', 'FROM base', 'pending', 100, false, n FROM {rows} WHERE n % 10 = 0"
    );
    // The triggers are for rows that come one by one; ready ones leave nothing in `turns`.
    for statement in [
        "ALTER TABLE images DISABLE TRIGGER images_added",
        "ALTER TABLE templates DISABLE TRIGGER turns_submitted",
        &images,
        &ready,
        "ALTER TABLE images ENABLE TRIGGER images_added",
        "ALTER TABLE templates ENABLE TRIGGER turns_submitted",
        "UPDATE images_total SET allocated_bytes = (SELECT sum(allocated_bytes) FROM images) WHERE slot = 0",
        &pending,
        "ANALYZE",
    ] {
        let done = server.psql("drydock", statement);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn claims_at_one_moment_are_of_different_owners_and_cheap() {
    let Some(server) = Server::start() else { return };
    let address = server.database("drydock");
    let hosts: Vec<Postgres> = (0..THREADS).map(|_| Postgres::open(&address).unwrap()).collect();
    let size = size();
    fill(&server, size.owners, size.templates);
    let costs: Mutex<BTreeMap<&str, Vec<Duration>>> = Mutex::default();
    let owners: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let claims: Mutex<Vec<_>> = Mutex::default();
    let all_at_once = |work: &(dyn Fn(u32, &Postgres) + Sync)| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (number, host) in (0..).zip(&hosts) {
                scope.spawn(move || work(number, host));
            }
        });
        begun.elapsed()
    };
    let spent = |verb, begun: Instant| costs.lock().unwrap().entry(verb).or_default().push(begun.elapsed());
    let claiming = all_at_once(&|_, host| {
        for _ in 0..BUILDS {
            let begun = Instant::now();
            let claim = host.claim("host", LONG).unwrap().expect("many wait");
            spent("claim", begun);
            *owners.lock().unwrap().entry(claim.template.owner.as_str().to_owned()).or_default() += 1;
            claims.lock().unwrap().push(claim.template);
        }
    });
    let owners = owners.into_inner().unwrap();
    // One that is claimed in the moment in which another looks may come twice.
    assert!(owners.values().all(|&times| times <= 2), "{owners:?}");
    assert!(owners.len() * 10 >= usize::try_from(THREADS * BUILDS * 8).unwrap(), "{}", owners.len());
    let unlimited = InsertLimits {
        images_quota_bytes: u64::MAX >> 1,
        owner_quota_bytes: u64::MAX >> 1,
        active_per_owner: u32::MAX,
        ..LIMITS
    };
    let building = all_at_once(&|number, host| {
        for round in 0..BUILDS {
            let number = number * BUILDS + round;
            let template = claims.lock().unwrap().pop().unwrap();
            let begun = Instant::now();
            assert_eq!(host.heartbeat(&template.id, template.attempt, LONG).unwrap(), Beat::Held);
            spent("heartbeat", begun);
            let begun = Instant::now();
            assert!(host.finish(&template.id, template.attempt, &image(&format!("d{number}"))).unwrap());
            spent("finish", begun);
            let begun = Instant::now();
            let submission = new(number, &format!("owner-{}", number * 7), "env");
            assert!(matches!(host.insert(&submission, &unlimited).unwrap(), Inserted::Created(_)));
            spent("submit", begun);
        }
    });
    let begun = Instant::now();
    hosts[0].counts().unwrap();
    spent("counts", begun);
    let begun = Instant::now();
    hosts[0].unreferenced(Duration::ZERO).unwrap();
    spent("look for images", begun);
    println!("{THREADS} hosts at once, {} templates of {} owners:", size.templates, size.owners);
    for (verb, mut times) in costs.into_inner().unwrap() {
        times.sort_unstable();
        println!(
            "{verb:16} median {:9.3} ms, longest {:9.3} ms",
            times[times.len() / 2].as_secs_f64() * 1e3,
            times[times.len() - 1].as_secs_f64() * 1e3
        );
    }
    let all = f64::from(THREADS * BUILDS);
    println!(
        "{:.0} claims a second; {:.0} times a heartbeat, an end and a submission",
        all / claiming.as_secs_f64(),
        all / building.as_secs_f64()
    );
    super::postgres::turns_are_right(&server);
}
