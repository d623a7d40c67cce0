//! Results of steps that hosts share. Everything here is a cache: what is missing is made again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Postgres, StoreError, milliseconds, signed, strings, unsigned};

/// Results that are kept, at most.
const STEPS_MAX: i64 = 100_000;

/// How long what nobody uses is kept.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What was used so lately is not marked as used again.
const USED_AGAIN: Duration = Duration::from_secs(600);

impl Postgres {
    /// What is kept of a step, and how old it is.
    pub(crate) fn cached_step(&self, key: &str) -> Result<Option<(Vec<u8>, Duration)>, StoreError> {
        let query = "SELECT entry, greatest(drydock_now() - made_at, 0) FROM cached_steps WHERE key = $1";
        let found = self.pool.read(|connection| {
            let row = connection.first(query, &[&key])?;
            Ok(row.map(|row| (row.get(0), Duration::from_millis(unsigned(row.get(1))))))
        })?;
        if found.is_some() {
            let used =
                "UPDATE cached_steps SET used_at = drydock_now() WHERE key = $1 AND used_at < drydock_now() - $2";
            self.pool.write(|connection, _| connection.execute(used, &[&key, &milliseconds(USED_AGAIN)]).map(drop))?;
        }
        Ok(found)
    }

    /// Keeps what is to be known of a step, in place of what was.
    pub(crate) fn put_cached_step(&self, key: &str, entry: &[u8]) -> Result<(), StoreError> {
        let put = "INSERT INTO cached_steps (key, entry, made_at, used_at) VALUES ($1, $2, drydock_now(), drydock_now())
                   ON CONFLICT (key) DO UPDATE SET entry = excluded.entry, made_at = excluded.made_at, used_at = excluded.used_at";
        self.pool.write(|connection, _| connection.execute(put, &[&key, &entry]).map(drop))
    }

    /// Marks a layer as used; `false` when it is not known.
    pub(crate) fn use_layer(&self, name: &str) -> Result<bool, StoreError> {
        let used = "UPDATE cached_layers SET used_at = drydock_now() WHERE name = $1";
        self.pool.write(|connection, _| Ok(connection.execute(used, &[&name])? == 1))
    }

    /// Notes a layer that is about to be put.
    pub(crate) fn add_layer(&self, name: &str, bytes: u64) -> Result<(), StoreError> {
        let add =
            "INSERT INTO cached_layers (name, bytes, used_at) VALUES ($1, $2, drydock_now()) ON CONFLICT DO NOTHING";
        self.pool.write(|connection, _| connection.execute(add, &[&name, &signed(bytes)]).map(drop))
    }

    /// Forgets a layer.
    pub(crate) fn forget_layer(&self, name: &str) -> Result<(), StoreError> {
        let forget = "DELETE FROM cached_layers WHERE name = $1";
        self.pool.write(|connection, _| connection.execute(forget, &[&name]).map(drop))
    }

    /// Those of these layers that are known.
    pub(crate) fn layers(&self, all: &[String]) -> Result<BTreeSet<String>, StoreError> {
        let query = "SELECT name FROM cached_layers WHERE name = ANY($1)";
        Ok(self.pool.read(|connection| strings(connection, query, &[&all]))?.into_iter().collect())
    }

    /// Forgets what was not used for long, and what was used least recently where it is too much. Gives the layers among it.
    pub(crate) fn forget_old_steps(&self, bytes_max: u64) -> Result<Vec<String>, StoreError> {
        let steps = "DELETE FROM cached_steps WHERE used_at < drydock_now() - $1
                     OR key IN (SELECT key FROM cached_steps ORDER BY used_at DESC, key OFFSET $2)";
        let layers = "DELETE FROM cached_layers WHERE name IN
                      (SELECT name FROM (SELECT name, used_at, (sum(bytes) OVER (ORDER BY used_at DESC, name))::bigint AS total FROM cached_layers)
                       AS newest WHERE total > $2 OR used_at < drydock_now() - $1) RETURNING name";
        self.pool.write(|connection, _| {
            connection.execute(steps, &[&milliseconds(UNUSED), &STEPS_MAX])?;
            strings(connection, layers, &[&milliseconds(UNUSED), &signed(bytes_max)])
        })
    }
}
