//! Moments of a session in eight bytes: every idle stream has room for four, and an `Option<Instant>` takes sixteen.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A moment of a session, as its age then: how long after the session's beginning it was, to the nanosecond, for up to 584 years.
///
/// It holds one more than that, so that an `Option` of it takes no more than it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(NonZeroU64);

impl Age {
    /// `now` in a session that began at `origin`. What lies before it is taken for the beginning.
    pub(crate) fn at(origin: Instant, now: Instant) -> Self {
        let age = now.saturating_duration_since(origin).as_nanos();
        Self(NonZeroU64::MIN.saturating_add(u64::try_from(age).unwrap_or(u64::MAX)))
    }

    /// The moment, given the same origin.
    pub(crate) fn instant(self, origin: Instant) -> Instant {
        // Only a clock further from its origin than it can tell would not have it.
        origin.checked_add(Duration::from_nanos(self.0.get() - 1)).unwrap_or(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::testing::epoch;

    #[test]
    fn an_age_is_the_moment_it_was_made_of() {
        let origin = epoch();
        for age in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(86_400 * 366 * 100)] {
            assert_eq!(Age::at(origin, origin + age).instant(origin), origin + age);
        }
    }

    #[test]
    fn what_cannot_be_said_is_taken_to_the_bounds() {
        let origin = epoch() + Duration::from_secs(1);
        assert_eq!(Age::at(origin, origin - Duration::from_secs(1)).instant(origin), origin);
        let late = origin + Duration::from_secs(86_400 * 366 * 600);
        assert!(Age::at(origin, late).instant(origin) < late);
    }

    #[test]
    fn no_age_takes_no_more_room_than_one() {
        assert_eq!(size_of::<Option<Age>>(), 8);
    }
}
