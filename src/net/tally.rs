//! Counts streams: each for the choice of paths as long as it lives, and how opening them ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::OpenError;
use crate::event::Destination;
use crate::id::SessionNumber;
use crate::proto::paths::Paths;
use crate::snapshot::OpenCounts;

/// One counted stream; dropping it uncounts it.
#[derive(Debug)]
pub(crate) struct Tally {
    paths: Arc<Mutex<Paths>>,
    destination: Destination,
    session: SessionNumber,
}

impl Tally {
    /// Takes over the count that [`Paths::choose`] made.
    pub(crate) fn new(paths: Arc<Mutex<Paths>>, destination: Destination, session: SessionNumber) -> Self {
        Self { paths, destination, session }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.release(&self.destination, self.session);
    }
}

/// How the opens of a plane ended.
#[derive(Debug, Default)]
pub(crate) struct OpenTally {
    accepted: AtomicU64,
    no_path: AtomicU64,
    refused: AtomicU64,
    stream_limit: AtomicU64,
    outcome_unknown: AtomicU64,
    local: AtomicU64,
}

impl OpenTally {
    /// Counts one.
    pub(crate) fn count<T>(&self, outcome: Result<&T, &OpenError>) {
        let counter = match outcome {
            Ok(_) => &self.accepted,
            Err(OpenError::NoPath) => &self.no_path,
            Err(OpenError::Refused(_)) => &self.refused,
            Err(OpenError::StreamLimit) => &self.stream_limit,
            Err(OpenError::OutcomeUnknown(_)) => &self.outcome_unknown,
            Err(OpenError::TooLong { .. } | OpenError::ShutDown) => &self.local,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> OpenCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OpenCounts {
            accepted: read(&self.accepted),
            no_path: read(&self.no_path),
            refused: read(&self.refused),
            stream_limit: read(&self.stream_limit),
            outcome_unknown: read(&self.outcome_unknown),
            local: read(&self.local),
        }
    }
}
