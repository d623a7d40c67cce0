//! Following a log to the end of the build. A follower is asked for the next piece and never waits itself; [`Follower::changed`] says
//! when asking again is worth it.

use std::sync::Arc;

use drydock::Failure;
use tokio::sync::watch;

use crate::error::Error;
use crate::hub::Pulse;
use crate::lifecycle::Status;
use crate::log::{Files, LogReader};
use crate::service::Inner;
use crate::shared::SharedReader;
use crate::template::{Template, TemplateId};

/// What a follower gets.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Whole lines, each a JSON object.
    Lines(Vec<u8>),
    /// Nothing more will come.
    End(Box<End>),
    /// Nothing more is there now.
    Idle,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// `ready` or `failed`; the state of now, for a reader that does not follow.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The attempt that ended.
    pub attempt: u32,
    /// The number that follows the last line.
    pub next_seq: u64,
}

/// Somebody who reads a log.
#[derive(Debug)]
pub struct Follower {
    inner: Arc<Inner>,
    id: TemplateId,
    only: Option<u32>,
    reader: Reader,
    pulses: watch::Receiver<Pulse>,
    /// The row, and the count of its changes when it was read.
    row: (Option<Template>, u64),
}

/// Where the lines come from.
#[derive(Debug)]
enum Reader {
    /// From files of this host.
    Files(LogReader<Files>),
    /// From wherever they are written.
    Shared(SharedReader),
}

impl Reader {
    fn read(&mut self, row: &Template) -> Result<Vec<u8>, Error> {
        match self {
            Self::Files(reader) => reader.read(row.attempt),
            Self::Shared(reader) => reader.read(row.attempt, row.status.is_final()),
        }
    }

    fn next_seq(&self) -> u64 {
        match self {
            Self::Files(reader) => reader.next_seq(),
            Self::Shared(reader) => reader.next_seq(),
        }
    }
}

impl Follower {
    pub(crate) fn new(inner: Arc<Inner>, template: Template, only: Option<u32>, since: u64) -> Self {
        let pulses = inner.hub.subscribe(&template.id);
        let reader = match &inner.shared {
            None => Reader::Files(LogReader::of_files(&inner.logs, &template.id, only, since)),
            Some(shared) => Reader::Shared(SharedReader::new(Arc::clone(shared), &template.id, only, since)),
        };
        // The row was read before the pulses began: it is read again first.
        Self { inner, id: template.id.clone(), only, reader, pulses, row: (Some(template), u64::MAX) }
    }

    /// What comes next, without waiting.
    ///
    /// # Errors
    /// The log or the store can't be read.
    pub fn next_piece(&mut self) -> Result<Piece, Error> {
        // The row is read before the log: once it is final, all lines are there already.
        let pulse = *self.pulses.borrow_and_update();
        if self.row.1 != pulse.states {
            self.row = (self.inner.store.by_id(&self.id)?, pulse.states);
        }
        let attempt = self.row.0.as_ref().map_or(u32::MAX, |row| row.attempt);
        let lines = match &self.row.0 {
            Some(row) => self.reader.read(row)?,
            None => Vec::new(),
        };
        if !lines.is_empty() {
            return Ok(Piece::Lines(lines));
        }
        let over = self.only.is_some_and(|only| only < attempt);
        Ok(match &self.row.0 {
            Some(row) if !row.status.is_final() && !over => Piece::Idle,
            _ => Piece::End(Box::new(self.end())),
        })
    }

    /// How the log ends as things are now.
    #[must_use]
    pub fn end(&self) -> End {
        let next_seq = self.reader.next_seq();
        match &self.row.0 {
            Some(row) => End { status: row.status, failure: row.failure.clone(), attempt: row.attempt, next_seq },
            None => {
                let card = Failure::new(drydock::FailureCode::Cancelled, "the template was deleted");
                End { status: Status::Failed, failure: Some(card), attempt: 0, next_seq }
            }
        }
    }

    /// Waits until there may be more. Never ends if there is not; the caller brings a time to give up.
    pub async fn changed(&mut self) {
        if self.pulses.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
