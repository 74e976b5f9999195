//! Planned moves: a carrier that works is left in good order, and nothing is sent twice.
//!
//! ```text
//!   in use ──retire_carrier, or the peer's RETIRE──▶ retiring
//!
//!   retiring, with a refuge:     frozen: nothing of streams is sent, RETIRE is logged last
//!                                  │ all acknowledged
//!                                  ▼
//!                                moved: its streams send on others
//!                                  │ the peer's RETIRE came last of all (only at an end that began the retiring)
//!                                  ▼
//!                                closed, with the code of who began it
//!   retiring, without one:       used as if nothing had been said
//!   retiring and suspect, with a refuge: fenced at once, for its acknowledgements may never come
//! ```
//!
//! A *refuge* is a carrier neither suspect nor retiring. Nothing is kept of how far a move has come but what was said
//! and heard last, so a refuge may come and go at any time: a carrier is frozen if there is one now, and a RETIRE
//! holds until its sender logs anything behind it.

use std::time::{Duration, Instant};

use crate::error::{CarrierEnd, Violation};
use crate::id::{CarrierNumber, Side};
use crate::proto::session::carrier::Carrier;
use crate::proto::session::retiring::Request;
use crate::proto::session::schedule::Turn;
use crate::proto::session::{Session, SessionEvent};
use crate::wire::code::CloseCode;
use crate::wire::frame::{CloseScope, Frame};

impl Session {
    /// Leaves a carrier in good order: its streams go on on others as soon as what was sent on it is acknowledged,
    /// then it is closed with `code`. As long as there is no other carrier to trust it is used as before. Asking
    /// again changes nothing; a carrier that is not live is no matter.
    pub(crate) fn retire_carrier(&mut self, now: Instant, number: CarrierNumber, code: CloseCode) {
        let Some(index) = self.find(number) else { return };
        self.carriers[index].retiring.get_or_insert_default().code.get_or_insert(code);
        // Others too: one that was frozen goes on if this was the last refuge.
        self.wake_drivers();
        self.review_moves(now);
    }

    /// Acceptor: asks the dialer for a carrier in the place of another, which this end will cut `deadline` after the
    /// dialer has heard of it. Said once for each carrier, for the last cause there was until then, and no more once that has fallen; a dialer asks
    /// nobody.
    pub(crate) fn request_carrier(&mut self, number: CarrierNumber, code: CloseCode, deadline: Duration) {
        let Some(index) = self.find(number).filter(|_| self.params.side == Side::Acceptor) else { return };
        let request = &mut self.carriers[index].request;
        if request.as_ref().is_none_or(|before| before.unsaid) {
            *request = Some(Request { code, deadline, unsaid: true });
            self.wake_drivers();
        }
    }

    /// The peer leaves a carrier, and so does this end.
    pub(super) fn handle_retire(&mut self, now: Instant, number: CarrierNumber) -> Result<(), Violation> {
        // One that has fallen is told of when its tail is sent again.
        let Some(index) = self.find(number) else { return self.flood.pay(now) };
        let carrier = &mut self.carriers[index];
        let retiring = carrier.retiring.get_or_insert_default();
        let first = retiring.heard_at.replace(carrier.acks.received).is_none();
        // Its streams at the peer wait for it.
        carrier.acks.hurry(now);
        // Others too: one that was frozen goes on if this was the last refuge.
        self.wake_drivers();
        if first { Ok(()) } else { self.flood.pay(now) }
    }

    /// The acceptor wants another carrier in the place of one.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        number: CarrierNumber,
        code: CloseCode,
        deadline_millis: u64,
    ) -> Result<(), Violation> {
        if self.params.side == Side::Acceptor {
            return Err(Violation::Unexpected);
        }
        let Some(index) = self.find(number) else { return self.flood.pay(now) };
        if std::mem::replace(&mut self.carriers[index].requested, true) {
            return self.flood.pay(now);
        }
        let deadline = Duration::from_millis(deadline_millis).min(LONGEST_NOTICE);
        self.events.push_back(SessionEvent::CarrierRequested { number, code, deadline });
        Ok(())
    }

    /// The next request that waits to be sent and may go over that carrier.
    pub(super) fn next_request(&mut self, index: usize) -> Option<Frame> {
        let named = self.request_for(index)?;
        let carrier = &mut self.carriers[named];
        let request = carrier.request.as_mut()?;
        request.unsaid = false;
        let deadline_millis =
            u64::try_from(request.deadline.min(LONGEST_NOTICE).as_millis()).unwrap_or(u64::MAX);
        Some(Frame::RequestCarrier { carrier: carrier.number, code: request.code, deadline_millis })
    }

    /// Whose request may go over a carrier: its own, where it comes behind the hello. Over another one it might come to the
    /// dialer before that has the carrier it names, and would mean nothing. What cannot be trusted is named by others, once
    /// the dialer is known to have it.
    pub(super) fn request_for(&self, index: usize) -> Option<usize> {
        let goes = |(named, carrier): &(usize, &Carrier)| {
            carrier.wants_request() && (*named == index || !carrier.is_refuge() && carrier.answered)
        };
        self.carriers.iter().enumerate().find(goes).map(|(named, _)| named)
    }

    /// Whether what belongs to no stream is for others to send: there is one that is more to be trusted.
    pub(super) fn leaves_it_to_others(&self, index: usize) -> bool {
        !self.carriers[index].is_refuge() && self.carriers.iter().any(Carrier::is_refuge)
    }

    /// Whether nothing of streams is sent on a carrier: it retires, and others go on.
    pub(super) fn is_frozen(&self, index: usize) -> bool {
        self.carriers[index].retiring.is_some() && self.carriers.iter().any(Carrier::is_refuge)
    }

    /// The live carrier on which a new stream does best: one above suspicion that does not retire, with the fewest streams
    /// that wait for another turn, and then the fewest streams, counted by [`TOGETHER`].
    pub(super) fn best_carrier(&self) -> Option<usize> {
        best_of(&self.carriers, TOGETHER)
    }

    /// Takes planned moves as far as they can go now. To be called when anything has come, a carrier came up, or what is
    /// suspect has changed.
    pub(super) fn review_moves(&mut self, now: Instant) {
        let refuge = self.carriers.iter().any(Carrier::is_refuge);
        if !refuge || self.carriers.iter().all(|carrier| carrier.retiring.is_none()) {
            return;
        }
        while let Some(index) = (0..self.carriers.len())
            .find(|index| self.is_frozen(*index) && self.carriers[*index].life.suspect)
        {
            match self.carriers[index].retiring.and_then(|retiring| retiring.code) {
                Some(code) => self.say_farewell(now, index, code, CloseScope::Carrier),
                None => self.fall(now, index, CarrierEnd::Replaced),
            }
        }
        for index in 0..self.carriers.len() {
            if !self.is_frozen(index) {
                continue;
            }
            if self.carriers[index].log.in_flight() == 0 {
                self.move_streams(index);
            }
            let carrier = &mut self.carriers[index];
            if !carrier.has_said_retire() || carrier.may_close() {
                self.wakers.take(&mut carrier.driver);
            }
        }
    }

    /// Everything sent on a frozen carrier is acknowledged: its streams go on on others, behind the tail of dead ones
    /// that it had inherited and not sent.
    fn move_streams(&mut self, index: usize) {
        let carrier = &mut self.carriers[index];
        let (number, tail) = (carrier.number, carrier.log.take_resend());
        if carrier.streams == 0 && tail.is_empty() {
            return;
        }
        carrier.streams = 0;
        carrier.schedule.clear();
        let target = match (tail.is_empty(), self.best_carrier()) {
            (false, Some(best)) => {
                self.carriers[best].log.inherit(tail);
                Some(self.carriers[best].number)
            }
            _ => None,
        };
        self.adopt(Some(number), target);
    }

    /// Moves all streams of one carrier (or of none) to a live one; if none is given, each to the best, the fewest streams
    /// counting one by one: what moves is not what is opened all at once.
    pub(super) fn adopt(&mut self, from: Option<CarrierNumber>, to: Option<CarrierNumber>) {
        let given = to.and_then(|number| self.find(number));
        for (slot, stream) in &mut self.streams {
            if stream.carrier != from {
                continue;
            }
            let Some(index) = given.or_else(|| best_of(&self.carriers, 1)) else { return };
            let carrier = &mut self.carriers[index];
            stream.carrier = Some(carrier.number);
            stream.turn = Turn::default();
            carrier.streams += 1;
            carrier.list(slot, stream);
        }
        self.wake_drivers();
    }

    /// The frame that is to be the last on a frozen carrier, unless it is.
    pub(super) fn next_retire(&self, index: usize) -> Option<Frame> {
        let carrier = &self.carriers[index];
        (!carrier.has_said_retire()).then_some(Frame::Retire { carrier: carrier.number })
    }

    /// Everything there was to send on a frozen carrier is with its driver. Returns what it is closed with, if it is
    /// time: this end began, everything both ends sent has come, and each has said that it is all.
    pub(super) fn has_retired(&self, index: usize) -> Option<CloseCode> {
        let carrier = &self.carriers[index];
        carrier.retiring.and_then(|retiring| retiring.code).filter(|_| carrier.may_close())
    }
}

impl Carrier {
    /// Whether streams are safe on it.
    fn is_refuge(&self) -> bool {
        !self.life.suspect && self.retiring.is_none()
    }

    fn wants_request(&self) -> bool {
        self.request.is_some_and(|request| request.unsaid)
    }

    /// Whether RETIRE is the last of what was logged.
    fn has_said_retire(&self) -> bool {
        self.retiring.is_some_and(|retiring| retiring.said_at == Some(self.log.sent()))
    }

    /// Whether anything was logged behind RETIRE, since no refuge was left.
    #[cfg(test)]
    pub(super) fn has_come_back(&self) -> bool {
        self.retiring.and_then(|retiring| retiring.said_at).is_some_and(|at| at < self.log.sent())
    }

    /// RETIRE was logged.
    pub(super) fn said_retire(&mut self) {
        let sent = self.log.sent();
        if let Some(retiring) = &mut self.retiring {
            retiring.said_at = Some(sent);
        }
    }

    /// Whether a carrier that this end retires has nothing left in it, either way.
    fn may_close(&self) -> bool {
        self.retiring
            .is_some_and(|retiring| retiring.code.is_some() && retiring.heard_at == Some(self.acks.received))
            && self.has_said_retire()
            && self.log.is_empty()
            && self.streams == 0
            && !self.acks.is_waiting()
    }
}

/// See [`Session::best_carrier`]; streams count in turns of `together`.
fn best_of(carriers: &[Carrier], together: usize) -> Option<usize> {
    let rank = |carrier: &Carrier| {
        (
            carrier.life.suspect,
            carrier.retiring.is_some(),
            carrier.schedule.waiting(),
            carrier.streams / together,
        )
    };
    (0..carriers.len()).min_by_key(|index| rank(&carriers[*index]))
}

/// So many streams are placed on one carrier before the next gets some. What many small streams send at once shares
/// records, system calls and wake-ups: spread one by one over two carriers, opens were a third slower than on one.
const TOGETHER: usize = 64;

/// The longest notice of a cut that is believed, or given: as long as the longest resume window.
const LONGEST_NOTICE: Duration = Duration::from_secs(3600);
