//! Who sends next on a carrier: small control first, then fq_codel's two lists.
//!
//! A stream that has just become active is in the fresh list, which goes before the old one, so a sparse stream is
//! quick. Each turn is worth one quantum, a fresh stream that empties passes through the old list once before it
//! counts as fresh again, so a flood of sparse streams cannot starve bulk (RFC 8290 §4.2, deficit round robin). Streams
//! that are all new could, since there may be any number of them: the fresh list goes before the old one until it is
//! [`MOST_AHEAD`] bytes ahead, and then both take turns.

use std::collections::VecDeque;

use crate::proto::session::key::StreamKey;

/// The lists of one carrier. A stream is in the control list at most once and in one data list at most.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    control: VecDeque<StreamKey>,
    fresh: VecDeque<StreamKey>,
    old: VecDeque<StreamKey>,
    /// By how many bytes the fresh list is ahead of the old one. `ahead <= MOST_AHEAD + a record`
    ahead: usize,
}

/// Where a stream is in the data lists of its carrier's schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listed {
    /// In neither.
    #[default]
    No,
    /// In the fresh list.
    Fresh,
    /// In the old list.
    Old,
}

/// A stream's part of the schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// In the control list.
    pub(crate) control: bool,
    /// In a data list.
    pub(crate) data: Listed,
    /// Bytes left of the current quantum; below zero when the last frame was larger than what was left.
    pub(crate) deficit: i32,
}

impl Schedule {
    /// Lists a stream that has control frames to send.
    pub(crate) fn list_control(&mut self, key: StreamKey, turn: &mut Turn) {
        if !turn.control {
            turn.control = true;
            self.control.push_back(key);
        }
    }

    /// Lists a stream that has data to send.
    pub(crate) fn list_data(&mut self, key: StreamKey, turn: &mut Turn) {
        if turn.data == Listed::No {
            turn.data = Listed::Fresh;
            turn.deficit = QUANTUM;
            self.fresh.push_back(key);
        }
    }

    /// The next stream with control frames.
    pub(crate) fn next_control(&self) -> Option<StreamKey> {
        self.control.front().copied()
    }

    /// Takes the front stream off the control list.
    pub(crate) fn pop_control(&mut self, turn: &mut Turn) {
        turn.control = false;
        self.control.pop_front();
    }

    /// Takes the front off the control list when its stream is no more.
    pub(crate) fn drop_control(&mut self) {
        self.control.pop_front();
    }

    /// The stream whose turn it is to send data.
    pub(crate) fn next_data(&self) -> Option<StreamKey> {
        if self.is_freshs_turn() { self.fresh.front() } else { self.old.front() }.copied()
    }

    /// The stream whose turn it is sends a frame of that length, header included: no longer than a record.
    pub(crate) fn sent(&mut self, turn: &mut Turn, len: usize) {
        turn.deficit -= i32::try_from(len).unwrap_or(i32::MAX);
        self.ahead = match turn.data {
            // One that has reached it alone need not make up for what it sent beyond; one frame is always made up for.
            Listed::Fresh => self.ahead.min(MOST_AHEAD) + len,
            Listed::Old | Listed::No => self.ahead.saturating_sub(len),
        };
    }

    /// Gives the stream whose turn it is another quantum and sends it to the end of the old list.
    pub(crate) fn rotate(&mut self, turn: &mut Turn) {
        if let Some(key) = self.pop() {
            turn.deficit += QUANTUM;
            turn.data = Listed::Old;
            self.old.push_back(key);
        }
    }

    /// The stream whose turn it is has no more to send: a fresh one passes through the old list once.
    pub(crate) fn empty(&mut self, turn: &mut Turn) {
        let Some(key) = self.pop() else { return };
        if turn.data == Listed::Fresh {
            turn.data = Listed::Old;
            self.old.push_back(key);
        } else {
            turn.data = Listed::No;
        }
    }

    /// Takes the front off when its stream is no more.
    pub(crate) fn drop_data(&mut self) {
        self.pop();
    }

    /// Whether any stream is listed. One that is may turn out to have nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.fresh.is_empty() && self.old.is_empty()
    }

    /// Forgets all that are listed: their streams send elsewhere.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many streams wait for another turn, those that turn out to have nothing included.
    pub(crate) fn waiting(&self) -> usize {
        self.old.len()
    }

    /// How many streams wait to send, those that turn out to have nothing included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.control.len() + self.fresh.len() + self.old.len()
    }

    fn pop(&mut self) -> Option<StreamKey> {
        if self.is_freshs_turn() { self.fresh.pop_front() } else { self.old.pop_front() }
    }

    fn is_freshs_turn(&self) -> bool {
        !self.fresh.is_empty() && (self.ahead < MOST_AHEAD || self.old.is_empty())
    }
}

/// What a turn is worth in bytes: four full records, half a batch. Each turn of a bulk stream wakes its writer here and
/// its reader there, who then have 64 KiB to move and not a record; a sparse stream goes before it either way.
const QUANTUM: i32 = 64 << 10;

/// How far the fresh list may be ahead: one batch, hundreds of short requests or two full turns.
const MOST_AHEAD: usize = 128 << 10;
