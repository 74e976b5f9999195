//! One group of one link: keeps a session with the one router its endpoints reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Backoff;
use crate::error::{DialError, SessionEnd};
use crate::id::{GroupName, Instance, SessionNumber};
use crate::proto::dial::{Alternates, AttemptId, Pace, Purpose, Target};
use crate::proto::orders::{Orders, Step};
use crate::snapshot::GroupState;
use crate::wire::code::CloseCode;

/// One group of one link.
///
/// It holds at most one session, and compares how many trusted carriers that session has with how many it
/// should have ([`DESIRED_CARRIERS`]). Whatever is missing is dialed, one attempt at a time; every input ends in
/// [`Group::settle`], which is the only place where an attempt starts. So no state is terminal: what is wanted
/// and missing is either being dialed or waited for.
///
/// ```text
///             unusable, no endpoints, given up
///   Idle ◄───────────────────────────────────────── any state without a session
///    │ wanted
///    ▼            failed
///  Dialing ─────────────────► Waiting ──┐   a Join is dialed and waited for likewise,
///  (Begin) ◄────────────────────────────┘   while the session is Suspect or Recovering
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
    pace: Pace,
    hold: Option<Hold>,
    next: Next,
    /// No attempt starts earlier.
    not_before: Option<Instant>,
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

/// The session of a group.
#[derive(Debug)]
struct Hold {
    session: SessionNumber,
    begun: Instant,
    /// Carriers that are up.
    carriers: usize,
    /// Those of them that are not suspect; <= `carriers`.
    trusted: usize,
    /// When the newest carrier came up.
    newest: Instant,
    /// The session has said that it waits for a carrier.
    recovering: bool,
    /// Which other instance has answered, and how many times running.
    other: Option<(Instance, u32)>,
}

#[derive(Debug)]
enum Next {
    /// Nothing is missing, or nothing may be done.
    Nothing,
    Wait {
        until: Instant,
    },
    Dial {
        attempt: AttemptId,
        target: Target,
        purpose: Purpose,
    },
}

impl Group {
    /// A group that rests until [`Group::handle_wish`].
    pub(crate) fn new(now: Instant, name: GroupName, targets: Vec<Target>, backoff: Backoff) -> Self {
        Self {
            name,
            wish: Wish::Rest,
            alternates: Alternates::new(targets),
            pace: Pace::new(backoff),
            hold: None,
            next: Next::Nothing,
            not_before: None,
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
        self.wish = wish;
        self.settle(now, orders);
    }

    /// A changed list of endpoints. What works is left alone; what is dialed goes on if it is still listed.
    /// Says whether anything changed.
    pub(crate) fn handle_targets(&mut self, now: Instant, targets: Vec<Target>, orders: &mut Orders) -> bool {
        if !self.alternates.replace(targets) {
            return false;
        }
        if let Next::Dial { attempt, target, .. } = &self.next
            && !self.alternates.contains(target)
        {
            orders.steps.push_back(Step::Cancel { attempt: *attempt });
            self.next = Next::Nothing;
        }
        self.nudge(now, orders);
        true
    }

    /// Something has changed that failures may have been due to: whatever waits is dialed at once.
    pub(crate) fn nudge(&mut self, now: Instant, orders: &mut Orders) {
        self.pace.reset();
        self.not_before = None;
        self.duplicate_of = None;
        if matches!(self.next, Next::Wait { .. }) {
            self.next = Next::Nothing;
        }
        self.settle(now, orders);
    }

    /// An attempt has begun a session.
    pub(crate) fn handle_begun(&mut self, now: Instant, session: SessionNumber, orders: &mut Orders) {
        self.succeeded();
        self.hold = Some(Hold {
            session,
            begun: now,
            carriers: 1,
            trusted: 1,
            newest: now,
            recovering: false,
            other: None,
        });
        self.settle(now, orders);
    }

    /// An attempt has given the session a carrier.
    pub(crate) fn handle_joined(&mut self, now: Instant, orders: &mut Orders) {
        self.succeeded();
        if let Some(hold) = &mut self.hold {
            hold.carriers += 1;
            hold.trusted += 1;
            hold.newest = now;
            hold.recovering = false;
            hold.other = None;
        }
        self.settle(now, orders);
    }

    /// An attempt has failed. One that is not the present attempt changes nothing.
    pub(crate) fn handle_failed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        error: DialError,
        orders: &mut Orders,
    ) {
        let target = match &self.next {
            Next::Dial { attempt: present, target, .. } if *present == attempt => target.clone(),
            _ => return,
        };
        self.next = Next::Nothing;
        let end = self.verdict_on_session(&error);
        let wait = match &error {
            _ if end.is_some() => Duration::ZERO,
            DialError::Duplicate { of } => {
                self.duplicate_of = Some(of.clone());
                DUPLICATE_WAIT.mul_f64(0.5 + orders.rng.f64() / 2.0)
            }
            DialError::Closed { retry_after: Some(asked), .. } => {
                self.pace.failed(Some(*asked), &mut orders.rng)
            }
            _ if self.alternates.is_round_over() => self.pace.failed(None, &mut orders.rng),
            _ => Duration::ZERO,
        };
        self.error = Some(error.clone());
        self.failed_at = Some(now);
        if end.is_some() {
            // The router is there, it only knows the session no more: the way to it is the best one.
            self.alternates.succeeded(&target);
            self.alternates.lost(true);
        }
        orders.steps.push_back(Step::Failed { target, attempt: self.attempts, error, wait });
        if let Some((session, end, code)) = end {
            self.hold = None;
            orders.steps.push_back(Step::End { session, end, code });
        }
        self.not_before = Some(now + wait);
        self.settle(now, orders);
    }

    /// The carriers of the session have changed without a dial: one was lost, or is suspect, or trusted again.
    ///
    /// The loss of the last one is followed by [`Group::handle_recovering`] or [`Group::handle_ended`]; until then
    /// nothing is dialed, because which of the two it is decides what for.
    pub(crate) fn handle_carriers(
        &mut self,
        now: Instant,
        carriers: usize,
        trusted: usize,
        orders: &mut Orders,
    ) {
        if let Some(hold) = &mut self.hold {
            hold.carriers = carriers;
            hold.trusted = trusted;
        }
        self.settle(now, orders);
    }

    /// The session waits for a carrier: dial one, at once if the lost one had held for a while.
    pub(crate) fn handle_recovering(&mut self, now: Instant, orders: &mut Orders) {
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.carriers == 0 && !hold.recovering) else {
            return;
        };
        hold.recovering = true;
        let lived = now.saturating_duration_since(hold.newest);
        // A replacement that is being dialed or waited for already keeps its own time.
        if matches!(self.next, Next::Nothing) {
            let wait = self.pace.lost(lived, &mut orders.rng);
            self.alternates.lost(wait.is_zero());
            self.not_before = Some(now + wait);
        }
        self.settle(now, orders);
    }

    /// The session is over, and not by this group's own doing.
    pub(crate) fn handle_ended(&mut self, now: Instant, orders: &mut Orders) {
        let Some(hold) = self.hold.take() else { return };
        // One that waited in vain leaves the pace of its joins in force: its router has not come back.
        if !hold.recovering {
            let lived = now.saturating_duration_since(hold.begun);
            let wait = self.pace.ended(lived, &mut orders.rng);
            self.alternates.lost(self.pace.is_stable(lived));
            self.not_before = Some(now + wait);
            if matches!(self.next, Next::Wait { .. }) {
                self.next = Next::Nothing;
            }
        }
        self.settle(now, orders);
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, orders: &mut Orders) {
        if matches!(self.next, Next::Wait { until } if until <= now) {
            self.next = Next::Nothing;
            self.not_before = None;
            self.settle(now, orders);
        }
    }

    /// When [`Group::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.next {
            Next::Wait { until } => Some(until),
            Next::Nothing | Next::Dial { .. } => None,
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &GroupName {
        &self.name
    }

    /// Its session, if it has one.
    pub(crate) fn session(&self) -> Option<SessionNumber> {
        self.hold.as_ref().map(|hold| hold.session)
    }

    /// Its session, if that has a carrier.
    pub(crate) fn up(&self) -> Option<SessionNumber> {
        self.hold.as_ref().filter(|hold| hold.carriers > 0).map(|hold| hold.session)
    }

    /// The group whose session made this one a duplicate.
    pub(crate) fn duplicate_of(&self) -> Option<&GroupName> {
        self.duplicate_of.as_ref()
    }

    /// What it is at, and since when.
    pub(crate) fn state(&self) -> (GroupState, Instant) {
        (self.state, self.since)
    }

    /// Attempts since it was last up.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// The newest failure since it was last up.
    pub(crate) fn error(&self) -> Option<&DialError> {
        self.error.as_ref()
    }

    /// When that failure was.
    pub(crate) fn failed_at(&self) -> Option<Instant> {
        self.failed_at
    }

    /// The endpoint dialed now or last.
    pub(crate) fn endpoint(&self) -> Option<Arc<str>> {
        self.last.as_ref().map(|target| target.to_string().into())
    }

    /// What a failed join says of the session it was for.
    fn verdict_on_session(&mut self, error: &DialError) -> Option<(SessionNumber, SessionEnd, CloseCode)> {
        let hold = self.hold.as_mut()?;
        match error {
            DialError::Closed { code: CloseCode::SESSION_GONE, .. } => {
                Some((hold.session, SessionEnd::Gone, CloseCode::SESSION_GONE))
            }
            DialError::OtherInstance { found, .. } => {
                let running = match hold.other {
                    Some((other, running)) if other == *found => running + 1,
                    _ => 1,
                };
                hold.other = Some((*found, running));
                (running >= REPLACED_AFTER).then_some((
                    hold.session,
                    SessionEnd::Replaced { instance: *found },
                    CloseCode::REPLACED,
                ))
            }
            _ => None,
        }
    }

    fn succeeded(&mut self) {
        if let Next::Dial { target, .. } = std::mem::replace(&mut self.next, Next::Nothing) {
            self.alternates.succeeded(&target);
        }
        self.attempts = 0;
        self.error = None;
        self.not_before = None;
    }

    /// What has to be dialed for.
    fn missing(&self) -> Option<Purpose> {
        if self.wish == Wish::Rest || self.alternates.is_empty() {
            return None;
        }
        match &self.hold {
            None => (self.wish == Wish::Keep).then_some(Purpose::Begin),
            Some(hold) => {
                (hold.trusted < DESIRED_CARRIERS).then_some(Purpose::Join { session: hold.session })
            }
        }
    }

    /// Makes what is done fit what is missing.
    fn settle(&mut self, now: Instant, orders: &mut Orders) {
        if !self.is_undecided() {
            let missing = self.missing();
            if let Next::Dial { attempt, purpose, .. } = &self.next
                && Some(*purpose) != missing
            {
                orders.steps.push_back(Step::Cancel { attempt: *attempt });
                self.next = Next::Nothing;
            }
            match missing {
                None if matches!(self.next, Next::Wait { .. }) => self.next = Next::Nothing,
                Some(purpose) if matches!(self.next, Next::Nothing) => self.start(now, purpose, orders),
                _ => {}
            }
            if !matches!(self.next, Next::Wait { .. }) {
                self.not_before = None;
            }
        }
        let state = self.present_state();
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    /// The last carrier is lost and the session has not said yet whether it waits or is over. Until it has,
    /// nothing is started or given up.
    fn is_undecided(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.carriers == 0 && !hold.recovering)
    }

    fn start(&mut self, now: Instant, purpose: Purpose, orders: &mut Orders) {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            self.next = Next::Wait { until };
            return;
        }
        let Some(target) = self.alternates.next() else {
            return;
        };
        let attempt = AttemptId(orders.attempts);
        orders.attempts += 1;
        self.attempts += 1;
        self.duplicate_of = None;
        self.last = Some(target.clone());
        orders.steps.push_back(Step::Dial { attempt, target: target.clone(), purpose });
        self.next = Next::Dial { attempt, target, purpose };
    }

    fn present_state(&self) -> GroupState {
        match (&self.hold, &self.next) {
            (Some(hold), _) if hold.trusted > 0 => GroupState::Up,
            (Some(hold), _) if hold.carriers > 0 => GroupState::Suspect,
            (Some(_), _) => GroupState::Recovering,
            (None, Next::Wait { .. }) if self.duplicate_of.is_some() => GroupState::Duplicate,
            (None, Next::Wait { .. }) => GroupState::Waiting,
            (None, Next::Dial { .. }) => GroupState::Dialing,
            (None, Next::Nothing) => GroupState::Idle,
        }
    }
}

/// How many trusted carriers a session should have.
pub(crate) const DESIRED_CARRIERS: usize = 1;

/// So many answers of one and the same other instance mean that the router was replaced; fewer may be a load
/// balancer's whim.
const REPLACED_AFTER: u32 = 3;

/// The longest wait of a duplicate group before it looks again: it costs a handshake each time, and only a change
/// of the far site's routing helps, which the end of the other group's session mostly announces.
const DUPLICATE_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
