//! When a group may dial again, by what became of what it dialed before.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::config::Backoff;
use crate::proto::dial::Pace;

/// A pace, and the time before which it lets nothing start.
///
/// A success does not open it: a carrier that is up shows nothing of a peer that takes carriers and drops them. Only time
/// does, one that lived long enough to be stable, or [`Gate::reset`].
#[derive(Debug)]
pub(crate) struct Gate {
    pace: Pace,
    until: Option<Instant>,
}

impl Gate {
    /// An open one.
    pub(crate) fn new(policy: Backoff) -> Self {
        Self { pace: Pace::new(policy), until: None }
    }

    /// Before when nothing may start, if that lies ahead.
    pub(crate) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Closes it for a time that somebody else has set.
    pub(crate) fn close(&mut self, now: Instant, wait: Duration) {
        self.until = Some(now + wait);
    }

    /// A round of attempts has failed; returns the wait.
    pub(crate) fn failed(&mut self, now: Instant, retry_after: Option<Duration>, rng: &mut Rng) -> Duration {
        let wait = self.pace.failed(retry_after, rng);
        self.close(now, wait);
        wait
    }

    /// An attempt has succeeded: what failed before counts no more.
    pub(crate) fn succeeded(&mut self) {
        self.pace.succeeded();
    }

    /// A carrier was lost that had lived for `lived`; says whether that was long enough to replace it at once.
    pub(crate) fn lost(&mut self, now: Instant, lived: Duration, rng: &mut Rng) -> bool {
        self.charge(now, lived, |pace| pace.lost(lived, rng))
    }

    /// The peer wants a carrier replaced, or what it shows on it does not hold, that has lived for `lived`: what is dialed
    /// in its place may fare no better.
    pub(crate) fn rejected(&mut self, now: Instant, lived: Duration, rng: &mut Rng) {
        self.charge(now, lived, |pace| pace.lost(lived, rng));
    }

    /// A carrier was lost that is missed elsewhere: that it lived for `lived` is all that counts here.
    pub(crate) fn heard_of(&mut self, lived: Duration) {
        self.pace.forgive(lived);
    }

    /// A session has ended that had lived for `lived`; says whether it was stable.
    pub(crate) fn ended(&mut self, now: Instant, lived: Duration, rng: &mut Rng) -> bool {
        let wait = self.pace.ended(lived, rng);
        self.close(now, wait);
        wait.is_zero()
    }

    /// Opens it for now: what was waited for is wanted otherwise.
    pub(crate) fn open(&mut self) {
        self.until = None;
    }

    /// Opens it and forgets all failures: what caused them has changed.
    pub(crate) fn reset(&mut self) {
        self.pace.reset();
        self.until = None;
    }

    /// Carriers that fall together fall for one reason, which counts once: one that falls while nothing may start anyway
    /// changes nothing, unless it was stable.
    fn charge(&mut self, now: Instant, lived: Duration, wait: impl FnOnce(&mut Pace) -> Duration) -> bool {
        if self.closed_until(now).is_some() && !self.pace.is_stable(lived) {
            return false;
        }
        let wait = wait(&mut self.pace);
        self.until = Some(now + wait);
        wait.is_zero()
    }
}
