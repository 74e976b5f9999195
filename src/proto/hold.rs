//! The session of a group, as the group sees it.

use std::time::{Duration, Instant};

use crate::error::{DialError, SessionEnd};
use crate::id::{Instance, SessionNumber};
use crate::wire::code::CloseCode;

/// The session of a group.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) session: SessionNumber,
    pub(crate) begun: Instant,
    /// Carriers that are up.
    pub(crate) carriers: usize,
    /// Those of them that are not suspect; <= `carriers`.
    pub(crate) trusted: usize,
    /// Those of them that need not be replaced; <= `trusted`.
    pub(crate) lasting: usize,
    /// How the last carrier of all was lost, until the session says what that means for it.
    pub(crate) last: Option<Loss>,
    /// The session has said that it waits for a carrier.
    pub(crate) recovering: bool,
    /// Which other instance has answered, and how many times running.
    other: Option<(Instance, u32)>,
}

/// The loss of a carrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// How long it was up.
    pub(crate) lived: Duration,
    /// It was given up by this end, or another has taken its place.
    pub(crate) planned: bool,
    /// How many of the others are trusted.
    pub(crate) trusted_left: usize,
}

impl Hold {
    /// A session that begins, with its first carrier.
    pub(crate) fn new(now: Instant, session: SessionNumber) -> Self {
        Self {
            session,
            begun: now,
            carriers: 1,
            trusted: 1,
            lasting: 1,
            last: None,
            recovering: false,
            other: None,
        }
    }

    /// It has one more carrier: its own instance has answered.
    pub(crate) fn joined(&mut self) {
        self.carriers += 1;
        self.trusted += 1;
        self.lasting += 1;
        self.recovering = false;
        self.other = None;
    }

    /// The last carrier is lost and the session has not said yet whether it waits or is over. Until it has,
    /// nothing is started or given up.
    pub(crate) fn is_undecided(&self) -> bool {
        self.carriers == 0 && !self.recovering
    }

    /// Whether it has a trusted carrier: another one is spare, and its streams do not wait for it.
    pub(crate) fn is_served(&self) -> bool {
        self.trusted > 0
    }

    /// What a failed join says of the session: whether it is over, and what its peer is told.
    ///
    /// Nothing while a carrier is trusted, which knows better: the router is there and holds the session, and something
    /// in between has led the dial elsewhere.
    pub(crate) fn judge(&mut self, error: &DialError) -> Option<(SessionEnd, CloseCode)> {
        match error {
            _ if self.is_served() => {
                self.other = None;
                None
            }
            DialError::Closed { code: CloseCode::SESSION_GONE, .. } => {
                Some((SessionEnd::Gone, CloseCode::SESSION_GONE))
            }
            DialError::OtherInstance { found, .. } => {
                let running = match self.other {
                    Some((other, running)) if other == *found => running + 1,
                    _ => 1,
                };
                self.other = Some((*found, running));
                (running >= REPLACED_AFTER)
                    .then_some((SessionEnd::Replaced { instance: *found }, CloseCode::REPLACED))
            }
            _ => None,
        }
    }
}

/// So many answers of one and the same other instance to a session without a trusted carrier mean that the router was
/// replaced; fewer may be a load balancer's whim.
const REPLACED_AFTER: u32 = 3;
