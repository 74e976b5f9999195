//! The ways to a destination, and why which is taken.

use crate::config::Selection;
use crate::event::Destination;
use crate::id::{Cost, GroupName, LinkName, SessionNumber, Side, SiteId};

/// The ways to a destination, and which of them the next stream takes: the answer to "why this way?".
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PathView {
    /// The destination.
    pub destination: Destination,
    /// By which rule is chosen.
    pub selection: Selection,
    /// The session that the next stream takes; `None` if there is no path.
    pub chosen: Option<SessionNumber>,
    /// Why that one.
    pub because: Option<Because>,
    /// The candidates in the order that decides ties; in a status at most [`MAX_CANDIDATES`], the chosen one among them.
    pub candidates: Vec<CandidateView>,
    /// Candidates beyond those; none but in a status.
    pub candidates_left_out: u64,
}

/// Why a candidate is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Because {
    /// No other can be chosen.
    Only,
    /// Its score is below that of all others.
    LeastScore,
    /// Others have the same score; it is first by link, group, direction, site and instance.
    FirstOfEqual,
}

impl PathView {
    /// Says why which candidate is chosen.
    pub(crate) fn new(
        destination: Destination,
        selection: Selection,
        candidates: Vec<CandidateView>,
    ) -> Self {
        let chosen = candidates.iter().position(|candidate| candidate.chosen);
        let because = chosen.map(|index| {
            let rivals = || {
                let others = candidates.iter().enumerate().filter(|(other, _)| *other != index);
                others.map(|(_, candidate)| candidate).filter(|candidate| candidate.why_not.is_none())
            };
            let score = candidates[index].score;
            match (rivals().next().is_none(), rivals().any(|rival| rival.score == score)) {
                (true, _) => Because::Only,
                (false, true) => Because::FirstOfEqual,
                (false, false) => Because::LeastScore,
            }
        });
        let session = chosen.map(|index| candidates[index].session);
        Self { destination, selection, chosen: session, because, candidates, candidates_left_out: 0 }
    }

    /// The same with no more candidates than a status has.
    pub(crate) fn bounded(mut self) -> Self {
        self.candidates_left_out = self.candidates.len().saturating_sub(MAX_CANDIDATES) as u64;
        let chosen = self.candidates.iter().position(|candidate| candidate.chosen);
        if let Some(index) = chosen.filter(|index| *index >= MAX_CANDIDATES) {
            self.candidates.swap(index, MAX_CANDIDATES - 1);
        }
        self.candidates.truncate(MAX_CANDIDATES);
        self
    }
}

/// A session as a candidate for a destination, scored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CandidateView {
    /// The session.
    pub session: SessionNumber,
    /// The dialer's name of its link.
    pub name: LinkName,
    /// Its group.
    pub group: GroupName,
    /// Which end of it this is.
    pub side: Side,
    /// The site it leads to.
    pub site: SiteId,
    /// This end's cost.
    pub own_cost: Cost,
    /// The peer's cost.
    pub peer_cost: Cost,
    /// Its cost in force: the larger of the two.
    pub cost: Cost,
    /// Streams that this router has open to the destination through it.
    pub open: u64,
    /// What is compared, the least wins: the cost in force plus the open streams, or the cost alone, as [`PathView::selection`]
    /// says.
    pub score: u64,
    /// Whether the next stream goes there.
    pub chosen: bool,
    /// Why it cannot be chosen, if it cannot.
    pub why_not: Option<WhyNot>,
}

/// Why a candidate cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhyNot {
    /// It takes no new streams.
    Draining,
    /// It has no carrier.
    NoCarrier,
    /// It serves the key no more; earlier streams are still open.
    NotServed,
    /// One end is on standby.
    Standby,
    /// All its carriers are suspect.
    Suspect,
}

/// Destinations in a status: more than a person reads, and some 300 KiB of JSON where each has one candidate.
pub const MAX_PATHS: usize = 1000;

/// Candidates of one destination in a status: the sessions of a large site many times over.
pub const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(session: u64, score: u64, chosen: bool, why_not: Option<WhyNot>) -> CandidateView {
        CandidateView {
            session: SessionNumber(session),
            name: LinkName::new("east").unwrap(),
            group: GroupName::new("").unwrap(),
            side: Side::Dialer,
            site: SiteId::new("east").unwrap(),
            own_cost: Cost::DEFAULT,
            peer_cost: Cost::DEFAULT,
            cost: Cost::DEFAULT,
            open: 0,
            score,
            chosen,
            why_not,
        }
    }

    fn view(candidates: Vec<CandidateView>) -> PathView {
        PathView::new(Destination::Site(SiteId::new("east").unwrap()), Selection::Balanced, candidates)
    }

    #[test]
    fn a_path_says_why_it_is_chosen() {
        let suspect = Some(WhyNot::Suspect);
        for (candidates, because) in [
            (vec![candidate(1, 1, true, None), candidate(2, 0, false, suspect)], Some(Because::Only)),
            (vec![candidate(1, 1, true, None), candidate(2, 2, false, None)], Some(Because::LeastScore)),
            (vec![candidate(1, 1, true, None), candidate(2, 1, false, None)], Some(Because::FirstOfEqual)),
            (vec![candidate(1, 1, false, suspect)], None),
        ] {
            let chosen = because.map(|_| SessionNumber(1));
            let path = view(candidates);
            assert_eq!((path.because, path.chosen), (because, chosen), "{path:?}");
        }
    }

    #[test]
    fn the_chosen_candidate_is_shown_however_many_there_are() {
        let many = 2 * MAX_CANDIDATES as u64;
        let path =
            view((0..many).map(|number| candidate(number, 1, number == many - 1, None)).collect()).bounded();
        assert_eq!((path.candidates.len(), path.candidates_left_out), (MAX_CANDIDATES, many / 2));
        assert!(path.candidates.iter().any(|candidate| candidate.chosen));
    }
}
