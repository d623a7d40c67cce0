//! The log of an attempt on its way to followers on other hosts: what the log's file has grown by, in batches, in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::error::Error;
use crate::log::{self, Level, LogWriter};
use crate::shared::Shared;
use crate::store::Batch;
use crate::template::TemplateId;

/// The most bytes of one batch, unless one line has more.
const BATCH_BYTES: usize = 64 << 10;

/// How often the last lines are tried to be published while the store fails; it has patience of its own.
const TRIES: u32 = 3;

/// Publishes one attempt's lines.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    id: TemplateId,
    attempt: u32,
    path: PathBuf,
    file: File,
    /// Bytes of the file that were taken.
    at: u64,
    next_seq: u64,
    /// What was taken and not yet acknowledged: it is said again as it was.
    pending: Option<Batch>,
}

impl Publisher {
    /// Begins with the first line of the attempt, which has the number `next_seq`.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        logs: &Path,
        id: &TemplateId,
        attempt: u32,
        next_seq: u64,
    ) -> Result<Self, Error> {
        let path = log::file_of(&log::directory(logs, id), attempt);
        let file = File::open(&path).map_err(Error::file(&path))?;
        Ok(Self { shared: Arc::clone(shared), id: id.clone(), attempt, path, file, at: 0, next_seq, pending: None })
    }

    /// Publishes all whole lines that are there; `false` when the template is not this attempt's any more.
    pub(crate) fn publish(&mut self) -> Result<bool, Error> {
        loop {
            if self.pending.is_none() {
                self.pending = self.take().map_err(Error::file(&self.path))?;
            }
            let Some(batch) = &self.pending else { return Ok(true) };
            if !self.shared.store.append_log(&self.id, self.attempt, batch)? {
                return Ok(false);
            }
            self.pending = None;
        }
    }

    /// The next whole lines of the file.
    fn take(&mut self) -> io::Result<Option<Batch>> {
        let mut bytes = vec![0; usize::try_from(log::LINE_BYTES_MAX).expect("a line is short")];
        let mut len = 0;
        while len < BATCH_BYTES || !bytes[..len].contains(&b'\n') {
            match self.file.read_at(&mut bytes[len..], self.at + wide(len))? {
                0 => break,
                more => len += more,
            }
        }
        let end = |byte: &u8| *byte == b'\n';
        let last = bytes[..len.min(BATCH_BYTES)].iter().rposition(end);
        let Some(last) = last.or_else(|| bytes[..len].iter().position(end)) else { return Ok(None) };
        let whole = last + 1;
        bytes.truncate(whole);
        let lines = wide(bytes.iter().filter(|&&byte| byte == b'\n').count());
        self.at += wide(whole);
        let seqs = self.next_seq..self.next_seq + lines;
        self.next_seq = seqs.end;
        Ok(Some(Batch { seqs, lines: bytes }))
    }
}

fn wide(number: usize) -> u64 {
    number.try_into().expect("usize fits in u64")
}

/// The log of an attempt whose build is over.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) writer: LogWriter,
    pub(crate) publisher: Option<Publisher>,
}

impl Closing {
    /// Writes a line of the service's own.
    pub(crate) fn say(&mut self, text: &str, level: Level, now: Time) -> Result<(), Error> {
        self.writer.say(text, level, now)
    }

    /// Makes all of it durable, where followers find it.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.writer.sync()?;
        let Some(publisher) = &mut self.publisher else { return Ok(()) };
        for attempt in 1.. {
            match publisher.publish() {
                // Whose it is says the store, to the next write.
                Ok(_) => break,
                Err(error) if attempt == TRIES => return Err(error),
                Err(error) => tracing::warn!(error = %drydock::explain(&error), "the log can't be published yet"),
            }
            std::thread::sleep(Duration::from_millis(200) * attempt);
        }
        Ok(())
    }

    /// Keeps it for good: the template ends.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.sync()?;
        match &self.publisher {
            Some(publisher) => publisher.shared.archive(&publisher.id, publisher.attempt),
            None => Ok(()),
        }
    }
}
