//! What becomes of carriers whose peer's certificate has expired.

use std::time::{Duration, Instant};

use crate::id::{CarrierNumber, SessionNumber};
use crate::proto::facts::FleetAction;
use crate::proto::fleet::Fleet;
use crate::proto::later::later;
use crate::proto::roster::Stay;
use crate::wire::code::CloseCode;

impl Fleet {
    /// The certificate that the peer showed on a carrier has expired. A dialer replaces the carrier and then closes
    /// it; if none can be had in [`EXPIRED_GRACE`], it is closed without. An acceptor cannot dial: it closes the carrier,
    /// and the dialer comes back at once if it has a certificate that holds. The streams go on either way.
    pub(crate) fn handle_expired(&mut self, now: Instant, session: SessionNumber, carrier: CarrierNumber) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else { return };
        let grace = if member.link().is_some() { EXPIRED_GRACE } else { Duration::ZERO };
        let Some(known) = member.carriers.get_mut(&carrier).filter(|known| known.stay == Stay::Free) else {
            return;
        };
        known.stay = Stay::Until(later(now, grace));
        self.close_expired(session, |until| until <= now);
        self.refresh(now, session);
    }

    /// Closes those that are to be replaced and are `due`; each is reported down by its session.
    pub(super) fn close_expired(&mut self, session: SessionNumber, due: impl Fn(Instant) -> bool) {
        let Some(member) = self.roster.member_mut(session) else { return };
        for (number, carrier) in &mut member.carriers {
            if matches!(carrier.stay, Stay::Until(until) if due(until)) {
                carrier.stay = Stay::Closing;
                let (carrier, code) = (*number, CloseCode::EXPIRED);
                self.actions.push_back(FleetAction::CloseCarrier { session, carrier, code });
            }
        }
    }
}

/// How long a carrier outlives its peer's certificate while no other can be had: a redial with all its deadlines
/// (30 s), for a peer that is there and shows a new one.
const EXPIRED_GRACE: Duration = Duration::from_secs(30);
