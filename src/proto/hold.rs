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
    /// Which answer that was not the session's router's has come, and how many times running.
    astray: Option<(Astray, u32)>,
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
            astray: None,
        }
    }

    /// It has one more carrier: its own instance has answered.
    pub(crate) fn joined(&mut self) {
        self.carriers += 1;
        self.trusted += 1;
        self.lasting += 1;
        self.recovering = false;
        self.astray = None;
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

    /// What a failed join says of the session.
    ///
    /// Nothing while a carrier lasts, which knows better: the router is there and holds the session, and something in
    /// between has led the dial elsewhere. Where all are trusted but to be replaced, none of them says that the session can
    /// be supplied any longer: it is left to its end, beside a successor.
    pub(crate) fn judge(&mut self, error: &DialError) -> Option<Sentence> {
        if self.lasting > 0 {
            self.astray = None;
            return None;
        }
        let astray = match error {
            DialError::Closed { code: CloseCode::SESSION_GONE, .. } => Astray::Gone,
            DialError::Closed { code: CloseCode::OTHER_PRINCIPAL, .. } | DialError::OtherPrincipal { .. } => {
                // Said by the router of the session, and never to be taken back.
                let code = CloseCode::OTHER_PRINCIPAL;
                let end = Sentence::End(SessionEnd::Closed(code), code);
                return Some(if self.is_served() { Sentence::Succeed } else { end });
            }
            DialError::OtherInstance { found, .. } => Astray::Instance(*found),
            // Nobody's answer.
            _ => return None,
        };
        let running = match self.astray {
            Some((before, running)) if before == astray => running + 1,
            _ => 1,
        };
        self.astray = Some((astray, running));
        match astray {
            Astray::Gone if !self.is_served() => {
                Some(Sentence::End(SessionEnd::Gone, CloseCode::SESSION_GONE))
            }
            _ if running < REPLACED_AFTER => None,
            Astray::Instance(instance) if !self.is_served() => {
                Some(Sentence::End(SessionEnd::Replaced { instance }, CloseCode::REPLACED))
            }
            _ => Some(Sentence::Succeed),
        }
    }
}

/// What becomes of a session that cannot be supplied any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// It is over; the peer is told that code.
    End(SessionEnd, CloseCode),
    /// It drains over what it has, beside a successor.
    Succeed,
}

/// An answer to a join that was not the router's of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Astray {
    /// One that does not know the session.
    Gone,
    /// Another instance.
    Instance(Instance),
}

/// How many carriers a dialed session may have at most, in whatever state, that should have so many: each of them may be
/// on its way out beside the one in its place, and a single one be suspected for a while besides.
pub(crate) fn most_carriers(desired: usize) -> usize {
    (2 * desired).max(3)
}

/// So many such answers, one and the same, to a session without a lasting carrier mean that its router is not to be found
/// there any more; fewer may be a load balancer's whim.
const REPLACED_AFTER: u32 = 3;
