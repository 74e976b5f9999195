//! The door through which the choice of a path is measured.

use std::sync::{Mutex, PoisonError};

use crate::config::Selection;
use crate::event::Destination;
use crate::id::{Cost, GroupName, Instance, LinkName, RoutingKey, SessionNumber, Side, SiteId};
use crate::proto::paths::{Candidate, Costs, PathChange, Paths};

/// Sessions that all serve the same keys, each with a cost of its own, behind the lock that a plane has.
#[derive(Debug)]
pub struct Choosing {
    paths: Mutex<Paths>,
    destinations: Vec<Destination>,
    costs: Vec<u64>,
}

impl Choosing {
    /// A session for each of the costs, in the order that decides ties; `keys` keys.
    ///
    /// # Panics
    /// For a cost that is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the names are made here, the costs are the caller's to choose")]
    pub fn new(costs: &[u32], keys: usize) -> Self {
        let mut paths = Paths::new(keys, Selection::Balanced);
        let named = |key: usize| RoutingKey::new(format!("service-{key:05}.example")).expect("it is a name");
        let keys: Vec<RoutingKey> = (0..keys).map(named).collect();
        for (index, cost) in costs.iter().enumerate() {
            let (session, name) = (SessionNumber(index as u64), format!("link-{index:05}"));
            let cost = Cost::new(*cost).expect("a cost");
            let candidate = Candidate {
                name: LinkName::new(&name).expect("it is a name"),
                group: GroupName::new("").expect("it is a name"),
                side: Side::Dialer,
                site: SiteId::new(&name).expect("it is a name"),
                instance: Instance([0; 16]),
                costs: Costs { own: cost, peer: cost },
                may_serve: true,
                standby: false,
            };
            paths.handle_change(PathChange::Up { session, candidate });
            for key in &keys {
                paths.serve(session, key.clone()).expect("no more than are taken");
            }
        }
        while paths.poll_events(usize::MAX).is_some() {}
        let costs = costs.iter().map(|cost| u64::from(*cost)).collect();
        let destinations = keys.into_iter().map(Destination::Key).collect();
        Self { paths: Mutex::new(paths), destinations, costs }
    }

    /// Chooses for a stream to a key and counts it, as opening one does.
    pub fn open(&self, key: usize) -> Option<u64> {
        self.locked(|paths| paths.choose(&self.destinations[key], &[])).map(|session| session.0)
    }

    /// Uncounts a stream.
    pub fn close(&self, key: usize, session: u64) {
        self.locked(|paths| paths.release(&self.destinations[key], SessionNumber(session)));
    }

    /// How many streams each session has to a key.
    pub fn split(&self, key: usize) -> Vec<u64> {
        let view = self.locked(|paths| paths.explain(&self.destinations[key]));
        view.candidates.iter().map(|candidate| candidate.open).collect()
    }

    /// How `streams` streams to one key must be split, found out by looking for the least each time.
    #[must_use]
    pub fn expected(&self, streams: usize) -> Vec<u64> {
        let mut open = vec![0; self.costs.len()];
        for _ in 0..streams {
            let least = (0..open.len()).min_by_key(|index| (self.costs[*index] + open[*index], *index));
            open[least.unwrap_or(0)] += 1;
        }
        open
    }

    /// A session falls silent or speaks again, and all its keys are looked at; as many at a time as a plane does.
    pub fn suspect(&self, session: u64, suspect: bool) -> usize {
        let session = SessionNumber(session);
        self.locked(|paths| paths.handle_change(PathChange::Suspect { session, suspect }));
        std::iter::from_fn(|| self.locked(|paths| paths.poll_events(64))).map(|events| events.len()).sum()
    }

    fn locked<T>(&self, with: impl FnOnce(&mut Paths) -> T) -> T {
        with(&mut self.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
