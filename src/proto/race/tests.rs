use std::io::ErrorKind;

use super::*;
use crate::config::Backoff;
use crate::id::{GroupName, SessionNumber};
use crate::proto::group::{Group, Wish};
use crate::proto::some_moment;

/// What a group asks for, briefly: its endpoints are told by their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Dial(u16),
    Greet(u16),
    Cancel(u16),
    Failed(u16),
    Overtaken(u16),
}

use Asked::{Cancel, Dial, Failed, Greet, Overtaken};

/// A group that races, driven by hand; endpoint `n` is dialed by one attempt at a time.
struct Bench {
    group: Group,
    orders: Orders,
    start: Instant,
    now: Instant,
    attempts: Vec<(AttemptId, u16)>,
}

impl Bench {
    fn new(endpoints: u16) -> (Self, Vec<Asked>) {
        let start = some_moment();
        let targets = (1..=endpoints).map(|port| Target { host: "east.example".into(), port }).collect();
        let group = Group::new(start, GroupName::new("a").unwrap(), targets, Backoff::default(), 1);
        let mut bench = Self { group, orders: Orders::new(1), start, now: start, attempts: Vec::new() };
        bench.group.handle_wish(start, Wish::Keep, &mut bench.orders);
        let asked = bench.asked();
        (bench, asked)
    }

    fn asked(&mut self) -> Vec<Asked> {
        let steps: Vec<Step> = self.orders.steps.drain(..).collect();
        steps
            .into_iter()
            .filter_map(|step| {
                Some(match step {
                    Step::Dial { attempt, target, .. } => {
                        self.attempts.push((attempt, target.port));
                        Dial(target.port)
                    }
                    Step::Greet { attempt } => Greet(self.port(attempt)),
                    Step::Cancel { attempt } => Cancel(self.port(attempt)),
                    Step::Failed { target, .. } => Failed(target.port),
                    Step::Overtaken { target, .. } => Overtaken(target.port),
                    Step::End { .. } | Step::Succeed { .. } => return None,
                })
            })
            .collect()
    }

    fn port(&self, attempt: AttemptId) -> u16 {
        self.attempts.iter().find(|(known, _)| *known == attempt).unwrap().1
    }

    fn attempt(&self, port: u16) -> AttemptId {
        self.attempts.iter().rfind(|(_, known)| *known == port).unwrap().0
    }

    /// Lets time pass up to that many milliseconds after the start, the timer running.
    fn at(&mut self, millis: u64) -> Vec<Asked> {
        let until = self.start + Duration::from_millis(millis);
        while let Some(due) = self.group.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.group.handle_timeout(due, &mut self.orders);
            assert!(self.group.poll_timeout().is_none_or(|next| next > due), "the timer stands still");
        }
        self.now = until;
        self.asked()
    }

    fn reach(&mut self, port: u16) -> Vec<Asked> {
        self.group.handle_reached(self.now, self.attempt(port), &mut self.orders);
        self.asked()
    }

    fn fail_with(&mut self, port: u16, error: DialError) -> Vec<Asked> {
        self.group.handle_failed(self.now, self.attempt(port), error, &mut self.orders);
        self.asked()
    }

    fn fail(&mut self, port: u16) -> Vec<Asked> {
        self.fail_with(port, DialError::Lost { phase: Phase::Tls, kind: ErrorKind::ConnectionReset })
    }

    fn begin(&mut self, port: u16) -> Vec<Asked> {
        let attempt = self.attempt(port);
        self.group.handle_begun(self.now, attempt, SessionNumber(1), &mut self.orders);
        self.asked()
    }
}

#[test]
fn the_next_alternate_starts_a_quarter_second_after_the_one_before() {
    let (mut bench, asked) = Bench::new(3);
    assert_eq!(asked, [Dial(1)]);
    assert_eq!(bench.at(249), []);
    assert_eq!(bench.at(250), [Dial(2)]);
    assert_eq!(bench.at(499), []);
    assert_eq!(bench.at(500), [Dial(3)]);
    assert_eq!(bench.at(60_000), [], "each is tried once in a round, and none has failed");
}

#[test]
fn a_failure_starts_the_next_alternate_at_once() {
    let (mut bench, _) = Bench::new(3);
    bench.at(100);
    assert_eq!(bench.fail(1), [Failed(1), Dial(2)]);
    assert_eq!(bench.at(349), []);
    assert_eq!(bench.at(350), [Dial(3)], "the stagger counts from the start of the one before");
}

#[test]
fn a_round_is_over_when_its_last_attempt_has_failed() {
    let (mut bench, _) = Bench::new(2);
    bench.at(250);
    assert_eq!(bench.fail(1), [Failed(1)]);
    assert_eq!(bench.group.next_attempt(), None, "the other is still under way");
    bench.at(400);
    assert_eq!(bench.fail(2), [Failed(2)]);
    let wait = bench.group.next_attempt().unwrap() - bench.now;
    assert!(wait <= Duration::from_millis(100), "one wait of the backoff: {wait:?}");
    assert_eq!(bench.at(500)[0], Dial(1));
}

#[test]
fn only_one_greets_and_the_others_stay_reached() {
    let (mut bench, _) = Bench::new(3);
    bench.at(500);
    assert_eq!(bench.reach(2), [Greet(2)]);
    assert_eq!((bench.reach(1), bench.reach(3)), (vec![], vec![]));
    assert_eq!(bench.begin(2), [Cancel(1), Overtaken(1), Cancel(3), Overtaken(3)]);
    assert_eq!(bench.group.poll_timeout(), None);
}

#[test]
fn what_was_overtaken_is_told_with_how_far_it_had_come_and_how_long_it_was_tried() {
    let (mut bench, _) = Bench::new(3);
    bench.at(500);
    bench.reach(2);
    bench.reach(3);
    bench.now += Duration::from_millis(20);
    bench.group.handle_begun(bench.now, bench.attempt(2), SessionNumber(1), &mut bench.orders);
    let told: Vec<_> = bench
        .orders
        .steps
        .drain(..)
        .filter_map(|step| match step {
            Step::Overtaken { target, attempt, reached, by, after } => {
                Some((target.port, attempt, reached, by.port, after.as_millis()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [(1, 1, false, 2, 520), (3, 3, true, 2, 20)]);
}

#[test]
fn what_is_given_up_without_a_winner_was_not_overtaken() {
    let (mut bench, _) = Bench::new(2);
    bench.at(250);
    bench.group.handle_wish(bench.now, Wish::Leave, &mut bench.orders);
    assert_eq!(bench.asked(), [Cancel(1), Cancel(2)]);
}

#[test]
fn when_the_one_that_greets_fails_the_first_reached_greets() {
    let (mut bench, _) = Bench::new(3);
    bench.at(500);
    bench.reach(2);
    bench.reach(3);
    bench.reach(1);
    assert_eq!(bench.fail(2), [Failed(2), Greet(1)], "first by the order of the document");
    assert_eq!(bench.fail(1), [Failed(1), Greet(3)]);
}

#[test]
fn nothing_starts_beside_one_that_greets_while_it_has_patience() {
    let (mut bench, _) = Bench::new(2);
    bench.at(100);
    bench.reach(1);
    assert_eq!(bench.at(349), [], "reached after 100 ms, it has the least patience: 250 ms");
    assert_eq!(bench.at(350), [Dial(2)]);
}

#[test]
fn a_silent_one_is_given_up_as_soon_as_another_is_reached() {
    let (mut bench, _) = Bench::new(2);
    bench.at(10);
    bench.reach(1);
    assert_eq!(bench.at(300), [Dial(2)]);
    assert_eq!(bench.reach(2), [Cancel(1), Greet(2), Failed(1)]);
    let after = Duration::from_millis(290);
    assert_eq!(bench.group.error(), Some(&DialError::TimedOut { phase: Phase::Hello, after }));
    // Its late answer is nobody's.
    assert_eq!(bench.fail(1), []);
    assert_eq!(bench.begin(2), []);
}

#[test]
fn one_that_took_long_to_reach_is_given_as_long_to_answer() {
    let (mut bench, _) = Bench::new(2);
    assert_eq!(bench.at(800), [Dial(2)]);
    bench.reach(1);
    bench.reach(2);
    assert_eq!(bench.at(1599), [], "two round trips took 800 ms: the answer may take as long");
    assert_eq!(bench.at(1600), [Cancel(1), Greet(2), Failed(1)]);
}

#[test]
fn a_silent_one_without_rivals_keeps_its_deadline() {
    let (mut bench, _) = Bench::new(2);
    bench.reach(1);
    bench.at(250);
    assert_eq!(bench.fail(2), [Failed(2)]);
    assert_eq!(bench.at(4000), []);
    assert_eq!(bench.begin(1), []);
}

#[test]
fn a_retry_after_is_meant_for_all_alternates() {
    let (mut bench, _) = Bench::new(3);
    bench.at(250);
    let retry_after = Some(Duration::from_secs(3));
    let busy = DialError::Closed { code: crate::wire::code::CloseCode::BUSY, detail: "".into(), retry_after };
    bench.reach(1);
    assert_eq!(bench.fail_with(1, busy), [Cancel(2), Failed(1)]);
    assert_eq!(bench.at(3250), []);
    assert_eq!(bench.at(3350), [Dial(3)], "those tried are not tried again before the third");
}

#[test]
fn so_many_run_at_once_and_no_more() {
    let (mut bench, _) = Bench::new(12);
    bench.at(60_000);
    assert_eq!(bench.attempts.len(), MAX_RUNNERS);
    assert_eq!(bench.fail(3), [Failed(3), Dial(9)]);
    assert_eq!(bench.at(120_000), []);
}

#[test]
fn a_changed_list_leaves_what_runs_and_tries_what_is_new() {
    let (mut bench, _) = Bench::new(2);
    bench.at(250);
    let targets = [2, 7].map(|port| Target { host: "east.example".into(), port }).to_vec();
    bench.group.handle_targets(bench.now, targets, &mut bench.orders);
    assert_eq!(bench.asked(), [Cancel(1)]);
    assert_eq!(bench.at(500), [Dial(7)], "and 2, which runs, is not tried twice");
    assert_eq!(bench.at(60_000), []);
}
