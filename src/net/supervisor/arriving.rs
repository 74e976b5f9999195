//! Arriving: dialers that have said hello at an access.

use std::sync::Arc;

use crate::id::Side;
use crate::net::handshake::Arrival;
use crate::net::hub::{HelloParts, lock};
use crate::net::supervisor::Supervisor;
use crate::net::{clock, secret};
use crate::proto::facts::{self, Admission};
use crate::wire::code::CloseCode;
use crate::wire::frame::{CloseScope, Frame};
use crate::wire::hello::SessionClaim;

impl Supervisor {
    pub(super) fn handle_arrival(&mut self, arrival: Arrival) {
        if is_given_up(&arrival) {
            // It would take the place of what the dialer has begun since.
            return;
        }
        let listening = lock(&self.hub.accesses).get(&arrival.access).cloned();
        let fresh = secret::fresh();
        let (Some(listening), Some((fresh_id, fresh_secret))) = (listening, fresh) else {
            return self.turn_away(arrival.connection, CloseScope::Carrier, CloseCode::SHUTDOWN, "");
        };
        let facts = facts::Arrival {
            access: arrival.access,
            role: listening.role,
            cost: listening.cost,
            hello: Box::new(arrival.hello.clone()),
            principal: arrival.connection.principal.clone(),
            certificate: arrival.connection.certificate.clone(),
            ordinal: arrival.ordinal,
            local: arrival.connection.local,
            remote: arrival.connection.remote,
            fresh_id,
            fresh_secret: fresh_secret.clone(),
        };
        let joined = match &arrival.hello.session {
            SessionClaim::Join { session, .. } => Some(*session),
            _ => None,
        };
        let proves = |secret: &_| joined.is_some_and(|session| arrival.proves(session, secret));
        let admission = self.hub.fleet().handle_arrival(clock::now(), &facts, proves);
        let (number, claim) = match admission {
            Admission::Begin { session } => {
                (session, SessionClaim::Begun { session: fresh_id, secret: fresh_secret })
            }
            Admission::Join { session } => match joined {
                Some(id) => (session, SessionClaim::Joined { session: id }),
                None => return,
            },
            Admission::Refuse(refusal) => {
                let retry_after = refusal.retry_after.unwrap_or_default();
                return self.refuse(arrival.connection, refusal.code, &refusal.detail, retry_after);
            }
        };
        let Arrival { connection, hello, ordinal, .. } = arrival;
        if let SessionClaim::Begun { .. } = claim {
            let handle = self.new_session(number, Side::Acceptor, &hello, &connection);
            self.admit(number, handle, None);
        }
        let Some(known) = self.known.get(&number) else { return };
        let (hub, handle) = (Arc::clone(&self.hub), known.handle.clone());
        let answer = |dead| {
            let ours = hub.hello(HelloParts {
                role: listening.role,
                link: hello.link.clone(),
                group: hello.group.clone(),
                cost: listening.cost,
                ordinal,
                carrier: hello.carrier,
                session: claim,
                dead,
            });
            let mut bytes = bytes::BytesMut::new();
            Frame::Hello(Box::new(ours)).encode(&mut bytes);
            bytes.freeze()
        };
        let now = clock::now();
        // What begins has lost no carrier, whatever its hello says.
        let dead = if joined.is_some() { &hello.dead[..] } else { &[] };
        match handle.with(|session| session.handle_join(now, hello.carrier, dead, answer)) {
            Ok(()) => self.drive(handle, hello.carrier, connection),
            // Its number is not above one that was told of: docs/protocol.md §5 has a code for that.
            Err(why) => self.never_up(number, hello.carrier, connection, why, CloseCode::BAD_HELLO),
        }
    }
}

/// Whether the dialer has closed the carrier right behind its hello: a hello that was held up on its way until its
/// dialer had given it up for another.
fn is_given_up(arrival: &Arrival) -> bool {
    arrival.connection.frames.iter().any(|behind| matches!(behind.frame, Frame::Close { .. }))
}
