//! What there is to see of a group.

use std::sync::Arc;
use std::time::Instant;

use crate::error::DialError;
use crate::id::{GroupName, SessionNumber};
use crate::proto::group::{Group, Next, Wish};
use crate::snapshot::GroupState;

impl Group {
    /// When it is dialed next, if it waits for that.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        match self.next {
            Next::Wait { until, .. } => Some(until),
            Next::Nothing | Next::Race(_) => None,
        }
    }

    /// Whether it is to be kept.
    pub(crate) fn wish(&self) -> Wish {
        self.wish
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

    /// What it is at now.
    pub(super) fn present_state(&self) -> GroupState {
        match (&self.hold, &self.next) {
            (Some(hold), _) if hold.trusted > 0 => GroupState::Up,
            (Some(hold), _) if hold.carriers > 0 => GroupState::Suspect,
            (Some(_), _) => GroupState::Recovering,
            (None, Next::Wait { .. }) if self.duplicate_of.is_some() => GroupState::Duplicate,
            (None, Next::Wait { .. }) => GroupState::Waiting,
            (None, Next::Race(_)) => GroupState::Dialing,
            (None, Next::Nothing) => GroupState::Idle,
        }
    }
}
