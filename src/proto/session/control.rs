//! What concerns the whole session: routing keys, cost, draining, active or standby.
//!
//! Outgoing changes are kept as the difference between what is and what was said, not as a queue, so they stay
//! bounded however long no carrier is there. Incoming ones apply in order of their sequence number.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::Violation;
use crate::id::{Cost, RoutingKey};
use crate::wire::frame::ControlChange;

/// What this end has to say.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    sequence: u64,
    keys: HashSet<RoutingKey>,
    /// Keys to be withdrawn, and to be served, that the peer was not told so yet; ordered, so that the same calls give the
    /// same frames.
    gone: BTreeSet<RoutingKey>,
    new: BTreeSet<RoutingKey>,
    /// Keys the peer was told of.
    told: HashSet<RoutingKey>,
    cost: Option<Cost>,
    drain: bool,
    /// Whether this end is on standby, and whether the peer was told so.
    standby: bool,
    told_standby: bool,
}

impl Outgoing {
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
        self.drain = true;
    }

    /// Says that this end is on standby, or active again. Saying what is already so changes nothing.
    pub(crate) fn stand_by(&mut self, standby: bool) {
        self.standby = standby;
    }

    /// Whether this end is on standby.
    pub(crate) fn stands_by(&self) -> bool {
        self.standby
    }

    /// Whether anything waits to be said.
    pub(crate) fn is_empty(&self) -> bool {
        let standing = self.standby == self.told_standby;
        self.cost.is_none() && !self.drain && standing && self.gone.is_empty() && self.new.is_empty()
    }

    /// The next change with its sequence number; small ones before the key table. Of that what is withdrawn goes first: a
    /// full table of which a part is exchanged for other keys would be more than the peer takes.
    pub(crate) fn next(&mut self) -> Option<(u64, ControlChange)> {
        let change = if std::mem::take(&mut self.drain) {
            ControlChange::Drain
        } else if self.standby != self.told_standby {
            self.told_standby = self.standby;
            ControlChange::Active(!self.standby)
        } else if let Some(cost) = self.cost.take() {
            ControlChange::Cost(cost)
        } else if let Some(key) = self.gone.pop_first() {
            self.told.remove(&key);
            ControlChange::Withdraw(key)
        } else {
            let key = self.new.pop_first()?;
            self.told.insert(key.clone());
            ControlChange::Serve(key)
        };
        let sequence = self.sequence;
        self.sequence += 1;
        Some((sequence, change))
    }
}

/// What the peer said.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// The sequence number that applies next.
    next: u64,
    /// Came over one carrier before its predecessors came over another. At most two for each key that is taken: a
    /// whole key table served and withdrawn.
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
        if sequence != self.next && self.early.len() >= limit.saturating_mul(2) {
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

    /// Whether the fleet has keys to look at.
    pub(crate) fn has_keys(&self) -> bool {
        !self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RoutingKey {
        RoutingKey::new(text).unwrap()
    }

    #[test]
    fn a_key_served_and_withdrawn_before_it_was_said_is_never_said() {
        let mut out = Outgoing::default();
        out.serve(&key("a"), true);
        out.serve(&key("a"), false);
        assert_eq!(out.next(), None);
        out.serve(&key("a"), true);
        assert_eq!(out.next(), Some((0, ControlChange::Serve(key("a")))));
        out.serve(&key("a"), false);
        out.serve(&key("a"), true);
        assert_eq!(out.next(), None);
    }

    #[test]
    fn a_full_table_is_exchanged_without_a_moment_of_more_keys_than_are_taken() {
        let (mut out, mut incoming, limit) = (Outgoing::default(), Incoming::default(), 3);
        let mut said = |out: &mut Outgoing| {
            while let Some((sequence, change)) = out.next() {
                assert_eq!(incoming.take(sequence, change, limit), Ok(()));
            }
        };
        // The new ones come before the old ones in every order there is of keys.
        ["x", "y", "z"].iter().for_each(|name| out.serve(&key(name), true));
        said(&mut out);
        ["x", "y", "z"].iter().for_each(|name| out.serve(&key(name), false));
        ["a", "b", "c"].iter().for_each(|name| out.serve(&key(name), true));
        said(&mut out);
        assert!(out.is_empty());
        assert_eq!(incoming.keys, ["a", "b", "c"].iter().map(|name| key(name)).collect());
    }

    #[test]
    fn standby_is_said_as_it_is_when_it_can_be_said() {
        let mut out = Outgoing::default();
        out.stand_by(false);
        assert!(out.is_empty(), "active is what every end is at first");
        out.stand_by(true);
        assert_eq!((out.is_empty(), out.next()), (false, Some((0, ControlChange::Active(false)))));
        out.stand_by(false);
        out.stand_by(true);
        assert_eq!(out.next(), None);
        out.stand_by(false);
        assert_eq!(out.next(), Some((1, ControlChange::Active(true))));
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
    fn two_changes_for_each_key_may_wait_for_their_predecessor_and_no_more() {
        let limit = 3;
        let mut incoming = Incoming::default();
        for sequence in 1..=6 {
            let change = ControlChange::Cost(Cost::new(u32::try_from(sequence).unwrap()).unwrap());
            assert_eq!(incoming.take(sequence, change, limit), Ok(()));
        }
        assert_eq!(incoming.cost, None);
        assert_eq!(incoming.take(7, ControlChange::Drain, limit), Err(Violation::Flood));
        assert_eq!(incoming.early.len(), 6);
        // The predecessor itself is not one that waits.
        assert_eq!(incoming.take(0, ControlChange::Serve(key("a")), limit), Ok(()));
        assert_eq!((incoming.cost, incoming.early.len()), (Some(Cost::new(6).unwrap()), 0));
        assert_eq!(incoming.take(7, ControlChange::Drain, limit), Ok(()));
        assert!(incoming.draining);
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
