//! What the fleet is told, and what it asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::LeafSummary;
use crate::config::{Backoff, PlaneConfig};
use crate::error::{CarrierEnd, SessionEnd};
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, Instance, LinkId, LinkName, LinkRole, Ordinal, Principal,
    RouterName, RouterRole, SessionId, SessionNumber, SiteId, SiteName,
};
use crate::proto::dial::{AttemptId, Purpose, Target};
use crate::proto::paths::PathChange;
use crate::stats::{RoundTrip, Traffic};
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::{Hello, SessionSecret};

/// Who this router is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// Its site.
    pub(crate) site_id: SiteId,
    /// Its site, for people.
    pub(crate) site_name: SiteName,
    /// Its name within the site.
    pub(crate) router: RouterName,
    /// This run of it.
    pub(crate) instance: Instance,
    /// What it is in the network.
    pub(crate) role: RouterRole,
}

/// What a fleet is made with.
#[derive(Clone, Debug)]
pub(crate) struct FleetConfig {
    /// Who this router is.
    pub(crate) local: Local,
    /// Waiting between attempts.
    pub(crate) backoff: Backoff,
    /// How many carriers the session of a group should have.
    pub(crate) carriers: usize,
    /// This end's resume window; the smaller of both ends' is in force.
    pub(crate) resume_window: Duration,
    /// How many accepted sessions there may be.
    pub(crate) accepted_sessions: usize,
    /// How long the session of a group that was taken out of its document may drain.
    pub(crate) regroup_grace: Duration,
}

impl FleetConfig {
    /// The fleet's part of a plane's settings.
    pub(crate) fn new(local: Local, plane: &PlaneConfig) -> Self {
        Self {
            local,
            backoff: plane.backoff,
            carriers: plane.carriers.0,
            resume_window: plane.session.resume_window,
            accepted_sessions: plane.access.sessions,
            regroup_grace: REGROUP_GRACE,
        }
    }
}

/// A carrier that was dialed: the peer's hello has arrived.
#[derive(Clone, Debug)]
pub(crate) struct DialedFacts {
    /// The peer's hello.
    pub(crate) hello: Box<Hello>,
    /// Who the peer's certificate says it is.
    pub(crate) principal: Principal,
    /// What that certificate says.
    pub(crate) certificate: Option<Arc<LeafSummary>>,
    /// This end's address.
    pub(crate) local: SocketAddr,
    /// The peer's address.
    pub(crate) remote: SocketAddr,
}

/// What becomes of a dialed carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the first of a new session, which now counts as up: whatever happens to it next must reach
    /// [`handle_session`](crate::proto::fleet::Fleet::handle_session).
    Begin {
        /// The new session.
        session: SessionNumber,
    },
    /// It is one more of that session, and counts as up, likewise.
    Join {
        /// The session.
        session: SessionNumber,
    },
    /// Close it with that code. Nothing is known of it here.
    Close {
        /// What to close: the session, if the peer has begun one.
        scope: CloseScope,
        /// Why.
        code: CloseCode,
        /// Why, for people.
        detail: Arc<str>,
    },
}

/// A carrier that was accepted: the dialer's hello has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// By which access.
    pub(crate) access: AccessId,
    /// What kind of links that access takes.
    pub(crate) role: LinkRole,
    /// What links through that access cost at least.
    pub(crate) cost: Cost,
    /// The dialer's hello.
    pub(crate) hello: Box<Hello>,
    /// Who the dialer's certificate says it is.
    pub(crate) principal: Principal,
    /// What that certificate says.
    pub(crate) certificate: Option<Arc<LeafSummary>>,
    /// The rotation of the access's credentials that the handshake was done with.
    pub(crate) ordinal: Ordinal,
    /// This end's address.
    pub(crate) local: SocketAddr,
    /// The dialer's address.
    pub(crate) remote: SocketAddr,
    /// A fresh random id, used if a session begins.
    pub(crate) fresh_id: SessionId,
    /// A fresh random secret, likewise.
    pub(crate) fresh_secret: SessionSecret,
}

/// What becomes of an accepted carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is the first of a new session with the arrival's `fresh_id` and `fresh_secret`. Session and carrier
    /// count as up: whatever happens to them next must reach [`handle_session`](crate::proto::fleet::Fleet::handle_session).
    Begin {
        /// The new session.
        session: SessionNumber,
    },
    /// It is one more of that session, and counts as up, likewise.
    Join {
        /// The session.
        session: SessionNumber,
    },
    /// Close it with a code in place of a hello. The event is made here.
    Refuse(Refusal),
}

/// What a session tells the fleet.
///
/// Facts of one session come in order. After the loss of its last carrier a session says at once whether it waits
/// ([`SessionFact::Recovering`]) or is over ([`SessionFact::Ended`]); `Ended` is its last fact, and comes after every
/// session end, whoever asked for it. A fact of an unknown session or carrier changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SessionFact {
    /// A carrier ended. One that is not reported before [`SessionFact::Ended`] is reported with it.
    CarrierDown {
        /// The carrier.
        carrier: CarrierNumber,
        /// Why.
        end: CarrierEnd,
        /// How long before that the last byte had come.
        last_received_ago: Duration,
        /// What went over it.
        traffic: Traffic,
        /// What was known of the way.
        round_trip: RoundTrip,
    },
    /// A carrier has not acknowledged for suspiciously long.
    CarrierSuspect {
        /// The carrier.
        carrier: CarrierNumber,
        /// How long ago the last byte came.
        last_received_ago: Duration,
        /// What is known of the way.
        round_trip: RoundTrip,
    },
    /// A suspect carrier gave a sign of life.
    CarrierTrusted {
        /// The carrier.
        carrier: CarrierNumber,
    },
    /// The acceptor at the other end wants a carrier replaced, and cuts it after the deadline.
    CarrierRequested {
        /// The carrier.
        carrier: CarrierNumber,
        /// Why.
        code: CloseCode,
        /// How long it is left.
        deadline: Duration,
    },
    /// The last carrier is lost; the session waits for another.
    Recovering,
    /// The session has a carrier again and has sent again what was lost.
    Resumed {
        /// How many bytes were sent again.
        resent_bytes: u64,
    },
    /// The peer's cost of this session.
    PeerCost(Cost),
    /// The peer is active, or on standby.
    PeerActive(bool),
    /// The peer takes no new streams.
    PeerDraining,
    /// The session drains and its last stream is over.
    Drained,
    /// The session is over.
    Ended {
        /// Why.
        end: SessionEnd,
        /// What went over it.
        traffic: Traffic,
    },
}

/// What the fleet asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FleetAction {
    /// Dial, up to the end of TLS; that goes to [`handle_reached`](crate::proto::fleet::Fleet::handle_reached), and a
    /// failure to [`handle_dialed`](crate::proto::fleet::Fleet::handle_dialed).
    Dial(DialOrder),
    /// Say hello on an attempt that is reached; the answer goes to
    /// [`handle_dialed`](crate::proto::fleet::Fleet::handle_dialed). A group has one such attempt at a time.
    Greet {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Give an attempt up; its answer would change nothing.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Close a carrier in good order; its streams go on on others.
    CloseCarrier {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// Why, for the peer.
        code: CloseCode,
    },
    /// Move the streams of a carrier to others in good order, then close it. It may go on being used if there are no
    /// others.
    RetireCarrier {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// Why, for the peer.
        code: CloseCode,
    },
    /// Ask the dialer at the other end to replace a carrier within the deadline.
    RequestCarrier {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// Why, for the peer.
        code: CloseCode,
        /// How long the carrier is left.
        deadline: Duration,
    },
    /// Tell the peer that the session takes no new streams, and refuse them.
    DrainSession {
        /// The session.
        session: SessionNumber,
    },
    /// End a session: close its carriers with `code`, its streams with `end`.
    EndSession {
        /// The session.
        session: SessionNumber,
        /// Why, for its streams here.
        end: SessionEnd,
        /// Why, for the peer.
        code: CloseCode,
    },
    /// Tell the peer this end's cost of a session.
    SetCost {
        /// The session.
        session: SessionNumber,
        /// This end's cost.
        cost: Cost,
    },
    /// Hand in all keys that the peer of a session serves once more: what it may serve has changed.
    ReviewKeys {
        /// The session.
        session: SessionNumber,
    },
    /// Tell the peer of an edge plane's session that it is active, or on standby; on standby, refuse new streams.
    SetActive {
        /// The session.
        session: SessionNumber,
        /// Whether it is active.
        active: bool,
    },
    /// Pass this on to [`Paths::handle_change`](crate::proto::paths::Paths::handle_change), in order.
    Path(PathChange),
}

/// What to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialOrder {
    /// The attempt.
    pub(crate) attempt: AttemptId,
    /// The link, whose credentials and settings are used.
    pub(crate) link: LinkId,
    /// Its name, for the hello.
    pub(crate) name: LinkName,
    /// The group, for the hello.
    pub(crate) group: GroupName,
    /// This end's cost, for the hello.
    pub(crate) cost: Cost,
    /// The endpoint.
    pub(crate) target: Target,
    /// What the carrier is for.
    pub(crate) purpose: Purpose,
}

/// Why an accepted carrier is refused, as its close frame says it. Only that carrier is closed: a refused join leaves
/// its session alone, and there is none before a session has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) code: CloseCode,
    /// Why, for people.
    pub(crate) detail: Arc<str>,
    /// When the dialer may ask again.
    pub(crate) retry_after: Option<Duration>,
}

/// The default of [`FleetConfig::regroup_grace`]: the resume window's default, the time a peer is given for
/// everything else that it may not notice at once.
const REGROUP_GRACE: Duration = Duration::from_secs(30);
