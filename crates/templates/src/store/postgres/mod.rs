//! The store in PostgreSQL, for any number of hosts. Its clock is the one that counts (`drydock_now()`); rows are locked in the order
//! template, image, name, owner (`turns`).

mod log;
mod packs;
mod pool;
mod steps;

use std::time::Duration;

use drydock::Failure;
use postgres::Row;
use postgres::types::ToSql;

use super::{
    Beat, Cancelled, Claim, Counts, Finished, InsertLimits, Inserted, NewTemplate, Outcome, Store, StoreError,
};
use crate::clock::Time;
use crate::key::KeyRecord;
use crate::lifecycle::{Event, Status};
use crate::template::{Owner, Selector, Template, TemplateId};
use log::{call, tell};
use pool::{Before, Connection, Pool};

pub(crate) use log::{Batch, Change};
pub(crate) use packs::{ManifestRow, Referred};

/// The steps from an empty database to the format of today; the number of those done is in `drydock_format`.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema.sql"),
    include_str!("logs.sql"),
    include_str!("turns.sql"),
    include_str!("packs.sql"),
    include_str!("steps.sql"),
    include_str!("hosts.sql"),
];

/// The advisory lock of those who migrate: two numbers, so that it is none of an owner's, which are one.
const MIGRATING: &str = "SELECT pg_advisory_xact_lock(1685221484, 1)";

/// How long a submission is remembered: far longer than one is tried again.
const SUBMISSIONS_KEPT: Duration = Duration::from_secs(3_600);

/// The columns of a template, as [`template`] reads them.
const COLUMNS: &str = "id, owner, name, base, status, disk_size_bytes, size_bytes, created_at, built_at, version, attempt, \
                       failure, image_digest";

/// A database of a server.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
}

impl Postgres {
    /// Connects to the database of a `postgres://` address, waits some seconds for a server that is not there yet, and brings the
    /// database to the format of today. With `sslmode=require` the server's certificate has to be good for the system's authorities;
    /// without it nothing is encrypted.
    ///
    /// # Errors
    /// The address is none, the server can't be reached or refuses, or the database was written by a newer program.
    pub fn open(address: &str) -> Result<Self, StoreError> {
        let pool = Pool::new(address)?;
        pool.write(|connection, _| migrate(connection))?;
        Ok(Self { pool })
    }

    /// Keeps the database for one host, which has the images and logs to itself, or for all that share objects (`None`). Whoever comes first
    /// decides: a second host without objects would take the builds of the first for its own that were interrupted.
    ///
    /// # Errors
    /// It is kept for others.
    pub(crate) fn keep_for(&self, node: Option<&str>) -> Result<(), StoreError> {
        self.pool.write(|connection, _| {
            connection.batch(MIGRATING)?;
            match connection.first("SELECT node FROM hosts", &[])?.map(|row| row.get::<_, Option<String>>(0)) {
                None => connection.execute("INSERT INTO hosts VALUES ($1)", &[&node]).map(drop),
                Some(kept) if kept.as_deref() == node => Ok(()),
                Some(Some(node)) => Err(StoreError::OneHost { node }),
                Some(None) => Err(StoreError::ManyHosts),
            }
        })
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    connection.batch(MIGRATING)?;
    connection.batch("CREATE TABLE IF NOT EXISTS drydock_format (version bigint NOT NULL)")?;
    let found = connection.first("SELECT version FROM drydock_format", &[])?.map(|row| row.get::<_, i64>(0));
    let known = signed(MIGRATIONS.len());
    let done = usize::try_from(found.unwrap_or(0)).ok().filter(|&done| done <= MIGRATIONS.len());
    let done = done.ok_or(StoreError::Newer { found: found.unwrap_or(0), known })?;
    if found == Some(known) {
        return Ok(());
    }
    for step in &MIGRATIONS[done..] {
        connection.batch(step)?;
    }
    connection.batch("DELETE FROM drydock_format")?;
    connection.execute("INSERT INTO drydock_format VALUES ($1)", &[&known])?;
    Ok(())
}

/// Its integers are signed; what is kept in them here is far below their end.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or_default()
}

fn small(number: i64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    // Far below the end, so that adding it to a time does not overflow.
    signed(duration.as_millis()).min(i64::MAX / 4)
}

fn corrupt<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Corrupt(format!("{what}: {error}"))
}

fn template(row: &Row) -> Result<Template, StoreError> {
    let text = |column: &str| row.get::<_, &str>(column);
    let status = Status::named(text("status"));
    let status = status.ok_or_else(|| StoreError::Corrupt(format!("the status '{}'", text("status"))))?;
    let card = |text: &str| serde_json::from_str(text).map_err(corrupt("a failure card"));
    Ok(Template {
        id: text("id").parse().map_err(corrupt("an id"))?,
        owner: text("owner").parse().map_err(corrupt("an owner"))?,
        name: text("name").parse().map_err(corrupt("a name"))?,
        base: text("base").to_owned(),
        status,
        ext4_size_bytes: if status == Status::Ready { unsigned(row.get("size_bytes")) } else { 0 },
        disk_size_bytes: row.get::<_, Option<i64>>("disk_size_bytes").map(unsigned),
        created_at: Time(row.get("created_at")),
        built_at: row.get::<_, Option<i64>>("built_at").map(Time),
        version: row.get::<_, Option<i64>>("version").map(unsigned),
        attempt: small(row.get("attempt")),
        failure: row.get::<_, Option<&str>>("failure").map(card).transpose()?,
        image_digest: row.get("image_digest"),
    })
}

type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

fn one(connection: &mut Connection, condition: &str, values: Values<'_>) -> Result<Option<Template>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM templates WHERE {condition}");
    connection.first(&query, values)?.as_ref().map(template).transpose()
}

fn by_id(connection: &mut Connection, id: &TemplateId) -> Result<Option<Template>, StoreError> {
    one(connection, "id = $1", &[&id.as_str()])
}

/// The template, which nobody else changes until the transaction ends.
fn locked(connection: &mut Connection, id: &TemplateId) -> Result<Option<Template>, StoreError> {
    one(connection, "id = $1 FOR UPDATE", &[&id.as_str()])
}

/// The same, if this is its attempt.
fn held(connection: &mut Connection, id: &TemplateId, attempt: u32) -> Result<Option<Template>, StoreError> {
    Ok(locked(connection, id)?.filter(|found| found.attempt == attempt))
}

fn strings(connection: &mut Connection, query: &str, values: Values<'_>) -> Result<Vec<String>, StoreError> {
    Ok(connection.query(query, values)?.iter().map(|row| row.get(0)).collect())
}

fn ids(connection: &mut Connection, query: &str, values: Values<'_>) -> Result<Vec<TemplateId>, StoreError> {
    strings(connection, query, values)?.iter().map(|id| id.parse().map_err(corrupt("an id"))).collect()
}

fn sum(connection: &mut Connection, query: &str, values: Values<'_>) -> Result<u64, StoreError> {
    Ok(connection.first(query, values)?.map_or(0, |row| unsigned(row.get(0))))
}

fn key_record(row: &Row) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: row.get("id"),
        owner: row.get::<_, &str>("owner").parse().map_err(corrupt("an owner"))?,
        created_at: Time(row.get("created_at")),
        revoked_at: row.get::<_, Option<i64>>("revoked_at").map(Time),
    })
}

/// What came of the request that had this idempotency key.
fn replay(connection: &mut Connection, new: &NewTemplate, kept: Duration) -> Result<Option<Inserted>, StoreError> {
    let Some((key, hash)) = &new.idempotency else { return Ok(None) };
    let owner = new.owner.as_str();
    // This owner's alone: others may be in the middle of using theirs.
    let old = "DELETE FROM idempotency WHERE owner = $1 AND created_at < drydock_now() - $2";
    connection.execute(old, &[&owner, &milliseconds(kept)])?;
    let query = "SELECT request_hash, template_id FROM idempotency WHERE owner = $1 AND key = $2";
    let Some(before) = connection.first(query, &[&owner, key])? else { return Ok(None) };
    if before.get::<_, &str>(0) != hash {
        return Ok(Some(Inserted::KeyReused));
    }
    let id = before.get::<_, &str>(1).parse().map_err(corrupt("an id"))?;
    Ok(by_id(connection, &id)?.map(Inserted::Replayed))
}

/// The template as an earlier try of this submission made it, though it may be deleted since.
fn made_before(connection: &mut Connection, new: &NewTemplate) -> Result<Option<Template>, StoreError> {
    let query = "SELECT created_at FROM submitted WHERE id = $1";
    let Some(submitted) = connection.first(query, &[&new.id.as_str()])? else { return Ok(None) };
    let found = by_id(connection, &new.id)?;
    Ok(Some(found.unwrap_or_else(|| Template {
        id: new.id.clone(),
        owner: new.owner.clone(),
        name: new.name.clone(),
        base: new.base.clone(),
        status: Status::Pending,
        ext4_size_bytes: 0,
        disk_size_bytes: new.disk_size_bytes,
        created_at: Time(submitted.get(0)),
        built_at: None,
        version: None,
        attempt: 0,
        failure: None,
        image_digest: None,
    })))
}

/// Keeps the id for longer than anybody tries to submit it again, and forgets some that are older.
fn remember_submission(connection: &mut Connection, id: &TemplateId) -> Result<(), StoreError> {
    connection.execute("INSERT INTO submitted VALUES ($1, drydock_now())", &[&id.as_str()])?;
    // Those that another transaction is at are left to it.
    let forget = "DELETE FROM submitted WHERE id IN (SELECT id FROM submitted WHERE created_at < drydock_now() - $1
                  ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)";
    connection.execute(forget, &[&milliseconds(SUBMISSIONS_KEPT)])?;
    Ok(())
}

/// What the limits have against one more. The owner's lock is held.
fn refuse(
    connection: &mut Connection,
    new: &NewTemplate,
    limits: &InsertLimits,
) -> Result<Option<Inserted>, StoreError> {
    let owner = new.owner.as_str();
    let turn = connection.first("SELECT active, coming_bytes FROM turns WHERE owner = $1", &[&owner])?;
    let (active, coming) = turn.map_or((0, 0), |row| (unsigned(row.get(0)), unsigned(row.get(1))));
    if active >= u64::from(limits.active_per_owner) {
        let query = "SELECT id FROM templates WHERE owner = $1 AND status IN ('pending', 'building') ORDER BY id";
        return Ok(Some(Inserted::TooManyActive(ids(connection, query, &[&owner])?)));
    }
    let query = "SELECT coalesce(sum(size_bytes), 0)::bigint FROM images WHERE digest IN
                 (SELECT image_digest FROM templates WHERE owner = $1 AND image_digest IS NOT NULL)";
    let used = sum(connection, query, &[&owner])?.saturating_add(coming);
    if used.saturating_add(new.size_bytes) > limits.owner_quota_bytes {
        return Ok(Some(Inserted::OverQuota(used)));
    }
    let all = sum(connection, "SELECT sum(allocated_bytes)::bigint FROM images_total", &[])?;
    Ok((all >= limits.images_quota_bytes).then_some(Inserted::StorageFull))
}

impl Store for Postgres {
    fn insert(&self, new: &NewTemplate, limits: &InsertLimits) -> Result<Inserted, StoreError> {
        self.pool.write(|connection, before| {
            let owner = new.owner.as_str();
            // One submission of an owner at a time: what the next statements see is what is so.
            connection.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&owner])?;
            if before == Before::Perhaps
                && let Some(made) = made_before(connection, new)?
            {
                return Ok(Inserted::Created(made));
            }
            if let Some(before) = replay(connection, new, limits.idempotency_kept)? {
                return Ok(before);
            }
            if let Some(refusal) = refuse(connection, new, limits)? {
                return Ok(refusal);
            }
            let insert = "INSERT INTO templates (id, owner, name, base, dockerfile, status, disk_size_bytes, size_bytes, no_cache,
                          created_at) VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, drydock_now())";
            connection.execute(insert, &[
                &new.id.as_str(),
                &owner,
                &new.name.as_str(),
                &new.base,
                &new.dockerfile.as_bytes(),
                &new.disk_size_bytes.map(signed),
                &signed(new.size_bytes),
                &new.no_cache,
            ])?;
            remember_submission(connection, &new.id)?;
            if let Some((key, hash)) = &new.idempotency {
                let insert = "INSERT INTO idempotency VALUES ($1, $2, $3, $4, drydock_now())";
                connection.execute(insert, &[&owner, key, hash, &new.id.as_str()])?;
            }
            call(connection)?;
            Ok(Inserted::Created(by_id(connection, &new.id)?.expect("inserted above")))
        })
    }

    fn get(&self, owner: &Owner, selector: &Selector) -> Result<Option<Template>, StoreError> {
        let owner = owner.as_str();
        self.pool.read(|connection| match selector {
            Selector::Id(id) => one(connection, "id = $1 AND owner = $2", &[&id.as_str(), &owner]),
            Selector::Name(name) => one(
                connection,
                "owner = $1 AND name = $2 AND status = 'ready' ORDER BY created_at DESC, id DESC LIMIT 1",
                &[&owner, &name.as_str()],
            ),
            Selector::Version(name, version) => one(
                connection,
                "owner = $1 AND name = $2 AND status = 'ready' AND version = $3",
                &[&owner, &name.as_str(), &signed(*version)],
            ),
        })
    }

    fn by_id(&self, id: &TemplateId) -> Result<Option<Template>, StoreError> {
        self.pool.read(|connection| by_id(connection, id))
    }

    fn dockerfile(&self, id: &TemplateId) -> Result<Option<String>, StoreError> {
        let query = "SELECT dockerfile FROM templates WHERE id = $1";
        self.pool.read(|connection| connection.first(query, &[&id.as_str()])?.map(|row| dockerfile(&row)).transpose())
    }

    fn image_config(&self, id: &TemplateId) -> Result<Option<String>, StoreError> {
        let query = "SELECT config FROM templates WHERE id = $1 AND config IS NOT NULL";
        self.pool.read(|connection| Ok(strings(connection, query, &[&id.as_str()])?.pop()))
    }

    fn list(&self, owner: &Owner, limit: u32, offset: u64) -> Result<(Vec<Template>, u64), StoreError> {
        let owner = owner.as_str();
        self.pool.read(|connection| {
            let query = format!(
                "SELECT {COLUMNS} FROM templates WHERE owner = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
            );
            let rows = connection.query(&query, &[&owner, &i64::from(limit), &signed(offset)])?;
            let page = rows.iter().map(template).collect::<Result<_, _>>()?;
            let total = sum(connection, "SELECT count(*) FROM templates WHERE owner = $1", &[&owner])?;
            Ok((page, total))
        })
    }

    fn claim(&self, holder: &str, lease: Duration) -> Result<Option<Claim>, StoreError> {
        // Each claim has a name of its own, by which one whose answer was lost is found.
        let holder = format!("{holder}/{}", ulid::Ulid::generate());
        self.pool.write(|connection, before| {
            let lost = match before {
                Before::Never => None,
                Before::Perhaps => ids(connection, "SELECT id FROM templates WHERE holder = $1", &[&holder])?.pop(),
            };
            if lost.is_none() && !take(connection, &holder, lease)? {
                return Ok(None);
            }
            let query =
                format!("SELECT {COLUMNS}, dockerfile, no_cache, interruptions FROM templates WHERE holder = $1");
            let row = connection.first(&query, &[&holder])?.expect("it was taken");
            let template = template(&row)?;
            tell(connection, &template.id)?;
            Ok(Some(Claim {
                template,
                dockerfile: dockerfile(&row)?,
                no_cache: row.get("no_cache"),
                interruptions: small(row.get("interruptions")),
            }))
        })
    }

    fn heartbeat(&self, id: &TemplateId, attempt: u32, lease: Duration) -> Result<Beat, StoreError> {
        let extend = "UPDATE templates SET lease_until = drydock_now() + $3 WHERE id = $1 AND attempt = $2 AND status = 'building'
                      RETURNING cancel_requested";
        self.pool.write(|connection, _| {
            let beaten = connection.first(extend, &[&id.as_str(), &i64::from(attempt), &milliseconds(lease)])?;
            Ok(match beaten.map(|row| row.get(0)) {
                None => Beat::Lost,
                Some(true) => Beat::Cancelled,
                Some(false) => Beat::Held,
            })
        })
    }

    fn finish(&self, id: &TemplateId, attempt: u32, outcome: &Outcome) -> Result<bool, StoreError> {
        self.pool.write(|connection, _| {
            let Some(found) = held(connection, id, attempt)? else { return Ok(false) };
            match outcome {
                _ if found.status.is_final() => return Ok(outcome.is_of(&found)),
                Outcome::Failed(card) if found.status.after(Event::Fail).is_some() => fail(connection, id, card)?,
                Outcome::Ready(image) if found.status.after(Event::Succeed).is_some() => {
                    succeed(connection, &found, image)?
                }
                _ => return Ok(false),
            }
            tell(connection, id)?;
            Ok(true)
        })
    }

    fn release(&self, id: &TemplateId, attempt: u32) -> Result<bool, StoreError> {
        let release = "UPDATE templates SET status = 'pending', holder = NULL, lease_until = NULL WHERE id = $1";
        self.pool.write(|connection, _| match held(connection, id, attempt)? {
            Some(found) if found.status.after(Event::Release).is_some() => {
                tell(connection, id)?;
                call(connection)?;
                Ok(connection.execute(release, &[&id.as_str()])? == 1)
            }
            found => Ok(found.is_some_and(|found| found.status == Status::Pending)),
        })
    }

    fn end_leases(&self, holder: &str) -> Result<Vec<TemplateId>, StoreError> {
        // They stay `building`, with a lease that is over: the next claim counts the interruption.
        let end = "UPDATE templates SET lease_until = least(lease_until, drydock_now() - 1)
                   WHERE status = 'building' AND split_part(holder, '/', 1) = $1 RETURNING id";
        self.pool.write(|connection, _| {
            call(connection)?;
            ids(connection, end, &[&holder])
        })
    }

    fn cancel(&self, id: &TemplateId, card: &Failure) -> Result<Cancelled, StoreError> {
        self.pool.write(|connection, before| {
            let Some(found) = locked(connection, id)? else { return Ok(Cancelled::Missing) };
            tell(connection, id)?;
            if found.status.after(Event::Withdraw).is_some() {
                fail(connection, id, card)?;
                return Ok(Cancelled::Withdrawn(by_id(connection, id)?.expect("locked above")));
            }
            if before == Before::Perhaps && found.failure.as_ref() == Some(card) {
                return Ok(Cancelled::Withdrawn(found));
            }
            if found.status.is_final() {
                return Ok(Cancelled::TooLate);
            }
            connection.execute("UPDATE templates SET cancel_requested = true WHERE id = $1", &[&id.as_str()])?;
            Ok(Cancelled::Asked(found))
        })
    }

    fn delete(&self, id: &TemplateId) -> Result<bool, StoreError> {
        self.pool.write(|connection, before| {
            let delete = "DELETE FROM templates WHERE id = $1 RETURNING image_digest";
            let Some(deleted) = connection.first(delete, &[&id.as_str()])? else {
                return Ok(before == Before::Perhaps);
            };
            tell(connection, id)?;
            if let Some(digest) = deleted.get::<_, Option<&str>>(0) {
                // If this was the last template of its image, the image's grace begins now.
                connection.execute("UPDATE images SET released_at = drydock_now() WHERE digest = $1", &[&digest])?;
            }
            Ok(true)
        })
    }

    fn finished(&self, owner: &Owner, fingerprint: &str) -> Result<Option<Finished>, StoreError> {
        let query = "SELECT digest, images.size_bytes, allocated_bytes, image_id, config, fingerprint
                     FROM templates JOIN images ON digest = image_digest
                     WHERE owner = $1 AND fingerprint = $2 AND status = 'ready' LIMIT 1";
        self.pool.read(|connection| {
            let found = connection.first(query, &[&owner.as_str(), &fingerprint])?;
            Ok(found.map(|row| Finished {
                digest: row.get(0),
                size_bytes: unsigned(row.get(1)),
                allocated_bytes: unsigned(row.get(2)),
                image_id: row.get(3),
                config: row.get(4),
                fingerprint: row.get(5),
                reused: true,
            }))
        })
    }

    fn images(&self) -> Result<Vec<String>, StoreError> {
        self.pool.read(|connection| strings(connection, "SELECT digest FROM images ORDER BY digest", &[]))
    }

    fn unreferenced(&self, grace: Duration) -> Result<Vec<String>, StoreError> {
        let query = "SELECT digest FROM images WHERE released_at <= drydock_now() - $1 AND NOT EXISTS
                     (SELECT 1 FROM templates WHERE image_digest = digest) ORDER BY digest";
        self.pool.read(|connection| strings(connection, query, &[&milliseconds(grace)]))
    }

    fn forget_image(&self, digest: &str) -> Result<bool, StoreError> {
        self.pool.write(|connection, before| {
            // Locked first: a template that takes it meanwhile is seen by the next statement, or waits.
            if connection.first("SELECT 1 FROM images WHERE digest = $1 FOR UPDATE", &[&digest])?.is_none() {
                return Ok(before == Before::Perhaps);
            }
            let forget =
                "DELETE FROM images WHERE digest = $1 AND NOT EXISTS (SELECT 1 FROM templates WHERE image_digest = $1)";
            Ok(connection.execute(forget, &[&digest])? == 1)
        })
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let query = "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'building'),
                     count(*) FILTER (WHERE status = 'ready'), count(*) FILTER (WHERE status = 'failed'),
                     (SELECT count(*) FROM images), (SELECT coalesce(sum(allocated_bytes), 0)::bigint FROM images) FROM templates";
        self.pool.read(|connection| {
            let row = connection.first(query, &[])?.expect("sums are one row");
            let number = |column: usize| unsigned(row.get(column));
            Ok(Counts {
                pending: number(0),
                building: number(1),
                ready: number(2),
                failed: number(3),
                images: number(4),
                images_bytes: number(5),
            })
        })
    }

    fn add_key(&self, key: &KeyRecord, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        self.pool.write(|connection, before| {
            if before == Before::Perhaps
                && connection.first("SELECT 1 FROM api_keys WHERE id = $1", &[&key.id])?.is_some()
            {
                return Ok(());
            }
            let insert = "INSERT INTO api_keys (id, owner, secret_hash, created_at) VALUES ($1, $2, $3, $4)";
            connection.execute(insert, &[&key.id, &key.owner.as_str(), &secret_hash.as_slice(), &key.created_at.0])?;
            Ok(())
        })
    }

    fn key(&self, id: &str) -> Result<Option<(KeyRecord, Vec<u8>)>, StoreError> {
        let query = "SELECT id, owner, secret_hash, created_at, revoked_at FROM api_keys WHERE id = $1";
        self.pool.read(|connection| {
            connection.first(query, &[&id])?.map(|row| Ok((key_record(&row)?, row.get("secret_hash")))).transpose()
        })
    }

    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let query = "SELECT id, owner, created_at, revoked_at FROM api_keys ORDER BY created_at, id";
        self.pool.read(|connection| connection.query(query, &[])?.iter().map(key_record).collect())
    }

    fn revoke_key(&self, id: &str, now: Time) -> Result<bool, StoreError> {
        self.pool.write(|connection, before| {
            let again = before == Before::Perhaps;
            let revoke = "UPDATE api_keys SET revoked_at = $2
                          WHERE id = $1 AND (revoked_at IS NULL OR ($3 AND revoked_at = $2))";
            Ok(connection.execute(revoke, &[&id, &now.0, &again])? == 1)
        })
    }
}

fn dockerfile(row: &Row) -> Result<String, StoreError> {
    String::from_utf8(row.get("dockerfile")).map_err(corrupt("a Dockerfile"))
}

/// Takes a job that nobody else takes at the same moment; whether there was one.
fn take(connection: &mut Connection, holder: &str, lease: Duration) -> Result<bool, StoreError> {
    let next = connection.first("SELECT drydock_next()", &[])?.and_then(|row| row.get::<_, Option<String>>(0));
    let Some(id) = next else { return Ok(false) };
    let take = "UPDATE templates SET status = 'building', attempt = attempt + 1, holder = $2,
                interruptions = interruptions + (status = 'building')::int, lease_until = drydock_now() + $3 WHERE id = $1";
    Ok(connection.execute(take, &[&id, &holder, &milliseconds(lease)])? == 1)
}

fn fail(connection: &mut Connection, id: &TemplateId, card: &Failure) -> Result<(), StoreError> {
    let card = serde_json::to_string(card).expect("a card has string keys");
    let fail = "UPDATE templates SET status = 'failed', failure = $2, holder = NULL, lease_until = NULL WHERE id = $1";
    connection.execute(fail, &[&id.as_str(), &card])?;
    Ok(())
}

fn succeed(connection: &mut Connection, template: &Template, image: &Finished) -> Result<(), StoreError> {
    // The row is written even where it is there, so that nobody forgets it before this transaction ends.
    if image.reused {
        let keep = "UPDATE images SET released_at = drydock_now() WHERE digest = $1";
        if connection.execute(keep, &[&image.digest])? == 0 {
            return Err(StoreError::ImageGone);
        }
    } else {
        let add =
            "INSERT INTO images (digest, size_bytes, allocated_bytes, released_at) VALUES ($1, $2, $3, drydock_now())
                   ON CONFLICT (digest) DO UPDATE SET released_at = excluded.released_at";
        connection.execute(add, &[&image.digest, &signed(image.size_bytes), &signed(image.allocated_bytes)])?;
    }
    let number = "INSERT INTO names (owner, name, last_version) VALUES ($1, $2, 1)
                  ON CONFLICT (owner, name) DO UPDATE SET last_version = names.last_version + 1 RETURNING last_version";
    let named = connection.first(number, &[&template.owner.as_str(), &template.name.as_str()])?;
    let version: i64 = named.expect("one row is written").get(0);
    let succeed = "UPDATE templates SET status = 'ready', size_bytes = $2, built_at = drydock_now(), version = $3, image_digest = $4,
                   image_id = $5, config = $6, fingerprint = $7, holder = NULL, lease_until = NULL WHERE id = $1";
    connection.execute(
        succeed,
        &[
            &template.id.as_str(),
            &signed(image.size_bytes),
            &version,
            &image.digest,
            &image.image_id,
            &image.config,
            &image.fingerprint,
        ],
    )?;
    Ok(())
}
