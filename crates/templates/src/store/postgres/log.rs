//! Logs of builds under way, so that followers on any host see them; and the word that something changed.
//!
//! Lines come in batches, in order: a batch begins where the one before ended (`log_next`), and only the attempt that holds the template
//! adds one. They stay until the template has ended and its log is an object.

use std::ops::Range;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;

use super::pool::Connection;
use super::{Postgres, StoreError, ids, signed, small, sum, unsigned};
use crate::template::TemplateId;

/// The channel that says whose row or log changed.
const TEMPLATE: &str = "drydock_template";

/// The channel that says that there may be work.
const WORK: &str = "drydock_work";

/// Whole lines of a log, one after the other.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Their numbers.
    pub(crate) seqs: Range<u64>,
    /// The lines.
    pub(crate) lines: Vec<u8>,
}

/// Something that another host may have changed. Only a reason to look: who misses one looks a second later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Template(TemplateId),
    Work,
}

/// A connection that hears of changes.
pub(crate) struct Changes(Connection);

impl Changes {
    /// The next one; none after `time`.
    pub(crate) fn next(&mut self, time: Duration) -> Result<Option<Change>, StoreError> {
        let heard = self.0.client().notifications().timeout_iter(time).next()?;
        Ok(heard.map(|one| match one.payload().parse() {
            Ok(id) if one.channel() == TEMPLATE => Change::Template(id),
            _ => Change::Work,
        }))
    }
}

/// Says with the COMMIT that the row or the log of a template changed.
pub(super) fn tell(connection: &mut Connection, id: &TemplateId) -> Result<(), StoreError> {
    connection.query("SELECT pg_notify($1, $2)", &[&TEMPLATE, &id.as_str()])?;
    Ok(())
}

/// Says with the COMMIT that there may be work.
pub(super) fn call(connection: &mut Connection) -> Result<(), StoreError> {
    connection.query("SELECT pg_notify($1, '')", &[&WORK])?;
    Ok(())
}

impl Postgres {
    /// Hears of changes from now on.
    pub(crate) fn changes(&self) -> Result<Changes, StoreError> {
        let mut connection = self.pool.connect()?;
        connection.batch(&format!("LISTEN {TEMPLATE}; LISTEN {WORK}"))?;
        Ok(Changes(connection))
    }

    /// The number of the next line of a log.
    pub(crate) fn log_next(&self, id: &TemplateId) -> Result<u64, StoreError> {
        self.pool.read(|connection| sum(connection, "SELECT log_next FROM templates WHERE id = $1", &[&id.as_str()]))
    }

    /// Adds lines to a log; `false` when it is not this attempt's any more. The same batch said again is there once.
    pub(crate) fn append_log(&self, id: &TemplateId, attempt: u32, batch: &Batch) -> Result<bool, StoreError> {
        let append = "WITH held AS (UPDATE templates SET log_next = $4
                                    WHERE id = $1 AND attempt = $2 AND status = 'building' AND log_next = $3 RETURNING id)
                      INSERT INTO log_lines (template_id, attempt, first_seq, next_seq, lines) SELECT id, $2, $3, $4, $5 FROM held";
        let said = "SELECT 1 FROM templates WHERE id = $1 AND attempt = $2 AND status = 'building' AND log_next = $3";
        let (id, attempt) = (id, i64::from(attempt));
        let [first, next] = [batch.seqs.start, batch.seqs.end].map(signed);
        self.pool.write(|connection, _| {
            if connection.execute(append, &[&id.as_str(), &attempt, &first, &next, &batch.lines])? == 0 {
                return Ok(connection.first(said, &[&id.as_str(), &attempt, &next])?.is_some());
            }
            tell(connection, id)?;
            Ok(true)
        })
    }

    /// The batch that has the line `since`, or the first one after it; of one attempt alone where one is named.
    pub(crate) fn log_after(
        &self,
        id: &TemplateId,
        only: Option<u32>,
        since: u64,
    ) -> Result<Option<Batch>, StoreError> {
        let query = "SELECT first_seq, next_seq, lines FROM log_lines
                     WHERE template_id = $1 AND next_seq > $2 AND ($3::bigint IS NULL OR attempt = $3)
                     ORDER BY next_seq LIMIT 1";
        self.pool.read(|connection| {
            let found = connection.first(query, &[&id.as_str(), &signed(since), &only.map(i64::from)])?;
            Ok(found.map(|row| Batch { seqs: unsigned(row.get(0))..unsigned(row.get(1)), lines: row.get(2) }))
        })
    }

    /// The attempts whose lines are here.
    pub(crate) fn logged_attempts(&self, id: &TemplateId) -> Result<Vec<u32>, StoreError> {
        let query = "SELECT DISTINCT attempt FROM log_lines WHERE template_id = $1 ORDER BY attempt";
        self.pool.read(|connection| {
            Ok(connection.query(query, &[&id.as_str()])?.iter().map(|row| small(row.get(0))).collect())
        })
    }

    /// Templates that have ended and whose lines are still here.
    pub(crate) fn ended_logs(&self) -> Result<Vec<TemplateId>, StoreError> {
        let query = "SELECT id FROM templates WHERE status IN ('ready', 'failed')
                     AND id IN (SELECT DISTINCT template_id FROM log_lines) ORDER BY id";
        self.pool.read(|connection| ids(connection, query, &[]))
    }

    /// Removes the lines of a template that has ended.
    pub(crate) fn forget_log(&self, id: &TemplateId) -> Result<(), StoreError> {
        let forget = "DELETE FROM log_lines WHERE template_id = $1
                      AND EXISTS (SELECT 1 FROM templates WHERE id = $1 AND status IN ('ready', 'failed'))";
        self.pool.write(|connection, _| connection.execute(forget, &[&id.as_str()]).map(drop))
    }

    /// Those of these templates that are there.
    pub(crate) fn there(&self, all: &[TemplateId]) -> Result<Vec<TemplateId>, StoreError> {
        let all: Vec<&str> = all.iter().map(TemplateId::as_str).collect();
        self.pool.read(|connection| ids(connection, "SELECT id FROM templates WHERE id = ANY($1)", &[&all]))
    }
}
