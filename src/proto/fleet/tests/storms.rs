//! What befell others: storms of redials, half-open ends, reconnects in the wrong order.

use super::*;
use crate::config::Backoff;

/// All redials of a fleet that lost its session after a stable minute, in the half minute after that; its router is
/// gone.
fn redials(seed: u64) -> Vec<Duration> {
    let mut fleet = Fleet::new(config(), seed);
    let lost = some_moment() + Duration::from_secs(60);
    fleet.handle_link(some_moment(), LINK, wanted(&[("a", 1)]));
    let mut now = some_moment();
    let mut redials = Vec::new();
    let mut answered = false;
    while now < lost + Duration::from_secs(30) {
        while let Some(action) = fleet.poll_action() {
            let FleetAction::Dial(order) = action else { continue };
            if std::mem::replace(&mut answered, true) {
                redials.push(now - lost);
                fleet.handle_dialed(now, order.attempt, Err(unreachable_endpoint()));
            } else {
                fleet.handle_reached(now, order.attempt);
                fleet.handle_dialed(now, order.attempt, Ok(begun(1, 1)));
                now = lost;
                let end = SessionEnd::PeerClosed(CloseCode::SHUTDOWN);
                fleet.handle_session(now, SessionNumber(1), ended(end));
            }
        }
        now = fleet.poll_timeout().expect("it never gives up");
        fleet.handle_timeout(now);
    }
    redials
}

#[test]
fn a_thousand_dialers_whose_router_vanishes_at_one_moment_do_not_redial_together() {
    let all: Vec<Vec<Duration>> = (0..1000).map(redials).collect();
    let policy = Backoff::default();
    assert!(all.iter().all(|redials| redials[0].is_zero()), "a stable session is redialed at once");
    // A wait is drawn evenly up to its bound, and what came before it only spreads it more: of a twentieth of the
    // bound, no slot gets more than its twentieth of the dialers, but for chance.
    for redial in 1..=9_usize {
        let bound = policy.first.saturating_mul(1 << (redial - 1)).min(policy.cap);
        let mut slots: BTreeMap<u128, usize> = BTreeMap::new();
        for redials in &all {
            *slots.entry(redials[redial].as_micros() * 20 / bound.as_micros()).or_default() += 1;
        }
        let fullest = slots.values().max().copied().unwrap_or_default();
        assert!(fullest <= 100, "redial {redial}: {fullest} within {:?}", bound / 20);
    }
}

#[test]
fn a_dialer_that_begins_anew_proves_our_copy_of_its_session_dead() {
    let mut bench = Bench::new();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    bench.actions();
    // Here the session looks alive; the same run of the same router begins another for the same link and group.
    let admission = bench.fleet.handle_arrival(bench.now, &arrival(1, 2), |_| false);
    assert_eq!(admission, Admission::Begin { session: SessionNumber(2) });
    let (session, code) = (SessionNumber(1), CloseCode::REPLACED);
    assert_eq!(bench.actions()[0], FleetAction::EndSession { session, end: SessionEnd::Closed(code), code });
}

#[test]
fn a_reconnect_before_the_close_of_the_old_one_is_not_touched_by_it() {
    let mut bench = Bench::new();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    bench.fleet.handle_arrival(bench.now, &arrival(1, 2), |_| false);
    bench.actions();
    bench.events();
    bench.fact(down(0));
    bench.fact(ended(SessionEnd::Closed(CloseCode::REPLACED)));
    bench.fact(down(0));
    assert_eq!(bench.told(), ["CarrierDown", "SessionDown"]);
    let sessions: Vec<_> =
        bench.status().sessions.iter().map(|view| (view.session, view.state, view.carriers.len())).collect();
    assert_eq!(sessions, [(SessionNumber(2), SessionState::Up, 1)]);
}

#[test]
fn two_sites_that_dial_each_other_keep_both_sessions_apart() {
    let mut bench = Bench::up();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 7), |_| false);
    bench.actions();
    bench.events();
    // One expires at one end only; the other neither takes its place nor goes with it.
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    bench.fact(ended(SessionEnd::ResumeExpired(Duration::from_secs(20))));
    let left: Vec<_> = bench.status().sessions.iter().map(|view| (view.session, view.state)).collect();
    assert_eq!(left, [(SessionNumber(2), SessionState::Up)]);
    let begun = bench.dials().into_iter().any(|order| order.purpose == Purpose::Begin);
    assert!(begun || bench.fleet.poll_timeout().is_some(), "and its own successor is on its way");
}

#[test]
fn a_router_replaced_behind_an_alternate_gets_a_successor_session_after_three_answers() {
    let (mut bench, dials) = Bench::linked(&[("a", 2)]);
    bench.fleet.handle_reached(bench.now, dials[0].attempt);
    bench.dialed(dials[0].attempt, Ok(begun(1, 1)));
    bench.now += Duration::from_secs(60);
    bench.actions();
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    let mut answers = 0;
    let begin = loop {
        let Some(order) = bench.dials().pop() else {
            bench.now = bench.fleet.poll_timeout().expect("a timer");
            bench.fleet.handle_timeout(bench.now);
            continue;
        };
        if order.purpose == Purpose::Begin {
            break order;
        }
        bench.fleet.handle_reached(bench.now, order.attempt);
        bench.dialed(order.attempt, Ok(begun(2, 2)));
        answers += 1;
    };
    assert_eq!(answers, 3);
    bench.fact(ended(SessionEnd::Replaced { instance: Instance([2; 16]) }));
    let verdict = bench.dialed(begin.attempt, Ok(begun(2, 3)));
    assert_eq!(verdict, Verdict::Begin { session: SessionNumber(2) });
}
