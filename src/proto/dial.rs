//! When to dial, and which endpoint.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::config::Backoff;
use crate::id::SessionNumber;

/// One attempt to dial; none is ever used twice in the life of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptId(pub(crate) u64);

/// Where to dial: an endpoint without its name and group. Displays as `host:port`, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// A DNS name or an IP literal without brackets.
    pub(crate) host: Arc<str>,
    /// The TCP port.
    pub(crate) port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To begin a session.
    Begin,
    /// To give a session a carrier.
    Join {
        /// The session.
        session: SessionNumber,
    },
}

/// How long to wait before the next attempt: at once, then exponential with full jitter. It never gives up.
///
/// A step of the exponent is one *round*: all alternates of a group tried once. Each wait is drawn evenly from
/// nothing to the bound, so that a thousand dialers that lost the same router at the same moment come back
/// spread over the bound.
///
/// Rounds that failed are made up for by one that succeeds: the peer can be reached again. What was lost soon after a
/// success is not, for a peer that takes carriers and drops them lets every dial succeed: only time makes up for that.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    policy: Backoff,
    /// Rounds failed since the last that succeeded.
    failures: u32,
    /// Carriers and sessions that hardly lived, since the last that did.
    drops: u32,
}

impl Pace {
    /// A pace whose first attempt is at once.
    pub(crate) fn new(policy: Backoff) -> Self {
        Self { policy, failures: 0, drops: 0 }
    }

    /// The wait after a failed round. A peer's `retry_after` is kept to, up to the policy's cap, with the jitter
    /// on top, or all whom a busy peer sent away would return together.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, rng: &mut Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.map_or(Duration::ZERO, |asked| asked.min(self.policy.retry_after_cap));
        asked + self.jitter(rng)
    }

    /// An attempt has succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait after a carrier was lost that had lived for `lived`.
    ///
    /// A carrier that lived as long as the first bound is replaced at once: its streams wait. One that did not is
    /// waited for, or a peer that takes and drops carriers would be hammered.
    pub(crate) fn lost(&mut self, lived: Duration, rng: &mut Rng) -> Duration {
        if lived < self.policy.first {
            return self.dropped(rng);
        }
        self.forgive(lived);
        Duration::ZERO
    }

    /// A carrier that lived as long as the first bound makes up for half of those that did not, as each of them doubles the
    /// wait; one that was stable for all.
    pub(crate) fn forgive(&mut self, lived: Duration) {
        if self.is_stable(lived) {
            self.reset();
        } else if lived >= self.policy.first {
            self.drops /= 2;
        }
    }

    /// The wait after a session ended that had lived for `lived`: none if it was stable.
    pub(crate) fn ended(&mut self, lived: Duration, rng: &mut Rng) -> Duration {
        if self.is_stable(lived) {
            self.reset();
            Duration::ZERO
        } else {
            self.dropped(rng)
        }
    }

    /// Forgets all that failed: what caused it has changed.
    pub(crate) fn reset(&mut self) {
        (self.failures, self.drops) = (0, 0);
    }

    /// Something hardly lived.
    fn dropped(&mut self, rng: &mut Rng) -> Duration {
        self.drops = self.drops.saturating_add(1);
        self.jitter(rng)
    }

    /// Whether what lived this long counts as stable.
    pub(crate) fn is_stable(&self, lived: Duration) -> bool {
        lived >= self.policy.stable_after
    }

    /// Drawn from 1 µs up, so that a wait is never nothing and a timer always lies ahead.
    fn jitter(&self, rng: &mut Rng) -> Duration {
        let doublings = self.failures.saturating_add(self.drops).saturating_sub(1).min(MAX_DOUBLINGS);
        let bound = self.policy.first.saturating_mul(1 << doublings).min(self.policy.cap);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(rng.u64(1..=micros))
    }
}

/// The endpoints of one group, in the order in which they are to be tried.
///
/// All are tried before any is tried twice: the one that last worked first, the others as the document has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alternates {
    targets: Vec<Target>,
    /// The one that last worked.
    good: Option<Target>,
    /// What is left of this round.
    left: VecDeque<Target>,
}

impl Alternates {
    /// The alternates in document order; one named twice counts once.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        let mut alternates = Self::default();
        alternates.replace(targets);
        alternates
    }

    /// Takes a changed list and begins a new round; the one that last worked stays first if it is still there.
    /// Says whether anything changed.
    pub(crate) fn replace(&mut self, targets: Vec<Target>) -> bool {
        let mut unique: Vec<Target> = Vec::with_capacity(targets.len());
        for target in targets {
            if !unique.contains(&target) {
                unique.push(target);
            }
        }
        if unique == self.targets {
            return false;
        }
        self.good = self.good.take().filter(|good| unique.contains(good));
        self.targets = unique;
        self.left = self.round();
        true
    }

    /// That one is being tried already: it is none of those left of this round.
    pub(crate) fn is_tried(&mut self, target: &Target) {
        self.left.retain(|left| left != target);
    }

    /// Begins a new round if the last one is over.
    pub(crate) fn begin(&mut self) {
        if self.left.is_empty() {
            self.left = self.round();
        }
    }

    /// The next to try of this round.
    pub(crate) fn next_of_round(&mut self) -> Option<Target> {
        self.left.pop_front()
    }

    /// Whether all have been tried in this round.
    pub(crate) fn is_round_over(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether there is nothing to dial.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, target: &Target) -> bool {
        self.targets.contains(target)
    }

    /// Those were given up before they had answered: they are the first of what is left of this round.
    pub(crate) fn untry(&mut self, targets: Vec<Target>) {
        targets.into_iter().rev().for_each(|target| self.left.push_front(target));
    }

    /// That one worked: this round is over, and the next begins with it.
    pub(crate) fn succeeded(&mut self, target: &Target) {
        self.good = Some(target.clone());
        self.left.clear();
    }

    /// What worked was lost: a new round begins, with it if it had held, else with it as the last.
    pub(crate) fn lost(&mut self, held: bool) {
        self.left.clear();
        if !held && let Some(bad) = self.good.take() {
            self.left = self.round();
            self.left.retain(|target| *target != bad);
            self.left.push_back(bad);
        }
    }

    fn round(&self) -> VecDeque<Target> {
        let others = self.targets.iter().filter(|target| Some(*target) != self.good.as_ref());
        self.good.iter().chain(others).cloned().collect()
    }
}

/// 2^20 times the shortest sensible first wait (1 ms) is 17 minutes, far above any cap; more would overflow `u32`.
const MAX_DOUBLINGS: u32 = 20;

#[cfg(test)]
mod tests;
