//! What becomes of sessions: those that dialers begin here, and what every session tells.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{CarrierEnd, DialError, PeerRefusal, Phase, SessionEnd, Violation};
use crate::event::{EventKind, Peer, ReplaceCause};
use crate::id::{CarrierNumber, Cost, RouterName, SessionNumber, SiteId};
use crate::proto::carrier::{Made, Stay};
use crate::proto::dial::AttemptId;
use crate::proto::facts::{Admission, Arrival, DialedFacts, FleetAction, Refusal, SessionFact, Verdict};
use crate::proto::fleet::Fleet;
use crate::proto::group::Group;
use crate::proto::hold::Loss;
use crate::proto::orders::Orders;
use crate::proto::paths::PathChange;
use crate::proto::registry::{self, Ruling};
use crate::proto::roster::{Beginning, Member, Origin};
use crate::proto::trust::shown;
use crate::stats::{RoundTrip, Traffic};
use crate::wire::code::CloseCode;
use crate::wire::hello::{SessionClaim, SessionSecret};

impl Fleet {
    /// A dialer's hello has arrived. `proof_ok` says whether its joining proof holds for the secret of the session
    /// it claims; it is asked at most once.
    pub(crate) fn handle_arrival(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        proof_ok: impl FnOnce(&SessionSecret) -> bool,
    ) -> Admission {
        // A session that drains may still need a carrier; nobody new is let in.
        if self.closing.is_some() && arrival.hello.session == SessionClaim::New {
            let detail = "this router shuts down".into();
            return self.refuse(arrival, Refusal { code: CloseCode::SHUTDOWN, detail, retry_after: None });
        }
        if self.accesses.get(&arrival.access).is_some_and(|access| arrival.ordinal < access.ordinal) {
            // Or a rotation that is complete would not be.
            let detail = "the credentials were rotated during the handshake".into();
            return self.refuse(arrival, Refusal { code: CloseCode::REPLACED, detail, retry_after: None });
        }
        match registry::judge(&self.config, &self.roster, &self.trust, arrival, proof_ok) {
            Ruling::Refuse(refusal) => self.refuse(arrival, refusal),
            Ruling::Join { session } => {
                let carrier = arrival.hello.carrier;
                let member = self.roster.member_mut(session);
                let taken = member.is_some_and(|member| member.join(now, carrier, Made::accepted(arrival)));
                if !taken {
                    let code = CloseCode::BAD_HELLO;
                    let detail = "carrier number not above those before".into();
                    return self.refuse(arrival, Refusal { code, detail, retry_after: None });
                }
                self.announce_carrier(session, carrier);
                self.refresh(now, session);
                Admission::Join { session }
            }
            Ruling::Begin { displaced } => {
                for old in displaced {
                    self.end_session(now, old.session, old.end, old.code);
                }
                Admission::Begin { session: self.accept(now, arrival) }
            }
        }
    }

    /// A session has something to tell. A fact of a session or carrier that is not known changes nothing.
    pub(crate) fn handle_session(&mut self, now: Instant, session: SessionNumber, fact: SessionFact) {
        self.session_told(now, session, fact);
        self.settle(now);
    }

    fn session_told(&mut self, now: Instant, session: SessionNumber, fact: SessionFact) {
        let Some(member) = self.roster.member_mut(session) else {
            return;
        };
        match fact {
            SessionFact::CarrierDown { carrier, end, last_received_ago, traffic, round_trip } => {
                let Some(lost) = member.carriers.remove(&carrier) else { return };
                let event =
                    EventKind::CarrierDown { session, carrier, end, last_received_ago, traffic, round_trip };
                self.events.push_back(event);
                let loss = Loss {
                    lived: now.saturating_duration_since(lost.up),
                    planned: matches!(lost.stay, Stay::Retiring { .. } | Stay::Closing),
                    trusted_left: member.trusted(),
                };
                self.on_group(now, session, |group, orders| group.handle_carrier_lost(now, loss, orders));
            }
            SessionFact::CarrierSuspect { carrier, last_received_ago, round_trip } => {
                let Some(known) = member.carriers.get_mut(&carrier).filter(|known| !known.suspect) else {
                    return;
                };
                (known.suspect, known.since) = (true, now);
                self.events.push_back(EventKind::CarrierSuspect {
                    session,
                    carrier,
                    last_received_ago,
                    round_trip,
                });
            }
            SessionFact::CarrierTrusted { carrier } => {
                let Some(known) = member.carriers.get_mut(&carrier).filter(|known| known.suspect) else {
                    return;
                };
                (known.suspect, known.since) = (false, now);
                self.events.push_back(EventKind::CarrierTrusted { session, carrier });
            }
            SessionFact::CarrierRequested { carrier, code, deadline } => {
                self.replace(now, session, carrier, deadline, ReplaceCause::Asked(code));
            }
            SessionFact::Recovering => self.recovering(now, session),
            SessionFact::Resumed { resent_bytes } => self.resumed(now, session, resent_bytes),
            SessionFact::PeerCost(cost) => self.alter_cost(session, |member| &mut member.peer_cost, cost),
            SessionFact::PeerActive(active) => {
                let standby = !active;
                if std::mem::replace(&mut member.peer_standby, standby) != standby && !member.ending {
                    self.events.push_back(EventKind::SessionStandby { session, standby, by_peer: true });
                }
            }
            SessionFact::PeerDraining => {
                if !std::mem::replace(&mut member.peer_draining, true) && !member.ending {
                    self.events.push_back(EventKind::SessionDraining { session, by_peer: true });
                    self.path(PathChange::Draining { session });
                }
            }
            SessionFact::Drained => {
                if let Some((_, code)) = member.drain {
                    // A router that leaves says so, however early its streams were over.
                    let code = if code == CloseCode::SHUTDOWN { code } else { CloseCode::DRAINED };
                    self.end_session(now, session, SessionEnd::Closed(code), code);
                }
            }
            SessionFact::Ended { end, traffic } => return self.ended(now, session, end, traffic),
        }
        self.refresh(now, session);
    }

    /// Ends one session, for its operator. A dialed one is begun anew after the usual wait.
    pub(crate) fn handle_disconnect(&mut self, now: Instant, session: SessionNumber) {
        let code = CloseCode::DISCONNECTED;
        self.end_session(now, session, SessionEnd::Closed(code), code);
        self.settle(now);
    }

    /// Ends all sessions with a router, or with all routers of a site; returns how many.
    pub(crate) fn handle_disconnect_peer(
        &mut self,
        now: Instant,
        site: &SiteId,
        router: Option<&RouterName>,
    ) -> usize {
        let of_peer = |member: &&Member| {
            let Peer { site_id, router: name, .. } = &member.peer;
            !member.ending && site_id == site && router.is_none_or(|wanted| wanted == name)
        };
        let sessions: Vec<_> = self.roster.members().filter(of_peer).map(|member| member.number).collect();
        sessions.iter().for_each(|session| self.handle_disconnect(now, *session));
        sessions.len()
    }

    /// An attempt to join has reached a router that greets.
    pub(super) fn dialed_join(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        session: SessionNumber,
        (facts, made): (&DialedFacts, Made),
    ) -> Result<Verdict, (DialError, CloseCode)> {
        let bad = (DialError::Violation(Violation::BadHello), CloseCode::BAD_HELLO);
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else {
            return Ok(super::stale(facts));
        };
        let (expected, found) = (member.peer.instance, facts.hello.instance);
        if expected != found {
            return Err((DialError::OtherInstance { expected, found }, CloseCode::OTHER_INSTANCE));
        }
        let door = member.door();
        let stranger =
            !self.trust.is_same(&[door], member.shown(), shown(&facts.principal, facts.certificate.as_ref()));
        self.admits_dialed(door, facts)?;
        let Some(member) = self.roster.member_mut(session) else { return Ok(super::stale(facts)) };
        let joined = SessionClaim::Joined { session: member.id };
        let carrier = facts.hello.carrier;
        let (peer, hello) = (&member.peer, &facts.hello);
        if peer.site_id != hello.site_id || peer.router != hello.router {
            return Err((bad.0, CloseCode::OTHER_PRINCIPAL));
        }
        if stranger {
            let (expected, found) = (peer.principal.clone(), facts.principal.clone());
            return Err((DialError::OtherPrincipal { expected, found }, CloseCode::OTHER_PRINCIPAL));
        }
        if facts.hello.session != joined || !member.join(now, carrier, made) {
            return Err(bad);
        }
        self.announce_carrier(session, carrier);
        self.on_group(now, session, |group, orders| group.handle_joined(now, attempt, orders));
        self.refresh(now, session);
        Ok(Verdict::Join { session })
    }

    /// Asks a session to take no new streams and to be over by `until`.
    pub(super) fn drain(&mut self, now: Instant, session: SessionNumber, until: Instant, code: CloseCode) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else {
            return;
        };
        match &mut member.drain {
            Some((before, _)) => *before = until.min(*before),
            none => {
                *none = Some((until, code));
                self.actions.push_back(FleetAction::DrainSession { session });
                self.events.push_back(EventKind::SessionDraining { session, by_peer: false });
                self.path(PathChange::Draining { session });
            }
        }
        if until <= now {
            self.end_session(now, session, SessionEnd::Closed(code), code);
        } else {
            self.refresh(now, session);
        }
    }

    /// Decides the end of a session. Its group goes on without it at once; the rest follows when the session has
    /// reported its end.
    pub(super) fn end_session(
        &mut self,
        now: Instant,
        session: SessionNumber,
        end: SessionEnd,
        code: CloseCode,
    ) {
        self.orphan(now, session, end, code);
        self.on_group(now, session, |group, orders| group.handle_ended(now, orders));
        self.refresh(now, session);
    }

    /// Ends a session that no group holds any more, or none ever did.
    pub(super) fn orphan(&mut self, now: Instant, session: SessionNumber, end: SessionEnd, code: CloseCode) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else {
            return;
        };
        member.ending = true;
        member.settle(now);
        self.actions.push_back(FleetAction::EndSession { session, end, code });
        self.path(PathChange::Down { session });
    }

    /// This end's cost of a session has changed.
    pub(super) fn set_own_cost(&mut self, session: SessionNumber, cost: Cost) {
        if self.roster.member(session).is_some_and(|member| !member.ending && member.own_cost != cost) {
            self.actions.push_back(FleetAction::SetCost { session, cost });
            self.alter_cost(session, |member| &mut member.own_cost, cost);
        }
    }

    /// A session has begun, with one carrier.
    pub(super) fn announce_begun(&mut self, session: SessionNumber, carrier: CarrierNumber) {
        let Some(member) = self.roster.member(session) else {
            return;
        };
        let candidate = member.candidate();
        self.events.push_back(member.up_event());
        self.path(PathChange::Up { session, candidate });
        self.announce_carrier(session, carrier);
    }

    fn accept(&mut self, now: Instant, arrival: &Arrival) -> SessionNumber {
        let hello = &*arrival.hello;
        let member = self.roster.insert(
            now,
            Beginning {
                id: arrival.fresh_id,
                origin: Origin::Accepted { access: arrival.access, secret: arrival.fresh_secret.clone() },
                name: hello.link.clone(),
                group: hello.group.clone(),
                hello,
                principal: arrival.principal.clone(),
                own_cost: arrival.cost,
                resume_window: self.config.resume_window,
                standby: false,
            },
        );
        let session = member.number;
        member.join(now, hello.carrier, Made::accepted(arrival));
        self.announce_begun(session, hello.carrier);
        if let Some(cost) = self.accesses.get(&arrival.access).and_then(|access| access.cost) {
            // It may have been changed while the dialer was let in.
            self.set_own_cost(session, cost);
        }
        session
    }

    fn refuse(&mut self, arrival: &Arrival, refusal: Refusal) -> Admission {
        let why = match refusal.code {
            CloseCode::SITE_ID_CONFLICT => {
                PeerRefusal::SiteIdConflict { site: arrival.hello.site_id.clone() }
            }
            CloseCode::NOT_AUTHORIZED => PeerRefusal::NotAllowed {
                principal: arrival.principal.clone(),
                key: arrival.certificate.as_ref().map(|leaf| leaf.key),
            },
            code => PeerRefusal::Hello(code),
        };
        let (access, address) = (arrival.access, arrival.remote);
        self.events.push_back(EventKind::PeerRefused { access, address, phase: Phase::Hello, refusal: why });
        Admission::Refuse(refusal)
    }

    fn recovering(&mut self, now: Instant, session: SessionNumber) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else {
            return;
        };
        if !member.carriers.is_empty() {
            return;
        }
        member.rejoined = None;
        if member.recovering.is_none() {
            member.recovering = Some(now);
            let resume_window = member.resume_window;
            self.events.push_back(EventKind::SessionRecovering { session, resume_window });
        }
        self.on_group(now, session, |group, orders| {
            group.handle_carriers(now, (0, 0, 0), orders);
            group.handle_recovering(now, orders);
        });
    }

    fn resumed(&mut self, now: Instant, session: SessionNumber, resent_bytes: u64) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else {
            return;
        };
        if let Some(since) = member.recovering.take() {
            let until = member.rejoined.take().unwrap_or(now);
            let after = until.saturating_duration_since(since);
            self.events.push_back(EventKind::SessionResumed { session, after, resent_bytes });
        }
    }

    fn ended(&mut self, now: Instant, session: SessionNumber, end: SessionEnd, traffic: Traffic) {
        let Some(member) = self.roster.member_mut(session) else {
            return;
        };
        let decided = std::mem::replace(&mut member.ending, true);
        let carrier_end = match &end {
            SessionEnd::PeerClosed(code) => CarrierEnd::PeerClosed(*code),
            SessionEnd::Closed(code) => CarrierEnd::Closed(*code),
            SessionEnd::Violation(violation) => CarrierEnd::Violation(*violation),
            SessionEnd::Gone | SessionEnd::Replaced { .. } | SessionEnd::ResumeExpired(_) => {
                CarrierEnd::Replaced
            }
        };
        for carrier in std::mem::take(&mut member.carriers).into_keys() {
            self.events.push_back(EventKind::CarrierDown {
                session,
                carrier,
                end: carrier_end.clone(),
                last_received_ago: Duration::ZERO,
                traffic: Traffic::default(),
                round_trip: RoundTrip::default(),
            });
        }
        self.events.push_back(EventKind::SessionDown { session, end, traffic });
        if !decided {
            self.path(PathChange::Down { session });
        }
        self.on_group(now, session, |group, orders| group.handle_ended(now, orders));
        let link = self.roster.remove(session).and_then(|member| member.link());
        if let Some(link) = link {
            self.announce(now, link);
        }
    }

    /// Hands a session's carriers on to whom they concern: the paths, its group, its link.
    pub(super) fn refresh(&mut self, now: Instant, session: SessionNumber) {
        // What another has taken the place of goes only now that it is there: nothing of a stream has to wait.
        self.retire_replaced(now, session);
        self.make_room(now, session);
        self.replace_suspects(now, session);
        let Some(member) = self.roster.member_mut(session) else {
            return;
        };
        let carriers = (member.carriers.len(), member.trusted(), member.lasting());
        let link = member.link();
        for change in member.settle(now) {
            self.path(change);
        }
        self.on_group(now, session, |group, orders| group.handle_carriers(now, carriers, orders));
        if let Some(link) = link {
            self.announce(now, link);
        }
    }

    /// Lets `input` work on the group that holds the session, if one does.
    pub(super) fn on_group(
        &mut self,
        now: Instant,
        session: SessionNumber,
        input: impl FnOnce(&mut Group, &mut Orders),
    ) {
        let Some(member) = self.roster.member(session) else {
            return;
        };
        let Some(link) = member.link() else { return };
        let group = member.group.clone();
        self.with_group(now, link, &group, |group, orders| {
            if group.session() == Some(session) {
                input(group, orders);
            }
        });
    }

    fn alter_cost(
        &mut self,
        session: SessionNumber,
        side: impl FnOnce(&mut Member) -> &mut Cost,
        cost: Cost,
    ) {
        let Some(member) = self.roster.member_mut(session) else {
            return;
        };
        let before = member.costs();
        *side(member) = cost;
        let costs = member.costs();
        if costs == before || member.ending {
            return;
        }
        if costs.in_force() != before.in_force() {
            self.events.push_back(EventKind::CostChanged { session, cost: costs.in_force() });
        }
        self.path(PathChange::Cost { session, costs });
    }

    fn announce_carrier(&mut self, session: SessionNumber, carrier: CarrierNumber) {
        if self.roster.member_mut(session).is_some_and(Member::has_changed_key) {
            // Who may serve what is said of keys, too.
            self.actions.push_back(FleetAction::ReviewKeys { session });
        }
        let known = self.roster.member(session).and_then(|member| member.carriers.get(&carrier));
        if let Some(known) = known {
            let (local, remote) = (known.made.local, known.made.remote);
            let certificate = known.made.certificate.as_ref();
            let serial = certificate.map(|leaf| Arc::clone(&leaf.serial));
            let not_after = certificate.map(|leaf| leaf.not_after);
            self.events.push_back(EventKind::CarrierUp {
                session,
                carrier,
                local,
                remote,
                serial,
                not_after,
            });
        }
    }
}
