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
fn while_none_is_fit_it_stays_where_it_is() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(0, &[standing(1, 1, 9, Fit), standing(2, 2, 1, Suspect)]), 1);
    assert_eq!(bench.at(1, &[standing(1, 1, 9, Recovering), standing(2, 2, 1, Suspect)]), 1);
    assert_eq!(bench.at(2, &[standing(2, 2, 1, Suspect)]), 2);
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

/// Random standings over time: one is active whenever there is any; a fit one whenever there is a fit one; and a
/// place that fails takes the turn from a fit one at most once in `STABLE`.
#[test]
fn exactly_one_is_active_and_it_does_not_flap() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let mut bench = Bench::new();
        let mut fitness = [Fit; 4];
        let mut active = 0;
        let mut taken: [Option<u64>; 4] = [None; 4];
        for second in 0..300 {
            let place = rng.usize(..4);
            fitness[place] = [Fit, Suspect, Recovering, Draining][rng.usize(..4)];
            let standings: Vec<Standing> = (0_u32..)
                .zip(&fitness)
                .map(|(index, fitness)| standing(u64::from(index) + 1, index.into(), index + 1, *fitness))
                .filter(|standing| standing.fitness != Draining || standing.session.0 == active)
                .collect();
            let fit = |session| {
                let is_fit = |s: &&Standing| s.session.0 == session && s.fitness == Fit;
                standings.iter().find(is_fit).is_some()
            };
            let next = bench.at(second, &standings);
            let found = standings.iter().any(|standing| standing.session.0 == next);
            assert_eq!(found, !standings.is_empty(), "seed {seed}");
            if standings.iter().any(|standing| standing.fitness == Fit) {
                assert!(fit(next), "seed {seed}: {next} of {standings:?}");
            }
            if next != active && fit(active) {
                let place = usize::try_from(next - 1).unwrap();
                let before = taken[place].replace(second);
                assert!(before.is_none_or(|before| second - before >= STABLE.as_secs()), "seed {seed}");
            }
            active = next;
        }
    }
}
