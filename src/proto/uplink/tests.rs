use fastrand::Rng;

use super::*;
use crate::proto::some_moment;

const STABLE: Duration = Duration::from_secs(10);

fn standing(session: u64, link: u64, cost: u32, fitness: Fitness) -> Standing {
    Standing {
        session: SessionNumber(session),
        link: LinkId(link),
        group: GroupName::new("a").unwrap(),
        rank: 0,
        cost: Cost::new(cost).unwrap(),
        fitness,
    }
}

/// An edge plane over time, in seconds.
struct Bench {
    uplinks: Uplinks,
    start: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { uplinks: Uplinks::new(STABLE), start: some_moment() }
    }

    /// Which session is active at that second, with those standings.
    fn at(&mut self, seconds: u64, standings: &[Standing]) -> u64 {
        let now = self.start + Duration::from_secs(seconds);
        let active = self.uplinks.settle(now, standings, |_, _| true);
        let due = self.uplinks.due(standings);
        assert!(due.is_none_or(|due| due > now), "due in the past");
        active.map_or(0, |session| session.0)
    }

    fn due(&self, standings: &[Standing]) -> Option<u64> {
        self.uplinks.due(standings).map(|due| (due - self.start).as_secs())
    }
}

use Fitness::{Draining, Fit, Recovering, Suspect};

#[test]
fn least_cost_wins_then_the_order_of_links_then_that_of_groups() {
    let ranked = |session, rank| Standing { rank, ..standing(session, 1, 1, Fit) };
    let cases: [(&str, Vec<Standing>, u64); 7] = [
        ("nothing", vec![], 0),
        ("the only one", vec![standing(1, 1, 5, Fit)], 1),
        ("cost before order", vec![standing(1, 1, 5, Fit), standing(2, 2, 1, Fit)], 2),
        ("order of links", vec![standing(1, 2, 1, Fit), standing(2, 1, 1, Fit)], 2),
        ("order of groups", vec![ranked(1, 1), ranked(2, 0)], 2),
        ("fitness before cost", vec![standing(1, 1, 1, Suspect), standing(2, 2, 9, Fit)], 2),
        ("one that recovers is better than none", vec![standing(1, 1, 1, Recovering)], 1),
    ];
    for (name, standings, active) in cases {
        assert_eq!(Bench::new().at(0, &standings), active, "{name}");
    }
}

#[test]
fn a_cheaper_session_that_comes_later_takes_over_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 5, Fit)]), 1);
    assert_eq!(bench.at(1, &[standing(1, 1, 5, Fit), standing(2, 2, 1, Fit)]), 2);
}

#[test]
fn a_changed_cost_counts_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 1, Fit), standing(2, 2, 2, Fit)]), 1);
    assert_eq!(bench.at(1, &[standing(1, 1, 3, Fit), standing(2, 2, 2, Fit)]), 2);
    assert_eq!(bench.at(2, &[standing(1, 1, 1, Fit), standing(2, 2, 2, Fit)]), 1);
}

#[test]
fn each_way_to_become_unfit_hands_over_at_once() {
    for unfit in [Suspect, Recovering, Draining] {
        let mut bench = Bench::new();
        assert_eq!(bench.at(0, &[standing(1, 1, 1, Fit), standing(2, 2, 9, Fit)]), 1);
        assert_eq!(bench.at(1, &[standing(1, 1, 1, unfit), standing(2, 2, 9, Fit)]), 2, "{unfit:?}");
    }
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 1, Fit), standing(2, 2, 9, Fit)]), 1);
    assert_eq!(bench.at(1, &[standing(2, 2, 9, Fit)]), 2, "ended");
}

#[test]
fn while_none_is_fit_it_is_one_that_is_least_unfit_and_stays_among_equals() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 9, Fit), standing(2, 2, 1, Suspect)]), 1);
    assert_eq!(bench.at(1, &[standing(1, 1, 9, Suspect), standing(2, 2, 1, Suspect)]), 1);
    assert_eq!(bench.at(2, &[standing(1, 1, 9, Recovering), standing(2, 2, 1, Suspect)]), 2);
    assert_eq!(bench.at(3, &[standing(1, 1, 9, Recovering), standing(2, 2, 1, Recovering)]), 2);
    assert_eq!(bench.at(4, &[standing(1, 1, 9, Recovering), standing(2, 2, 1, Draining)]), 1);
    assert_eq!(bench.at(5, &[standing(2, 2, 1, Draining)]), 2);
    assert_eq!(bench.at(6, &[]), 0);
}

#[test]
fn of_equal_cost_the_first_in_the_document_has_the_turn_and_gets_it_back() {
    let mut bench = Bench::new();
    let with = |first| [standing(1, 1, 1, first), standing(2, 2, 1, Fit)];
    assert_eq!(bench.at(0, &[standing(2, 2, 1, Fit)]), 2);
    assert_eq!(bench.at(1, &with(Fit)), 1);
    assert_eq!(bench.at(2, &with(Draining)), 2);
    assert_eq!(bench.at(3, &with(Fit)), 2);
    assert_eq!(bench.at(13, &with(Fit)), 1);
}

#[test]
fn one_on_standby_may_come_and_go_and_takes_the_turn_when_it_is_made_the_cheaper() {
    let mut bench = Bench::new();
    let with = |cost, fitness| [standing(1, 1, 2, Fit), standing(2, 2, cost, fitness)];
    for second in 0..10 {
        let fitness = if second % 2 == 0 { Fit } else { Recovering };
        assert_eq!(bench.at(second, &with(9, fitness)), 1);
    }
    assert_eq!(bench.at(10, &with(1, Fit)), 2, "it never failed when it had the turn");
}

#[test]
fn a_place_that_is_gone_is_forgotten() {
    let mut bench = Bench::new();
    let with = |fitness| [standing(1, 1, 1, fitness), standing(2, 2, 9, Fit)];
    assert_eq!(bench.at(0, &with(Fit)), 1);
    assert_eq!(bench.at(1, &with(Draining)), 2);
    let gone = bench.uplinks.settle(bench.start, &with(Fit)[1..], |link, _| link != LinkId(1));
    assert_eq!(gone, Some(SessionNumber(2)));
    assert_eq!(bench.at(2, &with(Fit)), 1, "it begins anew");
}

#[test]
fn one_that_failed_returns_when_it_has_been_fit_for_long_enough() {
    let mut bench = Bench::new();
    let with = |session, fitness| [standing(session, 1, 1, fitness), standing(2, 2, 9, Fit)];
    assert_eq!(bench.at(0, &with(1, Fit)), 1);
    assert_eq!(bench.at(1, &with(1, Suspect)), 2);
    assert_eq!(bench.at(2, &with(1, Fit)), 2);
    assert_eq!(bench.due(&with(1, Fit)), Some(12));
    assert_eq!(bench.at(11, &with(1, Fit)), 2);
    assert_eq!(bench.at(11, &with(1, Suspect)), 2, "a break begins it anew");
    assert_eq!(bench.at(12, &with(1, Fit)), 2);
    assert_eq!(bench.at(21, &with(1, Fit)), 2);
    assert_eq!(bench.at(22, &with(1, Fit)), 1);
}

#[test]
fn the_successor_of_a_session_that_failed_is_on_probation_as_well() {
    let mut bench = Bench::new();
    let other = standing(2, 2, 9, Fit);
    assert_eq!(bench.at(0, &[standing(1, 1, 1, Fit), other.clone()]), 1);
    assert_eq!(bench.at(1, std::slice::from_ref(&other)), 2);
    assert_eq!(bench.at(2, &[standing(3, 1, 1, Fit), other.clone()]), 2);
    assert_eq!(bench.at(12, &[standing(3, 1, 1, Fit), other]), 3);
}

#[test]
fn one_on_probation_serves_when_there_is_no_other() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 1, Fit), standing(2, 2, 9, Fit)]), 1);
    assert_eq!(bench.at(1, &[standing(1, 1, 1, Suspect), standing(2, 2, 9, Fit)]), 2);
    assert_eq!(bench.at(2, &[standing(1, 1, 1, Fit), standing(2, 2, 9, Suspect)]), 1);
    // And both have failed now: neither takes the turn from the other for a while.
    assert_eq!(bench.at(3, &[standing(1, 1, 1, Fit), standing(2, 2, 9, Fit)]), 1);
}

#[test]
fn one_on_probation_is_passed_over_for_any_other_that_is_fit() {
    let mut bench = Bench::new();
    let with = |first, second| [standing(1, 1, 1, first), standing(2, 2, 2, second), standing(3, 3, 3, Fit)];
    assert_eq!(bench.at(0, &with(Fit, Fit)), 1);
    assert_eq!(bench.at(1, &with(Suspect, Fit)), 2);
    assert_eq!(bench.at(2, &with(Fit, Fit)), 2);
    assert_eq!(bench.at(3, &with(Fit, Recovering)), 3, "the first one failed two seconds ago");
    assert_eq!(bench.due(&with(Fit, Recovering)), Some(12));
    assert_eq!(bench.at(12, &with(Fit, Recovering)), 1);
}

/// Random standings over time: one is active whenever there is any, and none is fitter; a place that fails takes the
/// turn from a fit one at most once in `STABLE`, and from none that failed within that time if another has not; and
/// nothing that has been fit for so long is better than the active one.
#[test]
fn exactly_one_is_active_and_it_does_not_flap() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let mut bench = Bench::new();
        let mut fitness = [Fit; 4];
        let mut active = 0;
        let mut taken: [Option<u64>; 4] = [None; 4];
        let mut failed: [Option<u64>; 4] = [None; 4];
        let mut fit_since: [Option<u64>; 4] = [None; 4];
        // Two of them cost the same.
        let costs = [1, 2, 2, 3];
        let place_of = |session: u64| usize::try_from(session - 1).unwrap();
        for second in 0..300 {
            // Now and then all are left alone, or nothing would ever be stable.
            if second % 100 < 80 {
                fitness[rng.usize(..4)] = [Fit, Suspect, Recovering, Draining][rng.usize(..4)];
            }
            let standings: Vec<Standing> = (1..=4)
                .map(|session| {
                    standing(session, session, costs[place_of(session)], fitness[place_of(session)])
                })
                .filter(|standing| standing.fitness != Draining || standing.session.0 == active)
                .collect();
            let fitness_of = |session| {
                standings.iter().find(|of| of.session.0 == session).map(|standing| standing.fitness)
            };
            for session in 1..=4 {
                let since = &mut fit_since[place_of(session)];
                match fitness_of(session) {
                    Some(Fit) => {
                        since.get_or_insert(second);
                    }
                    // It loses its turn as it fails.
                    _ if session == active && since.take().is_some() => {
                        failed[place_of(session)] = Some(second);
                    }
                    _ => *since = None,
                }
            }
            let next = bench.at(second, &standings);
            let best = standings.iter().map(|standing| standing.fitness).min();
            assert_eq!(fitness_of(next), best, "seed {seed}: {next} of {standings:?}");
            let is_stable =
                |place: usize| fit_since[place].is_some_and(|since| second - since >= STABLE.as_secs());
            if next != active && best == Some(Fit) {
                let place = place_of(next);
                if fitness_of(active) == Some(Fit) {
                    let before = taken[place].replace(second);
                    assert!(
                        before.is_none_or(|before| second - before >= STABLE.as_secs()),
                        "seed {seed}: {next} flaps"
                    );
                }
                let recently = failed[place].is_some_and(|failed| second - failed < STABLE.as_secs());
                assert!(!recently || !(0..4).any(is_stable), "seed {seed}: {next} failed of late");
            }
            for stable in standings.iter().filter(|standing| is_stable(place_of(standing.session.0))) {
                let other = standings.iter().find(|standing| standing.session.0 == next);
                assert!(other.is_some_and(|other| order(other) <= order(stable)), "seed {seed}: {stable:?}");
            }
            active = next;
        }
    }
}
