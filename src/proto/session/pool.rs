//! The budget from which windows grow beyond their guaranteed minimum.
//!
//! The minimum of every stream is outside it, so that streams that nobody reads can never take the last byte of
//! one that is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The pool all sessions of a process share. Cheap to clone.
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

    /// Takes bytes for a window that grows; `false` leaves everything as it was.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
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
