//! Sessions that have something to tell the supervisor, each at most once: bounded by how many there are.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::id::SessionNumber;

/// The set of marked sessions.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    marked: Mutex<BTreeSet<SessionNumber>>,
    arrival: Notify,
}

impl Inbox {
    /// Marks a session. Costs a lookup when it is marked already.
    pub(crate) fn mark(&self, session: SessionNumber) {
        let news = self.marked.lock().unwrap_or_else(PoisonError::into_inner).insert(session);
        if news {
            self.arrival.notify_one();
        }
    }

    /// Takes all marked sessions; waits until there is one.
    ///
    /// # Cancel safety
    /// Marks are taken only by the call that returns them.
    pub(crate) async fn take(&self) -> BTreeSet<SessionNumber> {
        loop {
            let arrival = self.arrival.notified();
            let marked = std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner));
            if !marked.is_empty() {
                return marked;
            }
            arrival.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_marked_once_however_often() {
        let inbox = Inbox::default();
        (0..1000).for_each(|_| inbox.mark(SessionNumber(7)));
        inbox.mark(SessionNumber(3));
        let marked: Vec<_> = inbox.take().await.into_iter().collect();
        assert_eq!(marked, [SessionNumber(3), SessionNumber(7)]);
    }
}
