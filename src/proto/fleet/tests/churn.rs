//! Carriers that do not stay: how often a peer that drops them, or wants others, is dialed, by how many there should be.

use super::*;
use crate::config::Backoff;
use crate::proto::dial::Purpose;

const SESSION: SessionNumber = SessionNumber(1);
/// How long a dial takes.
const DIAL: Duration = Duration::from_millis(5);

/// What a peer does with the carriers it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    /// Drops each after so long.
    Drop(Duration),
    /// Wants another in the place of each after so long, and leaves it be for an hour.
    Ask(Duration),
    /// Wants another in the place of each after so long, and drops it at once.
    AskAndDrop(Duration),
}

/// A fleet and its peer, in virtual time.
struct World {
    bench: Bench,
    whim: Whim,
    /// Attempts that will be answered, and when.
    ups: Vec<(Instant, AttemptId)>,
    /// Carriers that will befall something, and when.
    whims: Vec<(Instant, u32)>,
    live: BTreeSet<u32>,
    newest: u32,
    dials: Vec<Instant>,
    most: usize,
}

impl World {
    /// A session of so many carriers. The first is left alone if it is `steady`.
    fn new(carriers: usize, whim: Whim, steady: bool) -> Self {
        let config = FleetConfig { carriers, ..config() };
        let mut bench = Bench { fleet: Fleet::new(config, 1), now: some_moment() };
        bench.fleet.handle_link(bench.now, LINK, wanted(&[("a", 1)]));
        let begin = bench.dials().remove(0);
        bench.dialed(begin.attempt, Ok(begun(1, 1)));
        let mut world = Self {
            bench,
            whim,
            ups: Vec::new(),
            whims: Vec::new(),
            live: BTreeSet::from([0]),
            newest: 0,
            dials: Vec::new(),
            most: 1,
        };
        if !steady {
            world.schedule(0);
        }
        world
    }

    fn schedule(&mut self, carrier: u32) {
        let (Whim::Drop(after) | Whim::Ask(after) | Whim::AskAndDrop(after)) = self.whim;
        self.whims.push((self.bench.now + after, carrier));
    }

    /// Lets so much time pass.
    fn run(&mut self, time: Duration) {
        let end = self.bench.now + time;
        loop {
            self.carry_out();
            let ups = self.ups.iter().map(|(at, _)| *at);
            let whims = self.whims.iter().map(|(at, _)| *at);
            let next = ups.chain(whims).chain(self.bench.fleet.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.bench.now = next.max(self.bench.now);
            self.step();
        }
        self.bench.now = end;
    }

    fn step(&mut self) {
        let now = self.bench.now;
        if let Some(index) = self.ups.iter().position(|(at, _)| *at <= now) {
            let (_, attempt) = self.ups.remove(index);
            self.newest += 1;
            let verdict = self.bench.dialed(attempt, Ok(joined(1, 1, self.newest)));
            assert_eq!(verdict, Verdict::Join { session: SESSION });
            self.live.insert(self.newest);
            self.most = self.most.max(self.live.len());
            self.schedule(self.newest);
            if self.live.len() == 1 {
                self.bench.fact(SessionFact::Resumed { resent_bytes: 0 });
            }
        } else if let Some(index) = self.whims.iter().position(|(at, _)| *at <= now) {
            let (_, carrier) = self.whims.remove(index);
            if self.live.contains(&carrier) {
                self.befall(carrier);
            }
        } else {
            self.bench.fleet.handle_timeout(now);
        }
    }

    fn befall(&mut self, carrier: u32) {
        if let Whim::Ask(_) | Whim::AskAndDrop(_) = self.whim {
            let (number, deadline) = (CarrierNumber(carrier), Duration::from_secs(3600));
            let code = CloseCode::REPLACED;
            self.bench.fact(SessionFact::CarrierRequested { carrier: number, code, deadline });
        }
        if let Whim::Drop(_) | Whim::AskAndDrop(_) = self.whim {
            self.lose(carrier);
        }
    }

    fn lose(&mut self, carrier: u32) {
        self.live.remove(&carrier);
        self.bench.fact(down(carrier));
        if self.live.is_empty() {
            self.bench.fact(SessionFact::Recovering);
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.bench.fleet.poll_action() {
            match action {
                FleetAction::Dial(order) => {
                    assert_eq!(order.purpose, Purpose::Join { session: SESSION });
                    self.dials.push(self.bench.now);
                    self.ups.push((self.bench.now + DIAL, order.attempt));
                }
                FleetAction::Cancel { attempt } => self.ups.retain(|(_, of)| *of != attempt),
                // A session says at once that what it closes is down; what retires may stay for ever.
                FleetAction::CloseCarrier { carrier, .. } => self.lose(carrier.0),
                _ => {}
            }
        }
        self.bench.events();
    }
}

#[test]
fn a_peer_that_drops_what_it_takes_is_dialed_ever_less_often_however_many_carriers_there_should_be() {
    let soon = Whim::Drop(Duration::from_millis(2));
    for (carriers, steady) in [(1, false), (2, true), (2, false), (3, true), (8, true), (8, false)] {
        let mut world = World::new(carriers, soon, steady);
        world.run(Duration::from_secs(10));
        let dials = world.dials.len();
        assert!((3..=40).contains(&dials), "{carriers} carriers, steady {steady}: {dials} dials");
        world.run(Duration::from_secs(60));
        let later = world.dials.len() - dials;
        assert!((8..=120).contains(&later), "{carriers} carriers, steady {steady}: {later} dials later");
    }
}

#[test]
fn a_peer_that_wants_others_for_what_it_has_just_got_is_given_ever_fewer_and_never_holds_many() {
    let soon = Duration::from_millis(2);
    for whim in [Whim::Ask(Duration::ZERO), Whim::Ask(soon), Whim::AskAndDrop(Duration::ZERO)] {
        for carriers in [1, 2, 8] {
            let mut world = World::new(carriers, whim, false);
            world.run(Duration::from_secs(10));
            let dials = world.dials.len();
            assert!((3..50).contains(&dials), "{whim:?}, {carriers} carriers: {dials} dials");
            assert!(
                world.most <= (2 * carriers).max(3),
                "{whim:?}, {carriers} carriers: {} at once",
                world.most
            );
            world.run(Duration::from_secs(60));
            let later = world.dials.len() - dials;
            assert!((8..=120).contains(&later), "{whim:?}, {carriers} carriers: {later} dials later");
        }
    }
}

#[test]
fn what_a_peer_wants_replaced_for_the_first_time_is_replaced_at_once_all_of_it() {
    for carriers in [1_u32, 2, 8] {
        let count = usize::try_from(carriers).unwrap();
        let mut world = World::new(count, Whim::Ask(Duration::from_secs(7200)), false);
        world.run(Duration::from_secs(60));
        let (before, asked) = (world.dials.len(), world.bench.now);
        (0..carriers).for_each(|carrier| world.befall(carrier));
        world.run(Duration::from_millis(50));
        let dials: Vec<_> = world.dials[before..].iter().map(|at| *at - asked).collect();
        assert_eq!(dials, (0..carriers).map(|number| DIAL * number).collect::<Vec<_>>());
    }
}

#[test]
fn a_notice_of_an_hour_is_not_believed_of_what_retires() {
    let mut world = World::new(2, Whim::Ask(Duration::from_secs(7200)), false);
    world.run(Duration::from_secs(60));
    world.befall(1);
    world.run(Duration::from_secs(31));
    assert_eq!(world.live, BTreeSet::from([0, 2]));
}

#[test]
fn carriers_that_fall_together_are_redialed_at_once_all_of_them_and_wait_once_if_they_were_young() {
    for carriers in [2_u32, 4, 8] {
        // An hour old, all are cut, the last one last.
        let all = || {
            let count = usize::try_from(carriers).unwrap();
            let mut world = World::new(count, Whim::Drop(Duration::from_secs(7200)), false);
            world.run(Duration::from_millis(50));
            assert_eq!(world.live.len(), count);
            world
        };
        let mut world = all();
        world.run(Duration::from_secs(3600));
        let (before, cut) = (world.dials.len(), world.bench.now);
        (0..carriers).for_each(|carrier| world.lose(carrier));
        world.run(Duration::from_millis(50));
        let redials: Vec<_> = world.dials[before..].iter().map(|at| *at - cut).collect();
        let expected: Vec<_> = (0..carriers).map(|number| DIAL * number).collect();
        assert_eq!(redials, expected);

        // Some milliseconds old: one wait for what had one reason.
        let mut world = all();
        let before = world.dials.len();
        (0..carriers).for_each(|carrier| world.lose(carrier));
        world.run(Backoff::default().first + Duration::from_millis(100));
        assert_eq!(world.dials.len() - before, usize::try_from(carriers).unwrap());
    }
}

#[test]
fn one_carrier_that_falls_is_redialed_at_once_after_a_storm_that_is_long_over() {
    let mut world = World::new(2, Whim::Drop(Duration::from_millis(2)), true);
    world.run(Duration::from_secs(30));
    world.whim = Whim::Drop(Duration::from_secs(7200));
    world.run(Duration::from_secs(20));
    assert_eq!(world.live.len(), 2);
    let (before, at) = (world.dials.len(), world.bench.now);
    world.lose(world.newest);
    world.run(Duration::ZERO);
    assert_eq!(world.dials[before..], [at]);
}
