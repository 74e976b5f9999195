//! Certificates that come to their end while they are in use.

use std::sync::Arc;
use std::time::Instant;

use crate::event::{CertificateOwner, EventKind};
use crate::id::SessionNumber;
use crate::net::clock;
use crate::net::supervisor::Supervisor;
use crate::proto::expiry::PeerExpired;
use crate::proto::facts::SessionFact;

/// What the watch over certificates has to tell.
#[derive(Debug)]
pub(super) struct Ends {
    events: Vec<EventKind>,
    expired: Vec<PeerExpired>,
}

impl Supervisor {
    /// Lets the watch over certificates see the wall clock.
    pub(super) fn look_at_the_clock(&self) -> Ends {
        let mut expiry = self.hub.expiry();
        expiry.handle_time(clock::unix_seconds());
        let events = std::iter::from_fn(|| expiry.poll_event()).collect();
        Ends { events, expired: std::iter::from_fn(|| expiry.poll_expired()).collect() }
    }

    /// Tells what was seen.
    pub(super) fn tell_ends(&self, Ends { events, expired }: Ends) {
        events.into_iter().for_each(|event| self.hub.publish(event));
        expired.into_iter().for_each(|expired| self.handle_peer_expired(&expired));
    }

    /// When the clock is to be looked at again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let wait = self.hub.expiry().next_look(clock::unix_seconds())?;
        clock::now().checked_add(wait)
    }

    /// A peer's certificate has expired under a carrier.
    fn handle_peer_expired(&self, expired: &PeerExpired) {
        let PeerExpired { session, carrier, certificate } = expired;
        self.hub.publish(EventKind::CredentialsExpired {
            owner: CertificateOwner::Peer { session: *session, carrier: *carrier },
            subject: Arc::clone(&certificate.subject),
            serial: Arc::clone(&certificate.serial),
            not_after: certificate.not_after,
        });
        self.hub.fleet().handle_expired(clock::now(), *session, *carrier);
        self.hub.stir.notify_one();
    }

    /// Certificates of carriers that are gone are watched no more.
    pub(super) fn forget_certificates(&self, session: SessionNumber, facts: &[SessionFact]) {
        for fact in facts {
            match fact {
                SessionFact::CarrierDown { carrier, .. } => {
                    self.hub.expiry().forget(&CertificateOwner::Peer { session, carrier: *carrier });
                }
                SessionFact::Ended { .. } => self.hub.expiry().retain(
                    |owner| !matches!(owner, CertificateOwner::Peer { session: of, .. } if *of == session),
                ),
                _ => {}
            }
        }
    }
}
