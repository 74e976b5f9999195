//! Streams that peers opened and the application has not taken yet, of all sessions of a plane.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::net::shared::SessionHandle;
use crate::proto::session::{OpenRequest, StreamKey};

/// The queue. Its bound is the sum of its sessions': each lets at most so many streams wait.
#[derive(Debug, Default)]
pub(crate) struct IncomingQueue {
    state: Mutex<State>,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arrived>,
    closed: bool,
}

/// A stream of a peer.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Its session.
    pub(crate) session: SessionHandle,
    /// The stream.
    pub(crate) key: StreamKey,
    /// What its open said.
    pub(crate) request: OpenRequest,
}

impl IncomingQueue {
    /// Appends streams. After [`IncomingQueue::close`] they are refused instead.
    pub(crate) fn push(&self, arrived: Vec<Arrived>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            drop(state);
            arrived.into_iter().for_each(Arrived::turn_away);
            return;
        }
        let count = arrived.len();
        state.waiting.extend(arrived);
        drop(state);
        // One permit is kept if nobody waits; a taker takes until the queue is empty, so one is enough.
        (0..count).for_each(|_| self.arrival.notify_one());
    }

    /// The next stream, or `None` after [`IncomingQueue::close`].
    ///
    /// # Cancel safety
    /// A stream is taken only by the call that returns it.
    pub(crate) async fn next(&self) -> Option<Arrived> {
        loop {
            let arrival = self.arrival.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(arrived) = state.waiting.pop_front() {
                    return Some(arrived);
                }
                if state.closed {
                    return None;
                }
            }
            arrival.await;
        }
    }

    /// Ends the queue: waiters return, and what is in it is refused.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.arrival.notify_waiters();
        self.arrival.notify_one();
        waiting.into_iter().for_each(Arrived::turn_away);
    }
}

impl Arrived {
    fn turn_away(self) {
        self.session.with(|session| session.release(self.key));
    }
}
