//! The loss of a carrier: fencing, settling of counts, sending the tail again.
//!
//! ```text
//!   live ──lost here──▶ fallen, untold ──our count told──▶ fallen, told
//!     ╲                      │                               │
//!      ╲──peer says dead─────┴──peer's count known──▶ settled: its tail goes to another carrier
//! ```
//!
//! From the moment a carrier falls nothing more of it is processed, so the count told of it is final. A fallen
//! carrier is forgotten when its tail has been handed on and the peer is known to have this end's count.

use std::time::{Duration, Instant};

use crate::error::{CarrierEnd, SessionEnd, Violation};
use crate::id::{CarrierNumber, Side};
use crate::proto::session::carrier::{Carrier, Closing};
use crate::proto::session::log::Log;
use crate::proto::session::{Session, SessionEvent, State};
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::{DeadCarrier, MAX_DEAD};

/// A dead carrier whose counts are not settled.
#[derive(Debug)]
pub(super) struct Fallen {
    /// Its number.
    number: CarrierNumber,
    /// What this end had received on it, for good.
    received: u64,
    /// What this end sent on it, until the peer's count is known.
    log: Option<Log>,
    /// Whether the peer knows `received`.
    pub(super) told: Told,
}

/// Whether the peer knows this end's count of a fallen carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It does not.
    No,
    /// It does, once it has seen the hello of that carrier.
    InHelloOf(CarrierNumber),
    /// It does, once it has acknowledged that carrier to beyond that position.
    InFrameOf(CarrierNumber, u64),
    /// It does.
    Yes,
}

impl Fallen {
    fn is_settled(&self) -> bool {
        self.log.is_none() && self.told == Told::Yes
    }

    /// The count, as a frame or hello tells it.
    pub(super) fn count(&self) -> DeadCarrier {
        DeadCarrier { number: self.number, received: self.received }
    }
}

impl Session {
    /// Dialer: the next carrier's number, and what its joining hello says of dead ones. To be called when the
    /// hello is about to be sent; then either [`Session::handle_carrier_up`] or [`Session::handle_join_failed`]
    /// must follow.
    pub(crate) fn prepare_join(&mut self) -> (CarrierNumber, Vec<DeadCarrier>) {
        let number = self.last_number.map_or(CarrierNumber(0), |last| CarrierNumber(last.0.wrapping_add(1)));
        self.last_number = Some(number);
        self.attempted.push(number);
        (number, self.counts(number))
    }

    /// Dialer: the attempt came to nothing. The peer may have admitted it, so its count (nothing) has to be told.
    pub(crate) fn handle_join_failed(&mut self, now: Instant, number: CarrierNumber) {
        let attempts = self.attempted.len();
        self.attempted.retain(|attempted| *attempted != number);
        if self.attempted.len() == attempts || self.ended().is_some() {
            // The peer gave it up first and has been answered.
            return;
        }
        for fallen in &mut self.fallen {
            if fallen.told == Told::InHelloOf(number) {
                fallen.told = Told::No;
            }
        }
        // Nothing was sent on it, so the peer's count does not matter.
        self.remember(now, Fallen { number, received: 0, log: None, told: Told::No });
    }

    /// Dialer: the peer's hello came on a carrier; `dead` is what it says. The carrier is up and streams go on.
    ///
    /// # Errors
    /// [`Violation::Unexpected`] if the peer had given it up before, or the session has ended; any other if the counts
    /// cannot be, and the session has then ended.
    pub(crate) fn handle_carrier_up(
        &mut self,
        now: Instant,
        number: CarrierNumber,
        dead: &[DeadCarrier],
    ) -> Result<(), Violation> {
        let is_new = self.last_number.is_none_or(|last| number > last);
        if !is_new && !self.attempted.contains(&number) {
            // The peer gave it up before its answer was read.
            return Err(Violation::Unexpected);
        }
        self.attempted.retain(|attempted| *attempted != number);
        self.last_number = self.last_number.max(Some(number));
        let raised = self.raise(now, number, dead);
        for fallen in &mut self.fallen {
            if fallen.told == Told::InHelloOf(number) {
                fallen.told = Told::Yes;
            }
        }
        self.fallen.retain(|fallen| !fallen.is_settled());
        raised
    }

    /// Acceptor: a dialer's hello was admitted; `dead` is what it says. Returns what the answering hello says of
    /// dead carriers; `greet` makes its bytes of that, to be sent by the carrier's driver before anything else.
    ///
    /// # Errors
    /// [`Violation::Unexpected`] if the session has ended, or the dialer had given the number up before; any other if the
    /// counts cannot be, and the session has then ended.
    pub(crate) fn handle_join(
        &mut self,
        now: Instant,
        number: CarrierNumber,
        dead: &[DeadCarrier],
        greet: impl FnOnce(Vec<DeadCarrier>) -> bytes::Bytes,
    ) -> Result<(), Violation> {
        if self.last_number.is_some_and(|last| number <= last) {
            // The fleet knows the numbers that were there: this one was given up, and answered for, before its hello came.
            return Err(Violation::Unexpected);
        }
        // None that is answered for is admitted any more.
        let listed = dead.iter().map(|listed| listed.number);
        self.last_number = listed.chain([number]).max();
        self.raise(now, number, dead)?;
        let mut counts = self.counts(number);
        for listed in dead {
            // A carrier that never got here is answered, too, or its dialer would have to list it for ever.
            if counts.iter().all(|count| count.number != listed.number) {
                counts.push(DeadCarrier { number: listed.number, received: 0 });
            }
        }
        // The unsettled come first and fit; a peer that asks for more than fit will ask again.
        counts.truncate(MAX_DEAD);
        if let Some(index) = self.find(number) {
            self.carriers[index].greeting = Some(greet(counts));
        }
        Ok(())
    }

    /// The carrier's connection is over, for the reason its driver saw. Does nothing if the session knew already.
    pub(crate) fn handle_carrier_lost(&mut self, now: Instant, number: CarrierNumber, end: CarrierEnd) {
        match self.find(number) {
            Some(index) => self.fall(now, index, end),
            None => self.farewells.retain(|(leaving, _)| *leaving != number),
        }
    }

    /// Closes one carrier in good order; its streams go on on others, or wait for one.
    pub(crate) fn close_carrier(&mut self, now: Instant, number: CarrierNumber, code: CloseCode) {
        if let Some(index) = self.find(number) {
            self.say_farewell(now, index, code, CloseScope::Carrier);
        }
    }

    /// Any frame on a carrier but a close shows that the peer has seen the hello sent on it. A close does not: it
    /// may be that of a dialer that gave the attempt up.
    pub(super) fn peer_has_answered(&mut self, index: usize) {
        let carrier = &mut self.carriers[index];
        let number = carrier.number;
        if !std::mem::replace(&mut carrier.answered, true) && carrier.request.is_some() {
            // Others may say now what was asked in its place.
            self.wake_drivers();
        }
        if self.fallen.is_empty() {
            return;
        }
        for fallen in &mut self.fallen {
            if fallen.told == Told::InHelloOf(number) {
                fallen.told = Told::Yes;
            }
        }
        self.fallen.retain(|fallen| !fallen.is_settled());
    }

    /// The peer holds a carrier dead and says how far it received on it.
    pub(super) fn handle_carrier_dead(
        &mut self,
        now: Instant,
        over: CarrierNumber,
        number: CarrierNumber,
        received: u64,
    ) -> Result<(), Violation> {
        self.flood.pay(now)?;
        if let Some(index) = self.find(number) {
            if number == over {
                // It came on this very carrier, which is plainly not dead.
                return Err(Violation::Unexpected);
            }
            self.fall(now, index, CarrierEnd::Replaced);
        } else if self.last_number.is_none_or(|last| number > last) {
            if self.params.side == Side::Dialer {
                // Numbers are this end's to give, and this one it has not given.
                return Err(Violation::Unexpected);
            }
            // Its hello is still on its way to here. It will not count any more; the peer waits to hear that nothing
            // of it did.
            self.last_number = self.last_number.max(Some(number));
            self.remember(now, Fallen { number, received: 0, log: None, told: Told::No });
            return Ok(());
        }
        self.settle(now, number, received)
    }

    /// The counts of fallen carriers that wait to be told on a live one, where each is the next logged frame.
    pub(super) fn next_untold(&mut self, index: usize) -> Option<DeadCarrier> {
        let fallen = self.fallen.iter_mut().find(|fallen| fallen.told == Told::No)?;
        // The log makes sure that the frame arrives, but when it is sent again on another carrier it may be behind a
        // hello that asks for the count: it is not forgotten before it is known to be there.
        let carrier = &self.carriers[index];
        fallen.told = Told::InFrameOf(carrier.number, carrier.log.sent());
        Some(fallen.count())
    }

    /// What the peer has acknowledged on a carrier may have been counts.
    pub(super) fn counts_were_acknowledged(&mut self, index: usize) {
        if self.fallen.is_empty() {
            return;
        }
        let carrier = &self.carriers[index];
        for fallen in &mut self.fallen {
            if let Told::InFrameOf(number, position) = fallen.told
                && number == carrier.number
                && carrier.log.acked() > position
            {
                fallen.told = Told::Yes;
            }
        }
        self.fallen.retain(|fallen| !fallen.is_settled());
    }

    /// Whether a fallen carrier's count waits to be told.
    pub(super) fn has_untold(&self) -> bool {
        self.fallen.iter().any(|fallen| fallen.told == Told::No)
    }

    /// A live carrier falls: from now on nothing of it counts.
    pub(super) fn fall(&mut self, now: Instant, index: usize, end: CarrierEnd) {
        let carrier = self.take_carrier(now, index, end);
        if self.ended().is_some() {
            return;
        }
        let (number, received) = (carrier.number, carrier.acks.received);
        let has_all = (carrier.log.in_flight() == 0).then_some(carrier.log.sent());
        self.remember(now, Fallen { number, received, log: Some(carrier.log), told: Told::No });
        if let (Some(sent), false) = (has_all, self.carriers.is_empty()) {
            // All that was sent is acknowledged: the peer's count can be no other, and need not be waited for.
            let settled = self.settle(now, number, sent);
            debug_assert_eq!(settled, Ok(()), "the log knows how much it has sent");
        }
        if self.carriers.is_empty() && self.ended().is_none() {
            self.state = State::Recovering { since: now, begun: true };
            let resume_window = self.params.resume_window;
            if resume_window.is_zero() {
                self.end(now, SessionEnd::ResumeExpired(resume_window), None);
            } else {
                self.events.push_back(SessionEvent::Recovering { resume_window });
            }
        } else {
            self.wake_drivers();
        }
    }

    /// A live carrier is closed by this end: it falls, and its driver says so to the peer.
    pub(super) fn say_farewell(&mut self, now: Instant, index: usize, code: CloseCode, scope: CloseScope) {
        let number = self.carriers[index].number;
        self.farewells.push((number, Closing { scope, code, sent: false }));
        self.fall(now, index, CarrierEnd::Closed(code));
    }

    /// Counts of all fallen carriers, which the hello of `number` tells; and a live one as well, if there is another: the
    /// hello may take its time, or come to nothing.
    fn counts(&mut self, number: CarrierNumber) -> Vec<DeadCarrier> {
        let alone = self.carriers.iter().all(|carrier| carrier.number == number);
        let tell = |fallen: &mut Fallen| {
            if alone {
                fallen.told = Told::InHelloOf(number);
            }
            fallen.count()
        };
        self.fallen.iter_mut().map(tell).collect()
    }

    /// How far away the peer is known to be: what its carriers showed, the slowest counting, or the last of them.
    fn usual_trip(&self) -> Duration {
        let seen = self.carriers.iter().filter_map(|carrier| carrier.pace.round_trip().smoothed).max();
        seen.unwrap_or(self.last_trip)
    }

    /// A carrier measured its distance. The farthest counts: by a nearer one the windows of its streams would never grow.
    pub(super) fn note_distance(&mut self) {
        let least = self.carriers.iter().filter_map(|carrier| carrier.pace.round_trip().minimum).max();
        self.least_trip = least.unwrap_or(self.least_trip);
    }

    fn raise(&mut self, now: Instant, number: CarrierNumber, dead: &[DeadCarrier]) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Err(Violation::Unexpected);
        }
        let jitter = self.random.f64();
        let mut carrier = Carrier::new(now, number, &self.params.liveness, jitter);
        carrier.pace.expect(self.usual_trip());
        self.carriers.push(carrier);
        let before = self.traffic.resent_bytes;
        let settled = dead.iter().try_for_each(|count| {
            match self.find(count.number) {
                Some(_) if count.number == number => return Err(Violation::BadHello),
                Some(index) => self.fall(now, index, CarrierEnd::Replaced),
                None => {}
            }
            self.settle(now, count.number, count.received)
        });
        if let Err(violation) = settled {
            self.end(now, SessionEnd::Violation(violation), Some(violation.into()));
            return Err(violation);
        }
        if self.ended().is_some() {
            // The list made one carrier too many fall.
            return Err(Violation::BadHello);
        }
        if let State::Recovering { since, begun } = std::mem::replace(&mut self.state, State::Up)
            && begun
        {
            let after = now.saturating_duration_since(since);
            let resent_bytes = self.traffic.resent_bytes - before;
            self.events.push_back(SessionEvent::Resumed { after, resent_bytes });
        }
        self.adopt(None, Some(number));
        self.fence_suspects(now, number);
        self.review_moves(now);
        self.look_whether_drained();
        Ok(())
    }

    /// A carrier came up beside suspect ones: these are fenced and their streams move, which costs nothing if the
    /// suspicion was wrong.
    fn fence_suspects(&mut self, now: Instant, number: CarrierNumber) {
        let is_suspect = |carrier: &Carrier| carrier.number != number && carrier.life.suspect;
        while let Some(index) = self.carriers.iter().position(is_suspect) {
            self.fall(now, index, CarrierEnd::Replaced);
        }
    }

    /// The peer's count of a fallen carrier is known: what it does not cover goes to a live one, and so do its
    /// streams, which could not send anything newer until now.
    fn settle(&mut self, now: Instant, number: CarrierNumber, received: u64) -> Result<(), Violation> {
        if self.attempted.contains(&number) {
            // The peer gave it up before its answer was read; the attempt comes to nothing, whatever is read yet.
            self.handle_join_failed(now, number);
            return Ok(());
        }
        let Some(fallen) = self.fallen.iter_mut().find(|fallen| fallen.number == number) else {
            if self.params.side == Side::Dialer && self.last_number.is_some_and(|last| number <= last) {
                // A failed join that was skipped, and the acceptor had admitted: it waits for our count of it. One that
                // was settled it does not ask for, and would not need the answer. Only dialers answer what they do not
                // know, or the two ends would answer each other for ever.
                self.remember(now, Fallen { number, received: 0, log: None, told: Told::No });
            }
            return Ok(());
        };
        let Some(log) = fallen.log.take() else { return Ok(()) };
        let tail = log.into_tail(received)?;
        self.fallen.retain(|fallen| !fallen.is_settled());
        let Some(best) = self.best_carrier() else { return Ok(()) };
        let carrier = &mut self.carriers[best];
        // Behind a tail streams stay together; without one each may go where it does best.
        let target = (!tail.is_empty()).then_some(carrier.number);
        self.traffic.resent_bytes += carrier.log.inherit(tail);
        self.adopt(Some(number), target);
        Ok(())
    }

    /// Takes a live carrier out, and tells that it ended.
    pub(super) fn take_carrier(&mut self, now: Instant, index: usize, end: CarrierEnd) -> Carrier {
        let mut carrier = self.carriers.remove(index);
        self.wakers.take(&mut carrier.driver);
        self.last_trip = carrier.pace.round_trip().smoothed.unwrap_or(self.last_trip);
        for fallen in &mut self.fallen {
            if matches!(fallen.told, Told::InHelloOf(by) | Told::InFrameOf(by, _) if by == carrier.number) {
                fallen.told = Told::No;
            }
        }
        self.events.push_back(SessionEvent::CarrierDown {
            number: carrier.number,
            end,
            last_received_ago: carrier.life.silence(now),
            traffic: carrier.traffic,
            round_trip: carrier.pace.round_trip(),
        });
        carrier
    }

    fn remember(&mut self, now: Instant, fallen: Fallen) {
        self.fallen.push(fallen);
        self.wake_drivers();
        if self.fallen.len() > MAX_FALLEN && self.params.side == Side::Dialer {
            // However many joins fail in a row, the session lives as long as its resume window: the oldest of them is
            // skipped. If the acceptor had admitted it, it will ask.
            if let Some(failed) =
                self.fallen.iter().position(|fallen| fallen.log.is_none() && fallen.received == 0)
            {
                self.fallen.remove(failed);
            }
        }
        if self.fallen.len() > MAX_FALLEN {
            let flood = Violation::Flood;
            self.end(now, SessionEnd::Violation(flood), Some(flood.into()));
        }
    }
}

/// More unsettled carriers than a hello can list (64) cannot be told. A dialer skips failed joins above that; at an
/// acceptor, by then that many joins in a row were admitted and never answered, or given up before they came.
pub(super) const MAX_FALLEN: usize = 64;
