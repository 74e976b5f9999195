//! What is, at one moment: the plane's status as plain values.
//!
//! Times are microseconds since the Unix epoch, like those of events. `as_of` is the number of the last event
//! whose effect is in the snapshot, so that a subscriber knows which events to skip.

mod history;
mod path;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::history::{
    AccessHistory, CarrierEndView, EndView, EventCounts, FailureView, GroupHistory, OpenCounts, RefusedView,
    SessionHistory, Ups,
};
pub use self::path::{Because, CandidateView, MAX_CANDIDATES, MAX_PATHS, PathView, WhyNot};
pub use self::stream::{MAX_WAITING, STALLED, StallCause, StallView, StreamState, StreamView};
use crate::certificate::{LeafSummary, RevocationList};
use crate::error::DialError;
use crate::event::Peer;
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, Instance, LinkId, LinkName, LinkRole, Ordinal, RouterName,
    RouterRole, SessionId, SessionNumber, Side, SiteId, SiteName,
};
use crate::stats::{RoundTrip, Traffic};

/// Everything a plane knows of its links, sessions and accesses.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PlaneStatus {
    /// The `seq` of the last event whose effect is in here; 0 before the first.
    pub as_of: u64,
    /// When it was taken.
    pub at_micros: u64,
    /// Whose status it is.
    pub router: RouterView,
    /// The links, in order of their ids.
    pub links: Vec<LinkView>,
    /// The sessions, dialed and accepted, in order of their numbers.
    pub sessions: Vec<SessionView>,
    /// The link accesses, in order of their ids.
    pub accesses: Vec<AccessView>,
    /// The ways to each destination: sites first, then routing keys, by name; at most [`MAX_PATHS`].
    pub paths: Vec<PathView>,
    /// Destinations beyond those.
    pub paths_left_out: u64,
    /// What became of the streams that were opened here.
    pub opens: OpenCounts,
    /// Who listens to events.
    pub events: EventCounts,
}

/// Who a router is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouterView {
    /// Its site.
    pub site_id: SiteId,
    /// Its site, for people.
    pub site_name: SiteName,
    /// The router within the site.
    pub router: RouterName,
    /// This run of the router.
    pub instance: Instance,
    /// What it is in the network.
    pub role: RouterRole,
}

impl RouterView {
    pub(crate) fn new(
        site_id: SiteId,
        site_name: SiteName,
        router: RouterName,
        instance: Instance,
        role: RouterRole,
    ) -> Self {
        Self { site_id, site_name, router, instance, role }
    }
}

/// A link.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkView {
    /// Its id in this plane.
    pub link: LinkId,
    /// The name of its document.
    pub name: LinkName,
    /// The namespace of its document; empty if it names none.
    pub namespace: Arc<str>,
    /// The `metadata.generation` in force.
    pub generation: Option<i64>,
    /// Its cost, as this end has it.
    pub cost: Cost,
    /// Whether it can be dialed as it is written.
    pub configured: bool,
    /// Why not, if not.
    pub refusal: Option<Arc<str>>,
    /// Since when `configured` is what it is; another refusal is no change.
    pub configured_since_micros: u64,
    /// Whether a session of it has a live carrier, or had one less than a second ago.
    pub operational: bool,
    /// Since when `operational` is what it is; since the link is known to this plane before the first session.
    pub operational_since_micros: u64,
    /// Since when it is both configured and operational, or is not both.
    pub ready_since_micros: u64,
    /// Whether it was given up and its sessions drain.
    pub draining: bool,
    /// Whether it was drained as a whole: it rests, once its sessions have ended, until it is resumed.
    pub drained: bool,
    /// The newest failure to dial, if a group of it is not up.
    pub error: Option<DialError>,
    /// The earliest next attempt of its groups.
    pub next_attempt_micros: Option<u64>,
    /// Its groups, in order of the document.
    pub groups: Vec<GroupView>,
    /// What it has been through.
    pub history: Ups,
    /// What it dials with: the bundle as it was loaded, whatever the disk holds meanwhile.
    pub credentials: Option<Arc<CredentialsView>>,
    /// The rotation of those that is under way, if one is.
    pub rotation: Option<RotationView>,
}

impl LinkView {
    /// How many of its groups are up; of how many is the length of [`LinkView::groups`].
    #[must_use]
    pub fn groups_up(&self) -> usize {
        let up = |group: &&GroupView| matches!(group.state, GroupState::Up | GroupState::Suspect);
        self.groups.iter().filter(up).count()
    }

    /// What it is at, in one word. Before its first session or failure nothing is known of it, which is not the same
    /// as being down.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let up = self.groups_up();
        let tried = |group: &GroupView| group.session.is_some() || group.history.failures > 0;
        match () {
            () if !self.configured => Standing::Refused,
            () if self.draining => Standing::Draining,
            () if up > 0 && up == self.groups.len() => Standing::Up,
            () if up > 0 => Standing::Partial,
            () if self.history.ups == 0 && !self.groups.iter().any(tried) => Standing::Unknown,
            () => Standing::Down,
        }
    }
}

/// What a link is at, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Standing {
    /// It cannot be dialed as it is written.
    Refused,
    /// It has not been tried to the end yet.
    Unknown,
    /// No group is up, and that is known.
    Down,
    /// Some groups are up.
    Partial,
    /// All groups are up.
    Up,
    /// It was given up, and its sessions drain.
    Draining,
}

/// A group of a link.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// What it is at.
    pub state: GroupState,
    /// Since when.
    pub since_micros: u64,
    /// The endpoint being dialed, else the one last reached or tried; host and port.
    pub endpoint: Option<Arc<str>>,
    /// Its session, if it has one.
    pub session: Option<SessionNumber>,
    /// Whether that session is on standby, as all but one of an edge plane are.
    pub standby: bool,
    /// Whether it was drained, by itself or with its link: its session ends with its streams, and none begins until it is
    /// resumed.
    pub drained: bool,
    /// Attempts since it was last up.
    pub attempts: u64,
    /// The newest failure to dial since it was last up.
    pub error: Option<DialError>,
    /// When it is dialed next.
    pub next_attempt_micros: Option<u64>,
    /// What it has been through.
    pub history: GroupHistory,
}

/// What a group is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum GroupState {
    /// Nothing is to be done: the link cannot be used as it is written, or was given up, or the group is drained.
    Idle,
    /// It waits before the next attempt.
    Waiting,
    /// It waits because its router is already linked by another group of the link.
    Duplicate,
    /// It is dialed, to begin a session.
    Dialing,
    /// Its session has a trusted carrier.
    Up,
    /// Its session has carriers, all of them suspect; another is dialed.
    Suspect,
    /// Its session has no carrier; one is dialed.
    Recovering,
}

/// A session, dialed or accepted.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SessionView {
    /// Its number in this plane.
    pub session: SessionNumber,
    /// Its id, the same at both ends.
    pub id: SessionId,
    /// Which end this is.
    pub side: Side,
    /// The link, where this end dialed.
    pub link: Option<LinkId>,
    /// The access, where this end accepted.
    pub access: Option<AccessId>,
    /// The dialer's name of the link.
    pub name: LinkName,
    /// The group.
    pub group: GroupName,
    /// The router at the other end.
    pub peer: Peer,
    /// This end's cost.
    pub own_cost: Cost,
    /// The peer's cost.
    pub peer_cost: Cost,
    /// The cost in force: the larger of the two.
    pub cost: Cost,
    /// What it is at.
    pub state: SessionState,
    /// Since when it is at that.
    pub since_micros: u64,
    /// Whether this end is on standby: an edge plane's session that is not the active one.
    pub standby: bool,
    /// Whether the peer's end is on standby.
    pub peer_standby: bool,
    /// When this end closes it, if it drains it: earlier if its streams end earlier.
    pub draining_until_micros: Option<u64>,
    /// Whether the peer drains it.
    pub peer_draining: bool,
    /// When it began.
    pub begun_micros: u64,
    /// What went over it, ended carriers included.
    pub traffic: Traffic,
    /// Streams open now.
    pub streams: u64,
    /// Streams opened here since it began.
    pub streams_opened: u64,
    /// Streams that the peer opened.
    pub streams_opened_by_peer: u64,
    /// Of those, how many were refused here.
    pub streams_refused: u64,
    /// Streams that have moved nothing for [`STALLED`], though there was something to move.
    pub streams_stalled: u64,
    /// The streams that have waited longest, stalled or not; at most [`MAX_WAITING`].
    pub waiting: Vec<StreamView>,
    /// For how many of the destinations in [`PlaneStatus::paths`] the next stream would take it.
    pub chosen_for: u64,
    /// Bytes received that the application has not read.
    pub unread_bytes: u64,
    /// Bytes by which windows have grown beyond the minimum that every stream has: what is taken of the pool.
    pub window_bytes: u64,
    /// Routing keys that the peer serves and may not: they are ignored.
    pub refused_keys: u64,
    /// Its live carriers, in order of their numbers.
    pub carriers: Vec<CarrierView>,
    /// What it has been through.
    pub history: SessionHistory,
}

/// What a session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum SessionState {
    /// It has a trusted carrier.
    Up,
    /// All its carriers are suspect.
    Suspect,
    /// It has no carrier; its streams wait.
    Recovering,
    /// It takes no new streams.
    Draining,
    /// Its end is decided; its carriers are being closed.
    Ending,
}

/// A carrier of a session.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CarrierView {
    /// Its number in the session.
    pub carrier: CarrierNumber,
    /// This end's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// What it is at.
    pub state: CarrierState,
    /// Since when it is at that.
    pub since_micros: u64,
    /// Which rotation of this end's credentials its handshake used.
    pub ordinal: Ordinal,
    /// The same of the peer's, as the peer says.
    pub peer_ordinal: Ordinal,
    /// What is known of the way.
    pub round_trip: RoundTrip,
    /// What went over it.
    pub traffic: Traffic,
    /// How long ago the last byte came.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
    pub last_received_ago: Duration,
    /// Bytes sent that the peer has not acknowledged.
    pub unacknowledged_bytes: u64,
    /// What the peer showed on it; `None` of an anonymous peer.
    pub certificate: Option<Arc<LeafSummary>>,
}

/// Credentials in use, as they were loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CredentialsView {
    /// Their name.
    pub name: Arc<str>,
    /// Which rotation of them.
    pub ordinal: Ordinal,
    /// This end's leaf; `None` for a bundle that trusts and shows nothing.
    pub certificate: Option<Arc<LeafSummary>>,
    /// The revocation lists that peers are checked against.
    pub revocation_lists: Vec<RevocationList>,
}

impl CredentialsView {
    /// Puts together what a bundle says.
    pub(crate) fn new(
        name: Arc<str>,
        ordinal: Ordinal,
        certificate: Option<Arc<LeafSummary>>,
        revocation_lists: Vec<RevocationList>,
    ) -> Self {
        Self { name, ordinal, certificate, revocation_lists }
    }
}

/// A rotation of credentials under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RotationView {
    /// What it leads to.
    pub ordinal: Ordinal,
    /// When it began.
    pub since_micros: u64,
    /// How many carriers are left whose handshake used older credentials.
    pub carriers_left: usize,
}

impl RotationView {
    pub(crate) fn new(ordinal: Ordinal, since_micros: u64, carriers_left: usize) -> Self {
        Self { ordinal, since_micros, carriers_left }
    }
}

/// What a carrier is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum CarrierState {
    /// It carries.
    Up,
    /// It has not acknowledged for suspiciously long.
    Suspect,
    /// It carries until another is there that takes its place.
    Replacing,
    /// Another is there: its streams move off it, or it is being closed.
    Retiring,
}

/// A link access.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AccessView {
    /// Its id in this plane.
    pub access: AccessId,
    /// The bound address.
    pub address: SocketAddr,
    /// What kind of links it takes.
    pub role: LinkRole,
    /// Since when it listens.
    pub since_micros: u64,
    /// Sessions accepted by it that live.
    pub sessions: usize,
    /// Whom it has let in and whom not.
    pub history: AccessHistory,
    /// What it listens with: the bundle as it was loaded, whatever the disk holds meanwhile.
    pub credentials: Option<Arc<CredentialsView>>,
    /// The rotation of those that is under way, if one is.
    pub rotation: Option<RotationView>,
}
