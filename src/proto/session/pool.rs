//! The budget from which windows grow beyond their guaranteed minimum.
//!
//! The minimum of every stream is outside it, so that streams that nobody reads can never take the last byte of
//! one that is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::MIN_WINDOW;

/// The pool all sessions of a plane share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProcessPool {
    used: Arc<AtomicU64>,
    size: u64,
}

impl ProcessPool {
    /// A pool of that many bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self { used: Arc::new(AtomicU64::new(0)), size }
    }

    /// Bytes taken.
    #[cfg(any(test, feature = "__entries"))]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if the taker then holds no more than half of what would be left to it, so that no session
    /// can take all: the k-th greedy one still gets its 2^-k.
    fn take(&self, held: u64, bytes: u64) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let free = self.size.saturating_sub(used);
                let share = (held + free) / 2;
                (bytes <= free && held + bytes <= share.max(held)).then_some(used + bytes)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One session's part of the pool.
#[derive(Debug)]
pub(crate) struct SessionPool {
    process: ProcessPool,
    used: u64,
    size: u64,
}

impl SessionPool {
    /// A session's pool of at most `size` bytes out of the process's.
    pub(crate) fn new(process: ProcessPool, size: u64) -> Self {
        Self { process, used: 0, size }
    }

    /// Takes what a window that has outgrown itself is to have more: three times as much while that is little beside the
    /// pool, once as much if not, nothing beyond `max`. Returns the window it has now, and how many bytes it
    /// was refused.
    ///
    /// A window may hold no more than half of what would be left to it, so that no stream can take all: the k-th
    /// greedy one still gets its 2^-k.
    pub(crate) fn widen(&mut self, window: u64, max: u64) -> (u64, u64) {
        let held = window - MIN_WINDOW;
        let most = held + self.size.saturating_sub(self.used + held) / 2;
        let steps = [window.saturating_mul(3), window].into_iter();
        let fits = |more: &u64| {
            window.saturating_add(*more) <= max && (*more == window || *more <= self.size / PLENTY)
        };
        let mut refused = 0;
        for more in steps.filter(fits).collect::<Vec<_>>() {
            if held + more <= most && self.take(more) {
                return (window + more, 0);
            }
            refused = more;
        }
        (window, refused)
    }

    /// Takes bytes; `false` leaves everything as it was.
    fn take(&mut self, bytes: u64) -> bool {
        let granted = self.used + bytes <= self.size && self.process.take(self.used, bytes);
        if granted {
            self.used += bytes;
        }
        granted
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "more given back than taken");
        let bytes = bytes.min(self.used);
        self.used -= bytes;
        self.process.give_back(bytes);
    }

    /// Bytes taken.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        self.process.give_back(self.used);
    }
}

/// A step of no more than this part of the pool is small beside it: 64 MiB of the default, so that 16 KiB grow to 64 MiB, 1 Gbit/s
/// over 300 ms, in six round trips.
const PLENTY: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_takes_all_of_the_process() {
        let process = ProcessPool::new(1000);
        let mut greedy = SessionPool::new(process.clone(), 10_000);
        while greedy.take(10) {}
        assert_eq!(greedy.used(), 500);
        let mut second = SessionPool::new(process.clone(), 10_000);
        while second.take(10) {}
        assert_eq!(second.used(), 250);
        drop(greedy);
        assert_eq!(process.used(), 250);
    }

    #[test]
    fn a_session_keeps_to_its_own_size() {
        let mut pool = SessionPool::new(ProcessPool::new(1000), 100);
        assert!(!pool.take(101));
        assert!(pool.take(100));
        pool.give_back(100);
        assert_eq!(pool.used(), 0);
    }
}
