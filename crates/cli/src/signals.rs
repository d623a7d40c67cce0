//! SIGINT and SIGTERM ask the work to stop; what then ends says by which signal. SIGCHLD is not ignored.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use drydock::Cancel;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use crate::output::process_status;

/// Hears of children that end, should whoever started this program have left the signal ignored: that is inherited, and the kernel then
/// tells nobody how a child ended (wait(2)).
pub(crate) fn hear_of_children() -> anyhow::Result<()> {
    let ignored = process_status("SigIgn:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    if ignored.is_some_and(|mask| mask >> (SIGCHLD - 1) & 1 == 1) {
        signal_hook::flag::register(SIGCHLD, Arc::default())?;
    }
    Ok(())
}

/// Signals that were asked for, and what they set.
#[derive(Debug)]
pub(crate) struct Signals {
    cancel: Cancel,
    /// The number of the last one; 0 for none.
    seen: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches both signals from now on.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let signals = Self { cancel: Cancel::default(), seen: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).expect("signals are positive");
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.seen), number)?;
            signal_hook::flag::register(signal, signals.cancel.flag())?;
        }
        Ok(signals)
    }

    /// From now on the second signal ends the process at once.
    pub(crate) fn end_on_second() -> anyhow::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            let came = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds the flag unset, and sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&came))?;
            signal_hook::flag::register(signal, came)?;
        }
        Ok(())
    }

    /// The switch they set.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Whether one came since this was asked last; what [`Self::exit_code`] says is then said of the next one.
    pub(crate) fn came(&self) -> bool {
        self.seen.swap(0, Ordering::SeqCst) != 0
    }

    /// 128 and the number of the signal, as a shell says it; 1 when there was none.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match u8::try_from(self.seen.load(Ordering::SeqCst)) {
            Ok(signal @ 1..=64) => ExitCode::from(128 + signal),
            _ => ExitCode::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_heard_of() {
        let signals = Signals::catch().unwrap();
        for _ in 0..2 {
            assert!(!signals.came());
            signal_hook::low_level::raise(SIGINT).unwrap();
            assert!(signals.came());
        }
        assert!(signals.cancel().is_cancelled());
    }
}
