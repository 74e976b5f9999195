//! The only reader of time.
//!
//! Elapsed time comes through tokio, so that a test that has paused tokio's clock has paused the whole
//! crate. Wall time is for people and certificates alone: nothing waits by it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The present moment of the clock that never goes back.
#[expect(clippy::disallowed_methods, reason = "the one place where elapsed time is read")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Microseconds since the Unix epoch; 0 for a wall clock before it.
#[expect(clippy::disallowed_methods, reason = "the one place where wall time is read")]
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch, as certificates count.
pub(crate) fn unix_seconds() -> i64 {
    i64::try_from(unix_micros() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_only_when_told() {
        let before = now();
        assert_eq!(now(), before);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(now() - before, Duration::from_secs(5));
    }

    #[test]
    fn wall_time_is_after_the_year_2020() {
        assert!(unix_micros() >= 1_577_836_800_000_000);
    }
}
