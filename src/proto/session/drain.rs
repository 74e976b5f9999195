//! Draining: no new streams, and one moment at which it is over.
//!
//! An open that is on its way when draining is done would be lost with the session, and its opener could not tell
//! whether it was served. Over several carriers it may be on its way though the peer has long acknowledged that this
//! end drains: on another carrier. So when all else is done each carrier is asked once more, and what the peer sent on
//! it before it answers has come before the answer.

use crate::proto::session::{Session, SessionEvent};

/// Whether all that a peer had sent on a carrier, when it was known to have heard of the draining, has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nobody wants to know.
    #[default]
    Open,
    /// It is to be asked.
    Due,
    /// With this ping, whose pong is awaited.
    Asked(u64),
    /// It has.
    Closed,
}

impl Session {
    /// Tells the peer that this end takes no new streams, and refuses those that come.
    pub(crate) fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.outgoing.drain();
            self.wake_drivers();
            self.look_whether_drained();
        }
    }

    /// Says once that draining is done, when it is.
    pub(super) fn look_whether_drained(&mut self) {
        if !self.draining || self.drained || self.ended().is_some() {
            return;
        }
        // A carrier that is being dialed may be up at the peer, and an open on its way over it.
        if !self.outgoing.is_done() || !self.is_idle() || !self.attempted.is_empty() {
            // What was answered before counts no more: a stream has come, or a carrier is lost and its tail is to come.
            self.carriers.iter_mut().for_each(|carrier| carrier.fence = Fence::Open);
            return;
        }
        for carrier in self.carriers.iter_mut().filter(|carrier| carrier.fence == Fence::Open) {
            carrier.fence = Fence::Due;
            self.wakers.take(&mut carrier.driver);
        }
        if self.carriers.iter().all(|carrier| carrier.fence == Fence::Closed) {
            self.drained = true;
            self.events.push_back(SessionEvent::Drained);
        }
    }
}
