//! What comes in: frames of a carrier, and the passing of time.

use std::time::{Duration, Instant};

use crate::error::{CarrierEnd, SessionEnd, Violation};
use crate::id::{CarrierNumber, Side, StreamId};
use crate::proto::session::age::Age;
use crate::proto::session::fault::Fault;
use crate::proto::session::key::StreamKey;
use crate::proto::session::stream::{OpenRequest, Opening, RecvState, SendState, Stream};
use crate::proto::session::{Session, SessionEvent, State};
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::decoder::Decoded;
use crate::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};

impl Session {
    /// Takes frames of a carrier, in order; they came when [`Session::handle_bytes`] was last told of bytes. Those of a
    /// carrier that is not live are dropped: after the peer was told how far this end received on it, nothing more of it may
    /// count.
    pub(crate) fn handle_frames(
        &mut self,
        now: Instant,
        number: CarrierNumber,
        frames: impl Iterator<Item = Decoded>,
    ) {
        for Decoded { frame, logged_bytes } in frames {
            let Some(index) = self.find(number) else { break };
            if self.ended().is_some() {
                return;
            }
            if logged_bytes > 0 {
                let carrier = &mut self.carriers[index];
                carrier.acks.count(now, carrier.life.last_received, logged_bytes);
            }
            if !matches!(frame, Frame::Close { .. }) {
                self.peer_has_answered(index);
            }
            if let Err(violation) = self.handle_frame(now, index, frame) {
                self.end(now, SessionEnd::Violation(violation), Some(violation.into()));
                return;
            }
        }
        self.review_moves(now);
        self.look_whether_drained();
    }

    /// Takes note that bytes came on a carrier, whatever they are: a sign of life.
    pub(crate) fn handle_bytes(&mut self, now: Instant, number: CarrierNumber, bytes: usize) {
        let Some(index) = self.find(number) else { return };
        let carrier = &mut self.carriers[index];
        carrier.traffic.received_bytes += bytes as u64;
        if carrier.life.heard(now) {
            self.events.push_back(SessionEvent::CarrierTrusted { number });
            self.review_moves(now);
        }
    }

    /// Whether frames that came on a carrier wait to be handed over. Until they are, no answer is taken to be missing, and
    /// what is received is acknowledged when that is due and not along with every batch.
    pub(crate) fn frames_wait(&mut self, now: Instant, number: CarrierNumber, waiting: bool) {
        if let Some(index) = self.find(number) {
            self.carriers[index].life.frames_wait(now, waiting);
        }
    }

    /// The time is `now`: what is due is done. Afterwards every timeout lies ahead.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let mut suspected = false;
        for index in (0..self.carriers.len()).rev() {
            // One that falls may be one too many to be unsettled, and take the session and the others with it.
            let Some(carrier) = self.carriers.get_mut(index) else { break };
            let (number, silence) = (carrier.number, carrier.life.silence(now));
            if carrier.life.is_dead(now) {
                self.fall(now, index, CarrierEnd::Dead(silence));
                continue;
            }
            let due = carrier.acks.handle_timeout(now) | carrier.life.handle_timeout(now);
            if due {
                self.wakers.take(&mut carrier.driver);
            }
            let round_trip = carrier.pace.round_trip();
            if carrier.life.becomes_suspect(now, carrier.pace.usual_wait()) {
                let event = SessionEvent::CarrierSuspect { number, last_received_ago: silence, round_trip };
                self.events.push_back(event);
                suspected = true;
            }
        }
        if suspected {
            // What it would have sent may now be for another to send, a retiring one perhaps.
            self.wake_drivers();
            self.review_moves(now);
        }
        if self.outgoing.refill(now) {
            self.wake_drivers();
        }
        self.ask_idle(now);
        if let State::Recovering { since, .. } = self.state
            && now.saturating_duration_since(since) >= self.params.resume_window
        {
            let waited = self.params.resume_window;
            self.end(now, SessionEnd::ResumeExpired(waited), Some(CloseCode::NORMAL));
        }
        while let Some((deadline, key)) = self.waiting.front().copied() {
            let still_waits = self.stream(key).is_some_and(|stream| stream.opening == Opening::Waiting);
            if still_waits && deadline > now {
                break;
            }
            self.waiting.pop_front();
            if still_waits {
                self.refuse(key, StreamCode::TIMED_OUT);
            }
        }
    }

    /// The bytes of a carrier are no frames: the session ends, and the peer is told why.
    pub(crate) fn handle_violation(&mut self, now: Instant, number: CarrierNumber, violation: Violation) {
        if self.find(number).is_some() {
            self.end(now, SessionEnd::Violation(violation), Some(violation.into()));
        }
    }

    fn handle_frame(&mut self, now: Instant, index: usize, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::Data { stream, payload } => self.handle_data(now, stream, payload),
            Frame::Ack { received, delay_micros } => {
                self.flood.pay(now)?;
                let delay = Duration::from_micros(delay_micros);
                self.carriers[index].acknowledged(now, received, delay)?;
                self.note_distance();
                self.counts_were_acknowledged(index);
                Ok(())
            }
            Frame::Open { stream, destination, metadata } => {
                self.handle_open(now, index, stream, OpenRequest { to: destination, metadata })
            }
            Frame::Accept { stream } => self.handle_accept(now, stream),
            Frame::Refuse { stream, code } => self.handle_refuse(now, stream, code),
            Frame::Finish { stream, total } => self.handle_finish(now, stream, total),
            Frame::Reset { stream, code } => self.handle_reset(now, stream, code),
            Frame::Stop { stream, code } => self.handle_stop(now, stream, code),
            Frame::Credit { stream, limit } => self.handle_credit(now, stream, limit),
            Frame::Shrink { stream, limit } => self.handle_shrink(now, stream, limit),
            Frame::Kept { stream, limit } => self.handle_kept(now, stream, limit),
            Frame::MaxStreams { limit } => {
                self.flood.pay(now)?;
                self.peer_max_streams = self.peer_max_streams.max(limit);
                Ok(())
            }
            Frame::Control { sequence, change } => {
                match change {
                    ControlChange::Serve(_) | ControlChange::Withdraw(_) => self.flood.pay_for_key(now)?,
                    ControlChange::Active(_) | ControlChange::Cost(_) => {
                        self.flood.pay_for_paths(now, self.peer.served())?;
                    }
                    ControlChange::Drain => self.flood.pay(now)?,
                }
                self.peer.take(sequence, change, self.params.limits.keys)?;
                if self.events.back() != Some(&SessionEvent::PeerChanged) {
                    self.events.push_back(SessionEvent::PeerChanged);
                }
                Ok(())
            }
            Frame::CarrierDead { carrier, received } => {
                let over = self.carriers[index].number;
                self.handle_carrier_dead(now, over, carrier, received)
            }
            Frame::Retire { carrier } => self.handle_retire(now, carrier),
            Frame::RequestCarrier { carrier, code, deadline_millis } => {
                self.handle_request(now, carrier, code, deadline_millis)
            }
            Frame::Hello(_) => Err(Violation::Unexpected),
            Frame::Ping { token } => {
                self.flood.pay(now)?;
                let carrier = &mut self.carriers[index];
                carrier.pong = Some(token);
                carrier.acks.hurry(now);
                Ok(())
            }
            Frame::Pong { token } => {
                self.flood.pay(now)?;
                self.carriers[index].ponged(now, token);
                self.note_distance();
                Ok(())
            }
            Frame::Close { scope: CloseScope::Carrier, code, .. } => {
                self.fall(now, index, CarrierEnd::PeerClosed(code));
                Ok(())
            }
            Frame::Close { scope: CloseScope::Session, code, .. } => {
                // Not a loss to recover from, however short the resume window is.
                self.take_carrier(now, index, CarrierEnd::PeerClosed(code));
                self.end(now, SessionEnd::PeerClosed(code), None);
                Ok(())
            }
            Frame::Unknown { .. } => self.flood.pay(now),
        }
    }

    fn handle_open(
        &mut self,
        now: Instant,
        index: usize,
        id: StreamId,
        mut request: OpenRequest,
    ) -> Result<(), Violation> {
        self.flood.pay(now)?;
        self.admit_id(id)?;
        if let OpenTo::Key(key) = &mut request.to
            && let Some(own) = self.outgoing.own(key)
        {
            // All streams to a key share this end's copy; the peer's would weigh on each for as long as it lives.
            *key = own.clone();
        }
        let refusal = match &request.to {
            _ if self.draining => Some(StreamCode::DRAINING),
            _ if self.outgoing.stands_by() => Some(StreamCode::STANDBY),
            OpenTo::Key(key) if !self.outgoing.serves(key) => Some(StreamCode::NOT_SERVED),
            _ if self.unaccepted >= self.params.limits.unaccepted => Some(StreamCode::BUSY),
            _ => None,
        };
        let mut stream = Stream::new(id, Opening::Waiting, self.params.peer_window);
        stream.to = request.to.clone();
        stream.since = Some(Age::at(self.origin, now));
        stream.request = Some(Box::new(request));
        // Where its open came, unless that is to be left.
        let home = if self.is_frozen(index) { self.best_carrier().unwrap_or(index) } else { index };
        stream.carrier = Some(self.carriers[home].number);
        self.carriers[home].streams += 1;
        let key = self.insert(stream);
        match refusal {
            Some(code) => self.turn_down(key, code),
            None => {
                self.unaccepted += 1;
                self.forget_judged();
                self.incoming.push_back(key);
                self.waiting.push_back((now + self.params.accept_deadline, key));
            }
        }
        if self.leaves_it_to_others(index) && self.streams_to_announce().is_some() {
            // The driver that runs now does not say it.
            self.wake_drivers();
        }
        Ok(())
    }

    /// Forgets streams that wait no more, once they are the greater part of those remembered: an accepted stream is
    /// not looked for in the queues, and a peer opens many within one deadline.
    fn forget_judged(&mut self) {
        let most = self.params.limits.unaccepted * 2;
        let streams = &self.streams;
        let waits = |key: &StreamKey| {
            let stream = streams.get(key.slot as usize).filter(|stream| stream.id == key.id);
            stream.is_some_and(|stream| stream.opening == Opening::Waiting)
        };
        if self.waiting.len() >= most {
            self.waiting.retain(|(_, key)| waits(key));
        }
        if self.incoming.len() >= most {
            self.incoming.retain(waits);
        }
    }

    /// Takes note that the peer uses a stream id: one of its own, within its limit, for the first time. A peer that
    /// could use one again would get a stream for it beyond its limit each time.
    fn admit_id(&mut self, id: StreamId) -> Result<(), Violation> {
        let (index, of_dialer) = (id.0 / 2, id.0.is_multiple_of(2));
        if of_dialer == (self.params.side == Side::Dialer) {
            return Err(Violation::Unexpected);
        }
        if index >= self.announced_streams {
            return Err(Violation::StreamLimit);
        }
        if index >= self.peer_opened {
            self.late.extend(self.peer_opened..index);
            self.peer_opened = index + 1;
        } else if !self.late.remove(&index) {
            return Err(Violation::Unexpected);
        }
        Ok(())
    }

    fn handle_data(&mut self, now: Instant, id: StreamId, payload: bytes::Bytes) -> Result<(), Violation> {
        let Some(key) = self.known(now, id)? else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if stream.opening == Opening::Asked {
            // An acceptor says that it accepts before it sends.
            return Err(Violation::Unexpected);
        }
        let recv = &mut stream.recv;
        let len = payload.len() as u64;
        if recv.received + len > recv.limit {
            return Err(Violation::Credit);
        }
        match recv.state {
            RecvState::Open => {
                self.traffic.received_bytes += len;
                if recv.queued() == 0 {
                    recv.unread = Some(Age::at(self.origin, now));
                }
                recv.push(payload);
                stream.filled |= recv.received == recv.edge;
                self.wakers.take(&mut recv.waker);
                Ok(())
            }
            RecvState::Stopped => {
                recv.received += len;
                recv.discard();
                Ok(())
            }
            RecvState::Finished | RecvState::Failed(_) => Err(Violation::Unexpected),
        }
    }

    fn handle_accept(&mut self, now: Instant, id: StreamId) -> Result<(), Violation> {
        let Some(key) = self.known(now, id)? else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if stream.opening != Opening::Asked {
            return Err(Violation::Unexpected);
        }
        stream.opening = Opening::Open;
        self.refusals.accepted(&stream.to);
        self.wakers.take(&mut stream.send.waker);
        Ok(())
    }

    /// A refusal ends the acceptor's half; the opener's own, unless it had ended, is ended by a reset.
    fn handle_refuse(&mut self, now: Instant, id: StreamId, code: StreamCode) -> Result<(), Violation> {
        let Some(key) = self.known(now, id)? else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if stream.opening != Opening::Asked {
            return Err(Violation::Unexpected);
        }
        stream.opening = Opening::Refused(code);
        if stream.held {
            self.refusals.met(&stream.to, code);
        }
        stream.recv.state = RecvState::Failed(Fault::Refused(code));
        stream.abandon_sending(code, Fault::Refused(code));
        self.wakers.take(&mut stream.send.waker);
        self.wakers.take(&mut stream.recv.waker);
        self.touched(key);
        Ok(())
    }

    fn handle_finish(&mut self, now: Instant, id: StreamId, total: u64) -> Result<(), Violation> {
        let Some(key) = self.known(now, id)? else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if stream.opening == Opening::Asked {
            return Err(Violation::Unexpected);
        }
        if total != stream.recv.received {
            return Err(Violation::FinalSize);
        }
        stream.recv.state = match stream.recv.state {
            RecvState::Open => RecvState::Finished,
            RecvState::Stopped => RecvState::Failed(Fault::Closed),
            RecvState::Finished | RecvState::Failed(_) => return Err(Violation::Unexpected),
        };
        stream.pending.credit = false;
        self.wakers.take(&mut stream.recv.waker);
        self.fit(key);
        self.touched(key);
        Ok(())
    }

    fn handle_reset(&mut self, now: Instant, id: StreamId, code: StreamCode) -> Result<(), Violation> {
        self.flood.pay(now)?;
        let Some(key) = self.find_stream(id) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        stream.recv.state = match stream.recv.state {
            RecvState::Open => RecvState::Failed(Fault::Reset(code)),
            RecvState::Stopped => RecvState::Failed(Fault::Closed),
            RecvState::Finished | RecvState::Failed(_) => return Err(Violation::Unexpected),
        };
        stream.recv.discard();
        stream.pending.credit = false;
        self.wakers.take(&mut stream.recv.waker);
        self.fit(key);
        self.touched(key);
        Ok(())
    }

    fn handle_stop(&mut self, now: Instant, id: StreamId, code: StreamCode) -> Result<(), Violation> {
        self.flood.pay(now)?;
        let Some(key) = self.find_stream(id) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        stream.abandon_sending(code, Fault::Stopped(code));
        self.wakers.take(&mut stream.send.waker);
        self.touched(key);
        Ok(())
    }

    fn handle_credit(&mut self, now: Instant, id: StreamId, limit: u64) -> Result<(), Violation> {
        self.flood.pay(now)?;
        let Some(key) = self.find_stream(id) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if limit > stream.send.limit {
            stream.send.limit = limit;
            stream.send.dry = None;
        }
        self.touched(key);
        Ok(())
    }

    /// Finds a stream by its id. A frame for one that is over and gone is ignored, at a price.
    fn known(&mut self, now: Instant, id: StreamId) -> Result<Option<StreamKey>, Violation> {
        let found = self.find_stream(id);
        if found.is_none() {
            self.flood.pay(now)?;
        }
        Ok(found)
    }

    /// Finds a stream by its id, for a frame that is paid for already.
    pub(super) fn find_stream(&self, id: StreamId) -> Option<StreamKey> {
        self.slots.get(&id).map(|slot| StreamKey { slot: *slot, id })
    }

    /// Ends the session: every stream with its typed reason, every carrier with a close if `code` is given.
    pub(super) fn end(&mut self, now: Instant, end: SessionEnd, code: Option<CloseCode>) {
        if self.ended().is_some() {
            return;
        }
        self.state = State::Ended(end.clone());
        while let Some(index) = self.carriers.len().checked_sub(1) {
            self.say_farewell(now, index, code.unwrap_or(CloseCode::NORMAL), CloseScope::Session);
        }
        self.fallen.clear();
        self.waiting.clear();
        self.incoming.clear();
        self.unaccepted = 0;
        let mut abandoned = Vec::new();
        for (slot, stream) in &mut self.streams {
            stream.send.clear();
            if matches!(stream.send.state, SendState::Open | SendState::Finishing) {
                stream.send.state = SendState::Ended(Some(Fault::Lost));
            }
            if matches!(stream.recv.state, RecvState::Open | RecvState::Stopped) {
                stream.recv.state = RecvState::Failed(Fault::Lost);
            }
            if stream.opening == Opening::Waiting {
                // Whoever holds it may still try to accept it.
                stream.opening = Opening::Refused(StreamCode::CANCELLED);
            }
            self.wakers.take(&mut stream.send.waker);
            self.wakers.take(&mut stream.recv.waker);
            if !stream.held {
                abandoned.push(slot);
            }
        }
        abandoned.into_iter().for_each(|slot| self.remove(slot));
        self.events.push_back(SessionEvent::Ended { end, traffic: self.traffic });
    }
}
