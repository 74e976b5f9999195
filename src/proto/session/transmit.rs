//! What goes out: filling a batch for a carrier.
//!
//! Order within a batch: greeting, pong and ping, the tail of dead carriers, session-wide and stream control, keys, data by
//! turns; the acknowledgement last. So whatever was sent before on a dead carrier stays ahead of anything newer of its
//! streams, and an open stays ahead of its data.

use std::time::Instant;

use bytes::BytesMut;

use crate::id::{CarrierNumber, Side};
use crate::proto::session::Session;
use crate::proto::session::age::Age;
use crate::proto::session::carrier::Carrier;
use crate::proto::session::drain::Fence;
use crate::proto::session::fault::Fault;
use crate::proto::session::key::StreamKey;
use crate::proto::session::log::Piece;
use crate::proto::session::stream::{Opening, SendState, Stream};
use crate::proto::session::wakers::register;
use crate::wire::encode::{data_header, data_overhead, max_data};
use crate::wire::frame::{CloseScope, Frame};

/// What a driver is to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// Write the pieces; call again.
    Batch,
    /// Write the pieces: they are all there is for now. The driver is registered as with [`Transmit::Idle`].
    Last,
    /// Nothing to write until woken.
    Idle,
    /// Write the pieces, then end the connection in good order: they end with a close.
    Farewell,
    /// The carrier is dead to the session: drop the connection.
    Gone,
    /// The carrier is dead to the session, but the dialer may not know yet that a newer one took its place. Leave the
    /// connection open until the dialer ends it, for a while at least: its end would overtake the newer one's hello
    /// where packets are lost, and look to the dialer like the loss of its only carrier.
    Fenced,
}

impl Session {
    /// Fills `out` with what carrier `number` is to send now, at most one batch of [`BATCH`] bytes, and enters it
    /// into the log. With [`Transmit::Idle`], `driver` is registered to be woken when there is more.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        number: CarrierNumber,
        out: &mut Vec<Piece>,
        driver: &std::task::Waker,
    ) -> Transmit {
        let Some(index) = self.find(number) else { return self.farewell(number, out) };
        self.outgoing.refill(now);
        let mut room = BATCH;
        let carrier = &mut self.carriers[index];
        if carrier.log.in_flight() == 0 {
            carrier.pace.rests(now);
        }
        self.transmit_first(now, index, out, &mut room);
        let before = out.len();
        let frozen = self.is_frozen(index);
        if frozen {
            self.transmit_retire(index, out, &mut room);
        } else {
            self.transmit_resend(index, out, &mut room);
            if self.transmit_control(now, index, out, &mut room) {
                self.transmit_keys(index, out, &mut room);
                self.transmit_data(now, index, out, &mut room);
            }
        }
        let carrier = &mut self.carriers[index];
        let logged = out.len() > before;
        if logged {
            carrier.log.mark(now);
            carrier.life.owes(now);
            self.flood.earn(1);
        }
        // While frames wait, one that rides along with each of their answers would tell of them piecemeal: a peer pays for
        // every acknowledgement, and with tiny frames more than it earns.
        let riding = logged && !carrier.life.is_waiting();
        if let Some((received, held)) = carrier.acks.take(now, riding) {
            let delay_micros = u64::try_from(held.as_micros()).unwrap_or(u64::MAX).min(MAX_DELAY_MICROS);
            out.push(Piece::frame(&Frame::Ack { received, delay_micros }, &mut self.scratch));
        }
        carrier.traffic.sent_bytes += out.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let rest = !frozen && (carrier.log.has_resend() || !carrier.schedule.is_empty());
        if frozen && let Some(code) = self.has_retired(index) {
            self.say_farewell(now, index, code, CloseScope::Carrier);
            return if out.is_empty() { self.farewell(number, out) } else { Transmit::Batch };
        }
        if !out.is_empty() && (rest || self.has_session_control(index) && !self.leaves_it_to_others(index)) {
            return Transmit::Batch;
        }
        register(&mut self.carriers[index].driver, driver);
        if out.is_empty() { Transmit::Idle } else { Transmit::Last }
    }

    /// Wakes the driver of a live carrier when there is something to send, or when the carrier falls.
    pub(crate) fn register_driver(&mut self, number: CarrierNumber, driver: &std::task::Waker) {
        if let Some(index) = self.find(number) {
            register(&mut self.carriers[index].driver, driver);
        }
    }

    /// The driver of a carrier is about to ask what is to be sent: what comes to be until then need not wake it.
    pub(crate) fn driver_runs(&mut self, number: CarrierNumber) {
        if let Some(index) = self.find(number) {
            self.carriers[index].driver = None;
        }
    }

    /// Hello, pong and ping, which no log holds.
    fn transmit_first(&mut self, now: Instant, index: usize, out: &mut Vec<Piece>, room: &mut usize) {
        let carrier = &mut self.carriers[index];
        if let Some(hello) = carrier.greeting.take() {
            out.push(Piece::data(&[], hello));
        }
        if let Some(token) = carrier.pong.take() {
            out.push(Piece::frame(&Frame::Pong { token }, &mut self.scratch));
        }
        if carrier.life.take_ping(now, carrier.fence == Fence::Due) {
            let token = self.random.u64(..) >> 2;
            if carrier.fence == Fence::Due {
                carrier.fence = Fence::Asked(token);
            }
            carrier.ping = Some((token, now));
            out.push(Piece::frame(&Frame::Ping { token }, &mut self.scratch));
        }
        // Room for an acknowledgement, so that a batch of bulk data with one fills whole records.
        *room -= out.iter().map(Piece::len).sum::<usize>().min(*room);
        if self.carriers[index].acks.is_waiting() {
            *room = room.saturating_sub(ack_len(self.carriers[index].acks.received));
        }
    }

    fn transmit_resend(&mut self, index: usize, out: &mut Vec<Piece>, room: &mut usize) {
        let carrier = &mut self.carriers[index];
        let cap = carrier.flight_cap();
        while *room >= crate::wire::HEADER + crate::wire::MAX_PAYLOAD && carrier.log.in_flight() < cap {
            let Some(piece) = carrier.log.resend() else { break };
            *room -= piece.len().min(*room);
            out.push(piece);
        }
    }

    /// The last frame of a carrier that others take the place of.
    fn transmit_retire(&mut self, index: usize, out: &mut Vec<Piece>, room: &mut usize) {
        let Some(frame) = self.next_retire(index) else { return };
        let carrier = &mut self.carriers[index];
        if carrier.log.in_flight() < carrier.flight_cap() + CONTROL_SLACK {
            emit(carrier, &frame, &mut self.scratch, out, room);
            carrier.said_retire();
        }
    }

    /// Changes of the key table. They may be many: where data waits they get a part of each batch, so that no stream waits for
    /// all of them, and like data they stay within the bound on what is in flight.
    fn transmit_keys(&mut self, index: usize, out: &mut Vec<Piece>, room: &mut usize) {
        if !self.outgoing.has_next_key() || self.leaves_it_to_others(index) || !self.brings_changes(index) {
            return;
        }
        let carrier = &mut self.carriers[index];
        let share = if carrier.schedule.next_data().is_some() { KEYS_BESIDE_DATA } else { BATCH };
        let rest = room.saturating_sub(share).max(LARGEST_CONTROL);
        let cap = carrier.flight_cap();
        while *room > rest && carrier.log.in_flight() < cap {
            let Some((sequence, change)) = self.outgoing.next_key() else { break };
            emit(carrier, &Frame::Control { sequence, change }, &mut self.scratch, out, room);
        }
    }

    /// Session-wide and stream control, but for keys. Returns whether all of it went out, without which no data may follow.
    fn transmit_control(
        &mut self,
        now: Instant,
        index: usize,
        out: &mut Vec<Piece>,
        room: &mut usize,
    ) -> bool {
        let carrier = &mut self.carriers[index];
        if carrier.log.has_resend() {
            return false;
        }
        let cap = carrier.flight_cap() + CONTROL_SLACK;
        let may_send =
            |carrier: &Carrier, room: usize| room >= LARGEST_CONTROL && carrier.log.in_flight() < cap;
        let elsewhere = self.leaves_it_to_others(index);
        while !elsewhere && may_send(&self.carriers[index], *room) {
            let Some(frame) = self.next_session_control(index) else { break };
            emit(&mut self.carriers[index], &frame, &mut self.scratch, out, room);
        }
        let mut over = Vec::new();
        let carrier = &mut self.carriers[index];
        while let Some(key) = carrier.schedule.next_control() {
            if !may_send(carrier, *room) {
                break;
            }
            let Some(stream) = self.streams.get_mut(key.slot as usize).filter(|stream| stream.id == key.id)
            else {
                carrier.schedule.drop_control();
                continue;
            };
            if stream.carrier != Some(carrier.number) {
                carrier.schedule.drop_control();
                continue;
            }
            carrier.schedule.pop_control(&mut stream.turn);
            if stream.pending.open {
                stream.since = Some(Age::at(self.origin, now));
            }
            while let Some(frame) = next_control(stream) {
                emit(carrier, &frame, &mut self.scratch, out, room);
            }
            if stream.is_over() && !stream.held {
                over.push(key.slot);
            }
        }
        let all = carrier.schedule.next_control().is_none();
        over.into_iter().for_each(|slot| self.remove(slot as usize));
        all && (elsewhere || !self.has_small_control(index))
    }

    /// Data and finishes, by turns.
    fn transmit_data(&mut self, now: Instant, index: usize, out: &mut Vec<Piece>, room: &mut usize) {
        let carrier = &mut self.carriers[index];
        let cap = carrier.flight_cap();
        // A writer that waits for room is woken for half a buffer of it, not for every frame that leaves.
        let enough = self.params.limits.send_buffer / 2;
        let mut over = Vec::new();
        let mut sent = 0;
        while let Some(key) = carrier.schedule.next_data() {
            if carrier.log.in_flight() >= cap {
                carrier.pace.holds_back();
                break;
            }
            if *room < LEAST_DATA {
                break;
            }
            let Some(stream) = self.streams.get_mut(key.slot as usize).filter(|stream| stream.id == key.id)
            else {
                carrier.schedule.drop_data();
                continue;
            };
            if stream.carrier != Some(carrier.number) {
                carrier.schedule.drop_data();
                continue;
            }
            if !stream.wants_data() {
                carrier.schedule.empty(&mut stream.turn);
                continue;
            }
            if stream.turn.deficit <= 0 {
                carrier.schedule.rotate(&mut stream.turn);
                continue;
            }
            let max = max_data(stream.id).min(*room - data_overhead(stream.id));
            if let Some(payload) = stream.send.take(max) {
                let len = payload.len();
                if stream.send.sent == stream.send.limit {
                    stream.send.dry = Some(Age::at(self.origin, now));
                }
                let piece = Piece::data(data_header(stream.id, len).as_ref(), payload);
                carrier.schedule.sent(&mut stream.turn, piece.len());
                *room -= piece.len();
                sent += len as u64;
                carrier.log.push(piece.clone());
                out.push(piece);
                if stream.send.queued <= enough {
                    self.wakers.take(&mut stream.send.waker);
                }
            }
            if stream.send.state == SendState::Finishing && stream.send.queued == 0 {
                stream.send.state = SendState::Ended(None);
                let frame = Frame::Finish { stream: stream.id, total: stream.send.sent };
                emit(carrier, &frame, &mut self.scratch, out, room);
                if stream.is_over() && !stream.held {
                    over.push(key.slot);
                }
            }
        }
        self.traffic.sent_bytes += sent;
        self.flood.sent(sent);
        over.into_iter().for_each(|slot| self.remove(slot as usize));
    }

    fn farewell(&mut self, number: CarrierNumber, out: &mut Vec<Piece>) -> Transmit {
        let Some((_, closing)) = self.farewells.iter_mut().find(|(leaving, _)| *leaving == number) else {
            let replaced = self.params.side == Side::Acceptor && self.ended().is_none();
            return if replaced { Transmit::Fenced } else { Transmit::Gone };
        };
        if std::mem::replace(&mut closing.sent, true) {
            return Transmit::Gone;
        }
        let frame = Frame::Close {
            scope: closing.scope,
            code: closing.code,
            retry_after_millis: 0,
            detail: String::new(),
        };
        out.push(Piece::frame(&frame, &mut self.scratch));
        Transmit::Farewell
    }

    /// Whether [`Session::next_session_control`] has something for a carrier, or [`Session::transmit_keys`] has keys for it.
    pub(super) fn has_session_control(&self, index: usize) -> bool {
        self.has_small_control(index) || self.outgoing.has_next_key() && self.brings_changes(index)
    }

    fn has_small_control(&self, index: usize) -> bool {
        self.outgoing.has_next_small() && self.brings_changes(index)
            || self.has_untold()
            || self.request_for(index).is_some()
            || self.streams_to_announce().is_some()
    }

    /// Whether a carrier is the one over which changes go, which are to come in order: those that overtake others on a carrier that is
    /// late have to wait at the peer.
    fn brings_changes(&self, index: usize) -> bool {
        let rank = |at: &usize| (self.carriers[*at].life.suspect, self.carriers[*at].retiring.is_some());
        (0..self.carriers.len()).min_by_key(rank) == Some(index)
    }

    fn next_session_control(&mut self, index: usize) -> Option<Frame> {
        if let Some(count) = self.next_untold(index) {
            return Some(Frame::CarrierDead { carrier: count.number, received: count.received });
        }
        if let Some(limit) = self.streams_to_announce() {
            self.announced_streams = limit;
            return Some(Frame::MaxStreams { limit });
        }
        if let Some(request) = self.next_request(index) {
            return Some(request);
        }
        if !self.brings_changes(index) {
            return None;
        }
        let (sequence, change) = self.outgoing.next_small()?;
        Some(Frame::Control { sequence, change })
    }

    /// A new count of streams for the peer, once an eighth of them came free since the last; sooner when the peer
    /// has fewer left than will come free with it, or streams that live long would keep the rest from being used.
    pub(super) fn streams_to_announce(&self) -> Option<u64> {
        let max = self.params.limits.max_streams;
        let limit = self.released + max;
        let fresh = limit.saturating_sub(self.announced_streams);
        let left = self.announced_streams.saturating_sub(self.peer_opened);
        (fresh > 0 && fresh >= (max / 8).max(1).min(left)).then_some(limit)
    }
}

impl Carrier {
    /// Lists a stream for what it has to send. The stream must be one of this carrier.
    pub(super) fn list(&mut self, slot: usize, stream: &mut Stream) {
        // A slab index of a table bounded by the stream limits of both ends, far below 2^32.
        let key = StreamKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), id: stream.id };
        if stream.has_control() {
            self.schedule.list_control(key, &mut stream.turn);
        }
        if stream.wants_data() {
            self.schedule.list_data(key, &mut stream.turn);
        }
    }
}

/// Frames a logged frame and enters it.
fn emit(
    carrier: &mut Carrier,
    frame: &Frame,
    scratch: &mut BytesMut,
    out: &mut Vec<Piece>,
    room: &mut usize,
) {
    let piece = Piece::frame(frame, scratch);
    *room -= piece.len().min(*room);
    carrier.log.push(piece.clone());
    out.push(piece);
}

/// The next control frame of a stream, in the order the peer must see them.
fn next_control(stream: &mut Stream) -> Option<Frame> {
    let id = stream.id;
    let pending = &mut stream.pending;
    if std::mem::take(&mut pending.open) {
        let request = stream.request.take()?;
        return Some(Frame::Open { stream: id, destination: request.to, metadata: request.metadata });
    }
    if std::mem::take(&mut pending.accept) {
        return Some(Frame::Accept { stream: id });
    }
    if std::mem::take(&mut pending.kept) && !matches!(stream.send.state, SendState::Ended(_)) {
        return Some(Frame::Kept { stream: id, limit: stream.send.limit });
    }
    if std::mem::take(&mut pending.refuse)
        && let Opening::Refused(code) = stream.opening
    {
        return Some(Frame::Refuse { stream: id, code });
    }
    if stream.opening != Opening::Waiting
        && let Some(code) = pending.reset.take()
    {
        let cause = match stream.send.state {
            SendState::Resetting(cause) => cause,
            _ => Fault::Closed,
        };
        stream.send.state = SendState::Ended(Some(cause));
        return Some(Frame::Reset { stream: id, code });
    }
    if let Some(code) = pending.stop.take() {
        return Some(Frame::Stop { stream: id, code });
    }
    if std::mem::take(&mut pending.shrink) {
        return Some(Frame::Shrink { stream: id, limit: stream.recv.fallback() });
    }
    if std::mem::take(&mut pending.credit) {
        return Some(Frame::Credit { stream: id, limit: stream.recv.limit });
    }
    None
}

/// Whether the open of a stream has left this end.
pub(super) fn has_left(stream: &Stream) -> bool {
    !(stream.opening == Opening::Asked && stream.pending.open)
}

/// The length of an acknowledgement of that count, with the longest delay.
fn ack_len(received: u64) -> usize {
    crate::wire::HEADER + crate::wire::varint::size(received) + 4
}

/// A batch: eight full TLS records, written at once. More leaves the processor's cache; fewer costs system calls.
pub(crate) const BATCH: usize = 128 << 10;

/// Control may exceed the bound on data in flight by this much, so that credit flows while data waits; with it
/// the log stays bounded.
const CONTROL_SLACK: u64 = 64 << 10;

/// What keys may take of a batch beside data: an eighth, so that a table of ten thousand (some 0.4 MB) goes with 3 MB of data.
const KEYS_BESIDE_DATA: usize = BATCH / 8;

/// Room a control frame may need: an open with key and metadata, or all small frames of one stream.
const LARGEST_CONTROL: usize = 4608;

/// Less room than this is not worth a data frame of its own.
const LEAST_DATA: usize = 64;

/// A delay beyond a minute says nothing more, and fits four bytes.
const MAX_DELAY_MICROS: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_open_fits_the_room_asked_for_control() {
        let open = Frame::Open {
            stream: crate::id::StreamId((1 << 62) - 1),
            destination: crate::wire::frame::OpenTo::Key(
                crate::id::RoutingKey::new("k".repeat(255)).unwrap(),
            ),
            metadata: bytes::Bytes::from(vec![0; crate::wire::MAX_METADATA]),
        };
        assert!(Piece::frame(&open, &mut BytesMut::new()).len() <= LARGEST_CONTROL);
    }
}
