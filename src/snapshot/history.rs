//! What links, sessions and accesses have been through: counts, and the last of each sort with its time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{CarrierEnd, DialError, PeerRefusal, Phase, SessionEnd};
use crate::event::Peer;
use crate::id::{CarrierNumber, SessionNumber};

/// Counts of the streams that were opened here, since the plane began. Each open is counted once, when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OpenCounts {
    /// Accepted by a peer.
    pub accepted: u64,
    /// Failed for want of a path.
    pub no_path: u64,
    /// Refused by every candidate that was asked.
    pub refused: u64,
    /// Refused because the peer takes no more streams.
    pub stream_limit: u64,
    /// Lost with their session before a verdict.
    pub outcome_unknown: u64,
    /// Failed here: too long, or the plane was shutting down.
    pub local: u64,
}

/// Counts of the event stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EventCounts {
    /// Subscribers at this moment.
    pub subscribers: usize,
    /// Events that were lost to subscribers that were too slow, since the plane began; those of subscribers that
    /// have not noticed yet are not in it.
    pub missed: u64,
}

/// How often something went up and down since it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Ups {
    /// How often it came up.
    pub ups: u64,
    /// How often it went down after that.
    pub downs: u64,
    /// When it came up last.
    pub last_up_micros: Option<u64>,
    /// When it went down last.
    pub last_down_micros: Option<u64>,
}

/// What a group of a link has been through. What is here stays when the group is up again.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupHistory {
    /// How often it was up.
    pub counts: Ups,
    /// Attempts that failed.
    pub failures: u64,
    /// The newest of them.
    pub last_failure: Option<FailureView>,
    /// Attempts given up because another endpoint had won.
    pub overtaken: u64,
    /// Why its last session ended, if one has.
    pub last_end: Option<EndView>,
    /// The router it last reached.
    pub last_peer: Option<Peer>,
}

/// A failure to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FailureView {
    /// When.
    pub at_micros: u64,
    /// Host and port, as the document has them.
    pub endpoint: Arc<str>,
    /// Where it ended.
    pub phase: Phase,
    /// Why.
    pub error: DialError,
    /// Why, in words.
    pub message: Arc<str>,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndView {
    /// When.
    pub at_micros: u64,
    /// The session.
    pub session: SessionNumber,
    /// Why.
    pub end: SessionEnd,
    /// Why, in words.
    pub message: Arc<str>,
}

/// What a session has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SessionHistory {
    /// Carriers that came up.
    pub carriers_up: u64,
    /// Carriers that ended.
    pub carriers_down: u64,
    /// How often one of them was suspect.
    pub suspicions: u64,
    /// How often it had no carrier and waited.
    pub recoveries: u64,
    /// Why its last carrier ended, and when.
    pub last_carrier_end: Option<CarrierEndView>,
}

/// The end of a carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CarrierEndView {
    /// When.
    pub at_micros: u64,
    /// The carrier.
    pub carrier: CarrierNumber,
    /// Why.
    pub end: CarrierEnd,
}

/// Whom an access has let in and whom not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AccessHistory {
    /// Sessions begun.
    pub accepted: u64,
    /// Peers refused, by [`PeerRefusal::kind`].
    pub refused: BTreeMap<&'static str, u64>,
    /// The newest of them.
    pub last_refused: Option<RefusedView>,
}

/// A peer that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RefusedView {
    /// When.
    pub at_micros: u64,
    /// Where it called from.
    pub address: SocketAddr,
    /// How far it had come.
    pub phase: Phase,
    /// Why.
    pub refusal: PeerRefusal,
    /// Why, in words.
    pub message: Arc<str>,
}
