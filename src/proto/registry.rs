//! Who is who: which peer may begin a session here, and which may join one.
//!
//! Principals are compared among accepted sessions only: a router shows one certificate where it dials and another
//! where it listens, so the same router is another principal on a session that this end dialed.
//!
//! An anonymous peer claims nothing: it is let in only under a site id that no live session has, it displaces
//! nobody, and a peer with a certificate that is linked to later under that site id takes the site from it.

use std::time::Duration;

use crate::config::Carriers;
use crate::error::SessionEnd;
use crate::event::Peer;
use crate::id::{Principal, SessionId, SessionNumber, SiteId};
use crate::proto::facts::{Arrival, FleetConfig, Refusal};
use crate::proto::roster::{Member, Origin, Roster};
use crate::proto::trust::{Door, Trust, shown};
use crate::wire::code::CloseCode;
use crate::wire::hello::{Hello, SessionClaim, SessionSecret};

/// What the rules say of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// A session begins, after these have been ended.
    Begin {
        /// Sessions that the new one takes the place of.
        displaced: Vec<Displaced>,
    },
    /// It joins that session.
    Join {
        /// The session.
        session: SessionNumber,
    },
    /// It is refused.
    Refuse(Refusal),
}

/// A session that has to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Displaced {
    pub(crate) session: SessionNumber,
    pub(crate) end: SessionEnd,
    pub(crate) code: CloseCode,
}

/// Judges an arrival. `proof_ok` is asked at most once, and only for the session claimed.
pub(crate) fn judge(
    config: &FleetConfig,
    roster: &Roster,
    trust: &Trust,
    arrival: &Arrival,
    proof_ok: impl FnOnce(&SessionSecret) -> bool,
) -> Ruling {
    let verdict = match &arrival.hello.session {
        SessionClaim::New => begin(config, roster, trust, arrival),
        SessionClaim::Join { session, .. } => join(roster, trust, arrival, *session, proof_ok),
        SessionClaim::Begun { .. } | SessionClaim::Joined { .. } => {
            Err(refusal(CloseCode::BAD_HELLO, "an acceptor's hello from a dialer"))
        }
    };
    verdict.unwrap_or_else(Ruling::Refuse)
}

fn begin(config: &FleetConfig, roster: &Roster, trust: &Trust, arrival: &Arrival) -> Result<Ruling, Refusal> {
    let door = Door::Access(arrival.access);
    let shown = shown(&arrival.principal, arrival.certificate.as_ref());
    let hello = &*arrival.hello;
    let refuse = |code, detail| Err(refusal(code, detail));
    let local = &config.local;
    if !trust.admits(door, shown) {
        return refuse(CloseCode::NOT_AUTHORIZED, NOT_LISTED);
    }
    if hello.instance == local.instance {
        return refuse(CloseCode::SELF_LINK, "this very router");
    }
    if hello.role != arrival.role {
        return refuse(CloseCode::ROLE_REFUSED, OTHER_ROLE);
    }
    if hello.site_id == local.site_id && hello.router == local.router {
        return refuse(CloseCode::SITE_ID_CONFLICT, "the acceptor's own site and router");
    }
    let anonymous = arrival.principal == Principal::Anonymous;
    let is_live = |member: &Member| !member.ending && member.peer.site_id == hello.site_id;
    let claims_live_site = hello.site_id == local.site_id
        || roster.members().any(|member| is_live(member) && !is_left_by(member, hello));
    if anonymous && claims_live_site {
        return refuse(CloseCode::SITE_ID_CONFLICT, "an anonymous peer may not claim a live site");
    }
    let mut displaced = Vec::new();
    if !anonymous {
        let left = |session| roster.member(session).is_some_and(|member| is_left_by(member, hello));
        displaced.extend(squatters(roster, &hello.site_id).into_iter().filter(|old| !left(old.session)));
    }
    let named = |member: &&Member| member.peer.principal != Principal::Anonymous;
    for member in roster.accepted().filter(named).filter(|member| is_router(&member.peer, hello)) {
        let same_peer = trust.is_same(&[door, member.door()], member.shown(), shown);
        match displaced_by(member, hello, same_peer) {
            Ok(end) => displaced.extend(end),
            Err(code) => return refuse(code, "the site and router are live under another principal"),
        }
    }
    if roster.accepted().count() - displaced.len() >= config.accepted_sessions {
        let busy = refusal(CloseCode::BUSY, "too many sessions");
        return Err(Refusal { retry_after: Some(BUSY_RETRY_AFTER), ..busy });
    }
    Ok(Ruling::Begin { displaced })
}

fn join(
    roster: &Roster,
    trust: &Trust,
    arrival: &Arrival,
    id: SessionId,
    proof_ok: impl FnOnce(&SessionSecret) -> bool,
) -> Result<Ruling, Refusal> {
    let refuse = |code, detail| Err(refusal(code, detail));
    let claimed = roster.accepted().find_map(|member| match &member.origin {
        Origin::Accepted { secret, .. } if member.id == id => Some((member, secret)),
        _ => None,
    });
    let Some((member, secret)) = claimed else {
        return refuse(CloseCode::SESSION_GONE, "no such session here");
    };
    // The session may have begun at another access: both have their say.
    let doors = [member.door(), Door::Access(arrival.access)];
    let shown = shown(&arrival.principal, arrival.certificate.as_ref());
    if !doors.iter().all(|door| trust.admits(*door, shown)) {
        return refuse(CloseCode::NOT_AUTHORIZED, NOT_LISTED);
    }
    if arrival.hello.role != arrival.role {
        return refuse(CloseCode::ROLE_REFUSED, OTHER_ROLE);
    }
    // Whose session it is its own access says.
    if !trust.is_same(&doors[..1], member.shown(), shown) {
        return refuse(CloseCode::OTHER_PRINCIPAL, "the session began with another certificate");
    }
    if member.peer.instance != arrival.hello.instance {
        return refuse(CloseCode::OTHER_INSTANCE, "the session is another instance's");
    }
    if !proof_ok(secret) {
        return refuse(CloseCode::BAD_PROOF, "not proven for this connection");
    }
    let dead = &arrival.hello.dead;
    let living = member.carriers.keys().filter(|number| dead.iter().all(|listed| listed.number != **number));
    if living.count() >= MAX_CARRIERS {
        let busy = refusal(CloseCode::BUSY, "too many carriers");
        return Err(Refusal { retry_after: Some(BUSY_RETRY_AFTER), ..busy });
    }
    Ok(Ruling::Join { session: member.number })
}

/// The sessions of anonymous peers under a site id that a peer with a certificate claims. Whatever router they call
/// themselves: streams to the site would go to them as well.
pub(crate) fn squatters(roster: &Roster, site: &SiteId) -> Vec<Displaced> {
    let is_one =
        |member: &&Member| member.peer.principal == Principal::Anonymous && member.peer.site_id == *site;
    let code = CloseCode::SITE_ID_CONFLICT;
    let displaced =
        |member: &Member| Displaced { session: member.number, end: SessionEnd::Closed(code), code };
    roster.accepted().filter(is_one).map(displaced).collect()
}

/// Whether a live session of the (site, router) has to make room for a new one, stays beside it, or forbids it.
fn displaced_by(member: &Member, hello: &Hello, same_peer: bool) -> Result<Option<Displaced>, CloseCode> {
    let session = member.number;
    if !same_peer {
        return if is_left_by(member, hello) { Ok(None) } else { Err(CloseCode::SITE_ID_CONFLICT) };
    }
    let code = CloseCode::REPLACED;
    if member.peer.instance != hello.instance {
        let end = SessionEnd::Replaced { instance: hello.instance };
        return Ok(Some(Displaced { session, end, code }));
    }
    // The dialer has lost the older one and knows it, or it would have joined. One that it drains is another matter:
    // its streams are coming to their end beside the successor.
    let same_link = member.name == hello.link && member.group == hello.group && !member.peer_draining;
    Ok(same_link.then_some(Displaced { session, end: SessionEnd::Closed(code), code }))
}

/// Whether an accepted session is one that its dialer drains, and the hello is of that very run of that router, under
/// whatever principal: it has other credentials now, for which the session takes no carrier, and begins a successor beside
/// it. Nobody is displaced, and who takes the name so would have it when the session is over.
fn is_left_by(member: &Member, hello: &Hello) -> bool {
    let accepted = matches!(member.origin, Origin::Accepted { .. });
    accepted
        && member.peer_draining
        && member.peer.instance == hello.instance
        && is_router(&member.peer, hello)
}

fn is_router(peer: &Peer, hello: &Hello) -> bool {
    peer.site_id == hello.site_id && peer.router == hello.router
}

fn refusal(code: CloseCode, detail: &str) -> Refusal {
    Refusal { code, detail: detail.into(), retry_after: None }
}

/// What a peer is told whose role is another access's.
const OTHER_ROLE: &str = "links of another role are taken here";

/// What a peer is told that no policy names.
const NOT_LISTED: &str = "not among those who may link here";

/// An accepted session runs over at most 16 carriers: twice what a dialer may be set to keep, so that each of them can be
/// replaced before it is given up, and one that this end holds alive while the dialer does not is in nobody's way.
const MAX_CARRIERS: usize = 2 * Carriers::MAX.0;

/// When a dialer sent away for want of room may ask again: the largest wait of the default backoff, so that a full
/// access is asked no more often than one that is down.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
