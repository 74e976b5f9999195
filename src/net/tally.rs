//! Counts a stream for the choice of paths as long as it lives.

use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Destination;
use crate::id::SessionNumber;
use crate::proto::paths::Paths;

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
