//! Hosts, owners and a year of bad luck in some seconds: the store that ships, under a clock of its own, and hosts that are only events.
//!
//! One thread, one queue of events, one generator: the same seed is the same run. Builders claim, beat and end as `worker` does, die, sleep
//! past their lease and come back; the store fails before and after its commit; the clock jumps. A model beside it knows who waits and who
//! builds, and every claim has to be the one that the model says.
//!
//! `DRYDOCK_SEED` runs one again; `DRYDOCK_SIMULATE=BUILDERS,OWNERS,TEMPLATES` makes it as large as that (`benches/simulate`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use drydock::{Failure, FailureCode};
use drydock_tests::Random;
use templates::store::{
    Beat, Cancelled, Claim, InsertLimits, Inserted, NewTemplate, Outcome, Sqlite, Store, StoreError,
};
use templates::{Clock, Status, TemplateId, Time};

use crate::conformance::{card, image};

const LEASE: Duration = Duration::from_secs(30);
const SECOND: i64 = 1_000;
const INTERRUPTIONS_MAX: u32 = 2;
const FINISH_TRIES: u32 = 5;

/// The owner who queues a tenth of everything at once.
const GLUTTON: usize = 0;

const LIMITS: InsertLimits = InsertLimits {
    active_per_owner: u32::MAX,
    owner_quota_bytes: u64::MAX >> 1,
    images_quota_bytes: u64::MAX >> 1,
    idempotency_kept: Duration::from_secs(60),
};

#[derive(Clone, Debug)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit,
    Look(usize, u64),
    Beat(usize, u64),
    End(usize, u64, u32),
    Die(usize, u64),
    Back(usize),
    Collect,
    Jump(i64),
}

/// What a builder is at.
#[derive(Debug)]
struct Work {
    /// Which of all works it is: an event of an earlier one means nothing.
    serial: u64,
    id: TemplateId,
    attempt: u32,
    outcome: Outcome,
    /// Until when it hears and says nothing.
    asleep_until: i64,
}

/// What is known to be so, whatever the store says.
#[derive(Debug)]
struct Known {
    owner: usize,
    submitted_at: i64,
    created_at: i64,
    status: Status,
    attempt: u32,
    lease_until: i64,
    interruptions: u32,
    cancelled: bool,
    digest: Option<String>,
}

#[derive(Debug, Default)]
struct Turn {
    building: i64,
    pending: BTreeSet<(i64, TemplateId)>,
}

/// Wall time that a verb of the store took.
#[derive(Debug, Default)]
struct Cost {
    times: u64,
    spent: Duration,
}

#[derive(Debug, Default)]
struct Figures {
    /// Of the glutton, of those who come often, of the rest.
    waits: [Vec<i64>; 3],
    costs: BTreeMap<&'static str, Cost>,
    faults: BTreeMap<&'static str, u64>,
}

struct World<'a> {
    store: &'a Sqlite,
    clock: Arc<AtomicI64>,
    /// Time that passes alike for all, whatever the clock says.
    now: i64,
    random: Random,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    serial: u64,
    size: Size,
    submitted: usize,
    faulty: bool,
    work: Vec<Option<Work>>,
    idle: BTreeSet<usize>,
    /// The one look that each builder will take.
    looks: Vec<u64>,
    known: HashMap<TemplateId, Known>,
    turns: Vec<Turn>,
    queue: BTreeSet<(i64, i64, String, usize)>,
    leases: BTreeSet<(i64, TemplateId)>,
    objects: BTreeMap<String, (TemplateId, u32)>,
    active: usize,
    figures: Figures,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) builders: usize,
    pub(crate) owners: usize,
    pub(crate) templates: usize,
}

fn owner_name(owner: usize) -> String {
    format!("owner-{owner:05}")
}

impl World<'_> {
    fn at(&mut self, after: i64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((self.now + after, self.serial, event)));
    }

    fn clock(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// One in so many times, while things go wrong at all.
    fn once_in(&mut self, times: u64, what: &'static str) -> bool {
        let it_does = self.faulty && self.random.below(times) == 0;
        if it_does {
            *self.figures.faults.entry(what).or_default() += 1;
        }
        it_does
    }

    /// A verb of the store, which fails now and then: before it did anything (`None`), or after (what it did, and `false`).
    fn ask<T>(&mut self, verb: &'static str, say: impl FnOnce(&Sqlite) -> Result<T, StoreError>) -> Option<(T, bool)> {
        if self.once_in(400, "the store failed before its commit") {
            return None;
        }
        let begun = Instant::now();
        let answer = say(self.store).unwrap_or_else(|error| panic!("{verb}: {error}"));
        let cost = self.figures.costs.entry(verb).or_default();
        cost.times += 1;
        cost.spent += begun.elapsed();
        let answered = !self.once_in(400, "the store failed after its commit");
        Some((answer, answered))
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Submit => self.submit(),
            Event::Look(builder, serial) if self.looks[builder] == serial => self.look(builder),
            Event::Look(..) => {}
            Event::Beat(builder, serial) => self.beat(builder, serial),
            Event::End(builder, serial, tried) => self.end(builder, serial, tried),
            Event::Die(builder, serial) => {
                if self.is_at(builder, serial) {
                    self.work[builder] = None;
                    let away = 1 + i64::try_from(self.random.below(120)).unwrap();
                    self.at(away * SECOND, Event::Back(builder));
                }
            }
            Event::Back(builder) => self.back(builder),
            Event::Collect => {
                self.collect();
                if self.submitted < self.size.templates || self.active > 0 {
                    self.at(600 * SECOND, Event::Collect);
                }
            }
            Event::Jump(by) => {
                *self.figures.faults.entry("the clock jumped by ten minutes").or_default() += 1;
                self.clock.fetch_add(by, Ordering::SeqCst);
            }
        }
    }

    fn is_at(&self, builder: usize, serial: u64) -> bool {
        self.work[builder].as_ref().is_some_and(|work| work.serial == serial)
    }

    // Owners.

    fn submit(&mut self) {
        let all = self.size.templates;
        let number = self.submitted;
        self.submitted += 1;
        let owner = if number < all / 10 {
            GLUTTON
        } else {
            // A few come often, most come seldom.
            let owners = u64::try_from(self.size.owners).unwrap();
            let end = if self.random.below(4) == 0 { owners.div_ceil(100) } else { owners };
            1 + usize::try_from(self.random.below(end.max(2) - 1)).unwrap()
        };
        if self.submitted < all {
            // Nine tenths of what the builders can do, so that there is a queue at times, and the glutton gets the rest.
            let pause = BUILD_MEAN * 20 / 9 / i64::try_from(self.size.builders).unwrap();
            let pause = i64::try_from(self.random.below(u64::try_from(pause.max(1)).unwrap() + 1)).unwrap();
            self.at(if number < all / 10 { 0 } else { pause }, Event::Submit);
        }
        let new = NewTemplate {
            id: format!("tpl_01ARZ3NDEKTSV4RRFF{number:08}").parse().unwrap(),
            owner: owner_name(owner).parse().unwrap(),
            name: format!("env-{}", self.random.below(3)).parse().unwrap(),
            base: "nodeops/sandbox:debian".to_owned(),
            dockerfile: "FROM nodeops/sandbox:debian\nRUN true\n".to_owned(),
            disk_size_bytes: None,
            size_bytes: 100,
            no_cache: false,
            idempotency: None,
        };
        // Whether its answer comes or not makes no difference here.
        let Some((inserted, _)) = self.ask("submit", |store| store.insert(&new, &LIMITS)) else { return };
        let Inserted::Created(template) = inserted else { panic!("{inserted:?}") };
        let known = Known {
            owner,
            submitted_at: self.now,
            created_at: template.created_at.0,
            status: Status::Pending,
            attempt: 0,
            lease_until: 0,
            interruptions: 0,
            cancelled: false,
            digest: None,
        };
        self.known.insert(new.id.clone(), known);
        self.active += 1;
        self.turn(owner, |turn| {
            turn.pending.insert((template.created_at.0, new.id.clone()));
        });
        self.wake();
        match self.random.below(100) {
            0 => self.delete(&new.id),
            1 => self.cancel(&new.id),
            _ => {}
        }
    }

    fn delete(&mut self, id: &TemplateId) {
        let Some((deleted, _)) = self.ask("delete", |store| store.delete(id)) else { return };
        let gone = self.known.remove(id);
        assert_eq!(deleted, gone.is_some(), "{id}");
        if let Some(gone) = gone.filter(|gone| !gone.status.is_final()) {
            self.leave(id, &gone);
        }
    }

    fn cancel(&mut self, id: &TemplateId) {
        let Some((cancelled, _)) = self.ask("cancel", |store| store.cancel(id, &card())) else { return };
        let Some(known) = self.known.get_mut(id) else {
            assert_eq!(cancelled, Cancelled::Missing);
            return;
        };
        match known.status {
            Status::Pending => {
                assert!(matches!(cancelled, Cancelled::Withdrawn(_)), "{cancelled:?}");
                known.cancelled = true;
                self.becomes(id, Status::Failed);
            }
            Status::Building => {
                assert!(matches!(cancelled, Cancelled::Asked(_)), "{cancelled:?}");
                known.cancelled = true;
            }
            Status::Ready | Status::Failed => assert_eq!(cancelled, Cancelled::TooLate),
        }
    }

    // Builders.

    fn wake(&mut self) {
        if let Some(builder) = self.idle.pop_first() {
            self.look_in(1, builder);
        }
    }

    /// Makes a builder look for work, and not when it was to look before.
    fn look_in(&mut self, after: i64, builder: usize) {
        self.at(after, Event::Look(builder, self.serial + 1));
        self.looks[builder] = self.serial;
    }

    fn look(&mut self, builder: usize) {
        self.idle.remove(&builder);
        let holder = format!("host-{builder}");
        let expected = self.expected();
        let answer = self.ask("claim", |store| store.claim(&holder, LEASE));
        let Some((claim, answered)) = answer else { return self.look_in(SECOND, builder) };
        assert_eq!(claim.as_ref().map(|claim| &claim.template.id), expected.as_ref(), "who comes next");
        let Some(claim) = claim else {
            self.idle.insert(builder);
            if self.submitted < self.size.templates || self.active > 0 {
                self.look_in(SECOND, builder);
            }
            return;
        };
        self.take(&claim);
        if answered {
            self.begin(builder, claim);
        } else {
            // It is nobody's until its lease is over.
            self.look_in(SECOND, builder);
        }
    }

    /// The job that has to come next: one whose lease is over, else the oldest of the owner who builds least and waits longest.
    fn expected(&self) -> Option<TemplateId> {
        let over = self.leases.first().filter(|(until, _)| *until < self.clock());
        let first = |owner: usize| self.turns[owner].pending.first().map(|(_, id)| id.clone());
        over.map(|(_, id)| id.clone()).or_else(|| self.queue.first().and_then(|(.., owner)| first(*owner)))
    }

    /// What a claim makes of a template.
    fn take(&mut self, claim: &Claim) {
        let id = &claim.template.id;
        let (clock, begun) = (self.clock(), self.known[id].status == Status::Building);
        if !begun && self.known[id].attempt == 0 {
            let known = &self.known[id];
            let often = self.size.owners.div_ceil(100);
            let class = usize::from(known.owner != GLUTTON) + usize::from(known.owner >= often.max(2));
            self.figures.waits[class].push(self.now - known.submitted_at);
        }
        self.becomes(id, Status::Building);
        let known = self.known.get_mut(id).unwrap();
        known.attempt += 1;
        known.interruptions += u32::from(begun);
        known.lease_until = clock + i64::try_from(LEASE.as_millis()).unwrap();
        self.leases.insert((known.lease_until, id.clone()));
        assert_eq!((claim.template.attempt, claim.interruptions), (known.attempt, known.interruptions), "{id}");
    }

    fn begin(&mut self, builder: usize, claim: Claim) {
        let (id, attempt) = (claim.template.id, claim.template.attempt);
        let often = claim.interruptions > INTERRUPTIONS_MAX;
        let outcome = match self.random.below(20) {
            _ if often => Outcome::Failed(Failure::new(FailureCode::Interrupted, "its hosts went away")),
            0 => Outcome::Failed(card()),
            // Every attempt comes to other bytes.
            _ => image(&format!("{id}.{attempt}")),
        };
        let takes = if often { 1 } else { i64::try_from(self.random.below(2 * BUILD_MEAN.unsigned_abs())).unwrap() };
        self.serial += 1;
        let serial = self.serial;
        let mut asleep_until = 0;
        if self.once_in(200, "a builder died") {
            self.at(takes / 2, Event::Die(builder, serial));
        } else if self.once_in(200, "a builder slept past its lease") {
            asleep_until = self.now + takes / 2 + 2 * i64::try_from(LEASE.as_millis()).unwrap();
        }
        self.at(takes.max(asleep_until - self.now), Event::End(builder, serial, 1));
        self.at(BEAT, Event::Beat(builder, serial));
        self.work[builder] = Some(Work { serial, id, attempt, outcome, asleep_until });
    }

    fn beat(&mut self, builder: usize, serial: u64) {
        let Some(work) = self.work[builder].as_ref().filter(|work| work.serial == serial) else { return };
        let (id, attempt) = (work.id.clone(), work.attempt);
        if work.asleep_until > self.now {
            return self.at(BEAT, Event::Beat(builder, serial));
        }
        let holds = self.holds(&id, attempt);
        if let Some((beat, answered)) = self.ask("heartbeat", |store| store.heartbeat(&id, attempt, LEASE)) {
            assert_eq!(beat != Beat::Lost, holds, "{id} {attempt}");
            if holds {
                self.extend(&id);
            }
            match beat {
                Beat::Cancelled if answered => {
                    let work = self.work[builder].as_mut().unwrap();
                    work.outcome = Outcome::Failed(Failure::new(FailureCode::Cancelled, "as asked"));
                    return self.at(0, Event::End(builder, serial, 1));
                }
                Beat::Lost if answered => {
                    self.work[builder] = None;
                    return self.look_in(0, builder);
                }
                Beat::Held | Beat::Cancelled | Beat::Lost => {}
            }
        }
        self.at(BEAT, Event::Beat(builder, serial));
    }

    fn end(&mut self, builder: usize, serial: u64, tried: u32) {
        let Some(work) = self.work[builder].as_ref().filter(|work| work.serial == serial) else { return };
        let (id, attempt, outcome) = (work.id.clone(), work.attempt, work.outcome.clone());
        if self.once_in(1_000, "a service stopped and gave its build back") {
            return self.release(builder, &id, attempt);
        }
        if let Outcome::Ready(image) = &outcome {
            // The object comes before the row.
            self.objects.insert(image.digest.clone(), (id.clone(), attempt));
        }
        let (holds, said) = (self.holds(&id, attempt), self.said(&id, attempt, &outcome));
        let Some((ended, answered)) = self.ask("finish", |store| store.finish(&id, attempt, &outcome)) else {
            return self.end_again(builder, serial, tried);
        };
        assert_eq!(ended, holds || said, "{id} {attempt}");
        if holds {
            self.ended(&id, &outcome);
        }
        if !answered {
            return self.end_again(builder, serial, tried);
        }
        if !ended && let Outcome::Ready(image) = &outcome {
            self.objects.remove(&image.digest);
        }
        self.work[builder] = None;
        self.look_in(0, builder);
        if ended && self.random.below(50) == 0 {
            self.delete(&id);
        }
    }

    fn end_again(&mut self, builder: usize, serial: u64, tried: u32) {
        if tried < FINISH_TRIES {
            return self.at(200 * i64::from(tried), Event::End(builder, serial, tried + 1));
        }
        self.work[builder] = None;
        self.look_in(0, builder);
    }

    fn release(&mut self, builder: usize, id: &TemplateId, attempt: u32) {
        let holds = self.holds(id, attempt);
        if let Some((released, _)) = self.ask("release", |store| store.release(id, attempt)) {
            assert_eq!(released, holds, "{id} {attempt}");
            if holds {
                self.becomes(id, Status::Pending);
                self.wake();
            }
        }
        self.work[builder] = None;
        self.look_in(SECOND, builder);
    }

    /// A host begins anew in the place of one that died.
    fn back(&mut self, builder: usize) {
        let holder = format!("host-{builder}");
        let Some((ids, _)) = self.ask("begin anew", |store| store.end_leases(&holder)) else {
            return self.at(SECOND, Event::Back(builder));
        };
        let clock = self.clock();
        for id in ids {
            let known = self.known.get_mut(&id).unwrap();
            assert_eq!(known.status, Status::Building);
            self.leases.remove(&(known.lease_until, id.clone()));
            known.lease_until = known.lease_until.min(clock - 1);
            self.leases.insert((known.lease_until, id));
        }
        self.look_in(0, builder);
    }

    // The model.

    fn holds(&self, id: &TemplateId, attempt: u32) -> bool {
        self.known.get(id).is_some_and(|known| known.attempt == attempt && known.status == Status::Building)
    }

    /// Whether this attempt has ended so before, though nobody heard of it.
    fn said(&self, id: &TemplateId, attempt: u32, outcome: &Outcome) -> bool {
        let Some(known) = self.known.get(id).filter(|known| known.attempt == attempt) else { return false };
        match (known.status, outcome) {
            (Status::Ready, Outcome::Ready(image)) => known.digest.as_ref() == Some(&image.digest),
            (Status::Failed, Outcome::Failed(_)) => true,
            _ => false,
        }
    }

    fn extend(&mut self, id: &TemplateId) {
        let until = self.clock() + i64::try_from(LEASE.as_millis()).unwrap();
        let known = self.known.get_mut(id).unwrap();
        self.leases.remove(&(known.lease_until, id.clone()));
        known.lease_until = until;
        self.leases.insert((until, id.clone()));
    }

    fn ended(&mut self, id: &TemplateId, outcome: &Outcome) {
        let status = match outcome {
            Outcome::Ready(image) => {
                self.known.get_mut(id).unwrap().digest = Some(image.digest.clone());
                Status::Ready
            }
            Outcome::Failed(card) => {
                let known = &self.known[id];
                match card.code {
                    FailureCode::Interrupted => assert!(known.interruptions > INTERRUPTIONS_MAX, "{id}"),
                    FailureCode::Cancelled => assert!(known.cancelled, "{id}"),
                    _ => {}
                }
                Status::Failed
            }
        };
        self.becomes(id, status);
    }

    fn becomes(&mut self, id: &TemplateId, status: Status) {
        let known = self.known.get_mut(id).unwrap();
        let before = std::mem::replace(&mut known.status, status);
        let (owner, created_at) = (known.owner, known.created_at);
        self.leases.remove(&(known.lease_until, id.clone()));
        self.turn(owner, |turn| {
            turn.building += i64::from(status == Status::Building) - i64::from(before == Status::Building);
            if status == Status::Pending {
                turn.pending.insert((created_at, id.clone()));
            } else {
                turn.pending.remove(&(created_at, id.clone()));
            }
        });
        self.active -= usize::from(status.is_final());
    }

    fn leave(&mut self, id: &TemplateId, gone: &Known) {
        self.leases.remove(&(gone.lease_until, id.clone()));
        self.turn(gone.owner, |turn| {
            turn.building -= i64::from(gone.status == Status::Building);
            turn.pending.remove(&(gone.created_at, id.clone()));
        });
        self.active -= 1;
    }

    fn turn(&mut self, owner: usize, change: impl FnOnce(&mut Turn)) {
        let place = |turn: &Turn| Some((turn.building, turn.pending.first()?.0, owner_name(owner), owner));
        let turn = &mut self.turns[owner];
        place(turn).map(|place| self.queue.remove(&place));
        change(turn);
        self.queue.extend(place(turn));
    }

    // What is collected.

    fn collect(&mut self) {
        let Some((gone, _)) = self.ask("look for images", |store| store.unreferenced(Duration::ZERO)) else { return };
        for digest in gone {
            self.ask("forget an image", |store| store.forget_image(&digest));
        }
        // Objects that no row knows and no attempt can name any more.
        let known: HashSet<String> = self.store.images().unwrap().into_iter().collect();
        let orphans: Vec<String> = self
            .objects
            .iter()
            .filter(|(digest, _)| !known.contains(*digest))
            .map(|(digest, _)| digest.clone())
            .collect();
        for digest in orphans {
            let (id, attempt) = &self.objects[&digest];
            let template = self.store.by_id(id).unwrap();
            if !template.is_some_and(|found| found.status == Status::Building && found.attempt == *attempt) {
                self.objects.remove(&digest);
            }
        }
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.clock.fetch_add(at - self.now, Ordering::SeqCst);
            self.now = at;
            self.step(event);
        }
    }
}

/// Milliseconds that a build takes in the middle.
const BUILD_MEAN: i64 = 20_000;

/// Milliseconds between two heartbeats.
const BEAT: i64 = 10_000;

/// One run; `file` is where its database is.
fn simulate(size: Size, seed: u64, file: &Path) -> Figures {
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let store = Sqlite::with_clock(file, Hand(Arc::clone(&clock))).unwrap();
    let mut world = World {
        store: &store,
        clock,
        now: 0,
        random: Random(seed),
        events: BinaryHeap::new(),
        serial: 0,
        size,
        submitted: 0,
        faulty: true,
        work: (0..size.builders).map(|_| None).collect(),
        idle: BTreeSet::new(),
        looks: vec![0; size.builders],
        known: HashMap::new(),
        turns: (0..size.owners).map(|_| Turn::default()).collect(),
        queue: BTreeSet::new(),
        leases: BTreeSet::new(),
        objects: BTreeMap::new(),
        active: 0,
        figures: Figures::default(),
    };
    world.at(0, Event::Submit);
    (0..size.builders).for_each(|builder| world.look_in(0, builder));
    world.at(600 * SECOND, Event::Collect);
    for (at, by) in [(100, 600), (900, -600), (2_000, 600)] {
        world.at(at * SECOND, Event::Jump(by * SECOND));
    }
    world.run();
    world.faulty = false;
    world.collect();
    world.collect();
    check(&world, file);
    world.figures
}

/// Every answer is still true, nothing waits, nothing is left over.
fn check(world: &World<'_>, file: &Path) {
    assert_eq!((world.active, world.queue.len(), world.leases.len()), (0, 0, 0), "something is stuck");
    let mut versions = BTreeSet::new();
    let mut digests = BTreeSet::new();
    for (id, known) in &world.known.iter().collect::<BTreeMap<_, _>>() {
        let found = world.store.by_id(id).unwrap().unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!((found.status, &found.image_digest), (known.status, &known.digest), "{id}");
        if let Some(version) = found.version {
            assert!(versions.insert((found.owner, found.name, version)), "{id}: version {version} is there twice");
            digests.extend(found.image_digest);
        }
    }
    let counts = world.store.counts().unwrap();
    assert_eq!(
        counts.ready + counts.failed,
        u64::try_from(world.known.len()).unwrap(),
        "one is there that nobody submitted"
    );
    assert_eq!(world.store.images().unwrap().into_iter().collect::<BTreeSet<_>>(), digests, "rows of images");
    assert_eq!(world.objects.keys().cloned().collect::<BTreeSet<_>>(), digests, "objects");
    let raw = rusqlite::Connection::open(file).unwrap();
    let left: i64 = raw
        .query_row(
            "SELECT count(*) FROM turns WHERE active OR building OR coming_bytes OR waiting_since IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0, "turns that nobody has");
    let total: i64 = raw.query_row("SELECT allocated_bytes FROM images_total", [], |row| row.get(0)).unwrap();
    assert_eq!(u64::try_from(total).unwrap(), counts.images_bytes);
}

pub(crate) fn size() -> Size {
    let asked = std::env::var("DRYDOCK_SIMULATE").unwrap_or_else(|_| "40,400,6000".to_owned());
    let mut numbers = asked.split(',').map(|number| number.parse().expect("BUILDERS,OWNERS,TEMPLATES"));
    let mut next = || numbers.next().expect("BUILDERS,OWNERS,TEMPLATES");
    Size { builders: next(), owners: next(), templates: next() }
}

fn percentiles(waits: &mut [i64]) -> String {
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 1_000).or(waits.last()).copied().unwrap_or(0);
    format!("median {} ms, 99 of 100 within {} ms, longest {} ms, of {}", at(500), at(990), at(1_000), waits.len())
}

#[test]
fn owners_take_turns_whatever_happens() {
    let seed = std::env::var("DRYDOCK_SEED").ok().map(|seed| seed.parse().expect("DRYDOCK_SEED is a number"));
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    let size = size();
    println!("{size:?}; DRYDOCK_SEED={seed} runs it again");
    // Where there is memory to keep the file in, nothing waits for a disk.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut figures = simulate(size, seed, &dir.path().join("templates.db"));
    let [glutton, often, others] = &mut figures.waits;
    println!("the owner of a tenth of all waited: {}", percentiles(glutton));
    println!("those who come often waited:        {}", percentiles(often));
    println!("the others waited:                  {}", percentiles(others));
    for (verb, cost) in &figures.costs {
        let (times, seconds) = (f64::from(u32::try_from(cost.times).unwrap()), cost.spent.as_secs_f64());
        println!("{verb:16} {times:9} times, {:7.1} us each, {:9.0} a second", seconds * 1e6 / times, times / seconds);
    }
    for (fault, times) in &figures.faults {
        println!("{times:9} times {fault}");
    }
    // Whoever queues a tenth of all waits for the others, and not they for him.
    let middle = |waits: &[i64]| waits[waits.len() / 2];
    assert!(
        middle(others) * 10 < middle(glutton).max(1),
        "the others wait as long as the glutton; DRYDOCK_SEED={seed}"
    );
}
