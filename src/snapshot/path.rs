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
