//! Adding to an instant what a caller may have chosen as "for ever".

use std::time::{Duration, Instant};

/// `now + wait`, or a time that nobody will see if there is no such instant.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR)).unwrap_or(now)
}

/// Thirty years: beyond any run of a router, and within what an `Instant` can hold.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::testing::epoch;

    #[test]
    fn for_ever_is_a_time_like_any_other() {
        let now = epoch();
        assert_eq!(later(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert!(later(now, Duration::MAX) > now + Duration::from_secs(1 << 20));
    }
}
