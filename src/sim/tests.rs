//! What is run: seeds, one seed, and the world itself.

use std::time::Duration;

use crate::sim::blow::Blow;
use crate::sim::plan::{Item, Plan};
use crate::sim::seeds::SEEDS;
use crate::sim::world::World;
use crate::sim::{Part, attempt, report, shrink};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a seed; a law that does not hold is a panic that says what it takes.
fn run(seed: u64) -> (u64, u64) {
    let plan = Plan::new(seed);
    attempt(plan.clone(), false).unwrap_or_else(|broken| panic!("{}", report(&plan, &broken)))
}

/// Replays one seed, or the part of it that is to be kept, aloud.
fn replay(seed: u64) {
    let kept = std::env::var("SIM_KEEP").ok();
    let kept = kept.map(|kept| kept.split(',').filter_map(|place| place.trim().parse().ok()).collect());
    let part = Part { kept, longest: number("SIM_BYTES") };
    let plan = part.of(Plan::new(seed));
    if let Err(broken) = attempt(plan.clone(), true) {
        assert!(part == Part::default(), "at {:?}: {}", broken.at, broken.what);
        panic!("{}", report(&plan, &broken));
    }
}

#[test]
fn the_laws_hold_in_every_world() {
    if let Some(seed) = number("SIM_SEED") {
        return replay(seed);
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let count = number("SIM_SEEDS").unwrap_or(500);
    for seed in SEEDS.iter().copied().chain(first..first + count) {
        run(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "SIM_SEED={seed}");
    }
}

#[test]
fn a_failing_world_shrinks_to_what_makes_it_fail() {
    for seed in 0..20 {
        let mut plan = Plan::new(seed);
        let (first, second) = (plan.script.len() / 3, plan.script.len() - 1);
        let cut = Blow::CutAll { seen: [None, Some(Duration::ZERO)], lose: true };
        plan.script.retain(|item| !matches!(item, Item::At(_, Blow::CutAll { .. })));
        plan.script.insert(first, Item::At(plan.heals_at / 2, cut));
        let second = second.min(plan.script.len());
        plan.script.insert(second, Item::At(plan.heals_at, Blow::Complain));
        let broken = attempt(plan.clone(), false).expect_err("a planted failure");
        assert_eq!(broken.law(), "planted");
        let expected = Part { kept: Some(vec![first, second]), longest: Some(0) };
        assert_eq!(shrink(&plan, &broken), expected, "SIM_SEED={seed}");
        let text = report(&plan, &broken);
        let command = format!("SIM_SEED={seed} SIM_KEEP={first},{second} SIM_BYTES=0 cargo test");
        assert!(text.contains(&command) && text.contains("all carriers are cut"), "{text}");
    }
}

/// A minute over a line; returns how often each end suspected a carrier, and had none.
fn satellite(seed: u64, latency: Duration, lost_percent: u32) -> [(u64, u64); 2] {
    let world = World::new(Plan::satellite(seed, latency, lost_percent), false).live();
    let world = world.unwrap_or_else(|broken| panic!("satellite {seed} at {:?}: {}", broken.at, broken.what));
    world.ends.each_ref().map(|end| (end.ledger.suspicions, end.ledger.recoveries))
}

#[test]
fn a_link_over_half_a_second_that_loses_one_segment_in_twenty_never_flaps() {
    let count = number("SIM_SATELLITES").unwrap_or(100);
    let mut suspicions = 0;
    for seed in 1..=count {
        for (suspected, recovered) in satellite(seed, Duration::from_millis(250), 5) {
            assert_eq!(recovered, 0, "satellite {seed}: a session was without a carrier");
            suspicions += suspected;
        }
    }
    // Three losses of one segment in a row are 11 s of silence, which no clock tells from a dead peer; a replacement
    // then costs nothing. Measured over 1,000 minutes: one suspicion in 7 minutes of either end.
    assert!(suspicions <= 20 + count / 3, "{suspicions} suspicions in {count} minutes");
}

#[test]
fn a_link_over_two_seconds_that_loses_seven_segments_in_a_hundred_carries_everything_in_the_end() {
    for seed in 1..=number("SIM_SATELLITES").unwrap_or(50) {
        satellite(seed, Duration::from_secs(1), 7);
    }
}
