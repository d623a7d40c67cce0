//! The store in one SQLite file (write-ahead log, synchronous FULL): one connection writes, some read.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use drydock::Failure;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};

use super::{
    Beat, Cancelled, Claim, Counts, Finished, InsertLimits, Inserted, NewTemplate, Outcome, Store, StoreError,
};
use crate::clock::{Clock, SystemClock, Time};
use crate::key::KeyRecord;
use crate::lifecycle::{Event, Status};
use crate::template::{Owner, Selector, Template, TemplateId};

/// The steps from an empty database to the format of today; the number of those done is its `user_version`.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("turns.sql")];

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// The columns of a template, in the order [`template`] reads them.
const COLUMNS: &str = "id, owner, name, base, status, disk_size_bytes, size_bytes, created_at, built_at, version, attempt, \
                       failure, image_digest";

/// A database file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    clock: Box<dyn Clock>,
    writer: Mutex<Connection>,
    /// Connections that nobody reads with now.
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    /// Opens the file, makes it if it is not there, and brings it to the format of today.
    ///
    /// # Errors
    /// It can't be opened, is no database, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_clock(path, SystemClock)
    }

    /// The same, with another clock than the system's.
    ///
    /// # Errors
    /// As those of [`Sqlite::open`].
    pub fn with_clock(path: &Path, clock: impl Clock + 'static) -> Result<Self, StoreError> {
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        let (writer, readers) = (Mutex::new(writer), Mutex::default());
        Ok(Self { path: path.to_owned(), clock: Box::new(clock), writer, readers })
    }

    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let reader = idle.map_or_else(|| connect(&self.path), Ok)?;
        let seen = look(&reader)?;
        lock(&self.readers).push(reader);
        Ok(seen)
    }
}

/// A panic while a connection is held leaves it usable: its transaction is rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = signed(MIGRATIONS.len());
    let done = usize::try_from(found).ok().filter(|&done| done <= MIGRATIONS.len());
    let done = done.ok_or(StoreError::Newer { found, known })?;
    for step in &MIGRATIONS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// SQLite's integers are signed; what is kept in them here is far below their end.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or_default()
}

fn small(number: i64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

fn corrupt<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Corrupt(format!("{what}: {error}"))
}

fn template(row: &Row<'_>) -> Result<Template, StoreError> {
    let text = |column: &str| row.get::<_, String>(column);
    let status = text("status")?;
    let status = Status::named(&status).ok_or_else(|| StoreError::Corrupt(format!("the status '{status}'")))?;
    let failure = row.get::<_, Option<String>>("failure")?;
    let card = |text: String| serde_json::from_str(&text).map_err(corrupt("a failure card"));
    let size = row.get("size_bytes").map(unsigned)?;
    Ok(Template {
        id: text("id")?.parse().map_err(corrupt("an id"))?,
        owner: text("owner")?.parse().map_err(corrupt("an owner"))?,
        name: text("name")?.parse().map_err(corrupt("a name"))?,
        base: text("base")?,
        status,
        ext4_size_bytes: if status == Status::Ready { size } else { 0 },
        disk_size_bytes: row.get::<_, Option<i64>>("disk_size_bytes")?.map(unsigned),
        created_at: Time(row.get("created_at")?),
        built_at: row.get::<_, Option<i64>>("built_at")?.map(Time),
        version: row.get::<_, Option<i64>>("version")?.map(unsigned),
        attempt: small(row.get("attempt")?),
        failure: failure.map(card).transpose()?,
        image_digest: row.get("image_digest")?,
    })
}

fn one(
    connection: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Option<Template>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM templates WHERE {condition} LIMIT 1"))?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(template).transpose()
}

fn by_id(connection: &Connection, id: &TemplateId) -> Result<Option<Template>, StoreError> {
    one(connection, "id = ?1", &[&id.as_str()])
}

/// The status of a template, if it is this attempt's to change by `event`.
fn held(transaction: &Transaction<'_>, id: &TemplateId, attempt: u32, event: Event) -> Result<bool, StoreError> {
    let found = by_id(transaction, id)?;
    Ok(found.is_some_and(|found| found.attempt == attempt && found.status.after(event).is_some()))
}

fn key_record(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: row.get("id")?,
        owner: row.get::<_, String>("owner")?.parse().map_err(corrupt("an owner"))?,
        created_at: Time(row.get("created_at")?),
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(Time),
    })
}

fn strings(connection: &Connection, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map(values, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn ids(connection: &Connection, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<TemplateId>, StoreError> {
    strings(connection, query, values)?.iter().map(|id| id.parse().map_err(corrupt("an id"))).collect()
}

fn sum(connection: &Connection, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<u64, StoreError> {
    Ok(connection.prepare_cached(query)?.query_row(values, |row| row.get(0)).map(unsigned)?)
}

/// What came of the request that had this idempotency key.
fn replay(transaction: &Transaction<'_>, new: &NewTemplate, cutoff: Time) -> Result<Option<Inserted>, StoreError> {
    let Some((key, hash)) = &new.idempotency else { return Ok(None) };
    transaction.prepare_cached("DELETE FROM idempotency WHERE created_at < ?1")?.execute([cutoff.0])?;
    let query = "SELECT request_hash, template_id FROM idempotency WHERE owner = ?1 AND key = ?2";
    let before: Option<(String, String)> = transaction
        .prepare_cached(query)?
        .query_row([new.owner.as_str(), key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((before, id)) = before else { return Ok(None) };
    if before != *hash {
        return Ok(Some(Inserted::KeyReused));
    }
    let id = id.parse().map_err(corrupt("an id"))?;
    Ok(by_id(transaction, &id)?.map(Inserted::Replayed))
}

/// What the limits have against one more.
fn refuse(
    transaction: &Transaction<'_>,
    new: &NewTemplate,
    limits: &InsertLimits,
) -> Result<Option<Inserted>, StoreError> {
    let owner = new.owner.as_str();
    let turn = "SELECT active, coming_bytes FROM turns WHERE owner = ?1";
    let turn = transaction.prepare_cached(turn)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (active, coming) = turn.map_or((0, 0), |(active, coming)| (unsigned(active), unsigned(coming)));
    if active >= u64::from(limits.active_per_owner) {
        let query = "SELECT id FROM templates WHERE owner = ?1 AND status IN ('pending', 'building') ORDER BY id";
        return Ok(Some(Inserted::TooManyActive(ids(transaction, query, &[&owner])?)));
    }
    let query = "SELECT coalesce(sum(size_bytes), 0) FROM images WHERE digest IN
                 (SELECT image_digest FROM templates WHERE owner = ?1 AND image_digest IS NOT NULL)";
    let used = sum(transaction, query, &[&owner])?.saturating_add(coming);
    if used.saturating_add(new.size_bytes) > limits.owner_quota_bytes {
        return Ok(Some(Inserted::OverQuota(used)));
    }
    let all = sum(transaction, "SELECT allocated_bytes FROM images_total", &[])?;
    Ok((all >= limits.images_quota_bytes).then_some(Inserted::StorageFull))
}

impl Store for Sqlite {
    fn insert(&self, new: &NewTemplate, limits: &InsertLimits) -> Result<Inserted, StoreError> {
        self.write(|transaction| {
            let created_at = self.clock.now();
            if let Some(before) = replay(transaction, new, created_at.before(limits.idempotency_kept))? {
                return Ok(before);
            }
            if let Some(refusal) = refuse(transaction, new, limits)? {
                return Ok(refusal);
            }
            let insert =
                "INSERT INTO templates (id, owner, name, base, dockerfile, status, disk_size_bytes, size_bytes,
                          no_cache, created_at) VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?8, ?9)";
            transaction.prepare_cached(insert)?.execute(params![
                new.id.as_str(),
                new.owner.as_str(),
                new.name.as_str(),
                new.base,
                new.dockerfile,
                new.disk_size_bytes.map(signed),
                signed(new.size_bytes),
                new.no_cache,
                created_at.0,
            ])?;
            if let Some((key, hash)) = &new.idempotency {
                let insert = "INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5)";
                let values = params![new.owner.as_str(), key, hash, new.id.as_str(), created_at.0];
                transaction.prepare_cached(insert)?.execute(values)?;
            }
            Ok(Inserted::Created(by_id(transaction, &new.id)?.expect("inserted above")))
        })
    }

    fn get(&self, owner: &Owner, selector: &Selector) -> Result<Option<Template>, StoreError> {
        let owner = owner.as_str();
        self.read(|reader| match selector {
            Selector::Id(id) => one(reader, "id = ?1 AND owner = ?2", &[&id.as_str(), &owner]),
            Selector::Name(name) => one(
                reader,
                "owner = ?1 AND name = ?2 AND status = 'ready' ORDER BY created_at DESC, id DESC",
                &[&owner, &name.as_str()],
            ),
            Selector::Version(name, version) => one(
                reader,
                "owner = ?1 AND name = ?2 AND status = 'ready' AND version = ?3",
                &[&owner, &name.as_str(), &signed(*version)],
            ),
        })
    }

    fn by_id(&self, id: &TemplateId) -> Result<Option<Template>, StoreError> {
        self.read(|reader| by_id(reader, id))
    }

    fn dockerfile(&self, id: &TemplateId) -> Result<Option<String>, StoreError> {
        let query = "SELECT dockerfile FROM templates WHERE id = ?1";
        self.read(|reader| Ok(strings(reader, query, &[&id.as_str()])?.pop()))
    }

    fn image_config(&self, id: &TemplateId) -> Result<Option<String>, StoreError> {
        let query = "SELECT config FROM templates WHERE id = ?1 AND config IS NOT NULL";
        self.read(|reader| Ok(strings(reader, query, &[&id.as_str()])?.pop()))
    }

    fn list(&self, owner: &Owner, limit: u32, offset: u64) -> Result<(Vec<Template>, u64), StoreError> {
        self.read(|reader| {
            let query = format!(
                "SELECT {COLUMNS} FROM templates WHERE owner = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2 OFFSET ?3"
            );
            let mut statement = reader.prepare_cached(&query)?;
            let mut rows = statement.query(params![owner.as_str(), limit, signed(offset)])?;
            let mut page = Vec::new();
            while let Some(row) = rows.next()? {
                page.push(template(row)?);
            }
            let total = sum(reader, "SELECT count(*) FROM templates WHERE owner = ?1", &[&owner.as_str()])?;
            Ok((page, total))
        })
    }

    fn claim(&self, holder: &str, lease: Duration) -> Result<Option<Claim>, StoreError> {
        self.write(|transaction| {
            let now = self.clock.now();
            let over = "SELECT id FROM templates WHERE status = 'building' AND lease_until < ?1
                        ORDER BY lease_until, id LIMIT 1";
            let next = "SELECT (SELECT id FROM templates WHERE owner = turns.owner AND status = 'pending'
                                ORDER BY created_at, id LIMIT 1)
                        FROM turns WHERE waiting_since IS NOT NULL ORDER BY building, waiting_since, owner LIMIT 1";
            let id = match ids(transaction, over, &[&now.0])?.pop() {
                Some(id) => Some(id),
                None => ids(transaction, next, &[])?.pop(),
            };
            let Some(id) = id else { return Ok(None) };
            let take = "UPDATE templates SET status = 'building', attempt = attempt + 1, holder = :holder,
                        interruptions = interruptions + (status = 'building'), lease_until = :lease_until WHERE id = :id";
            transaction.prepare_cached(take)?.execute(
                named_params! { ":holder": holder, ":lease_until": now.after(lease).0, ":id": id.as_str() },
            )?;
            let template = by_id(transaction, &id)?.expect("updated above");
            let query = "SELECT dockerfile, no_cache, interruptions FROM templates WHERE id = ?1";
            let mut statement = transaction.prepare_cached(query)?;
            let claim = statement.query_row([id.as_str()], |row| {
                Ok(Claim {
                    template,
                    dockerfile: row.get(0)?,
                    no_cache: row.get(1)?,
                    interruptions: small(row.get(2)?),
                })
            })?;
            Ok(Some(claim))
        })
    }

    fn heartbeat(&self, id: &TemplateId, attempt: u32, lease: Duration) -> Result<Beat, StoreError> {
        self.write(|transaction| {
            if !held(transaction, id, attempt, Event::Succeed)? {
                return Ok(Beat::Lost);
            }
            let extend = "UPDATE templates SET lease_until = ?2 WHERE id = ?1 RETURNING cancel_requested";
            let until = self.clock.now().after(lease).0;
            let cancelled: bool =
                transaction.prepare_cached(extend)?.query_row(params![id.as_str(), until], |row| row.get(0))?;
            Ok(if cancelled { Beat::Cancelled } else { Beat::Held })
        })
    }

    fn finish(&self, id: &TemplateId, attempt: u32, outcome: &Outcome) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let Some(found) = by_id(transaction, id)?.filter(|found| found.attempt == attempt) else {
                return Ok(false);
            };
            match outcome {
                _ if found.status.is_final() => return Ok(outcome.is_of(&found)),
                Outcome::Failed(card) if found.status.after(Event::Fail).is_some() => fail(transaction, id, card)?,
                Outcome::Ready(image) if found.status.after(Event::Succeed).is_some() => {
                    succeed(transaction, id, image, self.clock.now())?
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn release(&self, id: &TemplateId, attempt: u32) -> Result<bool, StoreError> {
        self.write(|transaction| {
            if !held(transaction, id, attempt, Event::Release)? {
                let found = by_id(transaction, id)?;
                return Ok(found.is_some_and(|found| found.attempt == attempt && found.status == Status::Pending));
            }
            let release = "UPDATE templates SET status = 'pending', holder = NULL, lease_until = NULL WHERE id = ?1";
            transaction.prepare_cached(release)?.execute([id.as_str()])?;
            Ok(true)
        })
    }

    fn end_leases(&self, holder: &str) -> Result<Vec<TemplateId>, StoreError> {
        // They stay `building`, with a lease that is over: the next claim counts the interruption.
        let end = "UPDATE templates SET lease_until = min(lease_until, ?2 - 1)
                   WHERE status = 'building' AND holder = ?1 RETURNING id";
        self.write(|transaction| ids(transaction, end, &[&holder, &self.clock.now().0]))
    }

    fn cancel(&self, id: &TemplateId, card: &Failure) -> Result<Cancelled, StoreError> {
        self.write(|transaction| {
            let Some(found) = by_id(transaction, id)? else { return Ok(Cancelled::Missing) };
            if found.status.after(Event::Withdraw).is_some() {
                fail(transaction, id, card)?;
                return Ok(Cancelled::Withdrawn(by_id(transaction, id)?.expect("found above")));
            }
            if found.status.is_final() {
                return Ok(Cancelled::TooLate);
            }
            let ask = "UPDATE templates SET cancel_requested = 1 WHERE id = ?1";
            transaction.prepare_cached(ask)?.execute([id.as_str()])?;
            Ok(Cancelled::Asked(found))
        })
    }

    fn delete(&self, id: &TemplateId) -> Result<bool, StoreError> {
        self.write(|transaction| {
            // If this was the last template of its image, the image's grace begins now.
            let released = "UPDATE images SET released_at = ?2
                            WHERE digest = (SELECT image_digest FROM templates WHERE id = ?1)";
            transaction.prepare_cached(released)?.execute(params![id.as_str(), self.clock.now().0])?;
            let deleted = transaction.prepare_cached("DELETE FROM templates WHERE id = ?1")?.execute([id.as_str()])?;
            Ok(deleted == 1)
        })
    }

    fn finished(&self, owner: &Owner, fingerprint: &str) -> Result<Option<Finished>, StoreError> {
        let query = "SELECT digest, images.size_bytes, allocated_bytes, image_id, config, fingerprint
                     FROM templates JOIN images ON digest = image_digest
                     WHERE owner = ?1 AND fingerprint = ?2 AND status = 'ready' LIMIT 1";
        self.read(|reader| {
            let mut statement = reader.prepare_cached(query)?;
            let found = statement.query_row([owner.as_str(), fingerprint], |row| {
                Ok(Finished {
                    digest: row.get(0)?,
                    size_bytes: unsigned(row.get(1)?),
                    allocated_bytes: unsigned(row.get(2)?),
                    image_id: row.get(3)?,
                    config: row.get(4)?,
                    fingerprint: row.get(5)?,
                    reused: true,
                })
            });
            Ok(found.optional()?)
        })
    }

    fn images(&self) -> Result<Vec<String>, StoreError> {
        self.read(|reader| strings(reader, "SELECT digest FROM images ORDER BY digest", &[]))
    }

    fn unreferenced(&self, grace: Duration) -> Result<Vec<String>, StoreError> {
        let query = "SELECT digest FROM images WHERE released_at <= ?1 AND NOT EXISTS
                     (SELECT 1 FROM templates WHERE image_digest = digest) ORDER BY digest";
        self.read(|reader| strings(reader, query, &[&self.clock.now().before(grace).0]))
    }

    fn forget_image(&self, digest: &str) -> Result<bool, StoreError> {
        let forget = "DELETE FROM images WHERE digest = ?1 AND NOT EXISTS
                      (SELECT 1 FROM templates WHERE image_digest = digest)";
        self.write(|transaction| Ok(transaction.prepare_cached(forget)?.execute([digest])? == 1))
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let query = "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'building'),
                     count(*) FILTER (WHERE status = 'ready'), count(*) FILTER (WHERE status = 'failed'),
                     (SELECT count(*) FROM images), (SELECT coalesce(sum(allocated_bytes), 0) FROM images) FROM templates";
        self.read(|reader| {
            Ok(reader.prepare_cached(query)?.query_row([], |row| {
                let number = |column: usize| row.get(column).map(unsigned);
                Ok(Counts {
                    pending: number(0)?,
                    building: number(1)?,
                    ready: number(2)?,
                    failed: number(3)?,
                    images: number(4)?,
                    images_bytes: number(5)?,
                })
            })?)
        })
    }

    fn add_key(&self, key: &KeyRecord, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let insert = "INSERT INTO api_keys (id, owner, secret_hash, created_at) VALUES (?1, ?2, ?3, ?4)";
        self.write(|transaction| {
            let values = params![key.id, key.owner.as_str(), secret_hash.as_slice(), key.created_at.0];
            transaction.prepare_cached(insert)?.execute(values)?;
            Ok(())
        })
    }

    fn key(&self, id: &str) -> Result<Option<(KeyRecord, Vec<u8>)>, StoreError> {
        self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT * FROM api_keys WHERE id = ?1")?;
            let mut rows = statement.query([id])?;
            rows.next()?.map(|row| Ok((key_record(row)?, row.get("secret_hash")?))).transpose()
        })
    }

    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT * FROM api_keys ORDER BY created_at, id")?;
            let mut rows = statement.query([])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                keys.push(key_record(row)?);
            }
            Ok(keys)
        })
    }

    fn revoke_key(&self, id: &str, now: Time) -> Result<bool, StoreError> {
        let revoke = "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        self.write(|transaction| Ok(transaction.prepare_cached(revoke)?.execute(params![id, now.0])? == 1))
    }
}

fn fail(transaction: &Transaction<'_>, id: &TemplateId, card: &Failure) -> Result<(), StoreError> {
    let card = serde_json::to_string(card).expect("a card has string keys");
    let fail = "UPDATE templates SET status = 'failed', failure = ?2, holder = NULL, lease_until = NULL WHERE id = ?1";
    transaction.prepare_cached(fail)?.execute(params![id.as_str(), card])?;
    Ok(())
}

fn succeed(transaction: &Transaction<'_>, id: &TemplateId, image: &Finished, now: Time) -> Result<(), StoreError> {
    let known = "SELECT count(*) FROM images WHERE digest = ?1";
    if image.reused && sum(transaction, known, &[&image.digest])? == 0 {
        return Err(StoreError::ImageGone);
    }
    let add = "INSERT INTO images (digest, size_bytes, allocated_bytes, released_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (digest) DO NOTHING";
    let now = now.0;
    let values = params![image.digest, signed(image.size_bytes), signed(image.allocated_bytes), now];
    transaction.prepare_cached(add)?.execute(values)?;
    let number = "INSERT INTO names (owner, name, last_version) SELECT owner, name, 1 FROM templates WHERE id = ?1
                  ON CONFLICT (owner, name) DO UPDATE SET last_version = last_version + 1 RETURNING last_version";
    let version: i64 = transaction.prepare_cached(number)?.query_row([id.as_str()], |row| row.get(0))?;
    let succeed =
        "UPDATE templates SET status = 'ready', size_bytes = ?2, built_at = ?3, version = ?4, image_digest = ?5,
                   image_id = ?6, config = ?7, fingerprint = ?8, holder = NULL, lease_until = NULL WHERE id = ?1";
    transaction.prepare_cached(succeed)?.execute(params![
        id.as_str(),
        signed(image.size_bytes),
        now,
        version,
        image.digest,
        image.image_id,
        image.config,
        image.fingerprint,
    ])?;
    Ok(())
}
