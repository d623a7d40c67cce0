//! Time as an input: what reads a clock is given one.

use std::fmt;

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// This much later.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This much earlier.
    #[must_use]
    pub fn before(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in whole seconds, as in `2024-01-15T10:00:00Z`.
    #[must_use]
    pub fn seconds(self) -> String {
        Self(self.0.div_euclid(1000) * 1000).to_string()
    }
}

/// RFC 3339, with milliseconds where there are any.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            // Out of the calendar: no clock says so.
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// Says what time it is.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Time;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time(jiff::Timestamp::now().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(Time(1_705_312_800_000).to_string(), "2024-01-15T10:00:00Z");
        assert_eq!(Time(1_705_312_800_123).to_string(), "2024-01-15T10:00:00.123Z");
        assert_eq!(Time(1_705_312_800_999).seconds(), "2024-01-15T10:00:00Z");
        assert_eq!(Time(-1).seconds(), "1969-12-31T23:59:59Z");
    }
}
