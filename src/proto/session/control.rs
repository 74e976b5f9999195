//! What concerns the whole session: routing keys, cost, draining, active or standby.
//!
//! Outgoing changes are kept as the difference between what is and what was said, not as a queue, so they stay
//! bounded however long no carrier is there. Incoming ones apply in order of their sequence number.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use crate::error::Violation;
use crate::id::{Cost, RoutingKey};
use crate::proto::session::flood::{CAPACITY, price_of_paths};
use crate::wire::frame::ControlChange;

/// What this end has to say.
#[derive(Debug)]
pub(crate) struct Outgoing {
    sequence: u64,
    /// How many key changes may be said before more time has passed. 0 <= allowance <= KEY_CHANGES
    allowance: u64,
    /// What may be spent on changes of cost and standby, likewise. 0 <= purse <= PURSE
    purse: u64,
    /// Until when time was counted for both.
    refilled: Instant,
    keys: HashSet<RoutingKey>,
    /// Keys to be withdrawn, and to be served, that the peer was not told so yet; ordered, so that the same calls give the
    /// same frames.
    gone: BTreeSet<RoutingKey>,
    new: BTreeSet<RoutingKey>,
    /// Keys the peer was told of.
    told: HashSet<RoutingKey>,
    cost: Option<Cost>,
    /// Whether draining is to be said.
    drain: bool,
    /// Whether this end drains, said or not.
    drains: bool,
    /// Whether this end is on standby, and whether the peer was told so.
    standby: bool,
    told_standby: bool,
}

impl Outgoing {
    /// Nothing to say, and a whole allowance of key changes.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sequence: 0,
            allowance: KEY_CHANGES,
            purse: PURSE,
            refilled: now,
            keys: HashSet::new(),
            gone: BTreeSet::new(),
            new: BTreeSet::new(),
            told: HashSet::new(),
            cost: None,
            drain: false,
            drains: false,
            standby: false,
            told_standby: false,
        }
    }

    /// Takes note of the time, which allows for more changes; says whether some can be said now that could not before.
    pub(crate) fn refill(&mut self, now: Instant) -> bool {
        let ticks = now.saturating_duration_since(self.refilled).as_micros() / TICK.as_micros();
        // Of a longer time nothing more would come.
        let ticks = u32::try_from(ticks.min(FULL_AFTER)).unwrap_or(u32::MAX);
        if ticks == 0 {
            return false;
        }
        let before = (self.has_next_small(), self.has_next_key());
        self.allowance = KEY_CHANGES.min(self.allowance + u64::from(ticks) * KEY_CHANGES_PER_TICK);
        self.purse = PURSE.min(self.purse + u64::from(ticks) * PURSE_PER_TICK);
        let full = (self.allowance, self.purse) == (KEY_CHANGES, PURSE);
        self.refilled = if full { now } else { self.refilled + TICK * ticks };
        !before.0 && self.has_next_small() || !before.1 && self.has_next_key()
    }

    /// When [`Outgoing::refill`] allows for changes that have to wait.
    pub(crate) fn due(&self) -> Option<Instant> {
        let keys = (self.has_keys() && self.allowance == 0).then_some(1);
        let paths = self.has_paths() && self.purse < self.price();
        let paths = paths.then(|| (self.price() - self.purse).div_ceil(PURSE_PER_TICK));
        let ticks = keys.into_iter().chain(paths).min()?;
        Some(self.refilled + TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// Whether [`Outgoing::next_small`] has something.
    pub(crate) fn has_next_small(&self) -> bool {
        self.drain || self.has_paths() && self.purse >= self.price()
    }

    /// Whether [`Outgoing::next_key`] has something.
    pub(crate) fn has_next_key(&self) -> bool {
        self.allowance > 0 && self.has_keys()
    }

    /// Serves a key, or no more. Saying what is already so changes nothing.
    pub(crate) fn serve(&mut self, key: &RoutingKey, served: bool) {
        let changed = if served { self.keys.insert(key.clone()) } else { self.keys.remove(key) };
        if !changed {
            return;
        }
        let (these, others) =
            if served { (&mut self.new, &mut self.gone) } else { (&mut self.gone, &mut self.new) };
        others.remove(key);
        if self.told.contains(key) != served {
            these.insert(key.clone());
        }
    }

    /// This end's own copy of a key that it serves.
    pub(crate) fn own(&self, key: &RoutingKey) -> Option<&RoutingKey> {
        self.keys.get(key)
    }

    /// Whether this end serves the key.
    pub(crate) fn serves(&self, key: &RoutingKey) -> bool {
        self.keys.contains(key)
    }

    /// Says a new cost.
    pub(crate) fn cost(&mut self, cost: Cost) {
        self.cost = Some(cost);
    }

    /// Says that no new streams are taken.
    pub(crate) fn drain(&mut self) {
        (self.drain, self.drains) = (true, true);
    }

    /// Says that this end is on standby, or active again. Saying what is already so changes nothing.
    pub(crate) fn stand_by(&mut self, standby: bool) {
        self.standby = standby;
    }

    /// Whether this end is on standby.
    pub(crate) fn stands_by(&self) -> bool {
        self.standby
    }

    /// Whether everything is said that means anything to a peer that is to open no more streams: that, and nothing else.
    pub(crate) fn is_done(&self) -> bool {
        !self.drain
    }

    /// Whether there is a change that concerns all paths.
    fn has_paths(&self) -> bool {
        self.cost.is_some() || self.standby != self.told_standby
    }

    /// What one costs the peer.
    fn price(&self) -> u64 {
        price_of_paths(self.told.len())
    }

    /// Whether there is a change of the key table to be said: none once this end drains, or a site whose keys keep changing
    /// would drain for ever.
    fn has_keys(&self) -> bool {
        !self.drains && (!self.gone.is_empty() || !self.new.is_empty())
    }

    /// The next change of other than keys, with its sequence number. Changes of cost and standby that a peer would take for a
    /// flood wait, and what is undone meanwhile is never said.
    pub(crate) fn next_small(&mut self) -> Option<(u64, ControlChange)> {
        let change =
            if std::mem::take(&mut self.drain) { ControlChange::Drain } else { self.next_of_paths()? };
        Some(self.numbered(change))
    }

    fn next_of_paths(&mut self) -> Option<ControlChange> {
        let left = self.purse.checked_sub(self.price())?;
        let change = if self.standby != self.told_standby {
            self.told_standby = self.standby;
            ControlChange::Active(!self.standby)
        } else {
            ControlChange::Cost(self.cost.take()?)
        };
        self.purse = left;
        Some(change)
    }

    /// The next change of the key table, with its sequence number. What is withdrawn goes first: a full table of which a part is
    /// exchanged for other keys would be more than the peer takes. Changes beyond the allowance wait, and those that undo
    /// each other meanwhile are never said.
    pub(crate) fn next_key(&mut self) -> Option<(u64, ControlChange)> {
        let left = self.allowance.checked_sub(1).filter(|_| self.has_keys())?;
        let change = if let Some(key) = self.gone.pop_first() {
            self.told.remove(&key);
            ControlChange::Withdraw(key)
        } else {
            let key = self.new.pop_first()?;
            self.told.insert(key.clone());
            ControlChange::Serve(key)
        };
        self.allowance = left;
        Some(self.numbered(change))
    }

    fn numbered(&mut self, change: ControlChange) -> (u64, ControlChange) {
        let sequence = self.sequence;
        self.sequence += 1;
        (sequence, change)
    }
}

/// What the peer said.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// The sequence number that applies next.
    next: u64,
    /// Came over one carrier before its predecessors came over another. At most two for each key that is taken, a whole
    /// key table served and withdrawn, and [`EARLY`] in any case.
    early: BTreeMap<u64, ControlChange>,
    keys: HashSet<RoutingKey>,
    /// Keys whose serving changed since the fleet last looked.
    changed: BTreeSet<RoutingKey>,
    /// The peer's cost, if it said one since the hello.
    pub(crate) cost: Option<Cost>,
    /// Whether the peer takes no new streams.
    pub(crate) draining: bool,
    /// Whether the peer's end is active; it is until it says otherwise.
    pub(crate) standby: bool,
}

impl Incoming {
    /// Takes a change and applies all that are in order now.
    ///
    /// # Errors
    /// [`Violation::KeyLimit`] for more keys than `limit`; [`Violation::Flood`] when too many wait for a
    /// predecessor; [`Violation::Unexpected`] for a sequence number that was there before.
    pub(crate) fn take(
        &mut self,
        sequence: u64,
        change: ControlChange,
        limit: usize,
    ) -> Result<(), Violation> {
        if sequence < self.next || self.early.contains_key(&sequence) {
            return Err(Violation::Unexpected);
        }
        // The one that the others wait for is not kept, so there is always room for it.
        if sequence != self.next && self.early.len() >= limit.saturating_mul(2).max(EARLY) {
            return Err(Violation::Flood);
        }
        self.early.insert(sequence, change);
        while let Some(change) = self.early.remove(&self.next) {
            self.next += 1;
            self.apply(change, limit)?;
        }
        Ok(())
    }

    fn apply(&mut self, change: ControlChange, limit: usize) -> Result<(), Violation> {
        match change {
            ControlChange::Serve(key) => {
                if self.keys.len() >= limit && !self.keys.contains(&key) {
                    return Err(Violation::KeyLimit);
                }
                if self.keys.insert(key.clone()) {
                    self.changed.insert(key);
                }
            }
            ControlChange::Withdraw(key) => {
                if self.keys.remove(&key) {
                    self.changed.insert(key);
                }
            }
            ControlChange::Cost(cost) => self.cost = Some(cost),
            ControlChange::Drain => self.draining = true,
            ControlChange::Active(active) => self.standby = !active,
        }
        Ok(())
    }

    /// A key whose serving changed, and whether the peer serves it now.
    pub(crate) fn poll_key(&mut self) -> Option<(RoutingKey, bool)> {
        let key = self.changed.pop_first()?;
        let served = self.keys.contains(&key);
        Some((key, served))
    }

    /// Lets the fleet look at all keys once more.
    pub(crate) fn review_keys(&mut self) {
        self.changed.extend(self.keys.iter().cloned());
    }

    /// How many keys the peer serves.
    pub(crate) fn served(&self) -> usize {
        self.keys.len()
    }

    /// Whether the fleet has keys to look at.
    pub(crate) fn has_keys(&self) -> bool {
        !self.changed.is_empty()
    }
}

/// Changes that may wait for a predecessor in any case: all that a sender says without a wait, and for four seconds after it,
/// while one carrier is silent and not yet given up. At a hundred bytes each they are 4 MB.
const EARLY: usize = 40_000;

/// Key changes that are said without a wait: a whole table of 10,000 served and withdrawn, half of what every peer takes
/// free of charge ([`Flood`](super::flood::Flood)).
const KEY_CHANGES: u64 = 20_000;

/// And for each [`TICK`] beyond them: 5,000 a second, half the pace that is free of charge, because a peer may count whole
/// seconds only.
const KEY_CHANGES_PER_TICK: u64 = 50;

/// How often those that wait are looked at.
const TICK: Duration = Duration::from_millis(10);

/// For changes of cost and standby ahead of all time: half of what every peer takes.
const PURSE: u64 = CAPACITY / 2;

/// And for each [`TICK`]: 100 a second, half of what time alone pays for at every peer.
const PURSE_PER_TICK: u64 = 1;

/// In so many ticks everything is there again.
const FULL_AFTER: u128 = (PURSE / PURSE_PER_TICK) as u128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::flood::Flood;
    use crate::proto::session::testing::epoch;

    #[test]
    fn keys_that_change_faster_than_a_peer_takes_wait_and_are_told_as_they_are_then() {
        let start = epoch();
        let mut out = Outgoing::new(start);
        let count = |out: &mut Outgoing| std::iter::from_fn(|| next(out)).count() as u64;
        let names: Vec<RoutingKey> = (0..10_000).map(|index| key(&format!("key-{index}"))).collect();
        for served in [true, false, true] {
            names.iter().for_each(|name| out.serve(name, served));
            let said = count(&mut out);
            assert_eq!(said, if out.allowance > 0 || !served { 10_000 } else { 0 });
        }
        // None is left: small changes go all the same.
        out.cost(Cost::new(7).unwrap());
        assert!(has_next(&out));
        assert_eq!((count(&mut out), has_next(&out), is_empty(&out)), (1, false, false));
        let due = out.due().unwrap();
        assert_eq!(due, start + TICK);
        assert!(!out.refill(start));
        assert!(out.refill(due) && out.due().is_none());
        assert_eq!(count(&mut out), KEY_CHANGES_PER_TICK);
        // What was not said and is taken back is never said.
        names.iter().for_each(|name| out.serve(name, false));
        assert!(out.refill(start + Duration::from_secs(1_000_000)));
        assert_eq!((count(&mut out), is_empty(&out), out.told.len()), (KEY_CHANGES_PER_TICK, true, 0));
        assert_eq!(out.allowance, KEY_CHANGES - KEY_CHANGES_PER_TICK);
    }

    fn key(text: &str) -> RoutingKey {
        RoutingKey::new(text).unwrap()
    }

    fn next(out: &mut Outgoing) -> Option<(u64, ControlChange)> {
        out.next_small().or_else(|| out.next_key())
    }

    fn is_empty(out: &Outgoing) -> bool {
        out.is_done() && !out.has_keys() && !out.has_paths()
    }

    fn has_next(out: &Outgoing) -> bool {
        out.has_next_small() || out.has_next_key()
    }

    #[test]
    fn standby_and_cost_that_change_faster_than_a_peer_takes_wait_and_are_told_as_they_are_then() {
        let start = epoch();
        for keys in [0, 1000, 10_000, 1_000_000] {
            let (mut out, mut flood) = (Outgoing::new(start), Flood::new(start));
            out.told = (0..keys).map(|index| key(&format!("key-{index}"))).collect();
            let (mut said, mut last) = (0, None);
            for millis in 0..30_000 {
                let now = start + Duration::from_millis(millis);
                out.refill(now);
                out.stand_by(millis % 2 == 0);
                out.cost(Cost::new(1 + u32::try_from(millis).unwrap()).unwrap());
                while let Some((_, change)) = out.next_small() {
                    assert_eq!(
                        flood.pay_for_paths(now, keys),
                        Ok(()),
                        "{keys} keys, {millis} ms, {said} said"
                    );
                    (said, last) = (said + 1, Some(change));
                }
            }
            assert!(said >= 1, "{said} with {keys} keys");
            // In the end what is so is said, no later than it is due.
            out.stand_by(false);
            while let Some(due) = out.due() {
                assert!(out.refill(due), "something can be said when it is due");
                while let Some((_, change)) = out.next_small() {
                    assert_eq!(flood.pay_for_paths(due, keys), Ok(()));
                    last = Some(change);
                }
            }
            assert!(is_empty(&out) && !out.told_standby, "{last:?}");
        }
    }

    #[test]
    fn a_key_served_and_withdrawn_before_it_was_said_is_never_said() {
        let mut out = Outgoing::new(epoch());
        out.serve(&key("a"), true);
        out.serve(&key("a"), false);
        assert_eq!(next(&mut out), None);
        out.serve(&key("a"), true);
        assert_eq!(next(&mut out), Some((0, ControlChange::Serve(key("a")))));
        out.serve(&key("a"), false);
        out.serve(&key("a"), true);
        assert_eq!(next(&mut out), None);
    }

    #[test]
    fn a_full_table_is_exchanged_without_a_moment_of_more_keys_than_are_taken() {
        let (mut out, mut incoming, limit) = (Outgoing::new(epoch()), Incoming::default(), 3);
        let mut said = |out: &mut Outgoing| {
            while let Some((sequence, change)) = next(out) {
                assert_eq!(incoming.take(sequence, change, limit), Ok(()));
            }
        };
        // The new ones come before the old ones in every order there is of keys.
        ["x", "y", "z"].iter().for_each(|name| out.serve(&key(name), true));
        said(&mut out);
        ["x", "y", "z"].iter().for_each(|name| out.serve(&key(name), false));
        ["a", "b", "c"].iter().for_each(|name| out.serve(&key(name), true));
        said(&mut out);
        assert!(is_empty(&out));
        assert_eq!(incoming.keys, ["a", "b", "c"].iter().map(|name| key(name)).collect());
    }

    #[test]
    fn standby_is_said_as_it_is_when_it_can_be_said() {
        let mut out = Outgoing::new(epoch());
        out.stand_by(false);
        assert!(is_empty(&out), "active is what every end is at first");
        out.stand_by(true);
        assert_eq!((is_empty(&out), next(&mut out)), (false, Some((0, ControlChange::Active(false)))));
        out.stand_by(false);
        out.stand_by(true);
        assert_eq!(next(&mut out), None);
        out.stand_by(false);
        assert_eq!(next(&mut out), Some((1, ControlChange::Active(true))));
    }

    #[test]
    fn changes_apply_in_order_of_sequence_whatever_the_carrier() {
        let mut incoming = Incoming::default();
        incoming.take(1, ControlChange::Withdraw(key("a")), 10).unwrap();
        assert_eq!(incoming.poll_key(), None);
        incoming.take(0, ControlChange::Serve(key("a")), 10).unwrap();
        assert_eq!(incoming.poll_key(), Some((key("a"), false)));
        assert_eq!(incoming.take(0, ControlChange::Drain, 10), Err(Violation::Unexpected));
    }

    #[test]
    fn a_bounded_number_of_changes_may_wait_for_their_predecessor() {
        // Two for each key, and as many as a sender says at once in any case.
        for (limit, most) in [(3, 40_000), (30_000, 60_000)] {
            let mut incoming = Incoming::default();
            for sequence in 1..=most {
                let change = ControlChange::Cost(Cost::new(u32::try_from(sequence).unwrap()).unwrap());
                assert_eq!(incoming.take(sequence, change, limit), Ok(()));
            }
            assert_eq!(incoming.cost, None);
            assert_eq!(incoming.take(most + 1, ControlChange::Drain, limit), Err(Violation::Flood));
            assert_eq!(incoming.early.len() as u64, most);
            // The predecessor itself is not one that waits.
            assert_eq!(incoming.take(0, ControlChange::Serve(key("a")), limit), Ok(()));
            let newest = Cost::new(u32::try_from(most).unwrap()).unwrap();
            assert_eq!((incoming.cost, incoming.early.len()), (Some(newest), 0));
            assert_eq!(incoming.take(most + 1, ControlChange::Drain, limit), Ok(()));
            assert!(incoming.draining);
        }
    }

    #[test]
    fn a_peer_with_too_many_keys_is_refused() {
        let mut incoming = Incoming::default();
        incoming.take(0, ControlChange::Serve(key("a")), 2).unwrap();
        incoming.take(1, ControlChange::Serve(key("b")), 2).unwrap();
        incoming.take(2, ControlChange::Serve(key("a")), 2).unwrap();
        assert_eq!(incoming.take(3, ControlChange::Serve(key("c")), 2), Err(Violation::KeyLimit));
    }
}
