//! The laws: what is looked at after every step, and what must be so in the end.

use std::collections::BTreeSet;

use crate::error::SessionEnd;
use crate::id::{CarrierNumber, RoutingKey};
use crate::proto::session::{Session, SessionEvent};
use crate::sim::errand::is_planned;
use crate::sim::faults::Fate;
use crate::sim::world::World;
use crate::wire::code::CloseCode;

/// What one end was told so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    up: BTreeSet<CarrierNumber>,
    /// The highest that ever was.
    newest: Option<CarrierNumber>,
    suspects: BTreeSet<CarrierNumber>,
    /// Those that the peer asked to have replaced.
    asked: BTreeSet<CarrierNumber>,
    recovering: bool,
    ended: bool,
    /// How often a carrier was suspected.
    pub(super) suspicions: u64,
    /// How often no carrier was left.
    pub(super) recoveries: u64,
    /// What the peer serves.
    keys: BTreeSet<RoutingKey>,
}

impl Ledger {
    /// A carrier is up.
    pub(super) fn came_up(&mut self, number: CarrierNumber) {
        self.up.insert(number);
        self.newest = self.newest.max(Some(number));
    }

    /// It is not, after all.
    pub(super) fn never_came_up(&mut self, number: CarrierNumber) {
        self.up.remove(&number);
    }

    /// A carrier came up: those under suspicion are fenced by it.
    pub(super) fn fenced_suspects(&self) -> Result<(), String> {
        if self.suspects.is_empty() { Ok(()) } else { Err(format!("law 8: still used: {:?}", self.suspects)) }
    }

    /// Law 7: what was told is what is.
    fn compare(&self, session: &Session) -> Result<(), String> {
        let (live, told) = (session.live_numbers(), self.up.len());
        if session.live_numbers().count() != told || !live.into_iter().all(|number| self.up.contains(&number))
        {
            let live: Vec<_> = session.live_numbers().collect();
            return Err(format!("law 7: {live:?} are up, told of were {:?}", self.up));
        }
        if session.is_recovering() && !self.recovering && self.newest.is_some() {
            return Err("law 7: no carrier is left, and nobody was told".to_owned());
        }
        Ok(())
    }

    /// Law 7: what goes up comes down, once; what is lost is resumed or over; nothing comes after the end.
    fn take(&mut self, event: &SessionEvent) -> Result<(), String> {
        let fits = !self.ended
            && match event {
                SessionEvent::CarrierDown { number, .. } => {
                    self.suspects.remove(number);
                    self.up.remove(number)
                }
                SessionEvent::CarrierSuspect { number, .. } => {
                    self.up.contains(number) && self.suspects.insert(*number)
                }
                SessionEvent::CarrierTrusted { number } => self.suspects.remove(number),
                SessionEvent::CarrierRequested { number, .. } => {
                    self.up.contains(number) && self.asked.insert(*number)
                }
                SessionEvent::Drained | SessionEvent::PeerChanged => true,
                SessionEvent::Ended { .. } => !std::mem::replace(&mut self.ended, true) && self.up.is_empty(),
                SessionEvent::Recovering { .. } => {
                    !std::mem::replace(&mut self.recovering, true) && self.up.is_empty()
                }
                SessionEvent::Resumed { .. } => std::mem::replace(&mut self.recovering, false),
            };
        if fits { Ok(()) } else { Err(format!("law 7: {event:?} with {self:?}")) }
    }
}

impl World {
    /// What a caller of a session owes it, and what is checked after every step.
    pub(super) fn settle(&mut self, end: usize) -> Result<(), String> {
        let Some(session) = &mut self.ends[end].session else { return Ok(()) };
        session.take_wakers().wake();
        let (mut suspects, mut asked) = (Vec::new(), Vec::new());
        while let Some(event) = session.poll_event() {
            self.script.tell(self.now, &(end, &event));
            self.ends[end].ledger.take(&event)?;
            let ledger = &mut self.ends[end].ledger;
            match event {
                SessionEvent::CarrierSuspect { number, .. } => {
                    ledger.suspicions += 1;
                    self.disturbed = true;
                    suspects.push(number);
                }
                SessionEvent::CarrierDown { end, .. } => self.disturbed |= !is_planned(&end),
                SessionEvent::Recovering { .. } => {
                    ledger.recoveries += 1;
                    self.disturbed = true;
                }
                SessionEvent::CarrierRequested { number, .. } => asked.push(number),
                _ => {}
            }
        }
        while let Some((key, served)) = session.poll_key() {
            let keys = &mut self.ends[end].ledger.keys;
            // A key that was served and withdrawn between two looks is told of as withdrawn.
            if served {
                keys.insert(key)
            } else {
                keys.remove(&key)
            };
        }
        session.audit().map_err(|what| format!("law 2: end {end}: {what}"))?;
        self.ends[end].ledger.compare(session)?;
        // It may be closed by a peer that has another.
        self.disturbed |= session.has_come_back();
        if session.waits_in_vain() {
            return Err(format!("law 5: end {end} waits for a suspect that is to go"));
        }
        let resent = session.traffic().resent_bytes;
        if resent > 0 && !self.disturbed {
            return Err(format!("law 5: nothing was lost, and end {end} sent {resent} bytes again"));
        }
        let expected = session.ended().is_none_or(|why| is_fated(self.fate, end, why));
        if !expected {
            return Err(format!("law 4: end {end} ended: {:?}", session.ended()));
        }
        if end == 0 {
            suspects.into_iter().for_each(|number| self.suspect(number));
            asked.into_iter().for_each(|number| self.was_asked(number));
        }
        Ok(())
    }

    /// At rest: nothing is left anywhere, and both ends know the same.
    pub(super) fn last_judgement(&self) -> Result<(), String> {
        for end in 0..2 {
            let Some(session) = &self.ends[end].session else { continue };
            if session.stream_count() > 0 || session.pool_used() > 0 {
                return Err(format!("law 3: end {end} keeps something: {}", session.unrest()));
            }
            if session.ended().is_some() {
                continue;
            }
            if self.fate != Fate::Survives && self.end_of(1 - end).is_some() {
                return Err(format!("law 3: end {end} does not know that the session is over"));
            }
            let (keys, cost) = self.load.said_by(1 - end);
            if *keys != self.ends[end].ledger.keys || session.peer_cost() != cost {
                return Err(format!("law 4: end {end} knows {:?}", self.ends[end].ledger.keys));
            }
        }
        Ok(())
    }
}

/// Whether a session may end like that.
fn is_fated(fate: Fate, end: usize, why: &SessionEnd) -> bool {
    match (fate, why) {
        (Fate::Closed { end: closer, .. }, SessionEnd::Closed(code)) => {
            closer == end && *code == CloseCode::NORMAL
        }
        // A close that is lost with its carrier is found out by the next, or by waiting in vain for one.
        (Fate::Closed { end: closer, .. }, SessionEnd::PeerClosed(code)) => {
            closer != end && *code == CloseCode::NORMAL
        }
        (Fate::Closed { end: closer, .. }, SessionEnd::Gone) => closer == 1 && end == 0,
        (Fate::Closed { end: closer, .. }, SessionEnd::ResumeExpired(_)) => closer == 0 && end == 1,
        (Fate::Restarted { end: 1, .. }, SessionEnd::Gone) => end == 0,
        // The new router knows nothing of the session; nobody joins it any more.
        (Fate::Restarted { end: 0, .. }, SessionEnd::ResumeExpired(_)) => end == 1,
        (Fate::Cut { .. }, SessionEnd::ResumeExpired(_) | SessionEnd::PeerClosed(_)) => true,
        _ => false,
    }
}
