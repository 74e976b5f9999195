//! What happens, as typed facts: the vocabulary of the event stream.
//!
//! An event holds ids, not handles, so that it can be logged, sent elsewhere or compared in a test. Facts come
//! in pairs: each `…Up` is followed by exactly one `…Down`. `seq` grows by one with each event of a plane, and
//! what concerns one link is in causal order. Time spans are
//! seconds where an event is serialized. Nothing secret and no stream metadata is ever in an event.

mod name;
mod subject;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::subject::{CertificateOwner, Destination, KeysRefusedReason, Peer, ReplaceCause};
use crate::error::{CarrierEnd, CredentialsError, DialError, PeerRefusal, Phase, SessionEnd, StreamError};
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, LinkId, LinkName, LinkRole, Ordinal, RoutingKey, SessionId,
    SessionNumber, Side, SiteId, StreamId,
};
use crate::stats::{RoundTrip, Traffic};

/// One fact, stamped.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Event {
    /// Counts the events of a plane from 1. It leaves numbers out for a subscriber that did not ask for streams while another
    /// one does; what is lost is told by [`EventKind::Lagged`] alone.
    pub seq: u64,
    /// When, in microseconds since the Unix epoch.
    pub at_micros: u64,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

impl Event {
    /// Stamps a fact.
    #[must_use]
    pub fn new(seq: u64, at_micros: u64, kind: EventKind) -> Self {
        Self { seq, at_micros, kind }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EventKind {
    /// A link access stopped listening.
    AccessDown {
        /// The access.
        access: AccessId,
    },
    /// A link access listens.
    AccessUp {
        /// The access.
        access: AccessId,
        /// The bound address; its port is the real one even when port 0 was asked for.
        address: SocketAddr,
        /// What kind of links it takes.
        role: LinkRole,
    },
    /// A carrier ended.
    CarrierDown {
        /// The session it was of.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// Why.
        end: CarrierEnd,
        /// How long before that the last byte had come.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        last_received_ago: Duration,
        /// What went over it.
        traffic: Traffic,
        /// What was known of the way.
        round_trip: RoundTrip,
    },
    /// A carrier that works is to be replaced: another one takes its streams, then it goes down. When no other can be
    /// had it stays, unless the cause is that it has expired.
    CarrierReplacing {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// Why.
        cause: ReplaceCause,
        /// How long it may take.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        within: Duration,
    },
    /// A carrier has not acknowledged for suspiciously long.
    CarrierSuspect {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// How long ago the last byte came.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        last_received_ago: Duration,
        /// What is known of the way.
        round_trip: RoundTrip,
    },
    /// A carrier that was suspect gave a sign of life.
    CarrierTrusted {
        /// The session.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
    },
    /// A carrier is up: TLS is done and the peer's hello has arrived.
    CarrierUp {
        /// The session it is of.
        session: SessionNumber,
        /// The carrier.
        carrier: CarrierNumber,
        /// This end's address.
        local: SocketAddr,
        /// The peer's address.
        remote: SocketAddr,
        /// The serial number of the peer's certificate in hex; `None` of an anonymous peer.
        serial: Option<Arc<str>>,
        /// End of its validity, Unix seconds.
        not_after: Option<i64>,
    },
    /// The cost in force of a session changed.
    CostChanged {
        /// The session.
        session: SessionNumber,
        /// The larger of both ends'.
        cost: Cost,
    },
    /// A certificate has expired. One of this end is refused in new handshakes from now on, and peers replace the carriers on
    /// which it was shown. Of a peer's, [`EventKind::CarrierReplacing`] follows here; a carrier in whose place no other can be
    /// had is closed 30 s later.
    CredentialsExpired {
        /// Whose it is.
        owner: CertificateOwner,
        /// Whom it names.
        subject: Arc<str>,
        /// Its serial number in hex.
        serial: Arc<str>,
        /// End of its validity, Unix seconds.
        not_after: i64,
    },
    /// A certificate in use expires soon: told 30 days, 7 days, 1 day and 1 hour before; what is later than one of
    /// them when it is first seen, at once.
    CredentialsExpiring {
        /// Whose it is.
        owner: CertificateOwner,
        /// Whom it names.
        subject: Arc<str>,
        /// Its serial number in hex.
        serial: Arc<str>,
        /// End of its validity, Unix seconds.
        not_after: i64,
        /// How long until then.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        left: Duration,
    },
    /// Credentials were taken into use.
    CredentialsLoaded {
        /// Their name.
        name: Arc<str>,
        /// Which rotation of them.
        ordinal: Ordinal,
        /// The leaf's serial number in hex, if there is a leaf.
        serial: Option<Arc<str>>,
        /// End of the leaf's validity, Unix seconds.
        not_after: Option<i64>,
    },
    /// Credentials were refused; what was in force stays.
    CredentialsRefused {
        /// Their name.
        name: Arc<str>,
        /// Why.
        error: CredentialsError,
    },
    /// Carriers whose handshake used credentials that are revoked were closed, and their streams go on on others.
    CredentialsRevoked {
        /// The link, where this end dials.
        link: Option<LinkId>,
        /// The access, where this end accepts.
        access: Option<AccessId>,
        /// Those of rotations before this one are revoked.
        older_than: Ordinal,
        /// How many carriers were closed.
        carriers: usize,
    },
    /// An end took another bundle: its new handshakes use it from now on, its live carriers are replaced.
    /// [`EventKind::RotationCompleted`] follows, of this rotation or of a later one.
    CredentialsRotated {
        /// The link, where this end dials.
        link: Option<LinkId>,
        /// The access, where this end accepts.
        access: Option<AccessId>,
        /// Their name.
        name: Arc<str>,
        /// Which rotation of this end's it is, as its hellos say.
        ordinal: Ordinal,
        /// The new leaf's serial number in hex, if there is a leaf.
        serial: Option<Arc<str>>,
        /// End of the new leaf's validity, Unix seconds.
        not_after: Option<i64>,
    },
    /// An attempt to dial failed.
    DialFailed {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The group dialed.
        group: GroupName,
        /// Host and port, as the document has them.
        endpoint: Arc<str>,
        /// Counts the attempts of the group since it was last up, from 1.
        attempt: u64,
        /// Where it ended.
        phase: Phase,
        /// Why.
        error: DialError,
        /// When the next attempt starts; zero while another endpoint of the group is tried.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        next_attempt_in: Duration,
    },
    /// An attempt to dial was given up because one at another endpoint of the group has won. It had not failed: it was
    /// not answered yet, or waited for its turn to greet. Told before what the winner makes of the group.
    DialOvertaken {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The group dialed.
        group: GroupName,
        /// Host and port that were given up, as the document has them.
        endpoint: Arc<str>,
        /// Counts the attempts of the group since it was last up, from 1.
        attempt: u64,
        /// Whether it had got through TLS; if not, that endpoint has not been heard to work.
        reached: bool,
        /// Host and port that won, as the document has them.
        by: Arc<str>,
        /// How long it had been tried.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        after: Duration,
    },
    /// A followed document, or a part of one, was not taken; what was in force stays. Of a Link by name there is
    /// [`EventKind::LinkRefused`] instead.
    DocumentRefused {
        /// The file.
        source: Arc<str>,
        /// The document, the field and what is wrong; nothing out of a Secret.
        message: Arc<str>,
    },
    /// A followed document was taken but deserves a look, or was skipped as none of ours.
    DocumentWarning {
        /// The file.
        source: Arc<str>,
        /// The document, the field and what is odd.
        message: Arc<str>,
    },
    /// A group has no live session any more.
    GroupDown {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupName,
        /// Its session.
        session: SessionNumber,
    },
    /// A group's session is up.
    GroupUp {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupName,
        /// Its session.
        session: SessionNumber,
        /// The router reached.
        peer: Peer,
    },
    /// The peer serves routing keys that it may not serve: they are ignored, all else goes on. Told once of each key,
    /// until the peer withdraws it or it is allowed.
    KeysRefused {
        /// The session.
        session: SessionNumber,
        /// Some of the keys, at most eight.
        keys: Vec<RoutingKey>,
        /// How many there are.
        count: u64,
        /// Why.
        reason: KeysRefusedReason,
    },
    /// The subscriber was too slow: that many events before this one are lost to it.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// A link was changed while running.
    LinkChanged {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The `metadata.generation` now in force.
        generation: Option<i64>,
        /// What the smallest change was: `cost`, `credentials`, `endpoints`, `settings`, `proxy`,
        /// `noClientAuth`. Settings are used from the next dial on; for credentials and the proxy carriers are replaced, for
        /// the last sessions drain and begin anew.
        changes: Vec<Arc<str>>,
    },
    /// A link was taken on, or one that could not be dialed as it was written can be now.
    LinkConfigured {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The namespace of its document; empty if it names none.
        namespace: Arc<str>,
        /// The `metadata.generation` of its document.
        generation: Option<i64>,
        /// The groups that will be dialed.
        groups: Vec<GroupName>,
        /// Its cost.
        cost: Cost,
    },
    /// A link, or a group of it, is drained: its sessions take no new streams and end with the others, and none begins
    /// until [`EventKind::LinkResumed`].
    LinkDraining {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The group; `None` if it is all of them.
        group: Option<GroupName>,
        /// How long streams are let go on.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        within: Duration,
    },
    /// How many groups of a link are up has changed, or of how many; `operational` may be what it was.
    LinkOperational {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// Whether at least one group is up.
        operational: bool,
        /// How many groups are up.
        groups_up: usize,
        /// Of how many.
        groups: usize,
    },
    /// A link cannot be kept as it is written.
    LinkRefused {
        /// The link, if it was taken on at all.
        link: Option<LinkId>,
        /// Its name.
        name: LinkName,
        /// Why.
        message: Arc<str>,
    },
    /// A link was given up.
    LinkRemoved {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
    },
    /// A drained link, or a group of one, is kept again.
    LinkResumed {
        /// The link.
        link: LinkId,
        /// Its name.
        name: LinkName,
        /// The group; `None` if it is all of them.
        group: Option<GroupName>,
    },
    /// No path is left to a destination.
    PathLost {
        /// The destination.
        destination: Destination,
    },
    /// The first choice for a destination changed.
    PathSelected {
        /// The destination.
        destination: Destination,
        /// The session new streams go to while it is the least loaded.
        session: SessionNumber,
        /// The site it leads to.
        site: SiteId,
        /// Its cost.
        cost: Cost,
    },
    /// An access refused a peer.
    PeerRefused {
        /// The access.
        access: AccessId,
        /// Where the peer called from.
        address: SocketAddr,
        /// How far it had come.
        phase: Phase,
        /// Why.
        refusal: PeerRefusal,
    },
    /// The successor of a revocation list is overdue. The list is still used.
    RevocationListStale {
        /// Whose bundle it is in.
        owner: CertificateOwner,
        /// Who issued it.
        issuer: Arc<str>,
        /// When the successor was to be there, Unix seconds.
        next_update: i64,
    },
    /// A rotation is complete: no carrier is left whose handshake used older credentials of this end. Told once after
    /// [`EventKind::CredentialsRotated`], at once if there was none to replace; of rotations that follow one another
    /// before they are complete, for the last.
    RotationCompleted {
        /// The link, where this end dials.
        link: Option<LinkId>,
        /// The access, where this end accepts.
        access: Option<AccessId>,
        /// Which rotation.
        ordinal: Ordinal,
        /// How long it took.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        after: Duration,
    },
    /// A rotation is not complete after the time it should take: no carrier of the new credentials could be had in the
    /// place of some. Those stay in force. Told again each time as much time has passed.
    RotationDelayed {
        /// The link, where this end dials.
        link: Option<LinkId>,
        /// The access, where this end accepts.
        access: Option<AccessId>,
        /// Which rotation.
        ordinal: Ordinal,
        /// How many carriers are left of older credentials.
        carriers: usize,
    },
    /// A session ended for good, and its streams with it.
    SessionDown {
        /// The session.
        session: SessionNumber,
        /// Why.
        end: SessionEnd,
        /// What went over it.
        traffic: Traffic,
    },
    /// A session takes no new streams.
    SessionDraining {
        /// The session.
        session: SessionNumber,
        /// Which end asked for it.
        by_peer: bool,
    },
    /// A session has no carrier; its streams wait.
    SessionRecovering {
        /// The session.
        session: SessionNumber,
        /// How long it waits.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        resume_window: Duration,
    },
    /// A session has a carrier again; its streams go on.
    SessionResumed {
        /// The session.
        session: SessionNumber,
        /// How long it had none.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        after: Duration,
        /// How many bytes were sent again.
        resent_bytes: u64,
    },
    /// An end of a session is on standby, or is not any more: no new streams take it. Only edge planes have their
    /// sessions on standby, all but one.
    SessionStandby {
        /// The session.
        session: SessionNumber,
        /// Whether it is.
        standby: bool,
        /// Which end.
        by_peer: bool,
    },
    /// A session began.
    SessionUp {
        /// The session.
        session: SessionNumber,
        /// Its id, the same at both ends.
        id: SessionId,
        /// Which end this is.
        side: Side,
        /// The link, where this end dialed.
        link: Option<LinkId>,
        /// The access, where this end accepted.
        access: Option<AccessId>,
        /// The dialer's name of the link.
        name: LinkName,
        /// The group.
        group: GroupName,
        /// The peer.
        peer: Peer,
        /// The cost in force.
        cost: Cost,
    },
    /// A stream ended. Only for subscribers that asked.
    StreamClosed {
        /// The session.
        session: SessionNumber,
        /// The stream.
        stream: StreamId,
        /// What went over it.
        traffic: Traffic,
        /// Why, if it did not end in good order both ways.
        error: Option<StreamError>,
    },
    /// A stream was opened and accepted; one that is refused is told of by nobody but the open itself. Only for
    /// subscribers that asked.
    StreamOpened {
        /// The session.
        session: SessionNumber,
        /// The stream.
        stream: StreamId,
        /// Where it goes.
        destination: Destination,
        /// Whether the peer opened it.
        by_peer: bool,
    },
}
