//! The states of a template and what leads from one to the other.
//!
//! ```text
//!                  Claim (attempt + 1)          Succeed
//!   (submitted) ─▶ pending ─────────▶ building ─────────▶ ready
//!                  │   ▲               │  │
//!                  │   └─── Release ───┘  │ Fail: an error, cancelled, out of time,
//!                  └────── Withdraw ──────┴─────▶ failed      interrupted too often
//! ```
//!
//! Nothing else reaches the wire: cancelled, timed out, out of memory and interrupted are `failed` with a failure card.
//! `ready` and `failed` are final.

/// The state of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Queued, not yet picked up by a builder.
    Pending,
    /// Build in progress.
    Building,
    /// Build succeeded; usable as a root file system.
    Ready,
    /// Build failed; the failure card and the log say why.
    Failed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Building, Self::Ready, Self::Failed];

    /// As the specification writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// Whether it never changes again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Failed)
    }

    /// The state after `event`; `None` where that can't happen.
    #[must_use]
    pub fn after(self, event: Event) -> Option<Self> {
        use Status::{Building, Failed, Pending, Ready};
        match (self, event) {
            // A building one is claimed again when its lease is over.
            (Pending | Building, Event::Claim) => Some(Building),
            (Building, Event::Succeed) => Some(Ready),
            (Building, Event::Fail) => Some(Failed),
            (Building, Event::Release) => Some(Pending),
            (Pending, Event::Withdraw) => Some(Failed),
            _ => None,
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What happens to a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker takes it.
    Claim,
    /// The worker has made the image.
    Succeed,
    /// The worker gives up.
    Fail,
    /// The worker stops before it is done.
    Release,
    /// Its owner cancels it before a worker takes it.
    Withdraw,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_never_change() {
        let events = [Event::Claim, Event::Succeed, Event::Fail, Event::Release, Event::Withdraw];
        for status in Status::ALL {
            assert_eq!(Status::named(status.as_str()), Some(status));
            let changes = events.iter().any(|&event| status.after(event).is_some());
            assert_eq!(changes, !status.is_final(), "{status:?}");
        }
        assert_eq!(Status::named("canceled"), None);
    }

    #[test]
    fn ready_comes_from_building_alone() {
        for status in Status::ALL {
            assert_eq!(status.after(Event::Succeed).is_some(), status == Status::Building);
        }
    }
}
