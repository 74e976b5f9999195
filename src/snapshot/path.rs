//! The ways to a destination, and why which is taken.

use crate::event::Destination;
use crate::id::{Cost, SessionNumber, SiteId};

/// The ways to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PathView {
    /// The destination.
    pub destination: Destination,
    /// The session that the next stream takes; `None` if there is no path.
    pub chosen: Option<SessionNumber>,
    /// Why that one.
    pub because: Option<Because>,
    /// The candidates in the order that decides ties; at most [`MAX_CANDIDATES`], the chosen one among them.
    pub candidates: Vec<CandidateView>,
    /// Candidates beyond those.
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
    /// Bounds the candidates of a destination and says why which is chosen.
    pub(crate) fn new(destination: Destination, mut candidates: Vec<CandidateView>) -> Self {
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
        let left_out = candidates.len().saturating_sub(MAX_CANDIDATES);
        if let Some(index) = chosen.filter(|index| *index >= MAX_CANDIDATES) {
            candidates.swap(index, MAX_CANDIDATES - 1);
        }
        candidates.truncate(MAX_CANDIDATES);
        Self { destination, chosen: session, because, candidates, candidates_left_out: left_out as u64 }
    }
}

/// A session as a candidate for a destination, scored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CandidateView {
    /// The session.
    pub session: SessionNumber,
    /// The site it leads to.
    pub site: SiteId,
    /// Its cost in force.
    pub cost: Cost,
    /// Open streams to the destination through it.
    pub open: u64,
    /// Cost plus open streams: the least wins.
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

/// Destinations in a status: more than a person reads, and some 100 KiB of JSON.
pub const MAX_PATHS: usize = 1000;

/// Candidates of one destination in a status: the sessions of a large site many times over.
pub const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(session: u64, score: u64, chosen: bool, why_not: Option<WhyNot>) -> CandidateView {
        let (site, cost) = (SiteId::new("east").unwrap(), Cost::DEFAULT);
        CandidateView { session: SessionNumber(session), site, cost, open: 0, score, chosen, why_not }
    }

    fn view(candidates: Vec<CandidateView>) -> PathView {
        PathView::new(Destination::Site(SiteId::new("east").unwrap()), candidates)
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
        let path = view((0..many).map(|number| candidate(number, 1, number == many - 1, None)).collect());
        assert_eq!((path.candidates.len(), path.candidates_left_out), (MAX_CANDIDATES, many / 2));
        assert!(path.candidates.iter().any(|candidate| candidate.chosen));
    }
}
