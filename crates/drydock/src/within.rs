//! A build that may take so long and no longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use buildengine::Cancel;

use crate::error::Error;

/// How often it is looked whether somebody asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// Runs `build`, which is cancelled when `cancel` is or when `time` is over.
pub(crate) fn within<T>(
    time: Duration,
    cancel: &Cancel,
    build: impl FnOnce(&Cancel) -> Result<T, Error>,
) -> Result<T, Error> {
    let (inner, over) = (Cancel::default(), AtomicBool::new(false));
    let (running, ended) = channel::<()>();
    let result = thread::scope(|scope| {
        let (inner, over) = (&inner, &over);
        scope.spawn(move || {
            let begun = Instant::now();
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                over.store(begun.elapsed() > time, Ordering::Relaxed);
                if cancel.is_cancelled() || over.load(Ordering::Relaxed) {
                    return inner.cancel();
                }
            }
        });
        let result = build(inner);
        drop(running);
        result
    });
    match result {
        Err(Error::Cancelled) if over.into_inner() && !cancel.is_cancelled() => {
            Err(Error::TimeOver { seconds: time.as_secs() })
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_cancelled(cancel: &Cancel) -> Result<(), Error> {
        while !cancel.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        Err(Error::Cancelled)
    }

    #[test]
    fn who_stopped_it_is_told_apart() {
        let cancel = Cancel::default();
        assert!(within(Duration::from_secs(60), &cancel, |_| Ok(())).is_ok());
        let over = within(Duration::from_millis(10), &cancel, until_cancelled);
        assert!(matches!(over, Err(Error::TimeOver { seconds: 0 })));
        cancel.cancel();
        assert!(matches!(within(Duration::from_secs(60), &cancel, until_cancelled), Err(Error::Cancelled)));
    }
}
