//! Two sessions joined by hand: what one sends the other gets, until a carrier is cut.

mod look;

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::testing::epoch;
use super::*;
use crate::error::{StreamError, Violation};
use crate::id::{RoutingKey, StreamId};
use crate::wire::MIN_WINDOW;
use crate::wire::code::StreamCode;
use crate::wire::decoder::{Decoded, Decoder};
use crate::wire::frame::{CloseScope, Frame, OpenTo};
use crate::wire::hello::{DeadCarrier, MAX_DEAD};

mod fairness;
mod liveness;
mod moves;
mod portions;
mod windows;

/// Both ends of a session on one carrier, and the time.
struct Pair {
    now: Instant,
    dialer: Session,
    acceptor: Session,
    carrier: CarrierNumber,
    decoders: [Decoder; 2],
}

impl Pair {
    fn new() -> Self {
        Self::with_limits(SessionLimits::default())
    }

    fn with_limits(limits: SessionLimits) -> Self {
        let now = epoch();
        let params = |side| SessionParams {
            side,
            limits,
            liveness: Liveness::default(),
            accept_deadline: Duration::from_secs(10),
            peer_max_streams: limits.max_streams,
            peer_window: MIN_WINDOW,
            resume_window: limits.resume_window,
            pool: ProcessPool::new(limits.process_pool),
            seed: 7,
        };
        let mut pair = Self {
            now,
            dialer: Session::new(now, params(Side::Dialer)),
            acceptor: Session::new(now, params(Side::Acceptor)),
            carrier: CarrierNumber(0),
            decoders: [Decoder::new(), Decoder::new()],
        };
        pair.acceptor.serve(&key(), true);
        pair.dialer.handle_carrier_up(now, pair.carrier, &[]).unwrap();
        pair.acceptor.handle_join(now, pair.carrier, &[], |_| Bytes::new()).unwrap();
        pair.settle();
        pair
    }

    /// Moves one batch each way; returns whether anything moved.
    fn step(&mut self) -> bool {
        let mut moved = false;
        for side in 0..2 {
            let (from, to) = if side == 0 {
                (&mut self.dialer, &mut self.acceptor)
            } else {
                (&mut self.acceptor, &mut self.dialer)
            };
            let mut frames = Vec::new();
            for piece in batch(from, self.now, self.carrier) {
                moved = true;
                for part in [piece.head(), piece.payload()] {
                    let mut input = part;
                    while let Some(decoded) = self.decoders[side].decode(&mut input).unwrap() {
                        frames.push(decoded);
                    }
                }
            }
            if !frames.is_empty() {
                to.handle_bytes(self.now, self.carrier, 1);
            }
            to.handle_frames(self.now, self.carrier, frames.drain(..));
        }
        moved
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    /// Loses the carrier at both ends, and joins a new one.
    fn cut_and_rejoin(&mut self) {
        self.dialer.handle_carrier_lost(self.now, self.carrier, CarrierEnd::Eof);
        self.rejoin();
    }

    fn rejoin(&mut self) {
        let (number, dead) = self.dialer.prepare_join();
        let mut answer = Vec::new();
        self.acceptor
            .handle_join(self.now, number, &dead, |counts| {
                answer = counts;
                Bytes::new()
            })
            .unwrap();
        self.dialer.handle_carrier_up(self.now, number, &answer).unwrap();
        self.carrier = number;
        self.decoders = [Decoder::new(), Decoder::new()];
    }

    fn open(&mut self) -> (StreamKey, StreamKey) {
        let near = self.dialer.open(self.now, request(), Bytes::new()).unwrap();
        self.settle();
        let (far, _) = self.acceptor.poll_incoming().unwrap();
        assert!(self.acceptor.accept(far));
        self.settle();
        assert_eq!(self.dialer.poll_verdict(near, Waker::noop()), Poll::Ready(Ok(())));
        (near, far)
    }
}

fn key() -> RoutingKey {
    RoutingKey::new("backend").unwrap()
}

fn request() -> OpenRequest {
    OpenRequest { to: OpenTo::Key(key()), metadata: Bytes::from_static(b"meta") }
}

fn batch(session: &mut Session, now: Instant, carrier: CarrierNumber) -> Vec<Piece> {
    let mut pieces = Vec::new();
    session.poll_transmit(now, carrier, &mut pieces, Waker::noop());
    pieces
}

fn read_all(session: &mut Session, now: Instant, key: StreamKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Poll::Ready(Ok(Some(chunk))) = session.poll_read(now, key, Waker::noop()) {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

fn feed(session: &mut Session, now: Instant, carrier: CarrierNumber, frame: &Frame) {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    let decoded: Decoded = Decoder::new().decode(&mut &bytes[..]).unwrap().unwrap();
    session.handle_frames(now, carrier, [decoded].into_iter());
}

#[test]
fn bytes_arrive_in_order_and_the_finish_after_them() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let sent: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
    pair.dialer.write(near, Bytes::from(sent.clone())).unwrap();
    pair.dialer.finish(near);
    let mut got = Vec::new();
    for _ in 0..100 {
        pair.settle();
        got.extend(read_all(&mut pair.acceptor, pair.now, far));
    }
    assert_eq!(got, sent);
    assert_eq!(pair.acceptor.poll_read(pair.now, far, Waker::noop()), Poll::Ready(Ok(None)));
}

#[test]
fn data_may_follow_an_open_at_once() {
    let mut pair = Pair::new();
    let near = pair.dialer.open(pair.now, request(), Bytes::from_static(b"early")).unwrap();
    pair.settle();
    let (far, opened) = pair.acceptor.poll_incoming().unwrap();
    assert_eq!(opened, request());
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"early");
    assert_eq!(pair.dialer.poll_verdict(near, Waker::noop()), Poll::Pending);
}

#[test]
fn a_key_that_is_not_served_is_refused_and_nothing_is_left() {
    let mut pair = Pair::new();
    let to = OpenTo::Key(RoutingKey::new("nobody").unwrap());
    let near = pair.dialer.open(pair.now, OpenRequest { to, metadata: Bytes::new() }, Bytes::new()).unwrap();
    pair.settle();
    let verdict = pair.dialer.poll_verdict(near, Waker::noop());
    assert_eq!(verdict, Poll::Ready(Err(OpenFailure::Refused(StreamCode::NOT_SERVED))));
    pair.dialer.release(near);
    pair.settle();
    assert_eq!((pair.dialer.stream_count(), pair.acceptor.stream_count()), (0, 0));
}

#[test]
fn a_stream_that_is_dropped_leaves_nothing_at_either_end() {
    let mut pair = Pair::new();
    for _ in 0..100 {
        let (near, far) = pair.open();
        pair.dialer.write(near, Bytes::from_static(b"hello")).unwrap();
        pair.settle();
        pair.dialer.release(near);
        pair.settle();
        assert_eq!(
            pair.acceptor.poll_read(pair.now, far, Waker::noop()),
            Poll::Ready(Err(StreamError::Reset(StreamCode::CANCELLED)))
        );
        pair.acceptor.release(far);
        pair.settle();
    }
    assert_eq!((pair.dialer.stream_count(), pair.acceptor.stream_count()), (0, 0));
    assert!(pair.dialer.is_idle() || !pair.dialer.carriers.is_empty());
}

#[test]
fn stopping_to_read_is_answered_by_a_reset() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    pair.acceptor.stop(far, StreamCode::application(3));
    pair.settle();
    let write = pair.dialer.write(near, Bytes::from_static(b"x"));
    assert_eq!(write, Err(StreamError::Stopped(StreamCode::application(3))));
    pair.acceptor.finish(far);
    pair.settle();
    pair.dialer.release(near);
    pair.acceptor.release(far);
    pair.settle();
    assert_eq!((pair.dialer.stream_count(), pair.acceptor.stream_count()), (0, 0));
}

#[test]
fn a_cut_carrier_loses_doubles_and_reorders_nothing() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let mut sent = Vec::new();
    let mut got = Vec::new();
    for round in 0..50u8 {
        let chunk = vec![round; 5000];
        sent.extend_from_slice(&chunk);
        pair.dialer.write(near, Bytes::from(chunk)).unwrap();
        // Half of the batches are lost with the carrier.
        if round % 2 == 0 {
            batch(&mut pair.dialer, pair.now, pair.carrier);
        } else {
            pair.step();
        }
        pair.cut_and_rejoin();
        pair.settle();
        got.extend(read_all(&mut pair.acceptor, pair.now, far));
    }
    pair.settle();
    got.extend(read_all(&mut pair.acceptor, pair.now, far));
    assert_eq!(got, sent);
    // The acceptor forgets its count when it hears anything, at the latest the keepalive.
    pair.now += Duration::from_secs(2);
    pair.settle();
    assert!(pair.dialer.fallen.is_empty() && pair.acceptor.fallen.is_empty());
}

#[test]
fn what_comes_on_a_carrier_after_its_count_was_told_does_not_count() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let old = pair.carrier;
    pair.dialer.write(near, Bytes::from_static(b"once")).unwrap();
    let late = batch(&mut pair.dialer, pair.now, old);
    pair.cut_and_rejoin();
    // The old connection's bytes arrive after all, at an acceptor that has fenced it.
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for piece in &late {
        for part in [piece.head(), piece.payload()] {
            let mut input = part;
            while let Some(decoded) = decoder.decode(&mut input).unwrap() {
                frames.push(decoded);
            }
        }
    }
    pair.acceptor.handle_frames(pair.now, old, frames.drain(..));
    pair.settle();
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"once");
}

#[test]
fn a_join_whose_answer_is_lost_is_settled_by_the_next() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    pair.dialer.write(near, Bytes::from_static(b"one")).unwrap();
    pair.acceptor.write(far, Bytes::from_static(b"two")).unwrap();
    batch(&mut pair.dialer, pair.now, pair.carrier);
    pair.dialer.handle_carrier_lost(pair.now, pair.carrier, CarrierEnd::Eof);
    for _ in 0..5 {
        let (number, dead) = pair.dialer.prepare_join();
        pair.acceptor.handle_join(pair.now, number, &dead, |_| Bytes::new()).unwrap();
        // The acceptor sends at once; its answer and its frames are lost with the connection.
        batch(&mut pair.acceptor, pair.now, number);
        pair.dialer.handle_join_failed(pair.now, number);
    }
    pair.rejoin();
    pair.settle();
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"one");
    assert_eq!(read_all(&mut pair.dialer, pair.now, near), b"two");
    assert!(pair.dialer.fallen.is_empty() && pair.acceptor.fallen.is_empty());
}

#[test]
fn a_session_outlives_any_number_of_failed_joins_within_its_window() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    pair.dialer.write(near, Bytes::from_static(b"one")).unwrap();
    pair.acceptor.write(far, Bytes::from_static(b"two")).unwrap();
    batch(&mut pair.dialer, pair.now, pair.carrier);
    pair.dialer.handle_carrier_lost(pair.now, pair.carrier, CarrierEnd::Eof);
    for attempt in 0..300 {
        let (number, dead) = pair.dialer.prepare_join();
        // Few get as far as the acceptor, which sends at once; its answer is lost.
        if attempt % 40 == 0 {
            pair.acceptor.handle_join(pair.now, number, &dead, |_| Bytes::new()).unwrap();
            batch(&mut pair.acceptor, pair.now, number);
            pair.acceptor.handle_carrier_lost(pair.now, number, CarrierEnd::Eof);
        }
        pair.dialer.handle_join_failed(pair.now, number);
        assert_eq!(pair.dialer.ended(), None, "attempt {attempt}");
    }
    pair.rejoin();
    pair.settle();
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"one");
    assert_eq!(read_all(&mut pair.dialer, pair.now, near), b"two");
    assert!(pair.dialer.fallen.is_empty() && pair.acceptor.fallen.is_empty());
}

#[test]
fn a_peer_that_exceeds_its_credit_ends_the_session_and_no_more() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let payload = Bytes::from(vec![0; 10_000]);
    let data = Frame::Data { stream: near.id, payload };
    let (now, carrier) = (pair.now, pair.carrier);
    feed(&mut pair.acceptor, now, carrier, &data);
    assert_eq!(pair.acceptor.ended(), None);
    feed(&mut pair.acceptor, now, carrier, &data);
    assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(Violation::Credit)));
    let mut out = Vec::new();
    let said = pair.acceptor.poll_transmit(now, carrier, &mut out, Waker::noop());
    assert_eq!((said, out.len()), (Transmit::Farewell, 1));
    assert_eq!(read_all(&mut pair.acceptor, now, far).len(), 10_000, "what came before may be read");
    let lost = StreamError::SessionLost(SessionEnd::Violation(Violation::Credit));
    assert_eq!(pair.acceptor.poll_read(now, far, Waker::noop()), Poll::Ready(Err(lost)));
}

#[test]
fn violations_are_told_by_their_exact_kind() {
    let cases: Vec<(Frame, Violation)> = vec![
        (Frame::Ack { received: 1 << 40, delay_micros: 0 }, Violation::BadAck),
        (Frame::Finish { stream: StreamId(0), total: 1 }, Violation::FinalSize),
        (Frame::Accept { stream: StreamId(0) }, Violation::Unexpected),
        (Frame::CarrierDead { carrier: CarrierNumber(0), received: 0 }, Violation::Unexpected),
        (
            Frame::Open { stream: StreamId(1), destination: OpenTo::Site, metadata: Bytes::new() },
            Violation::Unexpected,
        ),
        (
            Frame::Open { stream: StreamId(2 << 20), destination: OpenTo::Site, metadata: Bytes::new() },
            Violation::StreamLimit,
        ),
    ];
    for (frame, violation) in cases {
        let mut pair = Pair::new();
        pair.open();
        let (now, carrier) = (pair.now, pair.carrier);
        feed(&mut pair.acceptor, now, carrier, &frame);
        assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(violation)), "{frame:?}");
    }
}

#[test]
fn a_session_without_a_carrier_ends_when_its_resume_window_is_over() {
    let mut pair = Pair::new();
    let (near, _) = pair.open();
    pair.dialer.handle_carrier_lost(pair.now, pair.carrier, CarrierEnd::Eof);
    let at = pair.dialer.poll_session_timeout().unwrap();
    assert_eq!(at - pair.now, SessionLimits::default().resume_window);
    pair.dialer.handle_timeout(at);
    let end = SessionEnd::ResumeExpired(SessionLimits::default().resume_window);
    assert_eq!(pair.dialer.ended(), Some(&end));
    let read = pair.dialer.poll_read(at, near, Waker::noop());
    assert_eq!(read, Poll::Ready(Err(StreamError::SessionLost(end))));
}

#[test]
fn an_open_that_never_left_may_be_tried_elsewhere_and_one_that_left_may_not() {
    let mut pair = Pair::new();
    let left = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    batch(&mut pair.dialer, pair.now, pair.carrier);
    let stayed = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    let end = SessionEnd::Closed(CloseCode::NORMAL);
    pair.dialer.end_with(pair.now, end.clone(), CloseCode::NORMAL);
    let verdicts = [left, stayed].map(|key| pair.dialer.poll_verdict(key, Waker::noop()));
    assert_eq!(
        verdicts,
        [Poll::Ready(Err(OpenFailure::Unknown(end.clone()))), Poll::Ready(Err(OpenFailure::NeverSent(end)))]
    );
}

#[test]
fn streams_come_back_into_the_limit_when_they_are_over() {
    let limits = SessionLimits { max_streams: 4, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    for _ in 0..50 {
        let (near, far) = pair.open();
        pair.dialer.release(near);
        pair.settle();
        pair.acceptor.release(far);
        pair.settle();
    }
    let open: Vec<_> = (0..4).map(|_| pair.dialer.open(pair.now, request(), Bytes::new()).unwrap()).collect();
    assert_eq!(pair.dialer.open(pair.now, request(), Bytes::new()), Err(OpenFailure::Limit));
    assert_eq!(open.len(), 4);
}

#[test]
fn unaccepted_streams_are_bounded_and_time_out() {
    let limits = SessionLimits { unaccepted: 2, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let keys: Vec<_> = (0..3).map(|_| pair.dialer.open(pair.now, request(), Bytes::new()).unwrap()).collect();
    pair.settle();
    let verdict = |pair: &mut Pair, key| pair.dialer.poll_verdict(key, Waker::noop());
    assert_eq!(verdict(&mut pair, keys[2]), Poll::Ready(Err(OpenFailure::Refused(StreamCode::BUSY))));
    pair.now += Duration::from_secs(10);
    let now = pair.now;
    pair.acceptor.handle_timeout(now);
    assert_eq!(pair.acceptor.poll_session_timeout(), None);
    pair.settle();
    assert_eq!(verdict(&mut pair, keys[0]), Poll::Ready(Err(OpenFailure::Refused(StreamCode::TIMED_OUT))));
    assert_eq!(pair.acceptor.unaccepted, 0);
}

#[test]
fn a_window_grows_for_a_quick_reader_within_the_pool_and_returns_with_the_stream() {
    let limits = SessionLimits { pool: 100_000, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let (near, far) = pair.open();
    for _ in 0..200 {
        pair.dialer.write(near, Bytes::from(vec![1; 60_000])).unwrap();
        pair.settle();
        read_all(&mut pair.acceptor, pair.now, far);
    }
    let used = pair.acceptor.pool_used();
    assert!(used > 0 && used <= 100_000, "used {used}");
    pair.dialer.release(near);
    pair.acceptor.release(far);
    pair.settle();
    assert_eq!(pair.acceptor.pool_used(), 0);
}

#[test]
fn a_stalled_reader_holds_its_window_and_nobody_else() {
    let mut pair = Pair::new();
    let (stalled, stalled_far) = pair.open();
    let (moving, moving_far) = pair.open();
    let mut got = 0;
    for _ in 0..100 {
        for key in [stalled, moving] {
            if let Poll::Ready(Ok(room)) = pair.dialer.poll_reserve(key, 50_000, Waker::noop()) {
                pair.dialer.write(key, Bytes::from(vec![0; room])).unwrap();
            }
        }
        pair.settle();
        got += read_all(&mut pair.acceptor, pair.now, moving_far).len();
    }
    assert!(got > 1_000_000, "only {got}");
    let held = pair.acceptor.stream(stalled_far).unwrap().recv.queued();
    assert_eq!(held, MIN_WINDOW);
}

#[test]
fn a_flood_of_cheap_frames_ends_the_session() {
    let mut pair = Pair::new();
    let (now, carrier) = (pair.now, pair.carrier);
    for token in 0..30_000 {
        feed(&mut pair.acceptor, now, carrier, &Frame::Ping { token });
    }
    assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(Violation::Flood)));
}

#[test]
fn a_peer_that_opens_what_is_not_served_for_ever_is_cut_unless_it_takes_its_time() {
    let refused = |each_second: u64, seconds: u64| {
        let limits = SessionLimits { max_streams: 1 << 20, ..SessionLimits::default() };
        let mut pair = Pair::with_limits(limits);
        let carrier = pair.carrier;
        for open in 0..each_second * seconds {
            if open % each_second == 0 {
                pair.now += Duration::from_secs(1);
            }
            let to = OpenTo::Key(RoutingKey::new("nobody").unwrap());
            let stream = StreamId(2 * open);
            let now = pair.now;
            let asked = Frame::Open { stream, destination: to, metadata: Bytes::new() };
            feed(&mut pair.acceptor, now, carrier, &asked);
            feed(&mut pair.acceptor, now, carrier, &Frame::Reset { stream, code: StreamCode::NOT_SERVED });
            if open % 100 == 0 {
                batch(&mut pair.acceptor, now, carrier);
            }
        }
        pair.acceptor.ended().cloned()
    };
    assert_eq!(refused(1000, 60), None);
    assert_eq!(refused(60_000, 1), Some(SessionEnd::Violation(Violation::Flood)));
}

#[test]
fn streams_that_are_accepted_after_their_reset_are_no_work() {
    let limits = SessionLimits { max_streams: 1 << 20, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let (now, carrier) = (pair.now, pair.carrier);
    let mut accepted = 0;
    for stream in (0..60_000).map(|k| StreamId(2 * k)) {
        let open = Frame::Open { stream, destination: OpenTo::Key(key()), metadata: Bytes::new() };
        feed(&mut pair.acceptor, now, carrier, &open);
        feed(&mut pair.acceptor, now, carrier, &Frame::Reset { stream, code: StreamCode::CANCELLED });
        let Some((far, _)) = pair.acceptor.poll_incoming() else { break };
        assert!(pair.acceptor.accept(far));
        pair.acceptor.release(far);
        accepted += 1;
        if accepted % 100 == 0 {
            batch(&mut pair.acceptor, now, carrier);
        }
    }
    assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(Violation::Flood)));
    // Those that are forgiven, those the tokens pay for, and little for the batches of answers.
    assert!((30_000..31_000).contains(&accepted), "{accepted}");
}

#[test]
fn timeouts_lie_ahead_after_they_were_handled() {
    let mut pair = Pair::new();
    for _ in 0..200 {
        let Some(at) = pair.dialer.poll_timeout(pair.carrier) else { break };
        pair.now = pair.now.max(at);
        pair.dialer.handle_timeout(pair.now);
        batch(&mut pair.dialer, pair.now, pair.carrier);
        if let Some(next) = pair.dialer.poll_timeout(pair.carrier) {
            assert!(next > pair.now);
        }
    }
    assert!(pair.dialer.carriers.is_empty(), "a silent peer is dead in the end");
}

#[test]
fn an_idle_stream_weighs_little() {
    assert!(size_of::<Stream>() <= 400, "{}", size_of::<Stream>());
    assert!(size_of::<Piece>() <= 64, "{}", size_of::<Piece>());
}

#[test]
fn a_stream_id_is_not_used_again() {
    let limits = SessionLimits { max_streams: 4, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let (now, carrier) = (pair.now, pair.carrier);
    let open = Frame::Open { stream: StreamId(0), destination: OpenTo::Site, metadata: Bytes::new() };
    feed(&mut pair.acceptor, now, carrier, &open);
    let (key, _) = pair.acceptor.poll_incoming().unwrap();
    pair.acceptor.release(key);
    feed(
        &mut pair.acceptor,
        now,
        carrier,
        &Frame::Reset { stream: StreamId(0), code: StreamCode::CANCELLED },
    );
    batch(&mut pair.acceptor, now, carrier);
    assert_eq!(pair.acceptor.stream_count(), 0);
    feed(&mut pair.acceptor, now, carrier, &open);
    assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(Violation::Unexpected)));
}

#[test]
fn opens_may_come_out_of_order() {
    let mut pair = Pair::new();
    let (now, carrier) = (pair.now, pair.carrier);
    for index in [3, 0, 5, 1, 2, 4] {
        let open =
            Frame::Open { stream: StreamId(index * 2), destination: OpenTo::Site, metadata: Bytes::new() };
        feed(&mut pair.acceptor, now, carrier, &open);
    }
    assert_eq!((pair.acceptor.ended(), pair.acceptor.stream_count()), (None, 6));
    assert!(pair.acceptor.late.is_empty());
}

#[test]
fn a_stream_that_waited_when_the_session_ended_is_not_accepted_and_leaves_nothing() {
    let mut pair = Pair::new();
    for _ in 0..2 {
        pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    }
    pair.settle();
    let [accepted, refused] = [(); 2].map(|()| pair.acceptor.poll_incoming().unwrap().0);
    pair.acceptor.end_with(pair.now, SessionEnd::Closed(CloseCode::NORMAL), CloseCode::NORMAL);
    assert!(!pair.acceptor.accept(accepted));
    pair.acceptor.refuse(refused, StreamCode::REFUSED);
    pair.acceptor.release(accepted);
    pair.acceptor.release(refused);
    assert_eq!(pair.acceptor.stream_count(), 0);
}

#[test]
fn what_waited_to_be_sent_when_the_session_ended_keeps_no_stream() {
    let mut pair = Pair::new();
    let (near, _) = pair.open();
    pair.dialer.reset(near, StreamCode::CANCELLED);
    pair.dialer.stop(near, StreamCode::CANCELLED);
    pair.dialer.end_with(pair.now, SessionEnd::Closed(CloseCode::NORMAL), CloseCode::NORMAL);
    pair.dialer.release(near);
    assert_eq!(pair.dialer.stream_count(), 0);
}

/// An acceptor with as many unsettled carriers as there may be, and two live ones.
fn at_the_brink() -> Pair {
    let mut pair = Pair::new();
    let mut number = pair.carrier;
    for _ in 0..64 {
        pair.acceptor.handle_carrier_lost(pair.now, number, CarrierEnd::Eof);
        number = CarrierNumber(number.0 + 1);
        pair.acceptor.handle_join(pair.now, number, &[], |_| Bytes::new()).unwrap();
    }
    pair.carrier = CarrierNumber(number.0 + 1);
    pair.acceptor.handle_join(pair.now, pair.carrier, &[], |_| Bytes::new()).unwrap();
    pair
}

#[test]
fn one_unsettled_carrier_too_many_ends_the_session_even_while_others_die_with_it() {
    let mut pair = at_the_brink();
    let at = pair.now + Liveness::default().dead;
    pair.acceptor.handle_timeout(at);
    assert!(pair.acceptor.ended().is_some());
}

#[test]
fn a_join_that_makes_one_carrier_too_many_fall_does_not_bring_the_session_back() {
    let mut pair = at_the_brink();
    let dead = [DeadCarrier { number: pair.carrier, received: 0 }];
    let number = CarrierNumber(pair.carrier.0 + 1);
    let joined = pair.acceptor.handle_join(pair.now, number, &dead, |_| Bytes::new());
    assert_eq!(joined, Err(Violation::BadHello));
    assert!(pair.acceptor.ended().is_some());
}

#[test]
fn an_answer_lists_no_more_dead_carriers_than_a_hello_may() {
    let mut pair = at_the_brink();
    let dead: Vec<_> =
        (1000..1064).map(|number| DeadCarrier { number: CarrierNumber(number), received: 0 }).collect();
    let mut answered = 0;
    let greet = |counts: Vec<DeadCarrier>| {
        answered = counts.len();
        Bytes::new()
    };
    pair.acceptor.handle_join(pair.now, CarrierNumber(2000), &dead, greet).unwrap();
    assert_eq!(answered, MAX_DEAD);
}

#[test]
fn an_answer_to_an_attempt_that_the_acceptor_gave_up_raises_nothing() {
    let mut pair = Pair::new();
    let (number, dead) = pair.dialer.prepare_join();
    pair.acceptor.handle_join(pair.now, number, &dead, |_| Bytes::new()).unwrap();
    pair.acceptor.handle_carrier_lost(pair.now, number, CarrierEnd::Eof);
    pair.settle();
    assert_eq!(pair.dialer.handle_carrier_up(pair.now, number, &[]), Err(Violation::Unexpected));
    pair.dialer.handle_join_failed(pair.now, number);
    assert_eq!((pair.dialer.ended(), pair.dialer.carriers.len()), (None, 1));
    // The counts are forgotten once the frames that told them are acknowledged.
    pair.now += Duration::from_secs(2);
    pair.settle();
    assert!(pair.dialer.fallen.is_empty() && pair.acceptor.fallen.is_empty());
}

#[test]
fn a_dialer_is_not_told_of_carriers_it_never_tried() {
    let mut pair = Pair::new();
    let (now, carrier) = (pair.now, pair.carrier);
    let frame = Frame::CarrierDead { carrier: CarrierNumber(u32::MAX), received: 0 };
    feed(&mut pair.dialer, now, carrier, &frame);
    assert_eq!(pair.dialer.ended(), Some(&SessionEnd::Violation(Violation::Unexpected)));
}

#[test]
fn streams_that_were_accepted_are_not_remembered_until_their_deadline() {
    let limits = SessionLimits { unaccepted: 4, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    for _ in 0..100 {
        let (near, far) = pair.open();
        pair.dialer.release(near);
        pair.acceptor.release(far);
        pair.settle();
    }
    assert!(pair.acceptor.waiting.len() <= 8, "{} deadlines", pair.acceptor.waiting.len());
}

#[test]
fn regression_a_driver_that_cannot_send_is_not_called_again_at_once() {
    let mut pair = Pair::new();
    let (near, _) = pair.open();
    pair.dialer.write(near, Bytes::from_static(b"x")).unwrap();
    pair.step();
    for _ in 0..20 {
        let Some(at) = pair.acceptor.poll_timeout(pair.carrier) else { break };
        pair.now = pair.now.max(at);
        pair.acceptor.handle_timeout(pair.now);
        // The connection is full: nothing is taken for it, neither acknowledgement nor ping.
        assert!(pair.acceptor.poll_timeout(pair.carrier).is_none_or(|next| next > pair.now));
    }
    assert!(pair.acceptor.carriers.is_empty(), "a silent peer is dead in the end");
}

#[test]
fn regression_a_refusal_is_not_followed_by_the_reset_that_a_stop_asked_for() {
    let mut pair = Pair::new();
    let near = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    pair.settle();
    let (far, _) = pair.acceptor.poll_incoming().unwrap();
    pair.dialer.stop(near, StreamCode::CANCELLED);
    let stop = Frame::Stop { stream: near.id, code: StreamCode::CANCELLED };
    let (now, carrier) = (pair.now, pair.carrier);
    feed(&mut pair.acceptor, now, carrier, &stop);
    pair.acceptor.refuse(far, StreamCode::REFUSED);
    let frames = batch(&mut pair.acceptor, now, carrier).len();
    assert_eq!(frames, 2, "a refusal and an acknowledgement");
}

#[test]
fn the_reset_that_a_stop_asks_for_waits_for_the_verdict() {
    for accepts in [true, false] {
        let mut pair = Pair::new();
        let near = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
        pair.settle();
        let (far, _) = pair.acceptor.poll_incoming().unwrap();
        let (now, carrier, code) = (pair.now, pair.carrier, StreamCode::CANCELLED);
        feed(&mut pair.acceptor, now, carrier, &Frame::Stop { stream: near.id, code });
        batch(&mut pair.acceptor, now, carrier);
        let stream = pair.acceptor.stream(far).unwrap();
        assert_eq!((stream.pending.reset, stream.has_control()), (Some(code), false));
        if accepts {
            assert!(pair.acceptor.accept(far));
        } else {
            pair.acceptor.refuse(far, StreamCode::REFUSED);
        }
        let frames = batch(&mut pair.acceptor, now, carrier).len();
        // An accept and a reset, or a refusal in place of both, and an acknowledgement.
        assert_eq!(frames, if accepts { 3 } else { 2 });
        assert_eq!(pair.acceptor.audit(), Ok(()));
    }
}

#[test]
fn a_key_that_refuses_thousands_a_second_is_answered_for_and_the_session_lives() {
    let mut pair = Pair::new();
    let well = RoutingKey::new("well").unwrap();
    pair.acceptor.serve(&well, true);
    pair.settle();
    let (mut asked, mut spared) = (0, 0);
    // Ten thousand a second, which are refused, for twenty seconds.
    for _ in 0..2000 {
        pair.now += Duration::from_millis(10);
        for _ in 0..100 {
            match pair.dialer.open(pair.now, request(), Bytes::new()) {
                Ok(near) => {
                    pair.settle();
                    let (far, _) = pair.acceptor.poll_incoming().unwrap();
                    pair.acceptor.refuse(far, StreamCode::UNREACHABLE);
                    pair.acceptor.release(far);
                    pair.settle();
                    pair.dialer.release(near);
                    pair.settle();
                    asked += 1;
                }
                Err(failure) => {
                    assert_eq!(failure, OpenFailure::Refused(StreamCode::UNREACHABLE));
                    spared += 1;
                }
            }
        }
        assert_eq!((pair.dialer.ended(), pair.acceptor.ended()), (None, None));
    }
    // Ten thousand at first, and then a thousand a second.
    assert!(
        (29_000..=31_000).contains(&asked) && asked + spared == 200_000,
        "{asked} asked, {spared} spared"
    );
    // The others are asked all the while.
    let request = OpenRequest { to: OpenTo::Key(well), metadata: Bytes::new() };
    assert!(pair.dialer.open(pair.now, request, Bytes::new()).is_ok());
}

#[test]
fn regression_a_close_of_the_session_is_no_loss_to_recover_from() {
    let limits = SessionLimits { resume_window: Duration::ZERO, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let close = Frame::Close {
        scope: CloseScope::Session,
        code: CloseCode::NORMAL,
        retry_after_millis: 0,
        detail: String::new(),
    };
    let (now, carrier) = (pair.now, pair.carrier);
    feed(&mut pair.dialer, now, carrier, &close);
    assert_eq!(pair.dialer.ended(), Some(&SessionEnd::PeerClosed(CloseCode::NORMAL)));
    let events: Vec<_> = std::iter::from_fn(|| pair.dialer.poll_event()).collect();
    assert!(
        matches!(
            events[..],
            [SessionEvent::PeerChanged, SessionEvent::CarrierDown { .. }, SessionEvent::Ended { .. }]
        ),
        "{events:?}"
    );
}

#[test]
fn regression_the_close_of_an_attempt_given_up_does_not_answer_its_hello() {
    let mut pair = Pair::new();
    pair.open();
    pair.dialer.handle_carrier_lost(pair.now, pair.carrier, CarrierEnd::Eof);
    let (number, dead) = pair.dialer.prepare_join();
    pair.acceptor.handle_join(pair.now, number, &dead, |_| Bytes::new()).unwrap();
    let close = Frame::Close {
        scope: CloseScope::Carrier,
        code: CloseCode::NORMAL,
        retry_after_millis: 0,
        detail: String::new(),
    };
    feed(&mut pair.acceptor, pair.now, number, &close);
    assert_eq!(pair.acceptor.fallen.len(), 2, "the dialer has not seen the count of the first carrier");
}

#[test]
fn regression_a_count_that_was_told_but_did_not_arrive_is_told_again() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let first = pair.carrier;
    pair.rejoin();
    // The first carrier still lives; half of what goes over it is lost with it.
    pair.now += Duration::from_secs(1);
    pair.carrier = first;
    pair.dialer.write(near, Bytes::from_static(b"one")).unwrap();
    pair.decoders = [Decoder::new(), Decoder::new()];
    pair.step();
    pair.dialer.write(near, Bytes::from_static(b"two")).unwrap();
    batch(&mut pair.dialer, pair.now, first);
    pair.dialer.handle_carrier_lost(pair.now, first, CarrierEnd::Eof);
    // The second carries the dialer's count, and dies before it has carried the acceptor's.
    let second = CarrierNumber(first.0 + 1);
    let count = Frame::CarrierDead { carrier: first, received: pair.dialer.fallen[0].count().received };
    batch(&mut pair.dialer, pair.now, second);
    feed(&mut pair.acceptor, pair.now, second, &count);
    batch(&mut pair.acceptor, pair.now, second);
    pair.dialer.handle_carrier_lost(pair.now, second, CarrierEnd::Eof);
    pair.rejoin();
    pair.settle();
    assert_eq!((pair.dialer.ended(), pair.acceptor.ended()), (None, None));
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"onetwo");
}

#[test]
fn a_stream_that_ended_before_it_was_accepted_is_still_handed_over() {
    let mut pair = Pair::new();
    let near = pair.dialer.open(pair.now, request(), Bytes::from_static(b"fire and forget")).unwrap();
    pair.dialer.finish(near);
    pair.dialer.stop(near, StreamCode::CANCELLED);
    pair.settle();
    let (far, _) = pair.acceptor.poll_incoming().unwrap();
    assert!(pair.acceptor.accept(far));
    pair.settle();
    assert_eq!(pair.dialer.poll_verdict(near, Waker::noop()), Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"fire and forget");
    pair.dialer.release(near);
    pair.acceptor.release(far);
    pair.settle();
    assert_eq!((pair.dialer.stream_count(), pair.acceptor.stream_count()), (0, 0));
}

#[test]
fn a_stream_that_its_opener_stops_and_the_acceptor_refuses_ends_once() {
    let mut pair = Pair::new();
    let near = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    pair.dialer.stop(near, StreamCode::CANCELLED);
    let mut frames = Vec::new();
    for piece in batch(&mut pair.dialer, pair.now, pair.carrier) {
        for mut part in [piece.head(), &piece.payload()[..]] {
            frames.extend(std::iter::from_fn(|| pair.decoders[0].decode(&mut part).unwrap()));
        }
    }
    // Both frames come before the acceptor sends anything.
    pair.acceptor.handle_frames(pair.now, pair.carrier, frames.drain(..));
    let (far, _) = pair.acceptor.poll_incoming().unwrap();
    pair.acceptor.refuse(far, StreamCode::REFUSED);
    pair.settle();
    assert_eq!((pair.dialer.ended(), pair.acceptor.ended()), (None, None));
    let verdict = pair.dialer.poll_verdict(near, Waker::noop());
    assert_eq!(verdict, Poll::Ready(Err(OpenFailure::Refused(StreamCode::REFUSED))));
}
