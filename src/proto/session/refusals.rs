//! How many opens may come to nothing before this end stops asking in vain.
//!
//! A peer forgives refused opens up to a pace and takes what is beyond it for a flood
//! ([`Flood`](crate::proto::session::flood::Flood)), which ends the session and every stream of it. So an opener keeps to half of that
//! pace: beyond it a destination that refused last is not asked, and its last answer is given in its name. Others are asked
//! as before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wire::code::StreamCode;
use crate::wire::frame::OpenTo;

/// The refusals that one session has met.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// How many more may come. Below zero for those that were on their way when it became none: `-max_streams <= left <= AHEAD`
    left: i64,
    /// Until when time was counted.
    refilled: Instant,
    /// What was refused last wherever it was, since something was accepted there. `last.len() <= MOST`
    last: HashMap<OpenTo, StreamCode>,
}

impl Refusals {
    /// None so far.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: AHEAD, refilled: now, last: HashMap::new() }
    }

    /// Time allows for more.
    fn refill(&mut self, now: Instant) {
        let ticks = now.saturating_duration_since(self.refilled).as_millis() / TICK.as_millis();
        // After so long everything is allowed for, whatever is owed.
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        if ticks > 0 {
            self.left = AHEAD.min(self.left.saturating_add(i64::from(ticks) * EACH_TICK));
            self.refilled += TICK * ticks;
            if self.left == AHEAD {
                // What was refused long ago is not to be held against anybody.
                self.last.clear();
            }
        }
    }

    /// The answer to an open, if it is to be given in the peer's name.
    pub(crate) fn answer(&mut self, now: Instant, to: &OpenTo) -> Option<StreamCode> {
        self.refill(now);
        if self.left > 0 {
            return None;
        }
        // With so many that refuse, any other is likely to.
        let any = (self.last.len() >= MOST).then_some(StreamCode::BUSY);
        self.last.get(to).copied().or(any)
    }

    /// An open came to nothing there.
    pub(crate) fn met(&mut self, to: &OpenTo, code: StreamCode) {
        self.left = self.left.saturating_sub(1);
        if let Some(last) = self.last.get_mut(to) {
            *last = code;
        } else if self.last.len() < MOST {
            self.last.insert(to.clone(), code);
        }
    }

    /// An open was accepted there.
    pub(crate) fn accepted(&mut self, to: &OpenTo) {
        if !self.last.is_empty() {
            self.last.remove(to);
        }
    }
}

/// Refusals ahead of all time: half of what every peer forgives. The other half, and the tokens that a peer takes for what it does not
/// forgive, are for opens that are on their way when there are none left: at most a stream limit of 16,384.
const AHEAD: i64 = 10_000;

/// And for each [`TICK`]: 1,000 a second, half the pace that is forgiven, because a peer may count whole seconds only.
const EACH_TICK: i64 = 10;
const TICK: Duration = Duration::from_millis(10);

/// Destinations that are remembered: of a whole key table the tenth part.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RoutingKey;
    use crate::proto::session::testing::epoch;

    fn to(name: &str) -> OpenTo {
        OpenTo::Key(RoutingKey::new(name).unwrap())
    }

    #[test]
    fn who_refuses_too_often_is_answered_for_and_the_others_are_asked() {
        let start = epoch();
        let (mut refusals, down, well) = (Refusals::new(start), to("down"), to("well"));
        for _ in 0..AHEAD {
            assert_eq!(refusals.answer(start, &down), None);
            refusals.met(&down, StreamCode::UNREACHABLE);
        }
        let answers = [&down, &well].map(|to| refusals.answer(start, to));
        assert_eq!(answers, [Some(StreamCode::UNREACHABLE), None]);
        // Those on their way are owed.
        (0..15).for_each(|_| refusals.met(&down, StreamCode::BUSY));
        assert_eq!(refusals.answer(start + TICK, &down), Some(StreamCode::BUSY));
        assert_eq!((refusals.answer(start + TICK * 2, &down), refusals.left), (None, 5));
        assert_eq!(refusals.answer(start + TICK * 3 / 2, &down), None);
        assert_eq!(refusals.left, 5, "time that goes back allows for nothing");
    }

    #[test]
    fn one_that_accepts_again_is_asked_though_another_refuses() {
        let (start, one, other) = (epoch(), to("one"), to("other"));
        let mut refusals = Refusals::new(start);
        refusals.met(&other, StreamCode::BUSY);
        (0..AHEAD).for_each(|_| refusals.met(&one, StreamCode::BUSY));
        let mut are_answered_for = || [&one, &other].map(|to| refusals.answer(start, to).is_some());
        assert_eq!(are_answered_for(), [true, true]);
        refusals.accepted(&other);
        let mut are_answered_for = || [&one, &other].map(|to| refusals.answer(start, to).is_some());
        assert_eq!(are_answered_for(), [true, false]);
    }

    #[test]
    fn a_peer_that_refuses_everything_fills_no_memory() {
        let start = epoch();
        let mut refusals = Refusals::new(start);
        (0..AHEAD).for_each(|name| refusals.met(&to(&format!("{name}")), StreamCode::BUSY));
        assert_eq!(refusals.last.len(), MOST);
        assert_eq!(refusals.answer(start, &to("another")), Some(StreamCode::BUSY));
        let late = start + Duration::from_secs(1_000_000_000);
        assert_eq!((refusals.answer(late, &to("0")), refusals.left, refusals.last.len()), (None, AHEAD, 0));
    }

    /// A peer that drives itself as hard as it can against a destination that is down never floods the other end.
    #[test]
    fn an_opener_that_is_always_refused_stays_within_what_a_peer_forgives() {
        use crate::proto::session::flood::Flood;
        let start = epoch();
        let (mut refusals, mut flood, down) = (Refusals::new(start), Flood::new(start), to("down"));
        for millis in 0..60_000 {
            let now = start + Duration::from_millis(millis);
            // A hundred a millisecond, all of them on their way before the first answer.
            let asked = (0..100).filter(|_| refusals.answer(now, &down).is_none()).count();
            for _ in 0..asked {
                assert_eq!(flood.pay(now), Ok(()), "after {millis} ms");
                flood.forgive();
                refusals.met(&down, StreamCode::UNREACHABLE);
            }
        }
    }
}
