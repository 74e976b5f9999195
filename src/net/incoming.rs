//! What peers sent that the application has not taken yet, of all sessions of a plane.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A queue that can be closed. It has no bound of its own: each session lets at most so many streams wait, and
/// the queue holds no more than their sum.
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

    /// Appends all, or, after [`IncomingQueue::close`], gives all back.
    ///
    /// # Errors
    /// What was to be appended to a closed queue.
    pub(crate) fn push(&self, arrived: Vec<T>) -> Result<(), Vec<T>> {
        let count = arrived.len();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return Err(arrived);
            }
            state.waiting.extend(arrived);
        }
        // A permit that nobody waits for is kept, and whoever takes it looks into the queue first.
        (0..count).for_each(|_| self.arrival.notify_one());
        Ok(())
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

    /// Ends the queue: waiters return, and what is in it is given back.
    #[must_use]
    pub(crate) fn close(&self) -> VecDeque<T> {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.arrival.notify_one();
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_queue_gives_back_what_is_in_it_and_what_comes_after() {
        let queue = IncomingQueue::new();
        queue.push(vec![1, 2, 3]).unwrap();
        assert_eq!(queue.next().await, Some(1));
        assert_eq!(queue.close(), [2, 3]);
        assert_eq!(queue.push(vec![4]), Err(vec![4]));
        assert_eq!((queue.next().await, queue.next().await), (None, None));
    }
}
