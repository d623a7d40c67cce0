//! Whose turn it is to write.
//!
//! The kernel lets one thread at a time write to a file, and those that wait for it inside burn their time and slow down the
//! one that writes. Here they wait outside: first awake, since a turn takes a fraction of a millisecond and waking up takes
//! as long, then asleep.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// So often a thread looks again before it goes to sleep: a few hundred microseconds, the time of one write.
const LOOKS: u32 = 10_000;

/// Held by the one thread that writes.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<()>);

impl Turn {
    /// Waits for the turn, which ends when what is given is dropped.
    pub(super) fn take(&self) -> MutexGuard<'_, ()> {
        for _ in 0..LOOKS {
            if let Ok(turn) = self.0.try_lock() {
                return turn;
            }
            std::hint::spin_loop();
        }
        // A thread that panicked in its turn leaves nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
