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
    topics: Mutex<Topics>,
    work: Mutex<u64>,
    work_came: Condvar,
}

/// Who is followed. A template's last pulse comes before its last follower leaves, so topics that nobody follows any more are looked for
/// here: whenever twice as many are there as were kept the last time, which costs each subscriber next to nothing.
#[derive(Debug, Default)]
struct Topics {
    by_id: HashMap<TemplateId, watch::Sender<Pulse>>,
    kept: usize,
}

impl Topics {
    /// How many there may be before it is worth looking.
    const FEW: usize = 64;

    fn subscribe(&mut self, id: &TemplateId) -> watch::Receiver<Pulse> {
        if self.by_id.len() >= Self::FEW.max(2 * self.kept) {
            self.by_id.retain(|_, topic| topic.receiver_count() > 0);
            self.kept = self.by_id.len();
        }
        self.by_id.entry(id.clone()).or_default().subscribe()
    }

    fn pulse(&mut self, id: &TemplateId, change: impl FnOnce(&mut Pulse)) {
        let Some(topic) = self.by_id.get(id) else { return };
        if topic.receiver_count() == 0 {
            self.by_id.remove(id);
        } else {
            topic.send_modify(change);
        }
    }
}

impl Hub {
    /// Pulses of `id` from now on.
    pub(crate) fn subscribe(&self, id: &TemplateId) -> watch::Receiver<Pulse> {
        self.topics.lock().expect("no panic while it is held").subscribe(id)
    }

    /// The log of `id` grew.
    pub(crate) fn lines(&self, id: &TemplateId) {
        self.pulse(id, |pulse| pulse.lines += 1);
    }

    /// The row of `id` changed.
    pub(crate) fn state(&self, id: &TemplateId) {
        self.pulse(id, |pulse| pulse.states += 1);
    }

    /// Anything may have changed.
    pub(crate) fn everything(&self) {
        let topics = self.topics.lock().expect("no panic while it is held");
        #[expect(clippy::iter_over_hash_type, reason = "all of them are told, in any order")]
        for topic in topics.by_id.values() {
            topic.send_modify(|pulse| *pulse = Pulse { lines: pulse.lines + 1, states: pulse.states + 1 });
        }
    }

    fn pulse(&self, id: &TemplateId, change: impl FnOnce(&mut Pulse)) {
        self.topics.lock().expect("no panic while it is held").pulse(id, change);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_nobody_follows_any_more_are_cleared_away() {
        let hub = Hub::default();
        let id = |number| TemplateId::new(ulid::Ulid::from_parts(number, 1));
        let followed: Vec<_> = (0..10).map(id).map(|id| (hub.subscribe(&id), id)).collect();
        for number in 10..10_000 {
            drop(hub.subscribe(&id(number)));
        }
        assert!(hub.topics.lock().unwrap().by_id.len() <= Topics::FEW);
        for (mut receiver, id) in followed {
            hub.lines(&id);
            assert_eq!(receiver.borrow_and_update().lines, 1, "who follows still hears");
        }
    }
}
