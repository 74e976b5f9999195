//! Which session a new stream takes.
//!
//! The rule is Skupper's: least (open streams to the destination through the candidate + cost in force). Choosing
//! and counting are one step, so that streams opened at the same moment split exactly by the costs.
//!
//! Used under a lock of its own by whoever opens streams; the fleet's changes reach it as [`PathChange`]s and the
//! sessions' served keys directly.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use crate::event::{Destination, EventKind};
use crate::id::{Cost, GroupName, Instance, LinkName, RoutingKey, SessionNumber, Side, SiteId};
use crate::snapshot::{CandidateView, WhyNot};

/// A session that may be a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The dialer's name of the link.
    pub(crate) name: LinkName,
    /// The group.
    pub(crate) group: GroupName,
    /// Which end this is.
    pub(crate) side: Side,
    /// The peer's site.
    pub(crate) site: SiteId,
    /// The peer's instance.
    pub(crate) instance: Instance,
    /// The cost in force.
    pub(crate) cost: Cost,
    /// Whether the peer may serve keys; an anonymous one may not.
    pub(crate) may_serve: bool,
    /// Whether an end begins on standby.
    pub(crate) standby: bool,
}

/// What the fleet found out about a session, as far as paths are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathChange {
    /// A session began and has a carrier.
    Up {
        /// The session.
        session: SessionNumber,
        /// What is known of it.
        candidate: Candidate,
    },
    /// It gained its first carrier, or lost its last.
    Live {
        /// The session.
        session: SessionNumber,
        /// Whether it has one.
        live: bool,
    },
    /// All its carriers are suspect, or not any more.
    Suspect {
        /// The session.
        session: SessionNumber,
        /// Whether they are.
        suspect: bool,
    },
    /// One of its ends is on standby, or none any more.
    Standby {
        /// The session.
        session: SessionNumber,
        /// Whether one is.
        standby: bool,
    },
    /// It takes no new streams any more.
    Draining {
        /// The session.
        session: SessionNumber,
    },
    /// The cost in force changed.
    Cost {
        /// The session.
        session: SessionNumber,
        /// The larger of both ends'.
        cost: Cost,
    },
    /// It is over.
    Down {
        /// The session.
        session: SessionNumber,
    },
}

/// The peer serves more keys than are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyKeys;

/// All sessions as paths, and the open streams of every destination through each.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Live or not, until `Down`.
    slots: Slab<Slot>,
    by_number: HashMap<SessionNumber, usize>,
    places: HashMap<Destination, Place>,
    /// Destinations whose first choice may have changed; each at most once, so bounded by `places` and what
    /// was there when last looked at.
    dirty: VecDeque<Destination>,
    keys_per_session: usize,
}

/// A session.
#[derive(Debug)]
struct Slot {
    /// Kept small and first: the scan of [`Place::best`] reads nothing else.
    cost: u64,
    eligible: bool,
    number: SessionNumber,
    candidate: Candidate,
    live: bool,
    suspect: bool,
    standby: bool,
    draining: bool,
    /// Keys of the places that hold an entry of this session, `true` while it serves them.
    keys: HashMap<RoutingKey, bool>,
    /// How many of `keys` are served; <= `keys_per_session`.
    served: usize,
}

/// A destination.
#[derive(Debug, Default)]
struct Place {
    /// In the stable order that decides ties.
    entries: Vec<Entry>,
    /// The first choice last announced.
    first: Option<SessionNumber>,
    dirty: bool,
}

/// A session as a way to one destination.
#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: usize,
    number: SessionNumber,
    /// Streams open to this destination through this session.
    open: u64,
    /// False when the key was withdrawn while streams were open; the entry goes with the last of them.
    serves: bool,
}

impl Paths {
    /// No sessions yet. A session may serve at most `keys_per_session` keys.
    pub(crate) fn new(keys_per_session: usize) -> Self {
        Self {
            slots: Slab::new(),
            by_number: HashMap::new(),
            places: HashMap::new(),
            dirty: VecDeque::new(),
            keys_per_session,
        }
    }

    /// Takes a change of a session. One of an unknown session changes nothing.
    pub(crate) fn handle_change(&mut self, change: PathChange) {
        match change {
            PathChange::Up { session, candidate } => self.insert(session, candidate),
            PathChange::Down { session } => self.remove(session),
            PathChange::Live { session, live } => self.alter(session, |slot| slot.live = live),
            PathChange::Suspect { session, suspect } => self.alter(session, |slot| slot.suspect = suspect),
            PathChange::Standby { session, standby } => self.alter(session, |slot| slot.standby = standby),
            PathChange::Draining { session } => self.alter(session, |slot| slot.draining = true),
            PathChange::Cost { session, cost } => self.alter(session, |slot| {
                slot.candidate.cost = cost;
                slot.cost = cost.get().into();
            }),
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
            entry.serves = false;
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
        let best = place.best(&self.slots, exclude)?;
        let entry = &mut place.entries[best];
        entry.open += 1;
        Some(entry.number)
    }

    /// A stream counted by [`Paths::choose`] is over. After the end of its session this does nothing.
    pub(crate) fn release(&mut self, destination: &Destination, session: SessionNumber) {
        let Some(&at) = self.by_number.get(&session) else {
            return;
        };
        if let Some(entry) = self.places.get_mut(destination).and_then(|place| place.entry_mut(at)) {
            entry.open = entry.open.saturating_sub(1);
            if !entry.serves {
                self.sweep(destination, at);
            }
        }
    }

    /// Whether a stream to the destination would find a path now.
    pub(crate) fn is_reachable(&self, destination: &Destination) -> bool {
        self.places.get(destination).is_some_and(|place| place.best(&self.slots, &[]).is_some())
    }

    /// The candidates of a destination in the order that decides ties, and which the next stream takes.
    pub(crate) fn explain(&self, destination: &Destination) -> Vec<CandidateView> {
        let Some(place) = self.places.get(destination) else {
            return Vec::new();
        };
        let best = place.best(&self.slots, &[]);
        let view = |(index, entry): (usize, &Entry)| {
            let slot = &self.slots[entry.slot];
            CandidateView {
                session: entry.number,
                site: slot.candidate.site.clone(),
                cost: slot.candidate.cost,
                open: entry.open,
                score: entry.open + slot.cost,
                chosen: best == Some(index),
                why_not: if entry.serves { slot.why_not() } else { Some(WhyNot::NotServed) },
            }
        };
        place.entries.iter().enumerate().map(view).collect()
    }

    /// Up to `most` destinations that have a candidate, in no order, and how many there are.
    pub(crate) fn destinations(&self, most: usize) -> (Vec<Destination>, usize) {
        let known = self.places.iter().filter(|(_, place)| !place.entries.is_empty());
        let total = known.clone().count();
        (known.take(most).map(|(destination, _)| destination.clone()).collect(), total)
    }

    /// The next event: the first choice of a destination changed, or there is none any more.
    ///
    /// The first choice is the candidate of least cost, ties by the stable order: the one that an idle destination
    /// would use. Changes back and forth between two calls are not reported.
    pub(crate) fn poll_event(&mut self) -> Option<EventKind> {
        while let Some(destination) = self.dirty.pop_front() {
            let Some(place) = self.places.get_mut(&destination) else {
                continue;
            };
            place.dirty = false;
            let first = place.first(&self.slots);
            let number = first.map(|slot| slot.number);
            if number == place.first {
                self.forget_if_empty(&destination);
                continue;
            }
            place.first = number;
            let event = match first {
                Some(slot) => EventKind::PathSelected {
                    destination: destination.clone(),
                    session: slot.number,
                    site: slot.candidate.site.clone(),
                    cost: slot.candidate.cost,
                },
                None => EventKind::PathLost { destination: destination.clone() },
            };
            self.forget_if_empty(&destination);
            return Some(event);
        }
        None
    }

    fn insert(&mut self, session: SessionNumber, candidate: Candidate) {
        if self.by_number.contains_key(&session) {
            return;
        }
        let site = Destination::Site(candidate.site.clone());
        let standby = candidate.standby;
        let at = self.slots.insert(Slot {
            cost: candidate.cost.get().into(),
            eligible: !standby,
            number: session,
            candidate,
            live: true,
            suspect: false,
            standby,
            draining: false,
            keys: HashMap::new(),
            served: 0,
        });
        self.by_number.insert(session, at);
        self.add_entry(site, at);
    }

    fn remove(&mut self, session: SessionNumber) {
        let Some(at) = self.by_number.remove(&session) else {
            return;
        };
        for destination in self.slots[at].destinations() {
            if let Some(place) = self.places.get_mut(&destination) {
                place.entries.retain(|entry| entry.slot != at);
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
        let before = (slot.eligible, slot.cost);
        change(slot);
        slot.eligible = slot.why_not().is_none();
        if (slot.eligible, slot.cost) != before {
            for destination in slot.destinations() {
                self.mark(&destination);
            }
        }
    }

    /// Puts the session among the candidates, at its place in the order; revives an entry left by a withdrawal.
    fn add_entry(&mut self, destination: Destination, at: usize) {
        let place = self.places.entry(destination.clone()).or_default();
        if let Some(entry) = place.entry_mut(at) {
            entry.serves = true;
        } else {
            let slots = &self.slots;
            let order = slots[at].order();
            let index = place.entries.partition_point(|entry| slots[entry.slot].order() < order);
            place.entries.insert(index, Entry { slot: at, number: slots[at].number, open: 0, serves: true });
        }
        self.mark(&destination);
    }

    /// Takes an entry out that neither serves nor counts.
    fn sweep(&mut self, destination: &Destination, at: usize) {
        let Some(place) = self.places.get_mut(destination) else {
            return;
        };
        let before = place.entries.len();
        place.entries.retain(|entry| entry.slot != at || entry.serves || entry.open > 0);
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

impl Slot {
    fn why_not(&self) -> Option<WhyNot> {
        let reasons = [
            (!self.live, WhyNot::NoCarrier),
            (self.draining, WhyNot::Draining),
            (self.suspect, WhyNot::Suspect),
            (self.standby, WhyNot::Standby),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
    }

    /// What decides between equal scores; the same at every run of the same routers but for the last two.
    fn order(&self) -> (&LinkName, &GroupName, bool, &SiteId, Instance, SessionNumber) {
        let Candidate { name, group, side, site, instance, .. } = &self.candidate;
        (name, group, *side == Side::Acceptor, site, *instance, self.number)
    }

    fn destinations(&self) -> Vec<Destination> {
        let keys = self.keys.keys().cloned().map(Destination::Key);
        let mut all: Vec<Destination> = keys.collect();
        all.push(Destination::Site(self.candidate.site.clone()));
        all
    }
}

impl Place {
    /// The eligible entry of least score; the first of equals, which is the least in the stable order.
    fn best(&self, slots: &Slab<Slot>, exclude: &[SessionNumber]) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let slot = &slots[entry.slot];
            if !slot.eligible || !entry.serves {
                continue;
            }
            let score = slot.cost + entry.open;
            if best.is_none_or(|(least, _)| score < least) && !exclude.contains(&entry.number) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The eligible session of least cost.
    fn first<'a>(&self, slots: &'a Slab<Slot>) -> Option<&'a Slot> {
        let serving = self.entries.iter().filter(|entry| entry.serves).map(|entry| &slots[entry.slot]);
        serving.filter(|slot| slot.eligible).min_by_key(|slot| slot.cost)
    }

    fn entry_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.slot == slot)
    }
}

#[cfg(test)]
mod tests;
