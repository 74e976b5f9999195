use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;

fn target(port: u16) -> Target {
    Target { host: "east.example".into(), port }
}

fn targets(count: u16) -> Vec<Target> {
    (1..=count).map(target).collect()
}

fn take(alternates: &mut Alternates) -> Option<Target> {
    alternates.begin();
    alternates.next_of_round()
}

#[test]
fn a_target_displays_as_host_and_port() {
    let cases = [
        ("east.example", "east.example:5671"),
        ("192.0.2.1", "192.0.2.1:5671"),
        ("2001:db8::1", "[2001:db8::1]:5671"),
    ];
    for (host, expected) in cases {
        assert_eq!(Target { host: host.into(), port: 5671 }.to_string(), expected);
    }
}

#[test]
fn waits_keep_to_a_bound_that_doubles_up_to_the_cap() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    for _ in 0..200 {
        let mut pace = Pace::new(policy);
        for bound in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let wait = pace.failed(None, &mut rng);
            assert!(!wait.is_zero() && wait <= Duration::from_millis(bound), "{wait:?} > {bound} ms");
        }
    }
}

#[test]
fn a_pace_never_overflows_and_never_gives_up() {
    let policy = Backoff { cap: Duration::MAX, ..Backoff::default() };
    let mut rng = Rng::with_seed(7);
    let mut pace = Pace { policy, failures: u32::MAX, drops: u32::MAX };
    assert!(!pace.failed(None, &mut rng).is_zero());
    assert!(!pace.lost(Duration::ZERO, &mut rng).is_zero());
}

#[test]
fn a_retry_after_is_believed_up_to_its_cap_and_still_jittered() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    let asked = |asked: u64, rng: &mut Rng| Pace::new(policy).failed(Some(Duration::from_secs(asked)), rng);
    for _ in 0..100 {
        let (short, long) = (asked(3, &mut rng), asked(3600, &mut rng));
        assert!(short > Duration::from_secs(3) && short <= Duration::from_millis(3100));
        assert!(long > Duration::from_secs(60) && long <= Duration::from_millis(60_100));
    }
}

#[test]
fn only_a_stable_session_resets_the_pace() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    let mut pace = Pace { policy, failures: 5, drops: 5 };
    assert!(!pace.ended(Duration::from_millis(9_999), &mut rng).is_zero());
    assert_eq!((pace.failures, pace.drops), (5, 6));
    assert!(pace.ended(Duration::from_secs(10), &mut rng).is_zero());
    assert_eq!((pace.failures, pace.drops), (0, 0));
}

/// Carriers that came up after a long outage and were cut within 100 ms were dialed again only after the seconds of
/// backoff that the outage had built up.
#[test]
fn a_cut_soon_after_an_outage_does_not_wait_as_the_outage_did() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    let mut pace = Pace::new(policy);
    (0..12).for_each(|_| _ = pace.failed(None, &mut rng));
    pace.succeeded();
    for _ in 0..100 {
        let wait = pace.clone().lost(Duration::from_millis(70), &mut rng);
        assert!(wait <= policy.first, "{wait:?}");
    }
}

#[test]
fn a_peer_that_takes_and_drops_carriers_is_dialed_ever_more_rarely() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    let mut pace = Pace::new(policy);
    let waited: Duration = (0..100)
        .map(|_| {
            pace.succeeded();
            pace.lost(Duration::from_millis(70), &mut rng)
        })
        .sum();
    // Seven waits reach the cap, and those at the cap are half of it in the mean.
    assert!(waited > policy.cap * 93 / 4, "{waited:?}");
}

#[test]
fn a_lost_carrier_is_replaced_at_once_unless_it_hardly_lived() {
    let policy = Backoff::default();
    let mut rng = Rng::with_seed(7);
    let cases =
        [(10_000, 4, 0, true), (100, 4, 2, true), (100, 0, 0, true), (99, 4, 5, false), (0, 0, 1, false)];
    for (lived, before, after, at_once) in cases {
        let mut pace = Pace { policy, failures: 0, drops: before };
        let wait = pace.lost(Duration::from_millis(lived), &mut rng);
        assert_eq!((wait.is_zero(), pace.drops), (at_once, after), "lived {lived} ms");
    }
}

#[test]
fn a_thousand_dialers_that_lost_one_router_do_not_come_back_together() {
    let policy = Backoff::default();
    for round in 1..=8_u32 {
        // Waits of one round, counted in twenty slots of the bound: none is empty, none holds twice its share.
        let bound = (policy.first * (1 << (round - 1))).min(policy.cap);
        let mut slots = [0_usize; 20];
        for seed in 0..1000 {
            let mut pace = Pace { policy, failures: round - 1, drops: 0 };
            let wait = pace.failed(None, &mut Rng::with_seed(seed));
            let slot = (wait.as_micros() - 1) * 20 / bound.as_micros();
            slots[usize::try_from(slot).unwrap()] += 1;
        }
        assert!(slots.iter().all(|count| (20..=100).contains(count)), "round {round}: {slots:?}");
    }
}

#[test]
fn the_endpoint_that_last_held_is_tried_first() {
    let mut alternates = Alternates::new(targets(3));
    let ports = |alternates: &mut Alternates, count: usize| -> Vec<u16> {
        (0..count).map(|_| take(alternates).unwrap().port).collect()
    };
    assert_eq!(ports(&mut alternates, 2), [1, 2]);
    alternates.succeeded(&target(2));
    alternates.lost(true);
    assert_eq!(ports(&mut alternates, 4), [2, 1, 3, 2]);
}

#[test]
fn an_endpoint_that_did_not_hold_waits_for_the_others() {
    let mut alternates = Alternates::new(targets(3));
    assert_eq!(take(&mut alternates), Some(target(1)));
    alternates.succeeded(&target(1));
    alternates.lost(false);
    assert_eq!(take(&mut alternates), Some(target(2)));
    assert_eq!(take(&mut alternates), Some(target(3)));
    assert_eq!(take(&mut alternates), Some(target(1)));
    assert!(alternates.is_round_over());
}

#[test]
fn a_changed_list_keeps_the_endpoint_that_last_held_if_it_is_still_there() {
    let mut alternates = Alternates::new(targets(3));
    alternates.succeeded(&target(2));
    assert!(alternates.replace(vec![target(4), target(2), target(4)]));
    assert!(!alternates.replace(vec![target(4), target(2)]));
    assert_eq!(take(&mut alternates), Some(target(2)));
    assert_eq!(take(&mut alternates), Some(target(4)));
    assert!(alternates.replace(vec![target(5)]));
    assert_eq!(take(&mut alternates), Some(target(5)));
}

#[test]
fn without_endpoints_there_is_nothing_to_try() {
    assert_eq!(take(&mut Alternates::new(Vec::new())), None);
}

proptest! {
    /// Law 9: while attempts fail, all alternates are tried before any is tried twice.
    #[test]
    fn all_alternates_are_tried_before_any_twice(count in 1_u16..9, good in 0_u16..9, before in 0_usize..20) {
        let mut alternates = Alternates::new(targets(count));
        for _ in 0..before {
            take(&mut alternates);
        }
        if (1..=count).contains(&good) {
            alternates.succeeded(&target(good));
            alternates.lost(true);
        }
        while !alternates.is_round_over() {
            take(&mut alternates);
        }
        for _ in 0..3 {
            let mut round: Vec<u16> = (0..count).map(|_| take(&mut alternates).unwrap().port).collect();
            prop_assert!(alternates.is_round_over());
            round.sort_unstable();
            prop_assert_eq!(round, (1..=count).collect::<Vec<_>>());
        }
    }
}
