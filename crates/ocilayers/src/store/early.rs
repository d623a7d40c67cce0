//! Bytes that are brought to the disk while more are being written: who keeps a layer at the end waits for the last of them alone.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// So many bytes are worth a trip to the disk.
const STEP_BYTES: u64 = 16 << 20;

/// A writer and whoever brings to the disk what it has written.
pub(super) fn early() -> (Written, Syncer) {
    let (written, to_sync) = sync_channel(1);
    (Written { written, bytes: 0 }, Syncer { to_sync })
}

/// Tells how much was written.
#[derive(Debug)]
pub(super) struct Written {
    written: SyncSender<()>,
    /// Bytes that nobody was told of.
    bytes: u64,
}

impl Written {
    /// Counts bytes of the file. Never waits: while one trip takes long, more is gathered for the next.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= STEP_BYTES && !matches!(self.written.try_send(()), Err(TrySendError::Full(()))) {
            self.bytes = 0;
        }
    }
}

/// Brings a file to the disk as often as it is told.
#[derive(Debug)]
pub(super) struct Syncer {
    to_sync: Receiver<()>,
}

impl Syncer {
    /// Goes on until the writer is gone.
    ///
    /// # Errors
    /// The first failure. The kernel tells it once: who hears of it and goes on would keep what is not on the disk.
    pub(super) fn run(self, file: &File) -> io::Result<()> {
        self.to_sync.into_iter().try_for_each(|()| file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_is_made_for_each_step_and_none_for_less() {
        let (mut written, syncer) = early();
        written.add(STEP_BYTES - 1);
        assert!(syncer.to_sync.try_recv().is_err());
        written.add(1);
        written.add(STEP_BYTES);
        assert_eq!(written.bytes, STEP_BYTES, "what there was no room to tell is told later");
        assert!(syncer.to_sync.try_recv().is_ok());
        written.add(0);
        assert_eq!(written.bytes, 0);
        drop(written);
        assert_eq!(syncer.to_sync.into_iter().count(), 1);
    }

    #[test]
    fn a_failure_is_told_and_a_syncer_that_is_gone_stops_nobody() {
        // A pipe has nothing that could be brought to a disk.
        let (end, _other) = rustix::pipe::pipe().unwrap();
        let (mut written, syncer) = early();
        written.add(STEP_BYTES);
        assert!(syncer.run(&File::from(end)).is_err());
        written.add(STEP_BYTES);
        assert_eq!(written.bytes, 0);
    }
}
