use super::*;
use crate::error::SessionEnd;
use crate::id::Instance;
use crate::proto::some_moment;
use crate::wire::code::CloseCode;

const SESSION: SessionNumber = SessionNumber(1);
const LONG: Duration = Duration::from_secs(60);

fn target(port: u16) -> Target {
    Target { host: "east.example".into(), port }
}

/// A group with what it shares, driven by hand.
struct Bench {
    group: Group,
    orders: Orders,
    now: Instant,
}

impl Bench {
    /// Idle, with so many endpoints, to have one carrier.
    fn idle(endpoints: u16) -> Self {
        Self::with(endpoints, 1)
    }

    fn with(endpoints: u16, carriers: usize) -> Self {
        let (now, targets) = (some_moment(), (1..=endpoints).map(target).collect());
        let group = Group::new(now, GroupName::new("a").unwrap(), targets, Backoff::default(), carriers);
        Self { group, orders: Orders::new(1), now }
    }

    /// With two carriers up for a minute.
    fn twofold() -> Self {
        let mut bench = Self::with(1, 2);
        bench.wish(Wish::Keep);
        begin(&mut bench);
        join(&mut bench);
        bench.steps();
        bench.now += LONG;
        bench
    }

    /// Loses one of several carriers that came up `lived` ago; so many are left, all trusted.
    fn lose_one(&mut self, lived: Duration, left: usize) {
        let loss = Loss { lived, planned: false, trusted_left: left };
        self.group.handle_carrier_lost(self.now, loss, &mut self.orders);
        self.carriers(left, left);
    }

    fn dialing(endpoints: u16) -> Self {
        let mut bench = Self::idle(endpoints);
        bench.wish(Wish::Keep);
        bench
    }

    fn up(endpoints: u16) -> Self {
        let mut bench = Self::dialing(endpoints);
        begin(&mut bench);
        bench.steps();
        bench
    }

    /// Up for a minute, then without a carrier.
    fn recovering(endpoints: u16) -> Self {
        let mut bench = Self::up(endpoints);
        bench.now += LONG;
        bench.lose();
        bench
    }

    fn wish(&mut self, wish: Wish) {
        self.group.handle_wish(self.now, wish, &mut self.orders);
    }

    fn lose(&mut self) {
        let begun = self.group.hold.as_ref().expect("a session").begun;
        let loss = Loss { lived: self.now - begun, planned: false, trusted_left: 0 };
        self.group.handle_carrier_lost(self.now, loss, &mut self.orders);
        self.group.handle_carriers(self.now, (0, 0, 0), &mut self.orders);
        self.group.handle_recovering(self.now, &mut self.orders);
    }

    fn carriers(&mut self, carriers: usize, trusted: usize) {
        self.group.handle_carriers(self.now, (carriers, trusted, trusted), &mut self.orders);
    }

    /// The attempt started last.
    fn attempt(&self) -> AttemptId {
        assert!(matches!(self.group.next, Next::Race(_)), "not dialing: {:?}", self.group);
        AttemptId(self.orders.attempts - 1)
    }

    /// Fails the attempt started last.
    fn fail(&mut self, error: DialError) {
        self.group.handle_failed(self.now, self.attempt(), error, &mut self.orders);
    }

    /// Waits for the timer.
    fn wait(&mut self) {
        self.now = self.group.poll_timeout().expect("a timer");
        self.group.handle_timeout(self.now, &mut self.orders);
    }

    fn state(&self) -> GroupState {
        self.group.state().0
    }

    fn steps(&mut self) -> Vec<Step> {
        self.orders.steps.drain(..).collect()
    }

    /// Ports and purposes of what is dialed among the steps.
    fn dials(&mut self) -> Vec<(u16, Purpose)> {
        let dial = |step| match step {
            Step::Dial { target, purpose, .. } => Some((target.port, purpose)),
            _ => None,
        };
        self.steps().into_iter().filter_map(dial).collect()
    }

    /// Sessions ended among the steps.
    fn ends(&self) -> Vec<SessionEnd> {
        let end = |step: &Step| match step {
            Step::End { end, .. } => Some(end.clone()),
            _ => None,
        };
        self.orders.steps.iter().filter_map(end).collect()
    }
}

fn refused() -> DialError {
    DialError::Connect {
        address: "192.0.2.1:5671".parse().unwrap(),
        kind: std::io::ErrorKind::ConnectionRefused,
    }
}

fn closed(code: CloseCode, retry_after: Option<Duration>) -> DialError {
    DialError::Closed { code, detail: "".into(), retry_after }
}

fn other(found: u8) -> DialError {
    DialError::OtherInstance { expected: Instance([1; 16]), found: Instance([found; 16]) }
}

const JOIN: Purpose = Purpose::Join { session: SESSION };

/// A name, a bench in some state, an input; the state after it and what is dialed because of it.
type Row = (&'static str, Bench, fn(&mut Bench), GroupState, Vec<(u16, Purpose)>);

fn check<const N: usize>(table: [Row; N]) {
    for (name, mut bench, input, state, dials) in table {
        bench.steps();
        input(&mut bench);
        assert_eq!((bench.state(), bench.dials()), (state, dials), "{name}");
    }
}

fn begin(bench: &mut Bench) {
    bench.group.handle_begun(bench.now, bench.attempt(), SESSION, &mut bench.orders);
}

fn end(bench: &mut Bench) {
    bench.group.handle_ended(bench.now, &mut bench.orders);
}

fn end_later(bench: &mut Bench) {
    bench.now += LONG;
    end(bench);
}

fn end_leaving(bench: &mut Bench) {
    bench.wish(Wish::Leave);
    end(bench);
}

fn join(bench: &mut Bench) {
    bench.group.handle_joined(bench.now, bench.attempt(), &mut bench.orders);
}

fn lose_later(bench: &mut Bench) {
    bench.now += LONG;
    bench.lose();
}

fn fail(bench: &mut Bench) {
    bench.fail(refused());
}

fn fail_gone(bench: &mut Bench) {
    bench.fail(closed(CloseCode::SESSION_GONE, None));
}

fn fail_busy(bench: &mut Bench) {
    bench.fail(closed(CloseCode::BUSY, Some(Duration::from_secs(1))));
}

#[test]
fn without_a_session_each_state_answers_each_input() {
    use GroupState::{Dialing, Idle, Up, Waiting};
    let next = || vec![(2, Purpose::Begin)];
    check([
        ("wanted", Bench::idle(2), |b| b.wish(Wish::Keep), Dialing, vec![(1, Purpose::Begin)]),
        ("wanted without endpoints", Bench::idle(0), |b| b.wish(Wish::Keep), Idle, vec![]),
        ("unusable", Bench::idle(2), |b| b.wish(Wish::Rest), Idle, vec![]),
        ("first failure", Bench::dialing(2), fail, Dialing, next()),
        ("whole round failed", Bench::dialing(1), fail, Waiting, vec![]),
        ("told when to come back", Bench::dialing(2), fail_busy, Waiting, vec![]),
        ("given up while dialing", Bench::dialing(1), |b| b.wish(Wish::Leave), Idle, vec![]),
        ("unusable while dialing", Bench::dialing(1), |b| b.wish(Wish::Rest), Idle, vec![]),
        ("no session to be gone", Bench::dialing(2), fail_gone, Dialing, next()),
        ("begun", Bench::dialing(1), begin, Up, vec![]),
    ]);
}

#[test]
fn with_a_session_each_state_answers_each_input() {
    use GroupState::{Dialing, Idle, Recovering, Suspect, Up, Waiting};
    let again = || vec![(1, Purpose::Begin)];
    check([
        ("suspect", Bench::up(1), |b| b.carriers(1, 0), Suspect, vec![(1, JOIN)]),
        ("last carrier lost, no word yet", Bench::up(1), |b| b.carriers(0, 0), Recovering, vec![]),
        ("last carrier lost", Bench::up(2), lose_later, Recovering, vec![(1, JOIN)]),
        ("stable session ended", Bench::up(1), end_later, Dialing, again()),
        ("young session ended", Bench::up(1), end, Waiting, vec![]),
        ("resting with a session", Bench::up(1), |b| b.wish(Wish::Rest), Up, vec![]),
        ("joined", Bench::recovering(1), join, Up, vec![]),
        ("join failed", Bench::recovering(2), fail, Recovering, vec![(2, JOIN)]),
        ("gone", Bench::recovering(2), fail_gone, Dialing, again()),
        ("expired while a join is dialed", Bench::recovering(2), end, Dialing, again()),
        ("given up while recovering", Bench::recovering(1), |b| b.wish(Wish::Leave), Recovering, vec![]),
        ("ended while leaving", Bench::recovering(1), end_leaving, Idle, vec![]),
    ]);
}

#[test]
fn a_suspect_carrier_that_is_trusted_again_ends_the_search_for_another() {
    let mut bench = Bench::up(1);
    bench.carriers(1, 0);
    assert_eq!(bench.dials(), [(1, JOIN)]);
    bench.carriers(1, 1);
    assert!(matches!(bench.steps()[..], [Step::Cancel { .. }]));
    assert_eq!(bench.state(), GroupState::Up);
}

#[test]
fn the_search_for_a_replacement_begins_with_the_endpoint_that_works() {
    let mut bench = Bench::up(3);
    bench.carriers(1, 0);
    assert_eq!(bench.dials(), [(1, JOIN)]);
}

#[test]
fn an_attempt_that_was_given_up_without_an_answer_is_the_first_of_the_next_search() {
    let mut bench = Bench::up(3);
    bench.carriers(1, 0);
    bench.fail(refused());
    assert_eq!(bench.dials(), [(1, JOIN), (2, JOIN)]);
    bench.carriers(1, 1);
    bench.carriers(1, 0);
    assert_eq!(bench.dials(), [(2, JOIN)]);
}

#[test]
fn a_late_answer_of_an_abandoned_attempt_changes_nothing() {
    let mut bench = Bench::dialing(2);
    let attempt = bench.attempt();
    bench.fail(refused());
    bench.steps();
    let before = format!("{:?}", bench.group);
    bench.group.handle_failed(bench.now, attempt, refused(), &mut bench.orders);
    assert_eq!((format!("{:?}", bench.group), bench.steps()), (before, vec![]));
}

#[test]
fn a_session_gone_at_the_peer_ends_here_and_its_successor_is_begun_at_once() {
    let mut bench = Bench::recovering(1);
    bench.fail(closed(CloseCode::SESSION_GONE, None));
    assert_eq!(bench.ends(), [SessionEnd::Gone]);
    assert_eq!((bench.group.session(), bench.group.poll_timeout()), (None, None));
}

#[test]
fn the_same_other_instance_three_times_running_replaces_the_session() {
    let mut bench = Bench::recovering(1);
    for found in [2, 3, 2, 2] {
        bench.fail(other(found));
        assert_eq!(bench.ends(), []);
        bench.wait();
    }
    // A failure that is nobody's answer does not interrupt the run.
    bench.fail(refused());
    bench.wait();
    bench.fail(other(2));
    assert_eq!(bench.ends(), [SessionEnd::Replaced { instance: Instance([2; 16]) }]);
    assert_eq!(bench.state(), GroupState::Dialing);
}

#[test]
fn a_failure_says_which_attempt_it_was_and_when_the_next_starts() {
    let mut bench = Bench::dialing(2);
    bench.steps();
    bench.fail(refused());
    bench.fail(refused());
    let told: Vec<(u16, u64, Duration)> = bench
        .steps()
        .into_iter()
        .filter_map(|step| match step {
            Step::Failed { target, attempt, wait, .. } => Some((target.port, attempt, wait)),
            _ => None,
        })
        .collect();
    let wait = bench.group.poll_timeout().unwrap() - bench.now;
    assert_eq!(told, [(1, 1, Duration::ZERO), (2, 2, wait)]);
}

#[test]
fn a_duplicate_looks_again_after_a_while_or_when_told() {
    let mut bench = Bench::dialing(1);
    let of = GroupName::new("b").unwrap();
    bench.fail(DialError::Duplicate { of: of.clone() });
    assert_eq!((bench.state(), bench.group.duplicate_of()), (GroupState::Duplicate, Some(&of)));
    let wait = bench.group.poll_timeout().unwrap() - bench.now;
    assert!(wait >= DUPLICATE_WAIT / 2 && wait <= DUPLICATE_WAIT, "{wait:?}");
    bench.group.nudge(bench.now, &mut bench.orders);
    assert_eq!(bench.state(), GroupState::Dialing);
}

#[test]
fn an_endpoint_taken_off_the_list_while_it_is_dialed_is_given_up() {
    let mut bench = Bench::dialing(1);
    bench.steps();
    assert!(bench.group.handle_targets(bench.now, vec![target(7)], &mut bench.orders));
    assert!(
        matches!(&bench.steps()[..], [Step::Cancel { .. }, Step::Dial { target, .. }] if target.port == 7)
    );
}

#[test]
fn a_changed_list_leaves_a_live_session_alone() {
    let mut bench = Bench::up(1);
    assert!(bench.group.handle_targets(bench.now, vec![target(7)], &mut bench.orders));
    assert_eq!((bench.steps(), bench.state()), (vec![], GroupState::Up));
}

#[test]
fn a_carrier_that_hardly_lived_is_not_replaced_at_once() {
    let mut bench = Bench::up(1);
    bench.lose();
    assert_eq!((bench.dials(), bench.state()), (vec![], GroupState::Recovering));
    bench.wait();
    assert_eq!(bench.dials(), [(1, JOIN)]);
}

#[test]
fn the_other_carriers_are_dialed_one_after_another_once_the_session_has_begun() {
    let mut bench = Bench::with(2, 3);
    bench.wish(Wish::Keep);
    bench.steps();
    begin(&mut bench);
    for _ in 0..2 {
        assert_eq!((bench.dials(), bench.state()), (vec![(1, JOIN)], GroupState::Up));
        join(&mut bench);
    }
    assert_eq!((bench.dials(), bench.group.poll_timeout()), (vec![], None));
}

#[test]
fn a_lost_carrier_is_redialed_at_once_while_the_session_goes_on() {
    let mut bench = Bench::twofold();
    bench.lose_one(LONG, 1);
    assert_eq!((bench.dials(), bench.state()), (vec![(1, JOIN)], GroupState::Up));
}

#[test]
fn a_further_carrier_that_the_peer_takes_and_drops_is_waited_for_ever_longer() {
    let mut bench = Bench::twofold();
    let mut waited = Duration::ZERO;
    for _ in 0..12 {
        bench.lose_one(Duration::ZERO, 1);
        assert_eq!(bench.dials(), []);
        let before = bench.now;
        bench.wait();
        waited = waited.max(bench.now - before);
        join(&mut bench);
        bench.steps();
    }
    assert!(waited > Duration::from_secs(1), "{waited:?}");
}

#[test]
fn a_further_carrier_that_cannot_be_had_ends_nothing_and_delays_nothing() {
    let gone = closed(CloseCode::SESSION_GONE, None);
    let busy = closed(CloseCode::BUSY, Some(LONG));
    for error in [gone, other(2), other(2), other(2), refused(), busy] {
        let mut bench = Bench::twofold();
        bench.lose_one(LONG, 1);
        for _ in 0..5 {
            bench.fail(error.clone());
            assert_eq!((bench.ends(), bench.state()), (vec![], GroupState::Up));
            bench.wait();
        }
        bench.fail(error);
        assert!(bench.group.next_attempt().is_some(), "it is tried again");
        bench.steps();
        // The last one that was trusted is gone: what the spare one was to wait for counts no more.
        bench.lose_one(LONG, 0);
        bench.group.handle_recovering(bench.now, &mut bench.orders);
        assert_eq!((bench.dials(), bench.state()), (vec![(1, JOIN)], GroupState::Recovering));
    }
}

#[test]
fn a_carrier_that_turns_suspect_ends_the_wait_for_a_spare_one() {
    for (trusted, state) in [(1, GroupState::Up), (0, GroupState::Suspect)] {
        let mut bench = Bench::twofold();
        bench.lose_one(LONG, 1);
        bench.fail(closed(CloseCode::BUSY, Some(LONG)));
        bench.steps();
        assert_eq!(bench.dials(), [], "nothing waits for it");
        // Its streams do.
        bench.carriers(2, trusted);
        assert_eq!((bench.dials(), bench.state()), (vec![(1, JOIN)], state));
    }
}

#[test]
fn answers_of_another_instance_count_from_the_loss_of_trust_on() {
    let mut bench = Bench::twofold();
    bench.carriers(2, 1);
    for _ in 0..4 {
        bench.fail(other(2));
        bench.wait();
    }
    bench.carriers(2, 0);
    for _ in 0..2 {
        bench.fail(other(2));
        assert_eq!(bench.ends(), []);
        bench.wait();
    }
    bench.fail(other(2));
    assert_eq!(bench.ends(), [SessionEnd::Replaced { instance: Instance([2; 16]) }]);
}

#[test]
fn one_suspect_of_two_is_replaced_and_a_false_alarm_gives_the_dial_up() {
    let mut bench = Bench::twofold();
    bench.carriers(2, 1);
    assert_eq!((bench.dials(), bench.state()), (vec![(1, JOIN)], GroupState::Up));
    bench.carriers(2, 2);
    assert!(matches!(bench.steps()[..], [Step::Cancel { .. }]));
    assert_eq!(bench.group.poll_timeout(), None);
}
