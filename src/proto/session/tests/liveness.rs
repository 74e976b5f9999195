//! Signs of life: what counts as one, and what happens without.

use super::*;
use crate::error::CarrierEnd;
use crate::proto::session::carrier::Carrier;

/// What a session tells, until it has nothing more to tell.
fn told(session: &mut Session) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Lets a session's timers go off as they fall due, until `end`, without anything arriving.
fn wait(session: &mut Session, carrier: CarrierNumber, from: Instant, end: Instant) {
    let mut now = from;
    while let Some(at) = session.poll_timeout(carrier).filter(|at| *at <= end) {
        assert!(at > now || now == from, "a timeout does not lie ahead");
        now = at;
        session.handle_timeout(now);
        batch(session, now, carrier);
    }
}

#[test]
fn a_dead_carrier_is_told_at_once_however_long_its_socket_takes_to_close() {
    let mut pair = Pair::new();
    told(&mut pair.dialer);
    let dead = pair.now + Liveness::default().dead;
    wait(&mut pair.dialer, pair.carrier, pair.now, dead);
    // Nobody has said that the socket is closed, and nobody ever will.
    let down =
        |event: &SessionEvent| matches!(event, SessionEvent::CarrierDown { end: CarrierEnd::Dead(_), .. });
    let told = told(&mut pair.dialer);
    assert!(told.iter().any(down), "{told:?}");
    assert!(matches!(told.last(), Some(SessionEvent::Recovering { .. })), "{told:?}");
    assert_eq!(batch(&mut pair.dialer, dead, pair.carrier).len(), 0, "something is still sent on it");
}

#[test]
fn a_ping_that_is_never_answered_makes_suspect_and_then_dead() {
    let mut pair = Pair::new();
    told(&mut pair.dialer);
    let live = Liveness::default();
    // The distance is known and small: a ping after the silence, then the least suspicion.
    let latest = live.keepalive.mul_f64(1.25) + live.suspect_floor;
    wait(&mut pair.dialer, pair.carrier, pair.now, pair.now + latest);
    let suspected = told(&mut pair.dialer);
    assert!(matches!(suspected[..], [SessionEvent::CarrierSuspect { .. }]), "{suspected:?}");
    wait(&mut pair.dialer, pair.carrier, pair.now + latest, pair.now + live.dead);
    assert!(pair.dialer.is_recovering());
}

#[test]
fn any_byte_is_a_sign_of_life_though_the_pong_does_not_come() {
    let mut pair = Pair::new();
    told(&mut pair.dialer);
    let mut now = pair.now;
    // The peer is busy sending bulk: its pong waits behind half a minute of data.
    for _ in 0..400 {
        now += Duration::from_millis(100);
        pair.dialer.handle_bytes(now, pair.carrier, 1);
        pair.dialer.handle_timeout(now);
        batch(&mut pair.dialer, now, pair.carrier);
    }
    assert_eq!(told(&mut pair.dialer), [], "a carrier that carries was suspected");
}

#[test]
fn pings_of_many_peers_do_not_go_out_in_step() {
    let (start, live) = (epoch(), Liveness::default());
    let mut random = fastrand::Rng::with_seed(3);
    let mut tenths = [0; 20];
    for _ in 0..10_000 {
        let mut carrier = Carrier::new(start, CarrierNumber(0), &live, random.f64());
        carrier.life.take_ping(start, false);
        carrier.ponged(start, 0);
        let at = carrier.life.poll_timeout(Duration::from_secs(60)) - start;
        tenths[usize::try_from(at.as_millis() / 100).unwrap()] += 1;
    }
    // Half a second wide: a fifth of them in each tenth.
    assert!(tenths.iter().all(|count| *count <= 2200), "{tenths:?}");
    assert_eq!(tenths[..7].iter().chain(&tenths[13..]).sum::<i32>(), 0, "{tenths:?}");
}

/// A dialer that has sent something, and the acknowledgement of it, which was read a millisecond later and has not been
/// handed over.
fn with_an_answer_in_hand() -> (Pair, Frame) {
    let mut pair = Pair::new();
    let (near, _) = pair.open();
    // All that is owed for the open has been answered.
    pair.now += Duration::from_millis(100);
    pair.settle();
    told(&mut pair.dialer);
    pair.dialer.write(near, Bytes::from_static(b"ask")).unwrap();
    batch(&mut pair.dialer, pair.now, pair.carrier);
    let received = pair.dialer.carriers[0].log.sent();
    pair.now += Duration::from_millis(1);
    pair.dialer.handle_bytes(pair.now, pair.carrier, 100);
    pair.dialer.frames_wait(pair.now, pair.carrier, true);
    (pair, Frame::Ack { received, delay_micros: 0 })
}

#[test]
fn a_carrier_is_not_suspected_for_an_answer_that_was_read_and_waits_to_be_handed_over() {
    let (mut pair, answer) = with_an_answer_in_hand();
    // The tasks that the first frames woke take their time.
    let late = pair.now + Liveness::default().suspect_cap;
    wait(&mut pair.dialer, pair.carrier, pair.now, late);
    assert_eq!(told(&mut pair.dialer), []);
    feed(&mut pair.dialer, late, pair.carrier, &answer);
    pair.dialer.frames_wait(late, pair.carrier, false);
    pair.dialer.handle_timeout(late);
    assert_eq!(told(&mut pair.dialer), []);
}

#[test]
fn a_carrier_is_suspected_when_what_was_read_held_no_answer_and_none_comes_after_it() {
    let (mut pair, _) = with_an_answer_in_hand();
    let handed_over = pair.now + Liveness::default().suspect_cap;
    pair.dialer.frames_wait(handed_over, pair.carrier, false);
    // What came in the meantime is yet to be read.
    pair.dialer.handle_timeout(handed_over);
    assert_eq!(told(&mut pair.dialer), []);
    wait(&mut pair.dialer, pair.carrier, handed_over, handed_over + Liveness::default().suspect_floor);
    assert!(matches!(told(&mut pair.dialer)[..], [SessionEvent::CarrierSuspect { .. }]));
}

#[test]
fn what_waits_to_be_handed_over_is_not_taken_for_distance() {
    let (mut pair, answer) = with_an_answer_in_hand();
    let smoothed = |pair: &Pair| pair.dialer.carriers(pair.now)[0].round_trip.smoothed.unwrap();
    let before = smoothed(&pair);
    pair.now += Duration::from_millis(200);
    feed(&mut pair.dialer, pair.now, pair.carrier, &answer);
    let after = smoothed(&pair);
    assert!(after <= before.max(Duration::from_millis(1)), "{before:?}, then {after:?}");
}

#[test]
fn an_acknowledgement_says_how_long_ago_the_newest_frame_came_and_not_when_it_was_handed_over() {
    let mut pair = Pair::new();
    pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    let mut frames = Vec::new();
    for piece in batch(&mut pair.dialer, pair.now, pair.carrier) {
        let bytes = [piece.head(), piece.payload()].concat();
        frames.extend(pair.decoders[0].decode(&mut &bytes[..]).unwrap());
    }
    pair.acceptor.handle_bytes(pair.now, pair.carrier, 100);
    let waited = Duration::from_millis(70);
    pair.acceptor.handle_frames(pair.now + waited, pair.carrier, frames.drain(..));
    let held = Duration::from_millis(20);
    let answers = batch(&mut pair.acceptor, pair.now + waited + held, pair.carrier);
    let delay =
        answers.iter().find_map(|piece| match Decoder::new().decode(&mut piece.head()).unwrap()?.frame {
            Frame::Ack { delay_micros, .. } => Some(Duration::from_micros(delay_micros)),
            _ => None,
        });
    assert_eq!(delay, Some(waited + held));
}
