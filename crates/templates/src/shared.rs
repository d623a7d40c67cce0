//! What makes many hosts one service: the database that all of them use, and the objects that all of them see.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drydock::explain;

use crate::chunks::Chunks;
use crate::error::Error;
use crate::fetches::Fetches;
use crate::lifecycle::Status;
use crate::log::{self, LogReader, Logs};
use crate::objects::{ImageObject, Objects, Origin};
use crate::service::Inner;
use crate::store::{Change, Postgres, Store};
use crate::template::TemplateId;

/// The longest time until a change on another host is seen, should its word be lost.
const POLL: Duration = Duration::from_secs(1);

/// Bytes of an archived log that are read at once: each is a request of the object store.
const LOG_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Postgres>,
    pub(crate) objects: Objects,
    pub(crate) chunks: Chunks,
    pub(crate) fetches: Fetches,
}

impl Shared {
    /// Makes objects of the lines of a template that ends with the attempt `last`. Whoever says so may have lost it: an attempt after it is
    /// another host's, and not over, while the lines of all others never change again.
    pub(crate) fn archive(&self, id: &TemplateId, last: u32) -> Result<(), Error> {
        for attempt in self.store.logged_attempts(id)?.into_iter().filter(|&attempt| attempt <= last) {
            self.objects.put_log(id, attempt, |out| {
                let mut since = 0;
                while let Some(batch) = self.store.log_after(id, Some(attempt), since)? {
                    out.write_all(&batch.lines).map_err(Error::file(id.as_str()))?;
                    since = batch.seqs.end;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Removes what no template has any more: packs that no manifest refers to, and lines that are archived.
    pub(crate) fn collect(&self) -> Result<(), Error> {
        for pack in self.store.condemn_packs()? {
            // The row goes last: who is killed between the two leaves a pack that is condemned still.
            self.objects.remove_pack(&pack)?;
            self.store.forget_pack(&pack)?;
        }
        // A host that was killed between the end of a template and this.
        for id in self.store.ended_logs()? {
            self.archive(&id, u32::MAX)?;
            self.store.forget_log(&id)?;
        }
        Ok(())
    }

    /// Removes objects without a row, whichever host left them. It lists all objects.
    pub(crate) fn collect_orphans(&self) -> Result<(), Error> {
        self.collect_images()?;
        self.collect_chunks()?;
        self.collect_layers()?;
        let logged = self.objects.logged()?;
        let there: BTreeSet<TemplateId> = self.store.there(&logged)?.into_iter().collect();
        for gone in logged.iter().filter(|id| !there.contains(id)) {
            self.objects.remove_logs(gone)?;
        }
        Ok(())
    }

    /// Manifests of templates that are gone, and what a host that came back late put after its rows were.
    fn collect_chunks(&self) -> Result<(), Error> {
        let manifests = self.objects.manifests()?;
        let origins: Vec<Origin> = manifests.iter().map(|object| object.origin.clone()).collect();
        let living = self.store.living_manifests(&origins)?;
        for orphan in manifests.iter().filter(|object| !living.contains(&object.origin)) {
            self.objects.remove_manifest(orphan)?;
        }
        let packs = self.objects.packs()?;
        let living = self.store.living_packs(&packs)?;
        for orphan in packs.iter().filter(|object| !living.contains(&object.name)) {
            self.objects.remove_pack(&orphan.name)?;
        }
        Ok(())
    }

    /// Whole images, which hosts of a version before chunks put.
    fn collect_images(&self) -> Result<(), Error> {
        let known = |objects: Vec<ImageObject>| -> Result<Vec<ImageObject>, Error> {
            let known: BTreeSet<String> = self.store.images()?.into_iter().collect();
            Ok(objects.into_iter().filter(|object| !known.contains(&object.digest)).collect())
        };
        let mut orphans = Vec::new();
        for object in known(self.objects.images()?)? {
            let template = self.store.by_id(&object.origin.id)?;
            // This attempt may still end, and then name it.
            let attempt = object.origin.attempt;
            let may_end = |found: &crate::Template| found.status == Status::Building && found.attempt == attempt;
            if !template.as_ref().is_some_and(may_end) {
                orphans.push(object);
            }
        }
        // Asked again: one that could still end a moment ago may have ended since, with its image.
        for orphan in known(orphans)? {
            self.objects.remove_image(&orphan)?;
        }
        Ok(())
    }
}

/// Passes on what other hosts change, until the service stops.
pub(crate) fn listen(inner: &Inner, shared: &Shared) {
    while !inner.is_stopping() {
        inner.hub.everything();
        match heard(inner, shared) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = %explain(&error), "changes on other hosts are not heard of, but looked for");
                std::thread::sleep(POLL);
            }
        }
    }
}

fn heard(inner: &Inner, shared: &Shared) -> Result<(), Error> {
    let mut changes = shared.store.changes()?;
    let mut looked = Instant::now();
    while !inner.is_stopping() {
        match changes.next(POLL / 4)? {
            Some(Change::Template(id)) => {
                inner.hub.lines(&id);
                inner.hub.state(&id);
            }
            Some(Change::Work) => inner.hub.wake_workers(),
            None => {}
        }
        if looked.elapsed() >= POLL {
            looked = Instant::now();
            inner.hub.everything();
        }
    }
    Ok(())
}

/// Reads a log from a place on: from the database while the template is under way, from its objects when it has ended.
#[derive(Debug)]
pub(crate) struct SharedReader {
    shared: Arc<Shared>,
    id: TemplateId,
    only: Option<u32>,
    next_seq: u64,
    ended: Option<LogReader<Archived>>,
}

impl SharedReader {
    pub(crate) fn new(shared: Arc<Shared>, id: &TemplateId, only: Option<u32>, since: u64) -> Self {
        Self { shared, id: id.clone(), only, next_seq: since, ended: None }
    }

    /// The number that a follower comes back with.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The next whole lines; nothing when there are no more now. `last` is the attempt under way, or the last one if it `has_ended`.
    pub(crate) fn read(&mut self, last: u32, has_ended: bool) -> Result<Vec<u8>, Error> {
        if self.ended.is_none() {
            if let Some(batch) = self.shared.store.log_after(&self.id, self.only, self.next_seq)? {
                let lines = log::lines_from(batch.lines, self.next_seq);
                self.next_seq = batch.seqs.end;
                return Ok(lines);
            }
            if !has_ended || (self.only.is_none() && self.next_seq >= self.shared.store.log_next(&self.id)?) {
                return Ok(Vec::new());
            }
        }
        let (shared, id) = (&self.shared, &self.id);
        let archived = || Archived { shared: Arc::clone(shared), id: id.clone() };
        let ended = self.ended.get_or_insert_with(|| LogReader::new(archived(), self.only, self.next_seq));
        let lines = ended.read(last)?;
        self.next_seq = ended.next_seq();
        Ok(lines)
    }
}

/// The logs of a template that has ended, among the objects.
#[derive(Debug)]
struct Archived {
    shared: Arc<Shared>,
    id: TemplateId,
}

impl Logs for Archived {
    fn open(&self, attempt: u32) -> io::Result<Option<Box<dyn BufRead + Send>>> {
        let log = ArchivedLog { shared: Arc::clone(&self.shared), id: self.id.clone(), attempt, at: 0 };
        Ok(Some(Box::new(BufReader::with_capacity(LOG_BYTES, log))))
    }

    fn name(&self) -> PathBuf {
        format!("the log of {}", self.id).into()
    }
}

/// One of them, read piece by piece: a copy for each reader could fill the disk of this host.
struct ArchivedLog {
    shared: Arc<Shared>,
    id: TemplateId,
    attempt: u32,
    at: u64,
}

impl Read for ArchivedLog {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.shared.objects.read_log(&self.id, self.attempt, self.at, buffer.len());
        // An attempt that wrote nothing has none.
        let bytes = read.map_err(io::Error::other)?.unwrap_or_default();
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += u64::try_from(bytes.len()).expect("usize fits in u64");
        Ok(bytes.len())
    }
}
