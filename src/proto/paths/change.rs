//! What the choice of paths is told of sessions.

use crate::id::{Cost, GroupName, Instance, LinkName, SessionNumber, Side, SiteId};

/// What a session costs, as each end has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Costs {
    /// This end's.
    pub(crate) own: Cost,
    /// The peer's.
    pub(crate) peer: Cost,
}

impl Costs {
    /// The cost in force: the larger of the two.
    pub(crate) fn in_force(self) -> Cost {
        self.own.max(self.peer)
    }
}

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
    /// What it costs.
    pub(crate) costs: Costs,
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
    /// An end's cost changed.
    Cost {
        /// The session.
        session: SessionNumber,
        /// What it costs now.
        costs: Costs,
    },
    /// It is over.
    Down {
        /// The session.
        session: SessionNumber,
    },
}
