//! Which sessions have streams of their peers for the application, of all sessions of a plane.
//!
//! It holds sessions, not streams: a stream stays in its session, within its bounds and under its deadline, until
//! the application takes it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A queue that can be closed. Who appends sees to it that each session is in it at most once.
#[derive(Debug)]
pub(crate) struct IncomingQueue<T> {
    state: Mutex<State<T>>,
    arrival: Notify,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

impl<T> IncomingQueue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), closed: false }), arrival: Notify::new() }
    }

    /// Appends one; after [`IncomingQueue::close`] it is dropped.
    pub(crate) fn push(&self, arrived: T) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            state.waiting.push_back(arrived);
        }
        // A permit that nobody waits for is kept, and whoever takes it looks into the queue first.
        self.arrival.notify_one();
    }

    /// The next one, or `None` after [`IncomingQueue::close`].
    ///
    /// # Cancel safety
    /// Cancel safe: one is taken only by the call that returns it.
    pub(crate) async fn next(&self) -> Option<T> {
        loop {
            let arrival = self.arrival.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(arrived) = state.waiting.pop_front() {
                    if !state.waiting.is_empty() {
                        // Of several permits only one is kept while nobody waits: the next waiter gets its own.
                        self.arrival.notify_one();
                    }
                    return Some(arrived);
                }
                if state.closed {
                    // The next waiter is to return, too.
                    self.arrival.notify_one();
                    return None;
                }
            }
            arrival.await;
        }
    }

    /// Ends the queue: waiters return, and what is in it is dropped.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.arrival.notify_one();
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_queue_ends_for_every_waiter() {
        let queue = IncomingQueue::new();
        queue.push(1);
        queue.push(2);
        assert_eq!(queue.next().await, Some(1));
        queue.close();
        queue.push(3);
        assert_eq!((queue.next().await, queue.next().await), (None, None));
    }

    #[tokio::test]
    async fn two_that_wait_are_both_served() {
        let queue = IncomingQueue::new();
        let waiters = async { tokio::join!(queue.next(), queue.next()) };
        let arriving = async {
            queue.push(1);
            queue.push(2);
        };
        let (served, ()) = tokio::join!(waiters, arriving);
        let (first, second) = served;
        assert_eq!(first.max(second).zip(first.min(second)), Some((2, 1)));
    }
}
