//! What is, at one moment: the plane's status as plain values.
//!
//! Times are microseconds since the Unix epoch, like those of events. `as_of` is the number of the last event
//! whose effect is in the snapshot, so that a subscriber knows which events to skip.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::DialError;
use crate::event::Peer;
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, LinkId, LinkName, LinkRole, SessionId, SessionNumber, Side,
    SiteId,
};
use crate::stats::{RoundTrip, Traffic};

/// Everything a plane knows of its links, sessions and accesses.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PlaneStatus {
    /// The `seq` of the last event whose effect is in here; 0 before the first.
    pub as_of: u64,
    /// The links, in order of their ids.
    pub links: Vec<LinkView>,
    /// The sessions, dialed and accepted, in order of their numbers.
    pub sessions: Vec<SessionView>,
    /// The link accesses, in order of their ids.
    pub accesses: Vec<AccessView>,
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
    /// Since when the link is known to this plane.
    pub configured_since_micros: u64,
    /// Whether a session of it has a live carrier, or had one less than a second ago.
    pub operational: bool,
    /// Since when `operational` is what it is; the time of configuration before the first session.
    pub operational_since_micros: u64,
    /// Whether it was given up and its sessions drain.
    pub draining: bool,
    /// The newest failure to dial, if a group of it is not up.
    pub error: Option<DialError>,
    /// The earliest next attempt of its groups.
    pub next_attempt_micros: Option<u64>,
    /// Its groups, in order of the document.
    pub groups: Vec<GroupView>,
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
    /// Attempts since it was last up.
    pub attempts: u64,
    /// The newest failure to dial since it was last up.
    pub error: Option<DialError>,
    /// When it is dialed next.
    pub next_attempt_micros: Option<u64>,
}

/// What a group is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum GroupState {
    /// Nothing is to be done: the link cannot be used as it is written, or was given up.
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
    /// When it began.
    pub begun_micros: u64,
    /// What went over it, ended carriers included.
    pub traffic: Traffic,
    /// Streams open now.
    pub streams: u64,
    /// Bytes received that the application has not read.
    pub unread_bytes: u64,
    /// Bytes by which windows have grown beyond the minimum that every stream has: what is taken of the pool.
    pub window_bytes: u64,
    /// Its live carriers, in order of their numbers.
    pub carriers: Vec<CarrierView>,
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
    /// What is known of the way.
    pub round_trip: RoundTrip,
    /// What went over it.
    pub traffic: Traffic,
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
