//! Which session a new stream takes.
//!
//! The rule is Skupper's, without its cliffs: least (open streams to the destination through the candidate + cost in force), or
//! least cost alone ([`Selection`]). Choosing and counting are one step, so that streams opened at the same moment split
//! exactly by the costs.
//!
//! Used under a lock of its own by whoever opens streams; the fleet's changes reach it as [`PathChange`]s and the
//! sessions' served keys directly.

mod change;
#[cfg(any(test, feature = "__entries"))]
pub(crate) mod entries;
mod place;

use std::collections::{HashMap, VecDeque};

use slab::Slab;

pub(crate) use self::change::{Candidate, Costs, PathChange};
use self::place::{BARRED, Entry, Place, Slot, Weights, score};
use crate::config::Selection;
use crate::event::{Destination, EventKind};
use crate::id::{RoutingKey, SessionNumber};
use crate::snapshot::{CandidateView, PathView, WhyNot};

/// The peer serves more keys than are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyKeys;

/// All sessions as paths, and the open streams of every destination through each.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Live or not, until `Down`.
    slots: Slab<Slot>,
    weights: Weights,
    by_number: HashMap<SessionNumber, usize>,
    places: HashMap<Destination, Place>,
    /// Destinations whose first choice may have changed; each at most once, so bounded by `places` and what
    /// was there when last looked at.
    dirty: VecDeque<Destination>,
    keys_per_session: usize,
    selection: Selection,
}

impl Paths {
    /// No sessions yet. A session may serve at most `keys_per_session` keys.
    pub(crate) fn new(keys_per_session: usize, selection: Selection) -> Self {
        Self {
            slots: Slab::new(),
            weights: Weights::new(),
            by_number: HashMap::new(),
            places: HashMap::new(),
            dirty: VecDeque::new(),
            keys_per_session,
            selection,
        }
    }

    /// Takes a change of a session. One of an unknown session changes nothing.
    pub(crate) fn handle_change(&mut self, change: PathChange) {
        match change {
            PathChange::Up { session, candidate } => self.insert(session, candidate),
            PathChange::Down { session } => self.remove(session),
            PathChange::Live { session, live } => self.alter(session, |slot| slot.live = live),
            PathChange::Suspect { session, suspect } => self.alter(session, |slot| slot.suspect = suspect),
            PathChange::Standby { session, standby } => {
                self.alter(session, |slot| slot.candidate.standby = standby);
            }
            PathChange::Draining { session } => self.alter(session, |slot| slot.draining = true),
            PathChange::Cost { session, costs } => self.alter(session, |slot| slot.candidate.costs = costs),
        }
    }

    /// The peer of a session serves a key. Says nothing of an unknown session or one that may not serve.
    ///
    /// # Errors
    /// [`TooManyKeys`] when the session serves as many as are taken; the key is not taken.
    pub(crate) fn serve(&mut self, session: SessionNumber, key: RoutingKey) -> Result<(), TooManyKeys> {
        let Some(&at) = self.by_number.get(&session) else {
            return Ok(());
        };
        let limit = self.keys_per_session;
        let slot = &mut self.slots[at];
        if !slot.candidate.may_serve || slot.keys.get(&key) == Some(&true) {
            return Ok(());
        }
        if slot.served >= limit {
            return Err(TooManyKeys);
        }
        slot.served += 1;
        slot.keys.insert(key.clone(), true);
        self.add_entry(Destination::Key(key), at);
        Ok(())
    }

    /// The peer of a session serves a key no more. Open streams go on and stay counted.
    pub(crate) fn withdraw(&mut self, session: SessionNumber, key: &RoutingKey) {
        let Some(&at) = self.by_number.get(&session) else {
            return;
        };
        let slot = &mut self.slots[at];
        let Some(served) = slot.keys.get_mut(key).filter(|served| **served) else {
            return;
        };
        *served = false;
        slot.served -= 1;
        let destination = Destination::Key(key.clone());
        if let Some(entry) = self.places.get_mut(&destination).and_then(|place| place.entry_mut(at)) {
            entry.set_serves(false);
        }
        self.sweep(&destination, at);
        self.mark(&destination);
    }

    /// Chooses a session for a new stream and counts the stream, in one step. Every `Some` must be followed by
    /// one [`Paths::release`] with the same arguments, when the stream is over.
    ///
    /// `exclude` holds the candidates that have refused this stream already. Costs a look at each candidate of
    /// the destination; nothing is allocated.
    pub(crate) fn choose(
        &mut self,
        destination: &Destination,
        exclude: &[SessionNumber],
    ) -> Option<SessionNumber> {
        let place = self.places.get_mut(destination)?;
        let best = place.best(&self.slots, &self.weights, self.selection, exclude)?;
        let entry = &mut place.entries[best];
        entry.open += 1;
        Some(self.slots[entry.slot()].number)
    }

    /// A stream counted by [`Paths::choose`] is over. After the end of its session this does nothing.
    pub(crate) fn release(&mut self, destination: &Destination, session: SessionNumber) {
        let Some(&at) = self.by_number.get(&session) else {
            return;
        };
        if let Some(entry) = self.places.get_mut(destination).and_then(|place| place.entry_mut(at)) {
            entry.open = entry.open.saturating_sub(1);
            if !entry.serves() {
                self.sweep(destination, at);
            }
        }
    }

    /// Whether a stream to the destination would find a path now.
    pub(crate) fn is_reachable(&self, destination: &Destination) -> bool {
        let best = |place: &Place| place.best(&self.slots, &self.weights, self.selection, &[]);
        self.places.get(destination).is_some_and(|place| best(place).is_some())
    }

    /// The candidates of a destination in the order that decides ties, which of them the next stream takes, and why.
    pub(crate) fn explain(&self, destination: &Destination) -> PathView {
        let place = self.places.get(destination);
        let best = place.and_then(|place| place.best(&self.slots, &self.weights, self.selection, &[]));
        let view = |(index, entry): (usize, &Entry)| {
            let slot = &self.slots[entry.slot()];
            let Candidate { name, group, side, site, costs, .. } = &slot.candidate;
            CandidateView {
                session: slot.number,
                name: name.clone(),
                group: group.clone(),
                side: *side,
                site: site.clone(),
                own_cost: costs.own,
                peer_cost: costs.peer,
                cost: costs.in_force(),
                open: entry.open.into(),
                score: score(self.selection, costs.in_force().get().into(), entry.open.into()),
                chosen: best == Some(index),
                why_not: if entry.serves() { slot.why_not() } else { Some(WhyNot::NotServed) },
            }
        };
        let candidates =
            place.map_or_else(Vec::new, |place| place.entries.iter().enumerate().map(view).collect());
        PathView::new(destination.clone(), self.selection, candidates)
    }

    /// Up to `most` destinations that have a candidate, in no order, and how many there are.
    pub(crate) fn destinations(&self, most: usize) -> (Vec<Destination>, usize) {
        let known = self.places.iter().filter(|(_, place)| !place.entries.is_empty());
        let total = known.clone().count();
        (known.take(most).map(|(destination, _)| destination.clone()).collect(), total)
    }

    /// Looks at no more than `most` destinations that may have another first choice, and tells of those that have one, or
    /// none any more; `None` when there is none left to look at.
    ///
    /// The first choice is the candidate of least cost, ties by the stable order: the one that an idle destination
    /// would use. Changes back and forth between two calls are not reported. Bounded, because whoever opens a stream
    /// waits meanwhile, and a session leads to thousands of destinations.
    pub(crate) fn poll_events(&mut self, most: usize) -> Option<Vec<EventKind>> {
        let looks = self.dirty.len().min(most);
        let mut events = Vec::new();
        for destination in self.dirty.drain(..looks).collect::<Vec<_>>() {
            events.extend(self.news_of(destination));
        }
        (looks > 0).then_some(events)
    }

    fn news_of(&mut self, destination: Destination) -> Option<EventKind> {
        let place = self.places.get_mut(&destination)?;
        place.dirty = false;
        let first = place.first(&self.slots, &self.weights);
        let number = first.map(|slot| slot.number);
        let changed = std::mem::replace(&mut place.first, number) != number;
        let event = changed.then(|| match first {
            Some(slot) => EventKind::PathSelected {
                destination: destination.clone(),
                session: slot.number,
                site: slot.candidate.site.clone(),
                cost: slot.candidate.costs.in_force(),
            },
            None => EventKind::PathLost { destination: destination.clone() },
        });
        self.forget_if_empty(&destination);
        event
    }

    fn insert(&mut self, session: SessionNumber, candidate: Candidate) {
        if self.by_number.contains_key(&session) {
            return;
        }
        let site = Destination::Site(candidate.site.clone());
        let at = self.slots.insert(Slot::new(session, candidate));
        self.weights.resize(self.weights.len().max(at + 1), BARRED);
        self.weights[at] = self.slots[at].weight();
        self.by_number.insert(session, at);
        self.add_entry(site, at);
    }

    fn remove(&mut self, session: SessionNumber) {
        let Some(at) = self.by_number.remove(&session) else {
            return;
        };
        for destination in self.slots[at].destinations() {
            if let Some(place) = self.places.get_mut(&destination) {
                place.entries.retain(|entry| entry.slot() != at);
            }
            self.mark(&destination);
        }
        self.slots.remove(at);
    }

    fn alter(&mut self, session: SessionNumber, change: impl FnOnce(&mut Slot)) {
        let Some(&at) = self.by_number.get(&session) else {
            return;
        };
        let slot = &mut self.slots[at];
        change(slot);
        let weight = slot.weight();
        if std::mem::replace(&mut self.weights[at], weight) != weight {
            for destination in slot.destinations() {
                self.mark(&destination);
            }
        }
    }

    /// Puts the session among the candidates, at its place in the order; revives an entry left by a withdrawal.
    fn add_entry(&mut self, destination: Destination, at: usize) {
        let place = self.places.entry(destination.clone()).or_default();
        if let Some(entry) = place.entry_mut(at) {
            entry.set_serves(true);
        } else {
            let slots = &self.slots;
            let order = slots[at].order();
            let index = place.entries.partition_point(|entry| slots[entry.slot()].order() < order);
            place.entries.insert(index, Entry::new(at));
        }
        self.mark(&destination);
    }

    /// Takes an entry out that neither serves nor counts.
    fn sweep(&mut self, destination: &Destination, at: usize) {
        let Some(place) = self.places.get_mut(destination) else {
            return;
        };
        let before = place.entries.len();
        place.entries.retain(|entry| entry.slot() != at || entry.serves() || entry.open > 0);
        if place.entries.len() < before
            && let Destination::Key(key) = destination
        {
            self.slots[at].keys.remove(key);
            self.forget_if_empty(destination);
        }
    }

    fn mark(&mut self, destination: &Destination) {
        if let Some(place) = self.places.get_mut(destination)
            && !place.dirty
        {
            place.dirty = true;
            self.dirty.push_back(destination.clone());
        }
    }

    /// A place is kept until its last first choice was reported lost.
    fn forget_if_empty(&mut self, destination: &Destination) {
        let empty = |place: &Place| place.entries.is_empty() && place.first.is_none() && !place.dirty;
        if self.places.get(destination).is_some_and(empty) {
            self.places.remove(destination);
        }
    }
}

#[cfg(test)]
mod tests;
