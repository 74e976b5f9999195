//! What the application does with streams. Every call is short: it moves `Bytes` and counters.

use std::task::{Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use crate::error::{SessionEnd, StreamError};
use crate::id::{Side, StreamId};
use crate::proto::session::Session;
use crate::proto::session::age::Age;
use crate::proto::session::fault::Fault;
use crate::proto::session::key::StreamKey;
use crate::proto::session::stream::{OpenRequest, Opening, RecvState, SendState, Stream};
use crate::proto::session::transmit::has_left;
use crate::proto::session::wakers::register;
use crate::stats::Traffic;
use crate::wire::code::StreamCode;

/// Why a stream was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    /// The peer refused it.
    Refused(StreamCode),
    /// The session ended before the open left: it may be tried elsewhere.
    NeverSent(SessionEnd),
    /// The session ended before a verdict: the peer may have got it.
    Unknown(SessionEnd),
    /// The peer takes no more streams.
    Limit,
    /// This end or the peer drains.
    Draining,
}

impl Session {
    /// Opens a stream; `initial` (at most the initial window) goes with it.
    ///
    /// # Errors
    /// The session has ended, or drains, or the peer takes no more streams, or has refused so many there that it is not asked.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        request: OpenRequest,
        initial: Bytes,
    ) -> Result<StreamKey, OpenFailure> {
        if let Some(end) = self.ended() {
            return Err(OpenFailure::NeverSent(end.clone()));
        }
        if self.draining || self.peer.draining {
            return Err(OpenFailure::Draining);
        }
        if self.opened >= self.peer_max_streams {
            return Err(OpenFailure::Limit);
        }
        if let Some(code) = self.refusals.answer(now, &request.to) {
            return Err(OpenFailure::Refused(code));
        }
        let parity = match self.params.side {
            Side::Dialer => 0,
            Side::Acceptor => 1,
        };
        let id = StreamId(self.opened * 2 + parity);
        self.opened += 1;
        // One late verdict, one late credit and one late stop may come for it after it is over.
        self.flood.earn(3);
        let mut stream = Stream::new(id, Opening::Asked, self.params.peer_window);
        stream.to = request.to.clone();
        stream.request = Some(Box::new(request));
        stream.pending.open = true;
        stream.held = true;
        if !initial.is_empty() {
            stream.send.push(initial);
        }
        if let Some(index) = self.best_carrier() {
            stream.carrier = Some(self.carriers[index].number);
            self.carriers[index].streams += 1;
        }
        let key = self.insert(stream);
        self.touched(key);
        Ok(key)
    }

    /// Waits for the peer's verdict on an open.
    pub(crate) fn poll_verdict(&mut self, key: StreamKey, waker: &Waker) -> Poll<Result<(), OpenFailure>> {
        let ended = self.ended().cloned();
        let Some(stream) = self.stream_mut(key) else {
            let end = ended.unwrap_or(SessionEnd::Gone);
            return Poll::Ready(Err(OpenFailure::Unknown(end)));
        };
        match (stream.opening, ended) {
            (Opening::Open, _) => Poll::Ready(Ok(())),
            (Opening::Refused(code), _) => Poll::Ready(Err(OpenFailure::Refused(code))),
            (_, Some(end)) if has_left(stream) => Poll::Ready(Err(OpenFailure::Unknown(end))),
            (_, Some(end)) => Poll::Ready(Err(OpenFailure::NeverSent(end))),
            (Opening::Asked | Opening::Waiting, None) => {
                register(&mut stream.send.waker, waker);
                Poll::Pending
            }
        }
    }

    /// The next stream the peer opened, with what its open said. Whoever takes it must accept, refuse or release.
    pub(crate) fn poll_incoming(&mut self) -> Option<(StreamKey, OpenRequest)> {
        while let Some(key) = self.incoming.pop_front() {
            let Some(stream) = self.stream_mut(key) else { continue };
            if stream.opening != Opening::Waiting {
                continue;
            }
            let Some(request) = stream.request.take() else { continue };
            stream.held = true;
            return Some((key, *request));
        }
        None
    }

    /// Whether [`Session::poll_incoming`] may have something.
    pub(crate) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Accepts a stream of the peer. Returns whether it still waited; one that timed out meanwhile did not.
    pub(crate) fn accept(&mut self, key: StreamKey) -> bool {
        let Some(stream) = self.stream_mut(key) else { return false };
        if stream.opening != Opening::Waiting {
            return false;
        }
        stream.opening = Opening::Open;
        stream.pending.accept = true;
        let given_up = matches!(stream.recv.state, RecvState::Failed(_));
        self.unaccepted -= 1;
        if given_up {
            // Its opener has reset it already: no work comes of it, however soon it was accepted.
            self.flood.forgive();
        } else {
            // An accepted stream is useful work: it pays for its open, resets, stops and credits.
            self.flood.earn(8);
        }
        self.touched(key);
        true
    }

    /// Refuses a stream of the peer that was not accepted.
    pub(crate) fn refuse(&mut self, key: StreamKey, code: StreamCode) {
        let Some(stream) = self.stream_mut(key) else { return };
        if stream.opening == Opening::Waiting {
            self.unaccepted -= 1;
            self.turn_down(key, code);
        }
    }

    /// Refuses a stream of the peer that is not counted among those that wait.
    pub(super) fn turn_down(&mut self, key: StreamKey, code: StreamCode) {
        self.flood.forgive();
        self.turned_down += 1;
        let Some(stream) = self.stream_mut(key) else { return };
        stream.opening = Opening::Refused(code);
        // It may be long before the peer lets go of it, too.
        stream.request = None;
        stream.send.clear();
        stream.send.state = SendState::Ended(Some(Fault::Refused(code)));
        stream.pending.refuse = true;
        // A stop of the opener may have asked for a reset; the refusal ends the half in its place.
        stream.pending.reset = None;
        if stream.recv.state == RecvState::Open {
            stream.recv.discard();
            stream.recv.state = RecvState::Stopped;
        }
        self.fit(key);
        self.touched(key);
    }

    /// Asks for room to write: up to `want` bytes, at least one.
    pub(crate) fn poll_reserve(
        &mut self,
        key: StreamKey,
        want: usize,
        waker: &Waker,
    ) -> Poll<Result<usize, StreamError>> {
        let buffer = self.params.limits.send_buffer;
        let Some(stream) = self.stream_mut(key) else { return Poll::Ready(Err(StreamError::Closed)) };
        if let Some(fault) = stream.send.failure() {
            return Poll::Ready(Err(fault.error(self.ended())));
        }
        let room = buffer.saturating_sub(stream.send.queued);
        if room == 0 {
            register(&mut stream.send.waker, waker);
            return Poll::Pending;
        }
        Poll::Ready(Ok(room.min(want)))
    }

    /// Queues bytes for which there was room.
    ///
    /// # Errors
    /// The half has ended since.
    pub(crate) fn write(&mut self, key: StreamKey, bytes: Bytes) -> Result<(), StreamError> {
        let Some(stream) = self.stream_mut(key) else { return Err(StreamError::Closed) };
        if let Some(fault) = stream.send.failure() {
            return Err(fault.error(self.ended()));
        }
        if !bytes.is_empty() {
            stream.send.push(bytes);
            self.touched(key);
        }
        Ok(())
    }

    /// Queues as much of `bytes` as there is room for, and takes that off its front; returns how much it was.
    pub(crate) fn poll_write(
        &mut self,
        key: StreamKey,
        bytes: &mut Bytes,
        waker: &Waker,
    ) -> Poll<Result<usize, StreamError>> {
        let room = ready!(self.poll_reserve(key, bytes.len(), waker))?;
        Poll::Ready(self.write(key, bytes.split_to(room)).map(|()| room))
    }

    /// Queues all of `bytes`, and leaves none, as soon as there is room for any of it.
    pub(crate) fn poll_send(
        &mut self,
        key: StreamKey,
        bytes: &mut Bytes,
        waker: &Waker,
    ) -> Poll<Result<(), StreamError>> {
        if !bytes.is_empty() {
            ready!(self.poll_reserve(key, 1, waker))?;
        }
        Poll::Ready(self.write(key, std::mem::take(bytes)))
    }

    /// Takes the next bytes of a stream; `None` is the end that its peer made.
    pub(crate) fn poll_read(
        &mut self,
        now: Instant,
        key: StreamKey,
        waker: &Waker,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let unread = Age::at(self.origin, now);
        let Some(stream) = self.stream_mut(key) else { return Poll::Ready(Err(StreamError::Closed)) };
        if let Some(chunk) = stream.recv.pop() {
            stream.recv.unread = Some(unread);
            self.grant(now, key);
            return Poll::Ready(Ok(Some(chunk)));
        }
        match stream.recv.state {
            RecvState::Open => {
                register(&mut stream.recv.waker, waker);
                Poll::Pending
            }
            RecvState::Finished => Poll::Ready(Ok(None)),
            RecvState::Failed(fault) => Poll::Ready(Err(fault.error(self.ended()))),
            RecvState::Stopped => Poll::Ready(Err(StreamError::Closed)),
        }
    }

    /// Waits until a stream's sending half is given up by its peer or the session, whether or not anybody writes.
    pub(crate) fn poll_send_failure(&mut self, key: StreamKey, waker: &Waker) -> Poll<StreamError> {
        let Some(stream) = self.stream_mut(key) else { return Poll::Ready(StreamError::Closed) };
        match stream.send.state {
            SendState::Ended(Some(fault)) | SendState::Resetting(fault) => {
                Poll::Ready(fault.error(self.ended()))
            }
            _ => {
                register(&mut stream.send.waker, waker);
                Poll::Pending
            }
        }
    }

    /// Waits until the receiving half has failed, whether or not anybody reads.
    pub(crate) fn poll_recv_failure(&mut self, key: StreamKey, waker: &Waker) -> Poll<StreamError> {
        let Some(stream) = self.stream_mut(key) else { return Poll::Ready(StreamError::Closed) };
        match stream.recv.state {
            RecvState::Failed(fault) => Poll::Ready(fault.error(self.ended())),
            _ => {
                register(&mut stream.recv.waker, waker);
                Poll::Pending
            }
        }
    }

    /// Ends the sending half in good order, after what is queued.
    pub(crate) fn finish(&mut self, key: StreamKey) {
        let Some(stream) = self.stream_mut(key) else { return };
        if stream.send.state == SendState::Open {
            stream.send.state = SendState::Finishing;
            self.touched(key);
        }
    }

    /// Abandons the sending half.
    pub(crate) fn reset(&mut self, key: StreamKey, code: StreamCode) {
        let Some(stream) = self.stream_mut(key) else { return };
        stream.abandon_sending(code, Fault::Closed);
        self.touched(key);
    }

    /// Nobody will write any more: what was not finished is reset, what was is still sent.
    pub(crate) fn abandon(&mut self, key: StreamKey, code: StreamCode) {
        let Some(stream) = self.stream_mut(key) else { return };
        if stream.send.state == SendState::Open {
            self.reset(key, code);
        }
    }

    /// Stops reading.
    pub(crate) fn stop(&mut self, key: StreamKey, code: StreamCode) {
        let Some(stream) = self.stream_mut(key) else { return };
        stream.stop_receiving(code);
        self.fit(key);
        self.touched(key);
    }

    /// The application lets go of a stream: what has not ended is reset and stopped.
    pub(crate) fn release(&mut self, key: StreamKey) {
        let slot = self.streams.get_mut(key.slot as usize);
        let Some(stream) = slot.filter(|stream| stream.id == key.id) else { return };
        stream.held = false;
        if stream.opening == Opening::Waiting {
            self.refuse(key, StreamCode::REFUSED);
            return;
        }
        if stream.opening == Opening::Asked {
            // It goes, or has gone, and comes to nothing for the peer as well.
            self.refusals.met(&stream.to, StreamCode::BUSY);
        }
        if stream.send.state == SendState::Open {
            stream.abandon_sending(StreamCode::CANCELLED, Fault::Closed);
        }
        stream.stop_receiving(StreamCode::CANCELLED);
        stream.recv.discard();
        self.fit(key);
        self.touched(key);
    }

    /// What went over a stream.
    pub(crate) fn stream_traffic(&self, key: StreamKey) -> Option<Traffic> {
        let stream = self.stream(key)?;
        Some(Traffic { sent_bytes: stream.send.sent, received_bytes: stream.recv.received, resent_bytes: 0 })
    }

    /// Why a stream did not end in good order both ways, as far as is known; a stream still open has been cut off.
    pub(crate) fn stream_error(&self, key: StreamKey) -> Option<StreamError> {
        let stream = self.stream(key)?;
        let received = match stream.recv.state {
            RecvState::Finished => None,
            RecvState::Failed(fault) => Some(fault),
            RecvState::Open | RecvState::Stopped => Some(Fault::Closed),
        };
        let sent = match stream.send.state {
            SendState::Finishing | SendState::Ended(None) => None,
            SendState::Ended(Some(fault)) | SendState::Resetting(fault) => Some(fault),
            SendState::Open => Some(Fault::Closed),
        };
        // What the peer or the session did says more than what was done here.
        let fault = received.filter(|fault| *fault != Fault::Closed).or(sent).or(received);
        fault.map(|fault| fault.error(self.ended()))
    }

    /// A stream has changed: lists it for sending, or removes it if it is over and let go.
    pub(super) fn touched(&mut self, key: StreamKey) {
        let slot = key.slot as usize;
        let ended = self.ended().is_some();
        let Some(stream) = self.streams.get_mut(slot).filter(|stream| stream.id == key.id) else { return };
        // After the session has ended nothing that waits to be sent ever will be.
        if !stream.held && (ended || stream.is_over()) {
            self.remove(slot);
            return;
        }
        let Some(number) = stream.carrier else { return };
        let Some(carrier) = self.carriers.iter_mut().find(|carrier| carrier.number == number) else { return };
        carrier.list(slot, stream);
        if !carrier.schedule.is_empty() {
            self.wakers.take(&mut carrier.driver);
        }
    }

    pub(super) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        // Bounded by what each end lets the other open: far from 2^32, at hundreds of bytes a stream.
        let slot = u32::try_from(self.streams.insert(stream)).unwrap_or(u32::MAX);
        self.slots.insert(id, slot);
        StreamKey { slot, id }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let Some(mut stream) = self.streams.try_remove(slot) else { return };
        self.look_whether_drained();
        self.slots.remove(&stream.id);
        if self.streams.is_empty() && self.streams.capacity() > KEPT_SLOTS {
            self.streams = Slab::new();
            self.slots.shrink_to_fit();
        }
        self.release_window(&mut stream);
        if let Some(carrier) = self.carriers.iter_mut().find(|carrier| Some(carrier.number) == stream.carrier)
        {
            carrier.streams -= 1;
        }
        if stream.opening == Opening::Waiting {
            self.unaccepted = self.unaccepted.saturating_sub(1);
        }
        let of_peer = stream.id.0.is_multiple_of(2) != (self.params.side == Side::Dialer);
        if of_peer {
            self.released += 1;
            if (0..self.carriers.len()).any(|index| self.has_session_control(index)) {
                self.wake_drivers();
            }
        }
    }

    pub(super) fn stream(&self, key: StreamKey) -> Option<&Stream> {
        self.streams.get(key.slot as usize).filter(|stream| stream.id == key.id)
    }

    fn stream_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.streams.get_mut(key.slot as usize).filter(|stream| stream.id == key.id)
    }
}

/// Tables that have emptied keep room for this many streams, some 300 KiB, and give the rest back: a session may live
/// for a year after the busiest hour of its life.
const KEPT_SLOTS: usize = 1024;
