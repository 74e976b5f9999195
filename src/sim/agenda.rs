//! What will happen, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::id::CarrierNumber;
use crate::sim::blow::{Blow, Errand};

/// What will happen, the earliest first; what falls together stays in order.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    entered: u64,
}

/// One of it.
#[derive(Debug)]
struct Entry {
    at: Duration,
    /// How many were entered before.
    number: u64,
    happening: Happening,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The dialer dials.
    Dial(Dial),
    /// Something befalls the lines.
    Blow(Blow),
    /// The acceptor's patience with a carrier is over.
    CutOff(CarrierNumber),
    /// The session meets its fate.
    Fate,
    /// The application of an end does something.
    Tick(usize),
}

/// A carrier to be dialed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    /// What it is to be made for, if not for want of carriers.
    pub(super) errand: Option<Errand>,
}

impl Agenda {
    /// Puts something on it.
    pub(super) fn enter(&mut self, at: Duration, happening: Happening) {
        self.entered += 1;
        self.entries.push(Reverse(Entry { at, number: self.entered, happening }));
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes what is due by now off it.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Happening> {
        if self.next_at()? > now {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| entry.happening)
    }
}

impl Entry {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
