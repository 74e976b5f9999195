//! The log: every event of the plane once more, for `tracing`, and the spans its tasks run in.
//!
//! ```text
//!  plane ─┬─ link ── group      a dial
//!         ├─ session ── carrier  a connection, dialed or accepted
//!         └─ access              a listening socket and its handshakes
//! ```
//!
//! All have the target `sitelink`. What comes and goes is at level info, what fails at warn and its all-clear at info,
//! the rest, and every span but the plane's, at debug. Nobody who listens costs a look at a flag. What an event may
//! hold, the log may: no secret, no metadata.

use std::net::SocketAddr;

use tracing::{Level, Span, debug, debug_span, enabled, info, info_span, warn};

use crate::event::{Event, EventKind, Peer};
use crate::id::{AccessId, CarrierNumber, GroupName, LinkId, LinkName, SessionNumber};
use crate::proto::dial::Target;
use crate::proto::facts::Local;

/// Whether anybody wants such an event.
pub(crate) fn wants(kind: &EventKind) -> bool {
    match level(kind) {
        Level::WARN => enabled!(target: TARGET, Level::WARN),
        Level::INFO => enabled!(target: TARGET, Level::INFO),
        _ => enabled!(target: TARGET, Level::DEBUG),
    }
}

/// Writes an event.
pub(crate) fn write(event: &Event) {
    let kind = &event.kind;
    let (seq, name) = (event.seq, kind.name());
    let link = link_of(kind).map(|link| link.0);
    let session = session_of(kind).map(|session| session.0);
    match level(kind) {
        Level::WARN => warn!(target: TARGET, seq, event = name, link, session, ?kind),
        Level::INFO => info!(target: TARGET, seq, event = name, link, session, ?kind),
        _ => debug!(target: TARGET, seq, event = name, link, session, ?kind),
    }
}

/// The span of a plane.
pub(crate) fn plane_span(local: &Local) -> Span {
    let Local { site_name, router, instance, .. } = local;
    info_span!(target: TARGET, parent: None, "plane", site = %site_name, %router, %instance)
}

/// The span of a dial.
pub(crate) fn group_span(link: LinkId, name: &LinkName, group: &GroupName, endpoint: &Target) -> Span {
    let link = debug_span!(target: TARGET, "link", link = link.0, %name);
    debug_span!(target: TARGET, parent: &link, "group", %group, %endpoint)
}

/// The span of a session.
pub(crate) fn session_span(session: SessionNumber, peer: &Peer) -> Span {
    let Peer { site_name, router, .. } = peer;
    debug_span!(target: TARGET, "session", session = session.0, site = %site_name, %router)
}

/// The span of a carrier.
pub(crate) fn carrier_span(session: &Span, carrier: CarrierNumber, remote: SocketAddr) -> Span {
    debug_span!(target: TARGET, parent: session, "carrier", carrier = carrier.0, %remote)
}

/// The span of an access.
pub(crate) fn access_span(plane: &Span, access: AccessId, address: SocketAddr) -> Span {
    debug_span!(target: TARGET, parent: plane, "access", access = access.0, %address)
}

fn level(kind: &EventKind) -> Level {
    match kind {
        EventKind::CarrierSuspect { .. }
        | EventKind::CredentialsExpired { .. }
        | EventKind::CredentialsExpiring { .. }
        | EventKind::CredentialsRefused { .. }
        | EventKind::DialFailed { .. }
        | EventKind::DocumentRefused { .. }
        | EventKind::DocumentWarning { .. }
        | EventKind::KeysRefused { .. }
        | EventKind::Lagged { .. }
        | EventKind::LinkRefused { .. }
        | EventKind::PeerRefused { .. }
        | EventKind::RevocationListStale { .. }
        | EventKind::RotationDelayed { .. } => Level::WARN,
        EventKind::AccessDown { .. }
        | EventKind::AccessUp { .. }
        | EventKind::CarrierDown { .. }
        | EventKind::CarrierTrusted { .. }
        | EventKind::CarrierUp { .. }
        | EventKind::CredentialsRevoked { .. }
        | EventKind::CredentialsRotated { .. }
        | EventKind::GroupDown { .. }
        | EventKind::GroupUp { .. }
        | EventKind::LinkConfigured { .. }
        | EventKind::LinkDraining { .. }
        | EventKind::LinkOperational { .. }
        | EventKind::LinkRemoved { .. }
        | EventKind::LinkResumed { .. }
        | EventKind::PathLost { .. }
        | EventKind::PathSelected { .. }
        | EventKind::RotationCompleted { .. }
        | EventKind::SessionDown { .. }
        | EventKind::SessionRecovering { .. }
        | EventKind::SessionResumed { .. }
        | EventKind::SessionStandby { .. }
        | EventKind::SessionUp { .. } => Level::INFO,
        _ => Level::DEBUG,
    }
}

fn link_of(kind: &EventKind) -> Option<LinkId> {
    match kind {
        EventKind::DialFailed { link, .. }
        | EventKind::DialOvertaken { link, .. }
        | EventKind::GroupDown { link, .. }
        | EventKind::GroupUp { link, .. }
        | EventKind::LinkChanged { link, .. }
        | EventKind::LinkConfigured { link, .. }
        | EventKind::LinkDraining { link, .. }
        | EventKind::LinkOperational { link, .. }
        | EventKind::LinkRemoved { link, .. }
        | EventKind::LinkResumed { link, .. } => Some(*link),
        EventKind::CredentialsRevoked { link, .. }
        | EventKind::CredentialsRotated { link, .. }
        | EventKind::LinkRefused { link, .. }
        | EventKind::RotationCompleted { link, .. }
        | EventKind::RotationDelayed { link, .. }
        | EventKind::SessionUp { link, .. } => *link,
        _ => None,
    }
}

fn session_of(kind: &EventKind) -> Option<SessionNumber> {
    match kind {
        EventKind::CarrierDown { session, .. }
        | EventKind::CarrierReplacing { session, .. }
        | EventKind::CarrierSuspect { session, .. }
        | EventKind::CarrierTrusted { session, .. }
        | EventKind::CarrierUp { session, .. }
        | EventKind::CostChanged { session, .. }
        | EventKind::GroupDown { session, .. }
        | EventKind::GroupUp { session, .. }
        | EventKind::KeysRefused { session, .. }
        | EventKind::PathSelected { session, .. }
        | EventKind::SessionDown { session, .. }
        | EventKind::SessionDraining { session, .. }
        | EventKind::SessionRecovering { session, .. }
        | EventKind::SessionResumed { session, .. }
        | EventKind::SessionStandby { session, .. }
        | EventKind::SessionUp { session, .. }
        | EventKind::StreamClosed { session, .. }
        | EventKind::StreamOpened { session, .. } => Some(*session),
        _ => None,
    }
}

/// The target of all: what a filter names.
const TARGET: &str = "sitelink";

#[cfg(test)]
mod tests;
