//! Wakes those who wait: followers of a template, and workers without work. It carries no data: who wakes looks at the store and the log.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::template::TemplateId;

/// What happened to a template since somebody began to look, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Times that its log grew.
    pub lines: u64,
    /// Times that its row changed.
    pub states: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Hub {
    topics: Mutex<HashMap<TemplateId, watch::Sender<Pulse>>>,
    work: Mutex<u64>,
    work_came: Condvar,
}

impl Hub {
    /// Pulses of `id` from now on.
    pub(crate) fn subscribe(&self, id: &TemplateId) -> watch::Receiver<Pulse> {
        let mut topics = self.topics.lock().expect("no panic while it is held");
        topics.entry(id.clone()).or_default().subscribe()
    }

    /// The log of `id` grew.
    pub(crate) fn lines(&self, id: &TemplateId) {
        self.pulse(id, |pulse| pulse.lines += 1);
    }

    /// The row of `id` changed.
    pub(crate) fn state(&self, id: &TemplateId) {
        self.pulse(id, |pulse| pulse.states += 1);
    }

    fn pulse(&self, id: &TemplateId, change: impl FnOnce(&mut Pulse)) {
        let mut topics = self.topics.lock().expect("no panic while it is held");
        let Some(topic) = topics.get(id) else { return };
        if topic.receiver_count() == 0 {
            topics.remove(id);
        } else {
            topic.send_modify(change);
        }
    }

    /// There may be work.
    pub(crate) fn wake_workers(&self) {
        *self.work.lock().expect("no panic while it is held") += 1;
        self.work_came.notify_all();
    }

    /// What [`Hub::wait_for_work`] compares with; asked for before looking for work.
    pub(crate) fn work_seen(&self) -> u64 {
        *self.work.lock().expect("no panic while it is held")
    }

    /// Waits until there may be work, at most `time`.
    pub(crate) fn wait_for_work(&self, seen: u64, time: Duration) {
        let work = self.work.lock().expect("no panic while it is held");
        let waited = self.work_came.wait_timeout_while(work, time, |work| *work == seen);
        drop(waited.expect("no panic while it is held"));
    }
}
