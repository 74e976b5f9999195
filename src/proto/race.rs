//! The attempts of one group that are under way at once, and which of them may greet.

use std::time::{Duration, Instant};

use crate::error::{DialError, Phase};
use crate::proto::dial::{Alternates, AttemptId, Purpose, Target};
use crate::proto::orders::{Orders, Step};

/// The attempts of one group that are under way, all for one purpose.
///
/// ```text
///            reached            nobody else greets              the peer's hello
///  Reaching ────────▶ Reached ──────────────────────▶ Greeting ─────────────────▶ it has won
/// ```
///
/// The next alternate starts [`STAGGER`] after the one before, or at once when one fails. A hello begins a session at
/// the acceptor, so that only one attempt greets at a time; the others stay reached, or go on reaching, until it has won
/// or failed.
///
/// An attempt that greets is left alone for its *patience*: the time in which it was reached, at least [`STAGGER`]. To
/// reach takes at least two round trips and the answer to a hello one, so that a sound router at the other end answers
/// within it, however far away. Beyond that it is silent: alternates go on starting beside it, and as soon as one of
/// them is reached, the silent one is given up and that one greets. With no other reached, the silent one has until
/// the deadline of its hello.
#[derive(Debug)]
pub(crate) struct Race {
    purpose: Purpose,
    /// In the order in which they started; at most [`MAX_RUNNERS`], at most one of them greets, and one does if any
    /// is reached.
    runners: Vec<Runner>,
    /// When the newest started.
    newest: Instant,
    /// One has failed since the newest started: the next does not wait.
    hurry: bool,
}

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) attempt: AttemptId,
    /// Its number among the attempts of the group since that was last up.
    pub(crate) number: u64,
    pub(crate) target: Target,
    started: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Reaching,
    Reached {
        /// How long that took.
        after: Duration,
    },
    Greeting {
        since: Instant,
        patience: Duration,
    },
}

/// An attempt that was given up because it was silent.
#[derive(Debug)]
pub(crate) struct GivenUp {
    pub(crate) runner: Runner,
    pub(crate) error: DialError,
}

impl Race {
    /// Nothing runs yet.
    pub(crate) fn new(now: Instant, purpose: Purpose) -> Self {
        Self { purpose, runners: Vec::new(), newest: now, hurry: true }
    }

    /// What the attempts are for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether nothing runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.runners.is_empty()
    }

    /// The endpoints that are tried now.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.runners.iter().map(|runner| &runner.target)
    }

    /// An attempt has got through TLS. Says nothing of one that does not run.
    pub(crate) fn reached(&mut self, now: Instant, attempt: AttemptId) {
        let runner = self.runners.iter_mut().find(|runner| runner.attempt == attempt);
        if let Some(runner) = runner.filter(|runner| matches!(runner.stage, Stage::Reaching)) {
            runner.stage = Stage::Reached { after: now.saturating_duration_since(runner.started) };
        }
    }

    /// An attempt is over: takes it out, and lets the next one start at once.
    pub(crate) fn remove(&mut self, attempt: AttemptId) -> Option<Runner> {
        let index = self.runners.iter().position(|runner| runner.attempt == attempt)?;
        self.hurry = true;
        Some(self.runners.remove(index))
    }

    /// Gives up every attempt whose endpoint does not hold.
    pub(crate) fn keep(&mut self, holds: impl Fn(&Target) -> bool, orders: &mut Orders) {
        self.runners.retain(|runner| {
            let kept = holds(&runner.target);
            if !kept {
                orders.steps.push_back(Step::Cancel { attempt: runner.attempt });
            }
            kept
        });
    }

    /// Gives up everything.
    pub(crate) fn cancel(mut self, orders: &mut Orders) {
        self.keep(|_| false, orders);
    }

    /// Does what is due: gives a silent one up for one that is reached, lets one greet, starts the next alternate of the
    /// round. `attempts` counts those started. To be called after every other input; gives what was given up.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        alternates: &mut Alternates,
        attempts: &mut u64,
        orders: &mut Orders,
    ) -> Option<GivenUp> {
        let silent = self.give_up_silent(now, orders);
        self.let_one_greet(now, orders);
        while self.opens().is_some_and(|opens| opens <= now)
            && let Some(target) = alternates.next_of_round()
        {
            self.start(now, target, attempts, orders);
        }
        silent
    }

    /// When [`Race::advance`] has something to do, `more` saying whether the round has alternates left.
    pub(crate) fn due(&self, more: bool) -> Option<Instant> {
        let silent = self.silent_from().filter(|_| self.others_reached());
        silent.or_else(|| self.opens().filter(|_| more))
    }

    fn start(&mut self, now: Instant, target: Target, attempts: &mut u64, orders: &mut Orders) {
        let attempt = AttemptId(orders.attempts);
        orders.attempts += 1;
        *attempts += 1;
        let step = Step::Dial { attempt, target: target.clone(), purpose: self.purpose };
        orders.steps.push_back(step);
        self.runners.push(Runner {
            attempt,
            number: *attempts,
            target,
            started: now,
            stage: Stage::Reaching,
        });
        (self.newest, self.hurry) = (now, false);
    }

    fn give_up_silent(&mut self, now: Instant, orders: &mut Orders) -> Option<GivenUp> {
        if !self.others_reached() || self.silent_from().is_none_or(|from| from > now) {
            return None;
        }
        let index = self.runners.iter().position(|runner| runner.greets().is_some())?;
        let runner = self.runners.remove(index);
        let (since, _) = runner.greets()?;
        orders.steps.push_back(Step::Cancel { attempt: runner.attempt });
        let after = now.saturating_duration_since(since);
        Some(GivenUp { runner, error: DialError::TimedOut { phase: Phase::Hello, after } })
    }

    /// The first that is reached, in order of the alternates, if nobody greets.
    fn let_one_greet(&mut self, now: Instant, orders: &mut Orders) {
        if self.runners.iter().any(|runner| runner.greets().is_some()) {
            return;
        }
        for runner in &mut self.runners {
            if let Stage::Reached { after } = runner.stage {
                runner.stage = Stage::Greeting { since: now, patience: after.max(STAGGER) };
                orders.steps.push_back(Step::Greet { attempt: runner.attempt });
                return;
            }
        }
    }

    /// From when on the one that greets counts as silent.
    fn silent_from(&self) -> Option<Instant> {
        let greeting = self.runners.iter().find_map(Runner::greets);
        greeting.map(|(since, patience)| since + patience)
    }

    fn others_reached(&self) -> bool {
        self.runners.iter().any(|runner| matches!(runner.stage, Stage::Reached { .. }))
    }

    /// When the next may start; never while so many run.
    fn opens(&self) -> Option<Instant> {
        if self.runners.len() >= MAX_RUNNERS {
            return None;
        }
        let staggered = if self.hurry { self.newest } else { self.newest + STAGGER };
        Some(self.silent_from().map_or(staggered, |silent| silent.max(staggered)))
    }
}

impl Runner {
    /// Since when it greets, and how long it is left alone at that.
    fn greets(&self) -> Option<(Instant, Duration)> {
        match self.stage {
            Stage::Greeting { since, patience } => Some((since, patience)),
            Stage::Reaching | Stage::Reached { .. } => None,
        }
    }
}

/// How long an attempt is alone before the next alternate starts beside it, and how long at least an attempt may greet
/// before a reached one takes its place: what RFC 8305 §5 recommends between addresses, for the same reason. Two dead
/// alternates cost half a second, and a healthy first one has answered before, up to a round trip of 80 ms.
pub(crate) const STAGGER: Duration = Duration::from_millis(250);

/// So many attempts of a group at most hold a socket at once. At the pace of [`STAGGER`] that many are under way after
/// two seconds of silence from all of them; a Link names one or two endpoints to a group.
pub(crate) const MAX_RUNNERS: usize = 8;

#[cfg(test)]
mod tests;
