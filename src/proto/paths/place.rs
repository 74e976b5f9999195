//! A session as a path, and a destination with the sessions that lead to it.

use std::collections::HashMap;

use slab::Slab;

use crate::config::Selection;
use crate::event::Destination;
use crate::id::{GroupName, Instance, LinkName, RoutingKey, SessionNumber, Side, SiteId};
use crate::proto::paths::change::Candidate;
use crate::snapshot::WhyNot;

/// What a session costs while it can be chosen, [`BARRED`] while it cannot; by slot. Apart from the slots, because it is all
/// that a choice reads of them: 128 sessions are 1 KiB.
pub(super) type Weights = Vec<u64>;

/// The weight of what cannot be chosen: no cost and no count of streams comes near it, and two of them are a number still.
pub(super) const BARRED: u64 = 1 << 62;

/// A session.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: SessionNumber,
    pub(super) candidate: Candidate,
    pub(super) live: bool,
    pub(super) suspect: bool,
    pub(super) draining: bool,
    /// Keys of the places that hold an entry of this session, `true` while it serves them.
    pub(super) keys: HashMap<RoutingKey, bool>,
    /// How many of `keys` are served; at most as many as a session may serve.
    pub(super) served: usize,
}

/// A destination.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// In the stable order that decides ties.
    pub(super) entries: Vec<Entry>,
    /// The first choice last announced.
    pub(super) first: Option<SessionNumber>,
    pub(super) dirty: bool,
}

/// A session as a way to one destination. Eight bytes, because a choice reads all of a place's from memory that nobody
/// has touched for long: 1 KiB for 128 sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The slot; with [`WITHDRAWN`] when the key was withdrawn while streams were open: the entry goes with the last of them.
    slot: u32,
    /// Streams open to this destination through this session; below the stream limits, which are below 2^21.
    pub(super) open: u32,
}

/// Marks an entry whose session serves the key no more.
const WITHDRAWN: u32 = 1 << 31;

impl Slot {
    /// A session with a carrier, that serves nothing yet.
    pub(super) fn new(number: SessionNumber, candidate: Candidate) -> Self {
        let (live, suspect, draining) = (true, false, false);
        Self { number, candidate, live, suspect, draining, keys: HashMap::new(), served: 0 }
    }

    /// Why it cannot be chosen, if it cannot.
    pub(super) fn why_not(&self) -> Option<WhyNot> {
        let reasons = [
            (!self.live, WhyNot::NoCarrier),
            (self.draining, WhyNot::Draining),
            (self.suspect, WhyNot::Suspect),
            (self.candidate.standby, WhyNot::Standby),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
    }

    /// What it weighs in a choice.
    pub(super) fn weight(&self) -> u64 {
        if self.why_not().is_some() { BARRED } else { self.candidate.costs.in_force().get().into() }
    }

    /// What decides between equal scores; the same at every run of the same routers but for the last two.
    pub(super) fn order(&self) -> (&LinkName, &GroupName, bool, &SiteId, Instance, SessionNumber) {
        let Candidate { name, group, side, site, instance, .. } = &self.candidate;
        (name, group, *side == Side::Acceptor, site, *instance, self.number)
    }

    /// Where it leads to, or did when streams were opened that are not over.
    pub(super) fn destinations(&self) -> Vec<Destination> {
        let keys = self.keys.keys().cloned().map(Destination::Key);
        let mut all: Vec<Destination> = keys.collect();
        all.push(Destination::Site(self.candidate.site.clone()));
        all
    }
}

impl Entry {
    /// A session that serves the destination, without streams.
    pub(super) fn new(slot: usize) -> Self {
        // A slab index, bounded by the sessions that a plane may have, far below 2^31.
        Self { slot: u32::try_from(slot).unwrap_or(u32::MAX) & !WITHDRAWN, open: 0 }
    }

    /// Which session.
    pub(super) fn slot(self) -> usize {
        (self.slot & !WITHDRAWN) as usize
    }

    /// Whether that serves the destination.
    pub(super) fn serves(self) -> bool {
        self.slot & WITHDRAWN == 0
    }

    /// It serves the destination, or no more.
    pub(super) fn set_serves(&mut self, serves: bool) {
        self.slot = if serves { self.slot & !WITHDRAWN } else { self.slot | WITHDRAWN };
    }
}

impl Place {
    /// The entry of least score that can be chosen; the first of equals, which is the least in the stable order.
    pub(super) fn best(
        &self,
        slots: &Slab<Slot>,
        weights: &Weights,
        selection: Selection,
        exclude: &[SessionNumber],
    ) -> Option<usize> {
        let mut best = None;
        let mut least = BARRED;
        for (index, entry) in self.entries.iter().enumerate() {
            // Without a branch that depends on what is read: which are barred has no pattern.
            let barred = if entry.serves() { 0 } else { BARRED };
            let score = score(selection, weights[entry.slot()], entry.open.into()) + barred;
            let excluded = || exclude.contains(&slots[entry.slot()].number);
            if score < least && (exclude.is_empty() || !excluded()) {
                (least, best) = (score, Some(index));
            }
        }
        best
    }

    /// The session of least cost among those that can be chosen: the one that an idle destination would use.
    pub(super) fn first<'a>(&self, slots: &'a Slab<Slot>, weights: &Weights) -> Option<&'a Slot> {
        let best = self.best(slots, weights, Selection::LowestCost, &[])?;
        Some(&slots[self.entries[best].slot()])
    }

    /// The entry of a session.
    pub(super) fn entry_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.slot() == slot)
    }
}

/// What is compared: the least wins.
#[inline]
pub(super) fn score(selection: Selection, cost: u64, open: u64) -> u64 {
    match selection {
        Selection::Balanced => cost + open,
        Selection::LowestCost => cost,
    }
}
