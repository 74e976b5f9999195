//! A carrier as the fleet sees it: how it was made, and whether it may stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::certificate::LeafSummary;
use crate::event::ReplaceCause;
use crate::id::{AccessId, CarrierNumber, Ordinal};
use crate::proto::dial::Target;
use crate::proto::facts::{Arrival, DialedFacts};
use crate::snapshot::{CarrierState, CarrierView};
use crate::stats::{RoundTrip, Traffic};

/// A live carrier.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    /// How it was made.
    pub(crate) made: Made,
    /// It has not acknowledged for suspiciously long.
    pub(crate) suspect: bool,
    /// Whether it may stay.
    pub(crate) stay: Stay,
    /// When it came up.
    pub(crate) up: Instant,
    /// Since when it is what it is.
    pub(crate) since: Instant,
}

/// How a carrier was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The endpoint that was dialed, where this end dialed.
    pub(crate) target: Option<Target>,
    /// The access that it came through, where this end accepted: not always the one that its session began at.
    pub(crate) access: Option<AccessId>,
    /// What the peer showed on it.
    pub(crate) certificate: Option<Arc<LeafSummary>>,
    /// The rotation of this end's credentials, its link's or access's, that its handshake was done with.
    pub(crate) own: Ordinal,
    /// The same of the peer's, as its hello says.
    pub(crate) peer: Ordinal,
}

/// Whether a carrier may stay.
///
/// ```text
///            to be replaced               another is there (dialer)           time is up
///   Free ───────────────────▶ Until ──────────────────────────────▶ Retiring ───────────▶ Closing
///                               └──────── time is up, and others carry, or its peer's certificate has expired ──▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// As long as it lives.
    Free,
    /// Until another is there, which should be by then.
    Until {
        /// When.
        until: Instant,
        /// Why.
        cause: ReplaceCause,
    },
    /// Another is there: its streams move off it, and by then at the latest it is closed.
    Retiring {
        /// When.
        until: Instant,
        /// Why.
        cause: ReplaceCause,
    },
    /// It is being closed.
    Closing,
}

impl Stay {
    /// When something is due.
    pub(crate) fn due(self) -> Option<Instant> {
        match self {
            Self::Until { until, .. } | Self::Retiring { until, .. } => Some(until),
            Self::Free | Self::Closing => None,
        }
    }
}

impl Made {
    /// One that was dialed with this end's credentials of that ordinal, at that endpoint.
    pub(crate) fn dialed(facts: &DialedFacts, own: Ordinal, target: Target) -> Self {
        let DialedFacts { hello, certificate, local, remote, .. } = facts;
        let (certificate, peer, target) = (certificate.clone(), hello.ordinal, Some(target));
        Self { local: *local, remote: *remote, target, access: None, certificate, own, peer }
    }

    /// One that was accepted.
    pub(crate) fn accepted(arrival: &Arrival) -> Self {
        let Arrival { hello, certificate, local, remote, ordinal, access, .. } = arrival;
        let (certificate, peer, access) = (certificate.clone(), hello.ordinal, Some(*access));
        Self { local: *local, remote: *remote, target: None, access, certificate, own: *ordinal, peer }
    }
}

impl Carrier {
    /// One that comes up.
    pub(crate) fn new(now: Instant, made: Made) -> Self {
        Self { made, suspect: false, stay: Stay::Free, up: now, since: now }
    }

    /// Whether it is neither suspect nor to be replaced.
    pub(crate) fn is_lasting(&self) -> bool {
        !self.suspect && self.stay == Stay::Free
    }

    /// What is known of it here; it came up, or changed, so many microseconds into the Unix epoch.
    pub(crate) fn view(&self, number: CarrierNumber, since_micros: u64) -> CarrierView {
        CarrierView {
            carrier: number,
            local: self.made.local,
            remote: self.made.remote,
            state: match self.stay {
                _ if self.suspect => CarrierState::Suspect,
                Stay::Free => CarrierState::Up,
                Stay::Until { .. } => CarrierState::Replacing,
                Stay::Retiring { .. } | Stay::Closing => CarrierState::Retiring,
            },
            since_micros,
            ordinal: self.made.own,
            peer_ordinal: self.made.peer,
            round_trip: RoundTrip::default(),
            traffic: Traffic::default(),
            last_received_ago: std::time::Duration::ZERO,
            unacknowledged_bytes: 0,
            certificate: self.made.certificate.clone(),
        }
    }
}
