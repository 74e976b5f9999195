//! Windows that grow and are asked back.

use super::*;

/// What a session took in and what it keeps beyond the minimum of each window.
fn budget(session: &Session) -> u64 {
    session.audit().unwrap();
    session.pool_used()
}

impl Pair {
    /// The dialer writes and the acceptor reads, both at once, `bytes` in all.
    fn flow(&mut self, near: StreamKey, far: StreamKey, bytes: usize) {
        let mut left = bytes;
        for _ in 0..10_000 {
            if left > 0
                && let Poll::Ready(Ok(room)) = self.dialer.poll_reserve(near, left, Waker::noop())
            {
                self.dialer.write(near, Bytes::from(vec![1; room])).unwrap();
                left -= room;
            }
            let moved = self.step();
            read_all(&mut self.acceptor, self.now, far);
            if !moved && left == 0 {
                return;
            }
        }
        panic!("{left} bytes are stuck");
    }

    /// Time passes, and what is due is done at both ends.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.dialer.handle_timeout(self.now);
        self.acceptor.handle_timeout(self.now);
    }
}

/// A pair with one stream whose window has grown, and by how much.
fn grown() -> (Pair, StreamKey, StreamKey, u64) {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    pair.flow(near, far, 1 << 20);
    let used = budget(&pair.acceptor);
    assert!(used > 100_000, "{used}");
    (pair, near, far, used)
}

const IDLE: Duration = Duration::from_secs(10);

#[test]
fn a_window_grows_fourfold_each_time_its_reader_outruns_it() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let window = |pair: &Pair| MIN_WINDOW + budget(&pair.acceptor);
    for expected in [16, 64, 256, 1024, 4096, 16_384, 65_536] {
        assert_eq!(window(&pair), expected << 10);
        // Exactly what the peer may send; nothing is read before all has come.
        let room = pair.dialer.stream(near).map(|stream| stream.send.limit - stream.send.sent).unwrap();
        let mut left = usize::try_from(room).unwrap();
        while left > 0 {
            if let Poll::Ready(Ok(room)) = pair.dialer.poll_reserve(near, left, Waker::noop()) {
                pair.dialer.write(near, Bytes::from(vec![1; room])).unwrap();
                left -= room;
            }
            pair.step();
        }
        pair.settle();
        pair.now += Duration::from_millis(1);
        read_all(&mut pair.acceptor, pair.now, far);
        pair.settle();
    }
}

#[test]
fn a_window_does_not_grow_for_a_reader_that_takes_its_time() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    for _ in 0..200 {
        if let Poll::Ready(Ok(room)) = pair.dialer.poll_reserve(near, 1 << 20, Waker::noop()) {
            pair.dialer.write(near, Bytes::from(vec![1; room])).unwrap();
        }
        pair.settle();
        pair.now += Duration::from_millis(10);
        let _ = pair.acceptor.poll_read(pair.now, far, Waker::noop());
    }
    assert_eq!(budget(&pair.acceptor), 0);
}

#[test]
fn a_window_does_not_grow_for_a_sender_that_does_not_fill_it() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    for _ in 0..1000 {
        pair.dialer.write(near, Bytes::from_static(&[1; 1000])).unwrap();
        pair.settle();
        pair.now += Duration::from_millis(1);
        read_all(&mut pair.acceptor, pair.now, far);
    }
    assert_eq!(budget(&pair.acceptor), 0);
}

#[test]
fn a_window_that_lies_idle_is_asked_back_and_grows_again_when_it_is_used() {
    let (mut pair, near, far, used) = grown();
    pair.pass(IDLE - Duration::from_millis(1));
    pair.settle();
    assert_eq!(budget(&pair.acceptor), used);
    // The first look finds that much was used before; the second that nothing was since.
    for _ in 0..2 {
        pair.pass(IDLE);
        pair.settle();
    }
    assert_eq!(budget(&pair.acceptor), 0);
    let credit = pair.dialer.stream(near).map(|stream| stream.send.limit - stream.send.sent);
    assert_eq!(credit, Some(MIN_WINDOW));
    pair.flow(near, far, 1 << 20);
    assert!(budget(&pair.acceptor) > 100_000);
    assert_eq!((pair.dialer.ended(), pair.acceptor.ended()), (None, None));
}

#[test]
fn data_in_flight_is_taken_though_less_was_asked_for() {
    let (mut pair, near, far, _) = grown();
    pair.pass(IDLE);
    pair.settle();
    let used = budget(&pair.acceptor);
    pair.pass(IDLE);
    // The dialer sends while the question is on its way to it.
    pair.dialer.write(near, Bytes::from(vec![2; 100_000])).unwrap();
    let sent = batch(&mut pair.dialer, pair.now, pair.carrier);
    let asked = batch(&mut pair.acceptor, pair.now, pair.carrier);
    let carrier = pair.carrier;
    for (pieces, to, side) in [(asked, &mut pair.dialer, 1), (sent, &mut pair.acceptor, 0)] {
        let mut frames = Vec::new();
        for piece in &pieces {
            for mut part in [piece.head(), &piece.payload()[..]] {
                frames.extend(std::iter::from_fn(|| pair.decoders[side].decode(&mut part).unwrap()));
            }
        }
        to.handle_frames(pair.now, carrier, frames.drain(..));
    }
    assert_eq!(budget(&pair.acceptor), used, "nothing is given back before the answer");
    pair.settle();
    assert_eq!((pair.dialer.ended(), pair.acceptor.ended()), (None, None));
    assert!(budget(&pair.acceptor) < used);
    let mut got = read_all(&mut pair.acceptor, pair.now, far);
    for _ in 0..20 {
        pair.settle();
        got.extend(read_all(&mut pair.acceptor, pair.now, far));
    }
    assert_eq!(got, vec![2; 100_000]);
}

#[test]
fn a_question_and_its_answer_survive_the_loss_of_their_carriers() {
    for lost in 0..2 {
        let (mut pair, near, far, _) = grown();
        pair.pass(IDLE);
        pair.settle();
        pair.pass(IDLE);
        if lost == 1 {
            // The question arrives, the answer does not.
            let mut frames = Vec::new();
            for piece in batch(&mut pair.acceptor, pair.now, pair.carrier) {
                for mut part in [piece.head(), &piece.payload()[..]] {
                    frames.extend(std::iter::from_fn(|| pair.decoders[1].decode(&mut part).unwrap()));
                }
            }
            pair.dialer.handle_frames(pair.now, pair.carrier, frames.drain(..));
            batch(&mut pair.dialer, pair.now, pair.carrier);
        } else {
            batch(&mut pair.acceptor, pair.now, pair.carrier);
        }
        pair.cut_and_rejoin();
        pair.settle();
        assert_eq!(budget(&pair.acceptor), 0, "lost {lost}");
        pair.flow(near, far, 1 << 20);
    }
}

#[test]
fn a_stream_that_is_read_gets_the_budget_of_one_that_has_paused() {
    let limits = SessionLimits { pool: 256 << 10, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(limits);
    let (paused, read) = (pair.open(), pair.open());
    pair.flow(paused.0, paused.1, 1 << 20);
    let first = budget(&pair.acceptor);
    assert_eq!(first, 112 << 10, "half of what would be left and no more");
    pair.flow(read.0, read.1, 1 << 20);
    let window = |pair: &Pair, key| pair.acceptor.stream(key).unwrap().recv.window;
    let (before, held) = (window(&pair, read.1), window(&pair, paused.1));
    pair.pass(Duration::from_millis(150));
    pair.flow(read.0, read.1, 1 << 20);
    pair.pass(Duration::from_millis(150));
    pair.flow(read.0, read.1, 1 << 20);
    assert!(window(&pair, paused.1) < held, "{held}");
    assert!(window(&pair, read.1) > before, "{before}");
    assert!(budget(&pair.acceptor) <= limits.pool);
}

#[test]
fn the_end_of_a_half_gives_its_window_back_before_its_stream_is_over() {
    let (mut pair, near, far, _) = grown();
    pair.dialer.write(near, Bytes::from(vec![3; 50_000])).unwrap();
    pair.dialer.finish(near);
    pair.settle();
    assert_eq!(budget(&pair.acceptor), 50_000 - MIN_WINDOW, "what is unread is still held");
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far).len(), 50_000);
    assert_eq!(budget(&pair.acceptor), 0);
    for end in 0..2 {
        let (mut pair, near, far, _) = grown();
        if end == 0 {
            pair.dialer.reset(near, StreamCode::CANCELLED);
        } else {
            pair.acceptor.stop(far, StreamCode::CANCELLED);
        }
        pair.settle();
        assert_eq!(budget(&pair.acceptor), 0);
    }
}

/// The acceptor has asked the dialer of stream 0 and waits for the answer, which the test makes up.
fn asking() -> (Pair, StreamKey, u64) {
    let (mut pair, near, far, _) = grown();
    pair.pass(IDLE);
    pair.settle();
    pair.pass(IDLE);
    batch(&mut pair.acceptor, pair.now, pair.carrier);
    let limit = pair.acceptor.stream(far).unwrap().recv.limit;
    (pair, near, limit)
}

#[test]
fn an_answer_that_cannot_be_is_refused_by_its_kind() {
    let end = |answers: fn(u64) -> Vec<u64>| {
        let (mut pair, near, limit) = asking();
        for limit in answers(limit) {
            feed(&mut pair.acceptor, pair.now, pair.carrier, &Frame::Kept { stream: near.id, limit });
        }
        pair.acceptor.ended().cloned()
    };
    let violation = |violation| Some(SessionEnd::Violation(violation));
    assert_eq!(end(|limit| vec![limit]), None, "all it was given: it had sent it");
    assert_eq!(end(|_| vec![1 << 20]), None, "all that came");
    assert_eq!(end(|limit| vec![limit + 1]), violation(Violation::Credit));
    assert_eq!(end(|_| vec![(1 << 20) - 1]), violation(Violation::Credit));
    assert_eq!(end(|_| vec![varint_max()]), violation(Violation::Credit));
    assert_eq!(end(|limit| vec![limit, limit]), violation(Violation::Unexpected), "answered twice");
}

fn varint_max() -> u64 {
    crate::wire::varint::MAX
}

#[test]
fn data_beyond_what_the_sender_said_it_keeps_to_exceeds_its_credit() {
    let (mut pair, near, _) = asking();
    let kept = Frame::Kept { stream: near.id, limit: 1 << 20 };
    feed(&mut pair.acceptor, pair.now, pair.carrier, &kept);
    let credit = pair.acceptor.streams[0].recv.limit - (1 << 20);
    let mut left = usize::try_from(credit).unwrap() + 1;
    while left > 0 {
        assert_eq!(pair.acceptor.ended(), None);
        let payload = Bytes::from(vec![0; left.min(10_000)]);
        left -= payload.len();
        feed(&mut pair.acceptor, pair.now, pair.carrier, &Frame::Data { stream: near.id, payload });
    }
    assert_eq!(pair.acceptor.ended(), Some(&SessionEnd::Violation(Violation::Credit)));
}

#[test]
fn an_answer_nobody_asked_for_and_a_second_question_are_unexpected() {
    let unexpected = Some(SessionEnd::Violation(Violation::Unexpected));
    let told = |frames: &[Frame]| {
        let mut pair = Pair::new();
        pair.open();
        let (now, carrier) = (pair.now, pair.carrier);
        frames.iter().for_each(|frame| feed(&mut pair.acceptor, now, carrier, frame));
        pair.acceptor.ended().cloned()
    };
    let stream = StreamId(0);
    let shrink = |limit| Frame::Shrink { stream, limit };
    assert_eq!(told(&[Frame::Kept { stream, limit: MIN_WINDOW }]), unexpected);
    assert_eq!(told(&[shrink(0), shrink(0)]), unexpected);
    assert_eq!(told(&[Frame::Finish { stream, total: 0 }, Frame::Kept { stream, limit: 0 }]), unexpected);
    let gone = StreamId(40);
    let strays = [Frame::Kept { stream: gone, limit: 0 }, Frame::Shrink { stream: gone, limit: 0 }];
    assert_eq!(told(&strays), None);
}

#[test]
fn a_peer_that_takes_all_credit_back_stops_a_stream_until_it_gives_some_and_no_longer() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let (now, carrier) = (pair.now, pair.carrier);
    feed(&mut pair.acceptor, now, carrier, &Frame::Shrink { stream: near.id, limit: 0 });
    let answered = batch(&mut pair.acceptor, now, carrier);
    assert_eq!(answered.len(), 2, "an answer and an acknowledgement");
    pair.acceptor.write(far, Bytes::from_static(b"late")).unwrap();
    assert!(batch(&mut pair.acceptor, now, carrier).is_empty());
    feed(&mut pair.acceptor, now, carrier, &Frame::Credit { stream: near.id, limit: 4 });
    let sent = batch(&mut pair.acceptor, now, carrier);
    assert!(sent.iter().any(|piece| piece.payload() == &b"late"[..]));
}

#[test]
fn an_answer_is_no_sign_of_a_window_that_is_too_small() {
    let (mut pair, near, _) = asking();
    let kept = Frame::Kept { stream: near.id, limit: 1 << 20 };
    feed(&mut pair.acceptor, pair.now, pair.carrier, &kept);
    assert_eq!(budget(&pair.acceptor), 0);
}

#[test]
fn an_idle_window_is_asked_back_whatever_its_size() {
    let (mut pair, near, far, _) = grown();
    pair.pass(IDLE);
    batch(&mut pair.acceptor, pair.now, pair.carrier);
    let kept = Frame::Kept { stream: near.id, limit: (1 << 20) + 100_000 };
    feed(&mut pair.acceptor, pair.now, pair.carrier, &kept);
    let sent = Bytes::from(vec![1; 24_000]);
    for payload in [sent.slice(..12_000), sent.slice(12_000..)] {
        feed(&mut pair.acceptor, pair.now, pair.carrier, &Frame::Data { stream: near.id, payload });
    }
    read_all(&mut pair.acceptor, pair.now, far);
    let limit = pair.acceptor.stream(far).unwrap().recv.limit;
    for _ in 0..3 {
        pair.acceptor.handle_bytes(pair.now, pair.carrier, 1);
        pair.pass(IDLE);
        if batch(&mut pair.acceptor, pair.now, pair.carrier).len() > 1 {
            let limit = limit.min(pair.acceptor.stream(far).unwrap().recv.fallback());
            feed(&mut pair.acceptor, pair.now, pair.carrier, &Frame::Kept { stream: near.id, limit });
        }
    }
    assert_eq!(budget(&pair.acceptor), 0);
}

#[test]
fn a_far_carrier_counts_beside_a_near_one() {
    let mut pair = Pair::new();
    let far = pair.carrier;
    pair.rejoin();
    for (number, distance) in [(far, 100), (pair.carrier, 1)] {
        let carrier = pair.acceptor.carriers.iter_mut().find(|carrier| carrier.number == number).unwrap();
        carrier.pace = pace::Pace::new();
        carrier.pace.distance(pair.now, Duration::from_millis(distance));
    }
    pair.acceptor.note_distance();
    assert_eq!(pair.acceptor.least_trip, Duration::from_millis(100));
}

#[test]
fn questions_that_were_called_for_and_their_answers_are_no_flood() {
    let (mut pair, near, far, _) = grown();
    let (now, carrier) = (pair.now, pair.carrier);
    let stream = near.id;
    // Each takes back what a credit gave.
    for given in 1..=25_000_u64 {
        let limit = given << 20;
        feed(&mut pair.dialer, now, carrier, &Frame::Credit { stream, limit: (1 << 30) + limit });
        feed(&mut pair.dialer, now, carrier, &Frame::Shrink { stream, limit: 0 });
        batch(&mut pair.dialer, now, carrier);
    }
    assert_eq!(pair.dialer.ended(), None);
    for _ in 0..30_000 {
        let recv = &mut pair.acceptor.streams[far.slot as usize].recv;
        let limit = recv.limit;
        pair.acceptor.streams[far.slot as usize].pending.asked = true;
        pair.acceptor.grown.asking += 1;
        feed(&mut pair.acceptor, now, carrier, &Frame::Kept { stream, limit });
        pair.acceptor.streams[far.slot as usize].recv.limit = limit;
    }
    assert_eq!(pair.acceptor.ended(), None);
}
