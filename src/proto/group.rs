//! One group of one link: keeps a session with the one router its endpoints reach.

mod view;

use std::time::{Duration, Instant};

use crate::config::Backoff;
use crate::error::DialError;
use crate::id::{GroupName, SessionNumber};
use crate::proto::dial::{Alternates, AttemptId, Purpose, Target};
use crate::proto::gate::Gate;
use crate::proto::hold::{Hold, Loss, Sentence, most_carriers};
use crate::proto::orders::{Orders, Step};
use crate::proto::race::{GivenUp, Race, Runner};
use crate::snapshot::GroupState;

/// One group of one link.
///
/// It holds at most one session, and compares how many lasting carriers that session has with how many it
/// should have. Whatever is missing is dialed, one after another, each in a [`Race`] of the alternates; every input ends
/// in [`Group::settle`], which is the only place where an attempt starts. So no state is terminal: what is wanted
/// and missing is either being dialed or waited for.
///
/// While a carrier of the session is trusted, a further one is *spare*: its failures have a pace of their own and end
/// nothing. When the last trusted one is gone, nothing that the spare ones were told to wait for is waited for.
///
/// ```text
///             unusable, no endpoints, given up
///   Idle ◄───────────────────────────────────────── any state without a session
///    │ wanted
///    ▼            failed
///  Dialing ─────────────────► Waiting ──┐   a Join is dialed and waited for likewise, while
///  (Begin) ◄────────────────────────────┘   the session, in whatever state, lacks carriers
///    │  │         time is up
///    │  └── duplicate ──────► Duplicate ──► Dialing, when time is up or the other group lost its session
///    │ begun
///    ▼      all carriers suspect             last carrier lost
///    Up ──────────────────────► Suspect ────────────────────────► Recovering
///    ▲ ◄──────────────────────────┘  joined, or trusted again        │   │
///    └───────────────────────────────────────────────────────────────┘   │
///                             joined                                     │ the session has ended
///                                           Dialing (Begin) or Waiting ◄─┘ (gone, replaced, expired, closed)
/// ```
#[derive(Debug)]
pub(crate) struct Group {
    name: GroupName,
    wish: Wish,
    alternates: Alternates,
    /// How many carriers a session should have.
    desired: usize,
    /// Of beginning, and of joining while no carrier is trusted: streams wait.
    urgent: Gate,
    /// Of joining while one is.
    spare: Gate,
    hold: Option<Hold>,
    next: Next,
    /// Attempts since it was last up.
    attempts: u64,
    /// The newest failure since it was last up.
    error: Option<DialError>,
    /// When that was.
    failed_at: Option<Instant>,
    /// The group that holds a session with the router this one has reached.
    duplicate_of: Option<GroupName>,
    /// The endpoint last dialed.
    last: Option<Target>,
    /// What [`Group::state`] was after the last input, and since when.
    state: GroupState,
    since: Instant,
}

/// Whether a group is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Have a session, with all its carriers.
    Keep,
    /// Begin no session, but keep the one there is supplied until it ends: it drains.
    Leave,
    /// Dial nothing: the link cannot be used as it is written. A session there is stays while its carriers do.
    Rest,
}

#[derive(Debug)]
enum Next {
    /// Nothing is missing, or nothing may be done.
    Nothing,
    Wait {
        until: Instant,
        /// For a carrier without which streams do not wait.
        spare: bool,
    },
    /// Never empty but within an input.
    Race(Race),
}

impl Group {
    /// A group that rests until [`Group::handle_wish`]. Its session is to have so many `carriers`.
    pub(crate) fn new(
        now: Instant,
        name: GroupName,
        targets: Vec<Target>,
        backoff: Backoff,
        carriers: usize,
    ) -> Self {
        Self {
            name,
            wish: Wish::Rest,
            alternates: Alternates::new(targets),
            desired: carriers,
            urgent: Gate::new(backoff),
            spare: Gate::new(backoff),
            hold: None,
            next: Next::Nothing,
            attempts: 0,
            error: None,
            failed_at: None,
            duplicate_of: None,
            last: None,
            state: GroupState::Idle,
            since: now,
        }
    }

    /// Whether to keep the group.
    pub(crate) fn handle_wish(&mut self, now: Instant, wish: Wish, orders: &mut Orders) {
        if std::mem::replace(&mut self.wish, wish) != wish {
            self.urgent.open();
            self.spare.open();
        }
        self.settle(now, orders);
    }

    /// A changed list of endpoints. What works is left alone; what is dialed goes on if it is still listed.
    /// Says whether anything changed.
    pub(crate) fn handle_targets(&mut self, now: Instant, targets: Vec<Target>, orders: &mut Orders) -> bool {
        if !self.alternates.replace(targets) {
            return false;
        }
        if let Next::Race(race) = &mut self.next {
            race.keep(|target| self.alternates.contains(target), orders);
            race.targets().for_each(|target| self.alternates.is_tried(target));
            if race.is_empty() {
                self.next = Next::Nothing;
            }
        }
        self.nudge(now, orders);
        true
    }

    /// Something has changed that failures may have been due to: whatever waits is dialed at once.
    pub(crate) fn nudge(&mut self, now: Instant, orders: &mut Orders) {
        self.urgent.reset();
        self.spare.reset();
        self.duplicate_of = None;
        if matches!(self.next, Next::Wait { .. }) {
            self.next = Next::Nothing;
        }
        self.settle(now, orders);
    }

    /// The way to the endpoints is another: what is dialed the old way is given up and dialed anew.
    pub(crate) fn handle_detour(&mut self, now: Instant, orders: &mut Orders) {
        self.cancel_race(orders);
        self.nudge(now, orders);
    }

    /// An attempt has got through TLS: it greets now, or when none that does is before it.
    pub(crate) fn handle_reached(&mut self, now: Instant, attempt: AttemptId, orders: &mut Orders) {
        if let Next::Race(race) = &mut self.next {
            race.reached(now, attempt);
        }
        self.settle(now, orders);
    }

    /// An attempt has begun a session; the others are given up.
    pub(crate) fn handle_begun(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        session: SessionNumber,
        orders: &mut Orders,
    ) {
        self.succeeded(now, attempt, orders);
        self.hold = Some(Hold::new(now, session));
        self.settle(now, orders);
    }

    /// An attempt has given the session a carrier; the others are given up.
    pub(crate) fn handle_joined(&mut self, now: Instant, attempt: AttemptId, orders: &mut Orders) {
        self.succeeded(now, attempt, orders);
        if let Some(hold) = &mut self.hold {
            hold.joined();
        }
        self.settle(now, orders);
    }

    /// An attempt has failed. One that is not under way changes nothing.
    pub(crate) fn handle_failed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        error: DialError,
        orders: &mut Orders,
    ) {
        let Next::Race(race) = &mut self.next else { return };
        let Some(runner) = race.remove(attempt) else { return };
        // The router finds nothing amiss with this end, so that nothing but the order to drain keeps the session when its
        // successor's hello comes.
        let shown = matches!(error, DialError::OtherPrincipal { .. });
        // What nobody would succeed is left as it is.
        let keeps = self.wish == Wish::Keep;
        let judged =
            self.hold.as_mut().and_then(|hold| Some((hold.session, hold.begun, hold.judge(&error)?)));
        let judged = judged.filter(|(.., sentence)| keeps || *sentence != Sentence::Succeed);
        let wait = self.wait_after(now, &error, judged.is_some(), orders);
        if judged.is_some() {
            self.break_off(orders);
            // The router is there, it only knows the session no more: the way to it is the best one.
            self.alternates.succeeded(&runner.target);
            self.alternates.lost(true);
        }
        self.failed(now, runner, error, wait, orders);
        if let Some((session, begun, sentence)) = judged {
            self.hold = None;
            orders.steps.push_back(match sentence {
                Sentence::End(end, code) => Step::End { session, end, code },
                Sentence::Succeed => {
                    // A peer that lets sessions begin and none of them be supplied is dialed ever less often.
                    let stable =
                        self.urgent.ended(now, now.saturating_duration_since(begun), &mut orders.rng);
                    if stable && shown {
                        self.urgent.close(now, DRAIN_AHEAD);
                    }
                    Step::Succeed { session }
                }
            });
        }
        self.settle(now, orders);
    }

    /// The carriers of the session have changed without a dial: one was lost, or is suspect, or trusted again, or is to
    /// be replaced. Told are how many there are, how many of them are trusted, and how many of those may stay.
    ///
    /// The loss of the last one is followed by [`Group::handle_recovering`] or [`Group::handle_ended`]; until then
    /// nothing is dialed, because which of the two it is decides what for.
    pub(crate) fn handle_carriers(
        &mut self,
        now: Instant,
        (carriers, trusted, lasting): (usize, usize, usize),
        orders: &mut Orders,
    ) {
        if let Some(hold) = &mut self.hold {
            hold.carriers = carriers;
            hold.trusted = trusted;
            hold.lasting = lasting;
        }
        if !self.is_spare() && matches!(self.next, Next::Wait { spare: true, .. }) {
            self.next = Next::Nothing;
        }
        self.settle(now, orders);
    }

    /// A carrier is lost. [`Group::handle_carriers`] follows, and dials another one: at once, unless what the peer takes it
    /// drops again.
    pub(crate) fn handle_carrier_lost(&mut self, now: Instant, loss: Loss, orders: &mut Orders) {
        let Some(hold) = &mut self.hold else { return };
        if hold.carriers <= 1 {
            // The session has yet to say what it makes of it.
            hold.last = Some(loss);
        } else {
            self.charge(now, loss, orders);
        }
    }

    /// A carrier that has lived for `lived` is to be replaced, and not for this end's sake. [`Group::handle_carriers`]
    /// follows, and dials another one: at once, unless young ones are to be replaced again and again.
    pub(crate) fn handle_rejected(&mut self, now: Instant, lived: Duration, orders: &mut Orders) {
        if self.hold.is_some() {
            self.spare.rejected(now, lived, &mut orders.rng);
        }
    }

    /// The session waits for a carrier: dial one, at once if the lost one had held for a while.
    pub(crate) fn handle_recovering(&mut self, now: Instant, orders: &mut Orders) {
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.carriers == 0 && !hold.recovering) else {
            return;
        };
        hold.recovering = true;
        if let Some(loss) = hold.last.take() {
            self.charge(now, loss, orders);
        }
        self.settle(now, orders);
    }

    /// The session is over, and not by this group's own doing.
    pub(crate) fn handle_ended(&mut self, now: Instant, orders: &mut Orders) {
        let Some(hold) = self.hold.take() else { return };
        self.break_off(orders);
        // One that waited in vain leaves the pace of its joins in force: its router has not come back.
        if !hold.recovering {
            let lived = now.saturating_duration_since(hold.begun);
            let stable = self.urgent.ended(now, lived, &mut orders.rng);
            self.alternates.lost(stable);
            if matches!(self.next, Next::Wait { .. }) {
                self.next = Next::Nothing;
            }
        }
        self.settle(now, orders);
    }

    /// The session drains and is to have a successor: the group holds it no more.
    pub(crate) fn handle_succeeded(&mut self, now: Instant, orders: &mut Orders) {
        if self.wish == Wish::Keep && self.hold.take().is_some() {
            self.break_off(orders);
            self.alternates.lost(true);
            if matches!(self.next, Next::Wait { .. }) {
                self.next = Next::Nothing;
            }
            self.settle(now, orders);
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, orders: &mut Orders) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            if matches!(self.next, Next::Wait { .. }) {
                self.next = Next::Nothing;
            }
            self.settle(now, orders);
        }
    }

    /// When [`Group::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.next {
            Next::Wait { until, .. } => Some(*until),
            Next::Race(race) => race.due(!self.alternates.is_round_over()),
            Next::Nothing => None,
        }
    }

    /// How long to wait before anything is dialed again, and gives up what a wait is for all alternates at once.
    fn wait_after(&mut self, now: Instant, error: &DialError, ended: bool, orders: &mut Orders) -> Duration {
        let over = matches!(&self.next, Next::Race(race) if race.is_empty());
        let gate = if self.is_spare() { &mut self.spare } else { &mut self.urgent };
        let rng = &mut orders.rng;
        let wait = match error {
            _ if ended => return Duration::ZERO,
            DialError::Duplicate { of } => {
                self.duplicate_of = Some(of.clone());
                let wait = DUPLICATE_WAIT.mul_f64(0.5 + rng.f64() / 2.0);
                gate.close(now, wait);
                wait
            }
            DialError::Closed { retry_after: Some(asked), .. } => gate.failed(now, Some(*asked), rng),
            _ if over && self.alternates.is_round_over() => gate.failed(now, None, rng),
            _ => return Duration::ZERO,
        };
        self.cancel_race(orders);
        wait
    }

    /// Notes and reports the failure of an attempt that is out of the race.
    fn failed(
        &mut self,
        now: Instant,
        runner: Runner,
        error: DialError,
        wait: Duration,
        orders: &mut Orders,
    ) {
        self.error = Some(error.clone());
        self.failed_at = Some(now);
        let Runner { target, number, .. } = runner;
        orders.steps.push_back(Step::Failed { target, attempt: number, error, wait });
        if matches!(&self.next, Next::Race(race) if race.is_empty()) {
            self.next = Next::Nothing;
        }
    }

    fn succeeded(&mut self, now: Instant, attempt: AttemptId, orders: &mut Orders) {
        if let Next::Race(race) = &mut self.next
            && let Some(winner) = race.remove(attempt)
        {
            race.overtake(now, &winner.target, orders);
            self.alternates.succeeded(&winner.target);
            self.last = Some(winner.target);
        }
        self.cancel_race(orders);
        self.urgent.succeeded();
        self.spare.succeeded();
        self.attempts = 0;
        self.error = None;
    }

    /// Counts a loss where it matters: what stood by is missed by nobody while another is trusted.
    ///
    /// It counts whatever is under way, or a peer that drops carriers faster than they are dialed would be dialed for ever.
    fn charge(&mut self, now: Instant, loss: Loss, orders: &mut Orders) {
        let Loss { lived, planned, trusted_left } = loss;
        let mut held = true;
        if !planned {
            held = self.spare.lost(now, lived, &mut orders.rng);
        }
        if trusted_left == 0 {
            held = self.urgent.lost(now, lived, &mut orders.rng);
        } else {
            self.urgent.heard_of(lived);
        }
        if matches!(self.next, Next::Nothing) {
            self.alternates.lost(held);
        }
    }

    /// Gives up whatever is under way.
    fn cancel_race(&mut self, orders: &mut Orders) {
        if matches!(self.next, Next::Race(_))
            && let Next::Race(race) = std::mem::replace(&mut self.next, Next::Nothing)
        {
            race.cancel(orders);
        }
    }

    /// Gives up a race that is for nothing any more. Nothing was learnt of those that ran, so that the next race is not
    /// to do without them.
    fn break_off(&mut self, orders: &mut Orders) {
        if let Next::Race(race) = &self.next {
            self.alternates.untry(race.targets().cloned().collect());
            self.cancel_race(orders);
        }
    }

    /// What has to be dialed for.
    fn missing(&self) -> Option<Purpose> {
        if self.wish == Wish::Rest || self.alternates.is_empty() {
            return None;
        }
        match &self.hold {
            None => (self.wish == Wish::Keep).then_some(Purpose::Begin),
            Some(hold) => {
                // With so many, each that there should be has been replaced: first one of them has to go.
                let missing = hold.lasting < self.desired && hold.carriers < most_carriers(self.desired);
                missing.then_some(Purpose::Join { session: hold.session })
            }
        }
    }

    /// Whether what is dialed is a carrier for which nothing waits. The streams of a suspect one do: they move when it is
    /// fenced.
    fn is_spare(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_served() && hold.trusted == hold.carriers)
    }

    /// Makes what is done fit what is missing.
    fn settle(&mut self, now: Instant, orders: &mut Orders) {
        if !self.hold.as_ref().is_some_and(Hold::is_undecided) {
            let missing = self.missing();
            if matches!(&self.next, Next::Race(race) if Some(race.purpose()) != missing) {
                self.break_off(orders);
            }
            match missing {
                None if matches!(self.next, Next::Wait { .. }) => self.next = Next::Nothing,
                Some(purpose) if matches!(self.next, Next::Nothing) => self.start(now, purpose),
                _ => {}
            }
            self.advance(now, orders);
        }
        let state = self.present_state();
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    fn start(&mut self, now: Instant, purpose: Purpose) {
        let spare = self.is_spare();
        let gate = if spare { &self.spare } else { &self.urgent };
        if let Some(until) = gate.closed_until(now) {
            self.next = Next::Wait { until, spare };
            return;
        }
        self.alternates.begin();
        self.duplicate_of = None;
        self.next = Next::Race(Race::new(now, purpose));
    }

    fn advance(&mut self, now: Instant, orders: &mut Orders) {
        let Next::Race(race) = &mut self.next else { return };
        let silent = race.advance(now, &mut self.alternates, &mut self.attempts, orders);
        if let Some(target) = race.targets().last() {
            self.last = Some(target.clone());
        }
        if let Some(GivenUp { runner, error }) = silent {
            self.failed(now, runner, error, Duration::ZERO, orders);
        }
    }
}

/// How far ahead of a successor's hello the order to drain is sent, where the acceptor would take the one for a dialer that
/// has lost the session and end that: what is under way on a carrier before it is 256 KiB or two round trips, so that a
/// second is enough from 2 Mbit/s up.
const DRAIN_AHEAD: Duration = Duration::from_secs(1);

/// The longest wait of a duplicate group before it looks again: it costs a handshake each time, and only a change
/// of the far site's routing helps, which the end of the other group's session mostly announces.
const DUPLICATE_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
