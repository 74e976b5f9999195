//! A session at work, for measuring its parts apart: no connection, no lock, no clock.

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::{Liveness, SessionLimits};
use crate::id::{CarrierNumber, Side, StreamId};
use crate::proto::session::stream::OpenRequest;
use crate::proto::session::{Piece, ProcessPool, Session, SessionParams, StreamKey};
use crate::wire::decoder::Decoded;
use crate::wire::frame::{Frame, OpenTo};
use crate::wire::{HEADER, MIN_WINDOW, kind, varint};

/// A dialer's session whose streams always have something to send: what choosing among them costs.
#[derive(Debug)]
pub struct Busy {
    session: Session,
    now: Instant,
    /// By the order in which they were opened.
    streams: Vec<StreamKey>,
    /// What each has to send, again and again.
    load: Bytes,
    out: Vec<Piece>,
}

impl Busy {
    /// A session with so many streams that have `load` bytes to send, and all the credit they need.
    #[must_use]
    pub fn new(start: Instant, streams: usize, load: usize) -> Self {
        let mut session = session(start, Side::Dialer);
        let (number, _) = session.prepare_join();
        // The first carrier of a session cannot break a rule.
        let _ = session.handle_carrier_up(start, number, &[]);
        let load = Bytes::from(vec![7; load]);
        let request = OpenRequest { to: OpenTo::Site, metadata: Bytes::new() };
        let keys =
            (0..streams).filter_map(|_| session.open(start, request.clone(), load.clone()).ok()).collect();
        let mut busy = Self { session, now: start, streams: keys, load, out: Vec::new() };
        // Opens go ahead of all data: after them only data is left.
        while busy.batch() > 0 && !busy.out.iter().any(|piece| stream_of(piece).is_some()) {}
        busy
    }

    /// Takes one batch, has it acknowledged, and gives the streams in it as much as they sent. Returns its bytes.
    pub fn batch(&mut self) -> usize {
        let len = take(&mut self.session, &mut self.now, &mut self.out);
        for id in self.out.iter().filter_map(stream_of) {
            let key = usize::try_from(id.0 / 2).ok().and_then(|at| self.streams.get(at).copied());
            let Some(key) = key else { continue };
            if matches!(self.session.poll_reserve(key, self.load.len(), Waker::noop()), Poll::Ready(Ok(_))) {
                // There is room, and nobody has ended the half.
                let _ = self.session.write(key, self.load.clone());
            }
        }
        len
    }
}

/// An acceptor's session with a stream that is read as fast as it is written: what granting credit costs.
#[derive(Debug)]
pub struct Reading {
    session: Session,
    now: Instant,
    stream: Option<StreamKey>,
    chunk: Bytes,
    out: Vec<Piece>,
    frames: Vec<Decoded>,
}

impl Reading {
    /// A session with one accepted stream that will be sent chunks of half the least window: each asks for credit.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        let mut session = session(start, Side::Acceptor);
        let number = CarrierNumber(0);
        // The first carrier of a session cannot break a rule.
        let _ = session.handle_join(start, number, &[], |_| Bytes::new());
        let open = Frame::Open { stream: StreamId(0), destination: OpenTo::Site, metadata: Bytes::new() };
        session.handle_frames(start, number, [Decoded { frame: open, logged_bytes: 8 }].into_iter());
        let stream = session.poll_incoming().map(|(key, _)| key).filter(|key| session.accept(*key));
        let chunk = Bytes::from(vec![7; usize::try_from(MIN_WINDOW / 2).unwrap_or_default()]);
        Self { session, now: start, stream, chunk, out: Vec::new(), frames: Vec::new() }
    }

    /// One chunk comes and is read, and what is to be said then is sent. Returns whether the reader got it.
    pub fn chunk(&mut self) -> bool {
        let Some(key) = self.stream else { return false };
        let frame = Frame::Data { stream: key.id, payload: self.chunk.clone() };
        self.frames.push(Decoded { frame, logged_bytes: (HEADER + 1 + self.chunk.len()) as u64 });
        self.session.handle_bytes(self.now, CarrierNumber(0), self.chunk.len());
        self.session.handle_frames(self.now, CarrierNumber(0), self.frames.drain(..));
        let read = self.session.poll_read(self.now, key, Waker::noop());
        take(&mut self.session, &mut self.now, &mut self.out);
        matches!(read, Poll::Ready(Ok(Some(_))))
    }
}

/// Takes a batch and acknowledges it.
fn take(session: &mut Session, now: &mut Instant, out: &mut Vec<Piece>) -> usize {
    // What a batch takes at 6 GB/s.
    *now += Duration::from_micros(10);
    out.clear();
    session.poll_transmit(*now, CarrierNumber(0), out, Waker::noop());
    let received = session.carriers.first().map_or(0, |carrier| carrier.log.sent());
    let frame = Frame::Ack { received, delay_micros: 0 };
    session.handle_bytes(*now, CarrierNumber(0), 1);
    session.handle_frames(*now, CarrierNumber(0), [Decoded { frame, logged_bytes: 0 }].into_iter());
    out.iter().map(Piece::len).sum()
}

/// The stream of a data frame.
fn stream_of(piece: &Piece) -> Option<StreamId> {
    let (head, mut rest) = piece.head().split_at_checked(HEADER)?;
    (head[0] == kind::DATA).then(|| varint::decode(&mut rest).ok().map(StreamId))?
}

fn session(start: Instant, side: Side) -> Session {
    let limits = SessionLimits { max_streams: 1 << 20, ..SessionLimits::default() };
    Session::new(
        start,
        SessionParams {
            side,
            liveness: Liveness::default(),
            accept_deadline: Duration::from_secs(10),
            peer_max_streams: limits.max_streams,
            // As good as no bound.
            peer_window: 1 << 60,
            resume_window: limits.resume_window,
            pool: ProcessPool::new(limits.process_pool),
            seed: 7,
            limits,
        },
    )
}
