//! What groups ask for, and what they share.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;

use crate::error::{DialError, SessionEnd};
use crate::id::SessionNumber;
use crate::proto::dial::{AttemptId, Purpose, Target};
use crate::wire::code::CloseCode;

/// What the groups of a plane share, and what they ask for.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) rng: Rng,
    /// The next attempt's id.
    pub(crate) attempts: u64,
    /// In order; emptied by the caller after every input.
    pub(crate) steps: VecDeque<Step>,
}

/// What a group asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Dial, up to the end of TLS.
    Dial { attempt: AttemptId, target: Target, purpose: Purpose },
    /// Say hello on an attempt that has got so far.
    Greet { attempt: AttemptId },
    /// Give an attempt up; whatever it still answers changes nothing.
    Cancel { attempt: AttemptId },
    /// An attempt that was given up was so because another, at `by`, has won. It had got through TLS or not, and had
    /// been tried for `after`.
    Overtaken { target: Target, attempt: u64, reached: bool, by: Target, after: Duration },
    /// The session of the group is over; the group holds it no more.
    End { session: SessionNumber, end: SessionEnd, code: CloseCode },
    /// The session of the group is to drain; the group holds it no more, and begins a successor.
    Succeed { session: SessionNumber },
    /// An attempt has failed; the next one starts after `wait`, or is under way.
    Failed { target: Target, attempt: u64, error: DialError, wait: Duration },
}

impl Orders {
    /// Nothing ordered yet. The seed decides all jitter.
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), attempts: 0, steps: VecDeque::new() }
    }
}
