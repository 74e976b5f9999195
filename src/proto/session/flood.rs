//! A budget for frames that are cheap to send and dear to take, in proportion to useful work.
//!
//! Data needs none: it is bounded by credit, and credit by the reader. A bucket of tokens pays for the rest. Work
//! that only an honest exchange brings about fills it (a stream accepted here, a batch of ours to acknowledge, data
//! of ours to give credit for), and so does time, slowly, for keepalives.

use std::time::Instant;

use crate::error::Violation;

/// The bucket of one session.
#[derive(Debug)]
pub(crate) struct Flood {
    /// 0 <= tokens <= CAPACITY
    tokens: u64,
    refilled: Instant,
}

impl Flood {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: CAPACITY, refilled: now }
    }

    /// Pays for a cheap frame.
    ///
    /// # Errors
    /// [`Violation::Flood`] when the bucket is empty.
    pub(crate) fn pay(&mut self, now: Instant) -> Result<(), Violation> {
        if self.tokens == 0 {
            let seconds = now.saturating_duration_since(self.refilled).as_secs();
            self.earn(seconds.saturating_mul(PER_SECOND));
            self.refilled = now;
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(Violation::Flood)?;
        Ok(())
    }

    /// Useful work was done.
    pub(crate) fn earn(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(CAPACITY);
    }
}

/// Cheap frames a peer may send ahead of all work: a whole key table of 10,000 and as many frames again.
const CAPACITY: u64 = 20_000;

/// What time alone pays for: keepalives and key changes at a hundred times their usual pace.
const PER_SECOND: u64 = 200;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::session::testing::epoch;

    #[test]
    fn a_flood_without_work_ends_in_a_violation() {
        let start = epoch();
        let mut flood = Flood::new(start);
        let paid = (0..).take_while(|_| flood.pay(start).is_ok()).count();
        assert_eq!(paid as u64, CAPACITY);
    }

    #[test]
    fn keepalives_never_exhaust_it() {
        let start = epoch();
        let mut flood = Flood::new(start);
        assert!((0..100_000).all(|second| flood.pay(start + Duration::from_secs(second)).is_ok()));
    }

    #[test]
    fn work_pays_for_itself() {
        let start = epoch();
        let mut flood = Flood::new(start);
        for _ in 0..1_000_000 {
            flood.earn(1);
            assert!(flood.pay(start).is_ok());
        }
    }
}
