//! Planned moves: carriers that work and are to be replaced all the same, and what is revoked.
//!
//! A dialer dials another and retires the old one when it is there. An acceptor cannot dial: it asks for another, and cuts
//! the old one when its time is up. A new carrier that cannot be had leaves the old one in force, unless the peer's
//! certificate has expired on it.

use std::time::{Duration, Instant};

use crate::event::{EventKind, ReplaceCause};
use crate::id::{AccessId, CarrierNumber, LinkId, Ordinal, SessionNumber};
use crate::proto::carrier::{Carrier, Stay};
use crate::proto::facts::FleetAction;
use crate::proto::fleet::Fleet;
use crate::proto::hold::most_carriers;
use crate::proto::later::later;
use crate::proto::trust::Door;
use crate::snapshot::RotationView;
use crate::wire::code::CloseCode;

/// A rotation under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// What it leads to.
    ordinal: Ordinal,
    since: Instant,
    /// When it should be over; moved on when that was missed.
    due: Instant,
}

impl Fleet {
    /// The certificate that the peer showed on a carrier has expired: another one is to take its place, and after
    /// [`EXPIRED_GRACE`] it is closed in any case. The streams go on either way.
    pub(crate) fn handle_expired(&mut self, now: Instant, session: SessionNumber, carrier: CarrierNumber) {
        self.replace(now, session, carrier, EXPIRED_GRACE, ReplaceCause::Expired);
        self.refresh(now, session);
        self.settle(now);
    }

    /// An access uses other credentials: sessions that came by it are asked to replace their carriers.
    pub(crate) fn handle_access_rotated(&mut self, now: Instant, access: AccessId, ordinal: Ordinal) {
        let Some(known) = self.accesses.get_mut(&access).filter(|known| known.ordinal < ordinal) else {
            return;
        };
        known.ordinal = ordinal;
        self.rotate(now, Door::Access(access), ordinal);
        self.settle(now);
    }

    /// Carriers of a link or an access whose handshake used older credentials than those of that ordinal are closed at
    /// once, their streams go on on others. Returns how many.
    pub(crate) fn handle_revoked(&mut self, now: Instant, door: Door, older_than: Ordinal) -> usize {
        let (link, access) = sides(door);
        let mut closed = Vec::new();
        for (session, carrier) in self.made_before(door, older_than) {
            let Some(known) = self.roster.carrier_mut(session, carrier) else { continue };
            if std::mem::replace(&mut known.stay, Stay::Closing) != Stay::Closing {
                closed.push((session, carrier));
            }
        }
        let carriers = closed.len();
        self.events.push_back(EventKind::CredentialsRevoked { link, access, older_than, carriers });
        for (session, carrier) in closed {
            let code = CloseCode::REVOKED;
            self.actions.push_back(FleetAction::CloseCarrier { session, carrier, code });
            self.refresh(now, session);
        }
        self.settle(now);
        carriers
    }

    /// What is used for a link or an access is another bundle: what was made with the one before is to be replaced.
    pub(super) fn rotate(&mut self, now: Instant, door: Door, ordinal: Ordinal) {
        self.rotations.insert(door, Rotation { ordinal, since: now, due: later(now, ROTATION_GRACE) });
        let old = self.made_before(door, ordinal);
        for (session, carrier) in &old {
            self.replace(now, *session, *carrier, ROTATION_GRACE, ReplaceCause::Rotated);
        }
        // Only now: none of them is to retire for the sake of another.
        old.into_iter().for_each(|(session, _)| self.refresh(now, session));
    }

    /// The way to the endpoints of a link is another: what was dialed the old way is to be replaced.
    pub(super) fn reroute(&mut self, now: Instant, link: LinkId) {
        for session in self.roster.of_link(link) {
            for carrier in self.roster.carriers_of(session) {
                self.replace(now, session, carrier, ROTATION_GRACE, ReplaceCause::Rerouted);
            }
            self.refresh(now, session);
        }
    }

    /// A carrier is to be replaced within `grace`; of more than [`ROTATION_GRACE`] only that is believed.
    pub(super) fn replace(
        &mut self,
        now: Instant,
        session: SessionNumber,
        carrier: CarrierNumber,
        grace: Duration,
        cause: ReplaceCause,
    ) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else { return };
        let (dials, grace) = (member.link().is_some(), grace.min(ROTATION_GRACE));
        let Some(known) = member.carriers.get_mut(&carrier) else { return };
        let lived = now.saturating_duration_since(known.up);
        let until = Stay::Until { until: later(now, grace), cause };
        let first = match known.stay {
            Stay::Free => true,
            // One that was suspect and speaks again would not be cut. The peer is told of the weightier cause, unless it was asked
            // already.
            Stay::Until { cause: ReplaceCause::Suspect, .. } if cause != ReplaceCause::Suspect => false,
            // What has expired is closed in the end, whatever else it was to be replaced for.
            Stay::Until { cause: before, .. }
                if cause == ReplaceCause::Expired && before != ReplaceCause::Expired =>
            {
                known.stay = until;
                return;
            }
            Stay::Retiring { cause: before, .. }
                if cause == ReplaceCause::Expired && before != ReplaceCause::Expired =>
            {
                known.stay = Stay::Retiring { until: later(now, grace), cause };
                return;
            }
            Stay::Until { .. } | Stay::Retiring { .. } | Stay::Closing => return,
        };
        known.stay = until;
        if first {
            known.since = now;
        }
        if !dials {
            let code = cause.code();
            self.actions.push_back(FleetAction::RequestCarrier { session, carrier, code, deadline: grace });
        }
        if !first {
            return;
        }
        self.events.push_back(EventKind::CarrierReplacing { session, carrier, cause, within: grace });
        if !matches!(cause, ReplaceCause::Rotated | ReplaceCause::Rerouted) {
            self.on_group(now, session, |group, orders| group.handle_rejected(now, lived, orders));
        }
    }

    /// An acceptor asks for another in the place of a carrier that it suspects, as soon as it trusts one over which to ask:
    /// what only this end misses the dialer may be long in noticing, and streams wait meanwhile.
    pub(super) fn replace_suspects(&mut self, now: Instant, session: SessionNumber) {
        let Some(member) = self.roster.member(session) else { return };
        if member.link().is_some() || member.trusted() == 0 {
            return;
        }
        let silent = member.carriers.iter().filter(|(_, carrier)| carrier.suspect);
        for carrier in silent.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.replace(now, session, carrier, ROTATION_GRACE, ReplaceCause::Suspect);
        }
    }

    /// Retires what has been replaced, the oldest first: as many as are beyond what the session should have.
    pub(super) fn retire_replaced(&mut self, now: Instant, session: SessionNumber) {
        let Some(member) = self.roster.member(session).filter(|member| !member.ending) else { return };
        let lasting = member.lasting();
        if member.link().is_none() || lasting == 0 {
            return;
        }
        let waits = |number: &CarrierNumber| matches!(member.carriers[number].stay, Stay::Until { .. });
        let waiting: Vec<_> = member.carriers.keys().copied().filter(waits).collect();
        let still_needed = self.config.carriers.saturating_sub(lasting);
        let replaced = waiting.len().saturating_sub(still_needed);
        for carrier in waiting.into_iter().take(replaced) {
            self.retire(now, session, carrier);
        }
    }

    /// Closes the carrier that is missed the least where there are as many as there may be and yet too few that
    /// last, so that another may be dialed. What is not acknowledged on it is sent again on others.
    pub(super) fn make_room(&mut self, now: Instant, session: SessionNumber) {
        let Some(member) = self.roster.member_mut(session).filter(|member| !member.ending) else { return };
        let desired = self.config.carriers;
        let full = member.carriers.len() >= most_carriers(desired) && member.lasting() < desired;
        let closes = member.carriers.values().any(|carrier| carrier.stay == Stay::Closing);
        if member.link().is_none() || !full || closes {
            return;
        }
        let worth = |carrier: &Carrier| match carrier.stay {
            Stay::Retiring { .. } => 0,
            _ if carrier.suspect => 1,
            _ => 2,
        };
        let others = member.carriers.iter_mut().filter(|(_, carrier)| !carrier.is_lasting());
        let Some((carrier, known)) = others.min_by_key(|(number, carrier)| (worth(carrier), **number)) else {
            return;
        };
        let code = match known.stay {
            Stay::Until { cause, .. } | Stay::Retiring { cause, .. } => cause.code(),
            Stay::Free | Stay::Closing => CloseCode::REPLACED,
        };
        (known.stay, known.since) = (Stay::Closing, now);
        self.actions.push_back(FleetAction::CloseCarrier { session, carrier: *carrier, code });
    }

    /// Does what is due with the carriers of a session that are to be replaced.
    pub(super) fn close_due(&mut self, now: Instant, session: SessionNumber) {
        let Some(member) = self.roster.member(session).filter(|member| !member.ending) else { return };
        let (others, dials) = (member.lasting() > 0, member.link().is_some());
        let is_due = |stay: Stay| stay.due().is_some_and(|until| until <= now);
        let due: Vec<_> = member
            .carriers
            .iter()
            .filter(|(_, carrier)| is_due(carrier.stay))
            .map(|(number, carrier)| (*number, carrier.stay, carrier.suspect))
            .collect();
        if due.is_empty() {
            return;
        }
        for (carrier, stay, suspect) in due {
            match stay {
                // It spoke again, and the dialer did not follow: there is nothing to cut it for.
                Stay::Until { cause: cause @ ReplaceCause::Suspect, .. } if !suspect => {
                    let until = later(now, ROTATION_GRACE);
                    self.alter(session, carrier, Stay::Until { until, cause });
                }
                Stay::Until { .. } if others && dials => self.retire(now, session, carrier),
                Stay::Until { cause, .. } | Stay::Retiring { cause, .. }
                    if others || cause == ReplaceCause::Expired =>
                {
                    self.alter(session, carrier, Stay::Closing);
                    let code = cause.code();
                    self.actions.push_back(FleetAction::CloseCarrier { session, carrier, code });
                }
                // Nothing has come in its place.
                Stay::Until { cause, .. } => {
                    let until = later(now, ROTATION_GRACE);
                    self.alter(session, carrier, Stay::Until { until, cause });
                }
                Stay::Retiring { cause, .. } => {
                    let until = later(now, RETIRING);
                    self.alter(session, carrier, Stay::Retiring { until, cause });
                }
                Stay::Free | Stay::Closing => {}
            }
        }
        self.refresh(now, session);
    }

    /// Tells which rotations are complete, and which are late.
    pub(super) fn settle_rotations(&mut self, now: Instant) {
        let doors: Vec<_> = self.rotations.keys().copied().collect();
        doors.into_iter().for_each(|door| self.settle_rotation(now, door));
    }

    /// Tells whether a rotation is complete, or late.
    pub(super) fn settle_rotation(&mut self, now: Instant, door: Door) {
        let Some(Rotation { ordinal, since, due }) = self.rotations.get(&door).copied() else { return };
        let (link, access) = sides(door);
        let carriers = self.made_before(door, ordinal).len();
        if carriers == 0 {
            self.rotations.remove(&door);
            let after = now.saturating_duration_since(since);
            self.events.push_back(EventKind::RotationCompleted { link, access, ordinal, after });
        } else if due <= now {
            let due = later(now, ROTATION_GRACE);
            self.rotations.insert(door, Rotation { ordinal, since, due });
            self.events.push_back(EventKind::RotationDelayed { link, access, ordinal, carriers });
        }
    }

    /// When the first rotation is late.
    pub(super) fn rotations_due(&self) -> Option<Instant> {
        self.rotations.values().map(|rotation| rotation.due).min()
    }

    /// What status tells of a rotation under way.
    pub(super) fn rotation_view(&self, door: Door, micros: &impl Fn(Instant) -> u64) -> Option<RotationView> {
        let Rotation { ordinal, since, .. } = *self.rotations.get(&door)?;
        Some(RotationView::new(ordinal, micros(since), self.made_before(door, ordinal).len()))
    }

    fn retire(&mut self, now: Instant, session: SessionNumber, carrier: CarrierNumber) {
        let Some(known) = self.roster.carrier_mut(session, carrier) else { return };
        let Stay::Until { until, cause } = known.stay else { return };
        let until = until.max(later(now, RETIRING));
        (known.stay, known.since) = (Stay::Retiring { until, cause }, now);
        let code = cause.code();
        self.actions.push_back(FleetAction::RetireCarrier { session, carrier, code });
    }

    pub(super) fn alter(&mut self, session: SessionNumber, carrier: CarrierNumber, stay: Stay) {
        if let Some(known) = self.roster.carrier_mut(session, carrier) {
            known.stay = stay;
        }
    }

    /// The carriers of an end that its credentials before that ordinal made.
    fn made_before(&self, door: Door, ordinal: Ordinal) -> Vec<(SessionNumber, CarrierNumber)> {
        let of_door = self.roster.members().flat_map(|member| {
            member.carriers_by(door).map(|(number, carrier)| (member.number, number, carrier))
        });
        of_door
            .filter(|(_, _, carrier)| carrier.made.own < ordinal)
            .map(|(session, number, _)| (session, number))
            .collect()
    }
}

/// A door as events name it.
fn sides(door: Door) -> (Option<LinkId>, Option<AccessId>) {
    match door {
        Door::Access(access) => (None, Some(access)),
        Door::Link(link) => (Some(link), None),
    }
}

/// How long a carrier outlives its peer's certificate while no other can be had: a redial with all its deadlines
/// (30 s), for a peer that is there and shows a new one.
const EXPIRED_GRACE: Duration = Duration::from_secs(30);

/// How long the carriers of an end may take to be replaced when its credentials, or the way it dials, have changed, or it
/// suspects them: the same redial. Beyond it an acceptor cuts those that have others beside them, and what is late is told.
pub(super) const ROTATION_GRACE: Duration = Duration::from_secs(30);

/// How long a carrier at least has to bring what was sent on it to its end, once another is there: the longest answer that
/// counts as such before a carrier is suspect is 10 s, and usual is a round trip.
const RETIRING: Duration = Duration::from_secs(10);
