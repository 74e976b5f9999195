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

/// The weight of a session that cannot be chosen: no cost comes near it.
pub(super) const BARRED: u64 = u64::MAX;

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

/// A session as a way to one destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) slot: usize,
    pub(super) number: SessionNumber,
    /// Streams open to this destination through this session.
    pub(super) open: u64,
    /// False when the key was withdrawn while streams were open; the entry goes with the last of them.
    pub(super) serves: bool,
}

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

impl Place {
    /// The entry of least score that can be chosen; the first of equals, which is the least in the stable order.
    pub(super) fn best(
        &self,
        weights: &Weights,
        selection: Selection,
        exclude: &[SessionNumber],
    ) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let weight = weights[entry.slot];
            if weight == BARRED || !entry.serves {
                continue;
            }
            let score = score(selection, weight, entry.open);
            if best.is_none_or(|(least, _)| score < least) && !exclude.contains(&entry.number) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The session of least cost among those that can be chosen.
    pub(super) fn first<'a>(&self, slots: &'a Slab<Slot>, weights: &Weights) -> Option<&'a Slot> {
        let able = self.entries.iter().filter(|entry| entry.serves && weights[entry.slot] != BARRED);
        able.min_by_key(|entry| weights[entry.slot]).map(|entry| &slots[entry.slot])
    }

    /// The entry of a session.
    pub(super) fn entry_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.slot == slot)
    }
}

/// What is compared: the least wins.
pub(super) fn score(selection: Selection, cost: u64, open: u64) -> u64 {
    match selection {
        Selection::Balanced => cost + open,
        Selection::LowestCost => cost,
    }
}
