//! Which session of an edge plane is the active one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::{Cost, GroupName, LinkId, SessionNumber};

/// The choice of the one active session of an edge plane, over all its links.
///
/// While there is any session, exactly one is active, and it is one of the best [`Fitness`] there is. Among those
/// that are fit it is the one of least cost, ties by the order of the links, then by that of the groups in their
/// document: when the active one is not fit any more, the best that is takes its place at once. Among those that are
/// not, it stays with the one that has it, since no other would be better.
///
/// A place (a group of a link) that lost its turn by becoming unfit is on *probation*: its session, or the next one,
/// is passed over for the active one, and for any other that is fit, until it has been fit for `stable_after`
/// without a break. So a link that flaps takes the turn from a fit one at most once in that time, while one that is
/// only late, or made cheaper by its operator, takes it at once. Only new streams follow the turn; no open one is
/// moved, ever.
///
/// `stable_after` is what makes a session stable for the backoff of its dials as well, 10 s by default. A way that
/// is broken again shows it after 1 s of silence, when a sign of life is asked for, and four round trips without an
/// answer: within 1.25 s at most times, within 5 s if a round trip takes a second. One that has been well for 10 s
/// has answered at least twice. Were it longer, the dearer way would be paid for without a reason.
#[derive(Debug)]
pub(crate) struct Uplinks {
    stable_after: Duration,
    active: Option<SessionNumber>,
    places: BTreeMap<(LinkId, GroupName), Place>,
}

/// A session as it stands now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) session: SessionNumber,
    pub(crate) link: LinkId,
    pub(crate) group: GroupName,
    /// The group's place in its document.
    pub(crate) rank: usize,
    /// The cost in force.
    pub(crate) cost: Cost,
    pub(crate) fitness: Fitness,
}

/// How well a session would do as the active one; better is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// It has a trusted carrier and takes new streams.
    Fit,
    /// All its carriers are suspect.
    Suspect,
    /// It has no carrier.
    Recovering,
    /// It takes no new streams any more.
    Draining,
}

#[derive(Debug, Default)]
struct Place {
    /// Which session is fit, and since when.
    fit: Option<(SessionNumber, Instant)>,
    /// It became unfit while it was active, and has not been stable since.
    on_probation: bool,
    /// Its session is the active one.
    active: bool,
}

impl Uplinks {
    /// Nothing is active yet.
    pub(crate) fn new(stable_after: Duration) -> Self {
        Self { stable_after, active: None, places: BTreeMap::new() }
    }

    /// The active session, given all those that have not ended; `is_kept` says which places still exist. To be called
    /// whenever something has changed, and when [`Uplinks::due`].
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        standings: &[Standing],
        is_kept: impl Fn(LinkId, &GroupName) -> bool,
    ) -> Option<SessionNumber> {
        self.note(now, standings, is_kept);
        let chosen = self.best(standings);
        self.active = chosen.map(|standing| standing.session);
        for ((link, group), place) in &mut self.places {
            place.active = chosen.is_some_and(|chosen| chosen.link == *link && chosen.group == *group);
        }
        self.active
    }

    /// When a session that would be better than the active one has stood its probation.
    pub(crate) fn due(&self, standings: &[Standing]) -> Option<Instant> {
        let present = standings.iter().find(|standing| Some(standing.session) == self.active)?;
        let better = standings.iter().filter(|standing| order(standing) < order(present));
        better
            .filter(|standing| self.is_on_probation(standing))
            .filter_map(|standing| {
                let (_, since) = self.place(standing)?.fit?;
                Some(since + self.stable_after)
            })
            .min()
    }

    fn best<'a>(&self, standings: &'a [Standing]) -> Option<&'a Standing> {
        let fitness = standings.iter().map(|standing| standing.fitness).min()?;
        let fittest = || standings.iter().filter(|standing| standing.fitness == fitness);
        let present = fittest().find(|standing| Some(standing.session) == self.active);
        if fitness != Fitness::Fit && present.is_some() {
            return present;
        }
        let trusted =
            |standing: &&Standing| Some(standing.session) == self.active || !self.is_on_probation(standing);
        // With nobody else there, one on probation is better than none.
        let steady = fittest().filter(trusted).min_by_key(|standing| order(standing));
        steady.or_else(|| fittest().min_by_key(|standing| order(standing)))
    }

    fn note(&mut self, now: Instant, standings: &[Standing], is_kept: impl Fn(LinkId, &GroupName) -> bool) {
        self.places.retain(|(link, group), _| is_kept(*link, group));
        for standing in standings {
            self.places.entry((standing.link, standing.group.clone())).or_default();
        }
        // A place has one session that has not ended.
        let fit: BTreeMap<_, _> = standings
            .iter()
            .filter(|standing| standing.fitness == Fitness::Fit)
            .map(|standing| ((standing.link, &standing.group), standing.session))
            .collect();
        for ((link, group), place) in &mut self.places {
            let before = place.fit;
            place.fit = fit.get(&(*link, group)).map(|fit| match before {
                Some((session, since)) if session == *fit => (session, since),
                _ => (*fit, now),
            });
            let lost = before.is_some_and(|(session, _)| Some(session) == self.active) && before != place.fit;
            if place.active && lost {
                place.on_probation = true;
            } else if place.fit.is_some_and(|(_, since)| since + self.stable_after <= now) {
                place.on_probation = false;
            }
        }
    }

    fn place(&self, standing: &Standing) -> Option<&Place> {
        self.places.get(&(standing.link, standing.group.clone()))
    }

    fn is_on_probation(&self, standing: &Standing) -> bool {
        self.place(standing).is_some_and(|place| place.on_probation)
    }
}

fn order(standing: &Standing) -> (Fitness, Cost, LinkId, usize, SessionNumber) {
    (standing.fitness, standing.cost, standing.link, standing.rank, standing.session)
}

#[cfg(test)]
mod tests;
