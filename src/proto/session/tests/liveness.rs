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
