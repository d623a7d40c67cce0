//! What is kept of templates, keys and images: transactions as verbs. A template's row is also the job that builds it.
//!
//! Every write of a worker names the attempt it was given by [`Store::claim`]; once another claim or a cancellation took the
//! template from it, its writes change nothing (the attempt is the fencing token). Limits and ids come from the caller, the time from
//! the store: hosts whose clocks differ agree on who came first and whose lease is over. Each verb is one transaction.

mod postgres;
mod sqlite;

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use drydock::Failure;
use thiserror::Error;

use crate::clock::Time;
use crate::key::KeyRecord;
use crate::template::{Name, Owner, Selector, Template, TemplateId};

pub use postgres::Postgres;
pub(crate) use postgres::{Batch, Change, ManifestRow, Referred};
pub use sqlite::Sqlite;

/// The database failed, or holds what it can't.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite.
    #[error("SQLite can't do it")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL.
    #[error("PostgreSQL can't do it")]
    Postgres(#[from] ::postgres::Error),
    /// The address of a PostgreSQL database is none.
    #[error("`database` is no address like postgres://USER:PASSWORD@HOST/DATABASE")]
    Address(#[source] ::postgres::Error),
    /// The certificates of the system's authorities can't be used.
    #[error("`database` asks for TLS, and the system has no certificates of authorities to check it by: {0}")]
    Tls(String),
    /// All connections are in use.
    #[error("none of the {connections} connections to the database became free within {seconds} seconds")]
    Crowded {
        /// How many there are.
        connections: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// The database is another host's alone.
    #[error(
        "`database` is used without `objects` by the host '{node}' alone, which has the images; for many hosts set `objects` on each of them \
         and begin with an empty database (if that host and its data are gone for good: DELETE FROM hosts)"
    )]
    OneHost {
        /// The name of the host, which is in the file `node` of its data.
        node: String,
    },
    /// The database is that of hosts that share objects.
    #[error("`database` is used by hosts that share `objects`: set `objects` to theirs, or name another database")]
    ManyHosts,
    /// The finished image that a build wanted to use was collected meanwhile; nothing was changed.
    #[error("the finished image is gone")]
    ImageGone,
    /// A row that this program did not write.
    #[error("the database holds {0}")]
    Corrupt(String),
    /// The database was written by a newer program.
    #[error("the database has format {found}; this program knows formats up to {known}")]
    Newer {
        /// Its format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
}

/// A template to be inserted.
#[derive(Clone, Debug)]
pub struct NewTemplate {
    /// Its id, made by the caller.
    pub id: TemplateId,
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: Name,
    /// The base as the operator named it.
    pub base: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The size that was asked for.
    pub disk_size_bytes: Option<u64>,
    /// The size it will have.
    pub size_bytes: u64,
    /// Whether every step runs.
    pub no_cache: bool,
    /// The idempotency key of the request and a hash of the request.
    pub idempotency: Option<(String, String)>,
}

/// What an insertion is held to.
#[derive(Clone, Copy, Debug)]
pub struct InsertLimits {
    /// Pending and building templates of one owner.
    pub active_per_owner: u32,
    /// Bytes of images of one owner, those that will be made counted.
    pub owner_quota_bytes: u64,
    /// Bytes of disk that all images take.
    pub images_quota_bytes: u64,
    /// How long idempotency keys are kept.
    pub idempotency_kept: Duration,
}

/// What came of an insertion.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// It is there.
    Created(Template),
    /// The same request came before and made this.
    Replayed(Template),
    /// The idempotency key came before with another request.
    KeyReused,
    /// Too many are active.
    TooManyActive(Vec<TemplateId>),
    /// The owner's images take this much already.
    OverQuota(u64),
    /// All images take too much already.
    StorageFull,
}

/// A job that a worker took.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The template, building, with the attempt that is the fencing token.
    pub template: Template,
    /// What is to be built.
    pub dockerfile: String,
    /// Whether every step runs.
    pub no_cache: bool,
    /// How often a worker of it went away.
    pub interruptions: u32,
}

/// What a heartbeat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The lease is longer now.
    Held,
    /// The owner wants the build to end.
    Cancelled,
    /// The job is not this worker's any more.
    Lost,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With an image, which is under its name already.
    Ready(Finished),
    /// Without.
    Failed(Failure),
}

impl Outcome {
    /// Whether `ended`, which has ended, ended so.
    fn is_of(&self, ended: &Template) -> bool {
        match self {
            Self::Ready(image) => ended.image_digest.as_ref() == Some(&image.digest),
            Self::Failed(card) => ended.failure.as_ref() == Some(card),
        }
    }
}

/// A finished image.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// SHA-256, 64 hexadecimal digits.
    pub digest: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it takes of the disk.
    pub allocated_bytes: u64,
    /// Identity of the image.
    pub image_id: String,
    /// Its config, JSON.
    pub config: String,
    /// What it was made of; builds with the same one may share it.
    pub fingerprint: String,
    /// Whether it was there before; then it has to be there still when a build ends with it.
    pub reused: bool,
}

/// What came of a cancellation.
#[derive(Clone, Debug, PartialEq)]
pub enum Cancelled {
    /// It had not begun, and has failed now.
    Withdrawn(Template),
    /// Its worker will end it.
    Asked(Template),
    /// It had ended.
    TooLate,
    /// There is none.
    Missing,
}

/// Numbers for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Templates that wait.
    pub pending: u64,
    /// Templates that are built.
    pub building: u64,
    /// Templates that are ready.
    pub ready: u64,
    /// Templates that failed.
    pub failed: u64,
    /// Images.
    pub images: u64,
    /// Bytes of disk they take.
    pub images_bytes: u64,
}

/// The store of a service: the PostgreSQL database of that address, or the SQLite file in the data directory.
///
/// # Errors
/// It can't be opened, or was written by a newer program.
pub fn open(data: &Path, database: Option<&str>) -> Result<Box<dyn Store>, StoreError> {
    Ok(match database {
        Some(address) => Box::new(Postgres::open(address)?),
        None => Box::new(Sqlite::open(&data.join("templates.db"))?),
    })
}

/// Keeps templates, keys and the names of images. Durable: what a verb has answered is still so after a kill or a power cut.
pub trait Store: Send + Sync + Debug {
    /// Adds a template, pending, if the limits allow it: they are checked in the transaction that inserts.
    ///
    /// # Errors
    /// The database.
    fn insert(&self, new: &NewTemplate, limits: &InsertLimits) -> Result<Inserted, StoreError>;

    /// The template of that owner.
    ///
    /// # Errors
    /// The database.
    fn get(&self, owner: &Owner, selector: &Selector) -> Result<Option<Template>, StoreError>;

    /// The template, whoever owns it.
    ///
    /// # Errors
    /// The database.
    fn by_id(&self, id: &TemplateId) -> Result<Option<Template>, StoreError>;

    /// The Dockerfile of a template.
    ///
    /// # Errors
    /// The database.
    fn dockerfile(&self, id: &TemplateId) -> Result<Option<String>, StoreError>;

    /// The config of a ready template's image, JSON.
    ///
    /// # Errors
    /// The database.
    fn image_config(&self, id: &TemplateId) -> Result<Option<String>, StoreError>;

    /// The templates of an owner, newest first, and how many there are.
    ///
    /// # Errors
    /// The database.
    fn list(&self, owner: &Owner, limit: u32, offset: u64) -> Result<(Vec<Template>, u64), StoreError>;

    /// Takes a job: a pending one, or one whose lease is over; of an owner with few builds first, then the oldest.
    ///
    /// # Errors
    /// The database.
    fn claim(&self, holder: &str, lease: Duration) -> Result<Option<Claim>, StoreError>;

    /// Makes the lease last this long from now.
    ///
    /// # Errors
    /// The database.
    fn heartbeat(&self, id: &TemplateId, attempt: u32, lease: Duration) -> Result<Beat, StoreError>;

    /// Ends a build; `false` when it is not this attempt's any more. Said again by the same attempt it is true again.
    ///
    /// # Errors
    /// The database, or that the image which was to be used again is gone.
    fn finish(&self, id: &TemplateId, attempt: u32, outcome: &Outcome) -> Result<bool, StoreError>;

    /// Gives a job back, to be taken again; `false` when it is not this attempt's any more. Said again it is true again.
    ///
    /// # Errors
    /// The database.
    fn release(&self, id: &TemplateId, attempt: u32) -> Result<bool, StoreError>;

    /// Ends the leases of a host that begins anew, and says whose.
    ///
    /// # Errors
    /// The database.
    fn end_leases(&self, holder: &str) -> Result<Vec<TemplateId>, StoreError>;

    /// Ends a build that has not ended. `card` is that of one that had not begun.
    ///
    /// # Errors
    /// The database.
    fn cancel(&self, id: &TemplateId, card: &Failure) -> Result<Cancelled, StoreError>;

    /// Removes a template; `false` when there was none.
    ///
    /// # Errors
    /// The database.
    fn delete(&self, id: &TemplateId) -> Result<bool, StoreError>;

    /// An image of that owner made of the same.
    ///
    /// # Errors
    /// The database.
    fn finished(&self, owner: &Owner, fingerprint: &str) -> Result<Option<Finished>, StoreError>;

    /// The digests of all images that are known.
    ///
    /// # Errors
    /// The database.
    fn images(&self) -> Result<Vec<String>, StoreError>;

    /// The digests of images that no template has had for `grace`.
    ///
    /// # Errors
    /// The database.
    fn unreferenced(&self, grace: Duration) -> Result<Vec<String>, StoreError>;

    /// Forgets an image that no template has; `false` when one has it.
    ///
    /// # Errors
    /// The database.
    fn forget_image(&self, digest: &str) -> Result<bool, StoreError>;

    /// Numbers for an operator.
    ///
    /// # Errors
    /// The database.
    fn counts(&self) -> Result<Counts, StoreError>;

    /// Adds a key.
    ///
    /// # Errors
    /// The database.
    fn add_key(&self, key: &KeyRecord, secret_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// A key and the hash of its secret.
    ///
    /// # Errors
    /// The database.
    fn key(&self, id: &str) -> Result<Option<(KeyRecord, Vec<u8>)>, StoreError>;

    /// All keys, oldest first.
    ///
    /// # Errors
    /// The database.
    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Revokes a key; `false` when there is none or it was revoked before.
    ///
    /// # Errors
    /// The database.
    fn revoke_key(&self, id: &str, now: Time) -> Result<bool, StoreError>;
}
