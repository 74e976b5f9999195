//! Who may stay and who may serve, by the policies in force.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::error::{DialError, SessionEnd};
use crate::event::{EventKind, KeysRefusedReason};
use crate::id::{Principal, RoutingKey, SessionNumber};
use crate::policy::PeerPolicy;
use crate::proto::carrier::{Carrier, Stay};
use crate::proto::facts::{DialedFacts, FleetAction};
use crate::proto::fleet::Fleet;
use crate::proto::trust::{Door, Scope, shown};
use crate::wire::code::CloseCode;

impl Fleet {
    /// A policy takes the place of the one before. Sessions of peers that may not link any more are ended; of the
    /// others, the keys that their peers serve are looked at anew, and carriers are closed that came through an access
    /// whose policy forbids them, though the session did not begin there.
    pub(crate) fn handle_policy(&mut self, now: Instant, scope: Scope, policy: PeerPolicy) {
        self.trust.set(scope, policy);
        for session in self.roster.numbers() {
            let Some(member) = self.roster.member(session).filter(|member| !member.ending) else { continue };
            let door = member.door();
            if let Scope::Door(other) = scope
                && other != door
            {
                self.close_forbidden(now, session, other);
                continue;
            }
            if self.trust.admits(door, member.shown()) {
                self.actions.push_back(FleetAction::ReviewKeys { session });
            } else {
                let code = CloseCode::NOT_AUTHORIZED;
                self.end_session(now, session, SessionEnd::Closed(code), code);
            }
        }
        self.settle(now);
    }

    /// Closes the carriers of a session that came by a door whose policy does not admit its peer.
    fn close_forbidden(&mut self, now: Instant, session: SessionNumber, door: Door) {
        let Some(member) = self.roster.member(session) else { return };
        // Each by the key that was shown on it: the newest may have another.
        let admits = |carrier: &Carrier| {
            self.trust.admits(door, shown(&member.peer.principal, carrier.made.certificate.as_ref()))
        };
        let forbidden: Vec<_> = member
            .carriers_by(door)
            .filter(|(_, carrier)| carrier.stay != Stay::Closing && !admits(carrier))
            .map(|(number, _)| number)
            .collect();
        for carrier in forbidden {
            self.alter(session, carrier, Stay::Closing);
            let code = CloseCode::NOT_AUTHORIZED;
            self.actions.push_back(FleetAction::CloseCarrier { session, carrier, code });
            self.refresh(now, session);
        }
    }

    /// Judges what the peer of a session says of its keys: those that it may not serve come back as not served, and
    /// are told once. Keys of an unknown session come back as they are.
    pub(crate) fn handle_keys(&mut self, session: SessionNumber, keys: &mut [(RoutingKey, bool)]) {
        let Some(member) = self.roster.member_mut(session) else { return };
        let anonymous = member.peer.principal == Principal::Anonymous;
        let mut news = BTreeSet::new();
        for (key, served) in keys.iter_mut() {
            let may = !anonymous && self.trust.may_serve(member.door(), member.shown(), key);
            if !*served || may {
                member.refused_keys.remove(key);
            } else {
                *served = false;
                if member.refused_keys.insert(key.clone()) {
                    news.insert(key.clone());
                }
            }
        }
        if !news.is_empty() {
            let reason = if anonymous { KeysRefusedReason::Anonymous } else { KeysRefusedReason::NotAllowed };
            let count = news.len() as u64;
            let keys = news.into_iter().take(KEYS_TOLD).collect();
            self.events.push_back(EventKind::KeysRefused { session, keys, count, reason });
        }
    }

    /// Whether the router that a link has reached may answer it.
    pub(super) fn admits_dialed(
        &self,
        door: Door,
        facts: &DialedFacts,
    ) -> Result<(), (DialError, CloseCode)> {
        if self.trust.admits(door, shown(&facts.principal, facts.certificate.as_ref())) {
            return Ok(());
        }
        let error = DialError::NotAllowed {
            principal: facts.principal.clone(),
            key: facts.certificate.as_ref().map(|leaf| leaf.key),
        };
        Err((error, CloseCode::NOT_AUTHORIZED))
    }

    /// Forgets the policies of links and accesses that are gone, with all their sessions.
    pub(super) fn forget_doors(&mut self) {
        let (links, accesses, roster) = (&self.links, &self.accesses, &self.roster);
        self.trust.retain(|door| {
            let open = match door {
                Door::Access(access) => accesses.contains_key(&access),
                Door::Link(link) => links.contains_key(&link),
            };
            open || roster
                .members()
                .any(|member| member.door() == door || member.carriers_by(door).next().is_some())
        });
    }
}

/// How many keys a `KeysRefused` names: enough to see what is meant, where a peer may serve ten thousand.
const KEYS_TOLD: usize = 8;
