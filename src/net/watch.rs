//! Looking at the disk again and again: by the clock, and sooner when the system gives notice.
//!
//! ```text
//!   look ──▶ anything in doubt? ── yes ─▶ wait `settle` ──▶ look
//!    ▲                         └── no ──▶ wait `settle`, then `poll` or a notice ─┐
//!    └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The clock is the truth and notices only save time, since network file systems give none. A look runs where blocking
//! is allowed, so many of a plane at a time; one that hangs (a file server that is gone) holds its own watch up, and
//! nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

#[cfg(feature = "watch")]
use crate::config::FileNotices;
use crate::net::hub::Hub;
#[cfg(feature = "watch")]
use crate::net::notices::Listening;

/// The rhythm of one task that watches.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Arc<Hub>,
    stir: Arc<Notify>,
    #[cfg(feature = "watch")]
    listening: Option<Listening>,
}

impl Watch {
    /// Begins to watch nothing in particular.
    pub(crate) fn new(hub: &Arc<Hub>) -> Self {
        let stir = Arc::new(Notify::new());
        Self {
            #[cfg(feature = "watch")]
            listening: (hub.config.watch.notices == FileNotices::Heeded)
                .then(|| hub.notices.listen(Arc::clone(&stir))),
            stir,
            hub: Arc::clone(hub),
        }
    }

    /// Takes a look: does `work` where it may block. `overdue` is called when that has taken [`OVERDUE`]; it is waited
    /// for all the same, since a second look would only hang beside it.
    ///
    /// `None` means that it was not done: the runtime ends, or `work` has panicked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work to itself; what it finds is dropped.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        overdue: impl FnOnce(),
    ) -> Option<T> {
        let looks = Arc::clone(&self.hub.looks);
        let looking = async move {
            let place = looks.acquire_owned().await.ok()?;
            let work = move || {
                let found = work();
                // Given back only now: a look whose future was dropped still occupies its thread.
                drop(place);
                found
            };
            tokio::task::spawn_blocking(work).await.ok()
        };
        tokio::pin!(looking);
        match tokio::time::timeout(OVERDUE, &mut looking).await {
            Ok(found) => found,
            Err(_) => {
                overdue();
                looking.await
            }
        }
    }

    /// Asks for notices of changes in these folders.
    pub(crate) fn follow(&self, folders: BTreeSet<PathBuf>) {
        #[cfg(feature = "watch")]
        if let Some(listening) = &self.listening {
            listening.follow(folders);
        }
        #[cfg(not(feature = "watch"))]
        drop(folders);
    }

    /// Waits until the next look is due; soon, if the last one has shown something that is in doubt.
    ///
    /// # Cancel safety
    /// Cancel safe; a notice that came is at worst looked at late.
    pub(crate) async fn pause(&self, in_doubt: bool) {
        // In every case: a folder that never rests costs no more than this many looks.
        tokio::time::sleep(self.hub.config.watch.settle).await;
        if !in_doubt {
            let rest = self.hub.config.watch.poll.saturating_sub(self.hub.config.watch.settle);
            // Which of the two it was makes no difference to the look.
            let _ = tokio::time::timeout(rest, self.stir.notified()).await;
        }
    }
}

/// After that long a look is called overdue: a disk that is alive answers in milliseconds, a file server that comes
/// back within seconds is nobody's business.
pub(crate) const OVERDUE: Duration = Duration::from_secs(10);
