//! A budget for frames that are cheap to send and dear to take, in proportion to useful work.
//!
//! Data needs none: it is bounded by credit, and credit by the reader. A bucket of tokens pays for the rest. Work
//! that only an honest exchange brings about fills it (a stream accepted here, a batch of ours to acknowledge, data
//! of ours to give credit for), and so does time, slowly, for keepalives.
//!
//! A refused open is no work done, yet an honest opener may be refused often: the application behind a key may be
//! down for an hour. So refusals are forgiven up to a pace of their own, at which they cost next to nothing here;
//! beyond it they are paid for like any other cheap frame. So are changes of routing keys: a site may have ten thousand
//! services that come and go with the state of a cluster, and no streams.

use std::time::Instant;

use crate::error::Violation;

/// The bucket of one session.
#[derive(Debug)]
pub(crate) struct Flood {
    /// 0 <= tokens <= CAPACITY
    tokens: u64,
    /// How many more refused opens are forgiven. 0 <= forgivable <= REFUSALS
    forgivable: u64,
    /// How many more key changes are free of charge. 0 <= keys <= KEY_CHANGES
    keys: u64,
    /// Bytes of ours that were sent and have earned nothing yet. 0 <= moved < EARNS_ONE_PER
    moved: u64,
    /// The last whole second that was counted.
    refilled: Instant,
}

impl Flood {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: CAPACITY, forgivable: REFUSALS, keys: KEY_CHANGES, moved: 0, refilled: now }
    }

    /// Pays for a cheap frame.
    ///
    /// # Errors
    /// [`Violation::Flood`] when the bucket is empty.
    pub(crate) fn pay(&mut self, now: Instant) -> Result<(), Violation> {
        self.refill(now);
        self.tokens = self.tokens.checked_sub(1).ok_or(Violation::Flood)?;
        Ok(())
    }

    /// Pays for a change of a routing key: free of charge, unless there were too many.
    ///
    /// # Errors
    /// As [`Flood::pay`].
    pub(crate) fn pay_for_key(&mut self, now: Instant) -> Result<(), Violation> {
        self.refill(now);
        match self.keys.checked_sub(1) {
            Some(left) => self.keys = left,
            None => self.pay(now)?,
        }
        Ok(())
    }

    /// Pays for a change of cost, or for going on standby or back, with that many keys served: each of them is another path
    /// to look at, and to tell of.
    ///
    /// # Errors
    /// As [`Flood::pay`].
    pub(crate) fn pay_for_paths(&mut self, now: Instant, keys: usize) -> Result<(), Violation> {
        self.refill(now);
        let price = price_of_paths(keys);
        self.tokens = self.tokens.checked_sub(price).ok_or(Violation::Flood)?;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.earn(seconds.saturating_mul(PER_SECOND));
            let forgiven = seconds.saturating_mul(REFUSALS_PER_SECOND);
            self.forgivable = self.forgivable.saturating_add(forgiven).min(REFUSALS);
            let changes = seconds.saturating_mul(KEY_CHANGES_PER_SECOND);
            self.keys = self.keys.saturating_add(changes).min(KEY_CHANGES);
            self.refilled = now;
        }
    }

    /// Useful work was done.
    pub(crate) fn earn(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(CAPACITY);
    }

    /// So many bytes of data were sent: credit for them is to come. What is too little for a token is kept, or a peer would
    /// have to pay for the credit of small messages itself.
    pub(crate) fn sent(&mut self, bytes: u64) {
        let moved = self.moved.saturating_add(bytes);
        self.earn(moved / EARNS_ONE_PER);
        self.moved = moved % EARNS_ONE_PER;
    }

    /// A stream of the peer came to nothing: gives back what it cost, unless too many have.
    pub(crate) fn forgive(&mut self) {
        if let Some(left) = self.forgivable.checked_sub(1) {
            self.forgivable = left;
            self.earn(FUTILE);
        }
    }
}

/// What a change costs that concerns the paths to that many keys: no more than can be saved up.
pub(super) fn price_of_paths(keys: usize) -> u64 {
    (1 + keys as u64 / KEYS_A_TOKEN).min(CAPACITY / 2)
}

/// Cheap frames a peer may send ahead of all work: a whole key table of 10,000 and as many frames again.
pub(super) const CAPACITY: u64 = 20_000;

/// What time alone pays for: keepalives at a hundred times their usual pace.
const PER_SECOND: u64 = 200;

/// Refused opens that are forgiven ahead of all time: those of a whole stream limit of 16,384 at once.
const REFUSALS: u64 = 20_000;

/// Refused opens that are forgiven each second: far more than a service that is down sees connections come, and at a
/// few microseconds each under a hundredth of a core.
const REFUSALS_PER_SECOND: u64 = 2000;

/// Key changes that are free of charge ahead of all time: a whole table of 10,000 served and withdrawn, twice.
const KEY_CHANGES: u64 = 40_000;

/// Key changes that are free of charge each second: at a few microseconds each, a few hundredths of a core. A sender keeps
/// to half of it, since only whole seconds are counted here.
const KEY_CHANGES_PER_SECOND: u64 = 10_000;

/// Keys of a change of cost or standby that cost as much as a cheap frame. With 10,000 keys such a change is taken 32 times at
/// once and then every three seconds, and said half as often.
const KEYS_A_TOKEN: u64 = 16;

/// Bytes of data that pay for a frame of credit. An honest peer gives credit for eight times as many at a time, half of the
/// least window.
const EARNS_ONE_PER: u64 = 1024;

/// What a stream that came to nothing costs its opener at most: OPEN, RESET and STOP.
const FUTILE: u64 = 3;

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
    fn refusals_are_forgiven_at_their_pace_and_no_faster() {
        let start = epoch();
        let refused_each_second = |count: u64, seconds: u64| {
            let mut flood = Flood::new(start);
            (0..seconds * count).all(|open| {
                let now = start + Duration::from_secs(open / count);
                let paid = (0..FUTILE).all(|_| flood.pay(now).is_ok());
                flood.forgive();
                paid
            })
        };
        assert!(refused_each_second(REFUSALS_PER_SECOND, 600));
        assert!(refused_each_second(REFUSALS, 1));
        // Ten times that pace uses up what is forgiven in a second or so, and then the tokens.
        assert!(!refused_each_second(10 * REFUSALS_PER_SECOND, 3));
    }

    #[test]
    fn time_stores_up_no_more_than_a_full_bucket() {
        let start = epoch();
        let mut flood = Flood::new(start);
        assert_eq!(flood.pay(start), Ok(()));
        let late = start + Duration::from_secs(1_000_000);
        let paid = (0..).take_while(|_| flood.pay(late).is_ok()).count();
        assert_eq!(paid as u64, CAPACITY);
    }

    #[test]
    fn small_messages_pay_for_their_credit_as_well_as_large_ones() {
        let start = epoch();
        for size in [50, 900, 1023, 1024, 16_384] {
            let (mut flood, mut unpaid) = (Flood::new(start), 0);
            // Four times as much as a full bucket would pay for.
            for _ in 0..4 * CAPACITY * 8 * EARNS_ONE_PER / size {
                flood.sent(size);
                unpaid += size;
                while unpaid >= 8 * EARNS_ONE_PER {
                    unpaid -= 8 * EARNS_ONE_PER;
                    assert_eq!(flood.pay(start), Ok(()), "{size} B");
                }
            }
        }
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
