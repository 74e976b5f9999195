//! How long connections stood still, and because of what.
//!
//! Time is divided into slots, one for each fault, from its beginning to that of the next. A gap is the time in which a
//! connection that should be moving did not: between two pieces of bulk at their receiver (the sender's pace of
//! [`crate::load::PACE`] is part of it), or from a request to the end of its answer. It belongs to the slot in which the
//! greater part of it lies. Of each slot and connection the longest gap is one sample, and the quantiles are over the
//! samples of all slots of a kind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock;
use crate::fault::Row;

/// The slots of a run.
pub(crate) struct Pauses(Mutex<State>);

struct State {
    connections: usize,
    /// The newest last; at most [`OPEN`], those before are in `samples`.
    slots: VecDeque<Slot>,
    /// In microseconds.
    samples: BTreeMap<Row, Histogram<u64>>,
}

struct Slot {
    /// `None`: nobody wants to know.
    row: Option<Row>,
    began: Instant,
    /// The longest gap of each connection; zero if there was none.
    longest: Vec<Duration>,
}

impl Pauses {
    pub(crate) fn new(connections: usize) -> Self {
        let mut state = State { connections, slots: VecDeque::new(), samples: BTreeMap::new() };
        state.begin(None, clock::now());
        Self(Mutex::new(state))
    }

    /// Begins a slot, and with it ends the one before. Gaps of a slot without a row are not counted.
    pub(crate) fn begin(&self, row: Option<Row>) {
        self.lock().begin(row, clock::now());
    }

    /// A connection stood still.
    pub(crate) fn gap(&self, connection: usize, from: Instant, to: Instant) {
        let mut state = self.lock();
        let (mut end, mut best) = (to, None::<(usize, Duration)>);
        for (index, slot) in state.slots.iter().enumerate().rev() {
            let shared = end.saturating_duration_since(slot.began.max(from));
            if best.is_none_or(|(_, most)| shared > most) {
                best = Some((index, shared));
            }
            if slot.began <= from {
                break;
            }
            end = end.min(slot.began);
        }
        if let Some((index, _)) = best {
            let longest = &mut state.slots[index].longest[connection];
            *longest = (*longest).max(to - from);
        }
    }

    /// The samples of each row, in microseconds.
    pub(crate) fn finish(&self) -> BTreeMap<Row, Histogram<u64>> {
        let mut state = self.lock();
        while state.fold() {}
        std::mem::take(&mut state.samples)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, row: Option<Row>, began: Instant) {
        self.slots.push_back(Slot { row, began, longest: vec![Duration::ZERO; self.connections] });
        if self.slots.len() > OPEN {
            self.fold();
        }
    }

    /// Moves the oldest slot into the samples.
    fn fold(&mut self) -> bool {
        let Some(slot) = self.slots.pop_front() else { return false };
        let Some(row) = slot.row else { return true };
        let samples = self.samples.entry(row).or_insert_with(histogram);
        for longest in slot.longest.into_iter().filter(|longest| !longest.is_zero()) {
            samples.saturating_record(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX));
        }
        true
    }
}

/// A microsecond to ten minutes, to a thousandth.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are in order")
}

/// Slots that a gap may still be found to belong to: the shortest last a tenth of a second, so these are a minute and
/// more but for a few that are short.
const OPEN: usize = 512;
