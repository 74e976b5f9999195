//! The stream of events, as a user holds it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::event::Event;
use crate::net::fanout::Subscription;

/// What happens in a plane, from the moment of subscribing on.
///
/// Events come in order of [`Event::seq`]. The plane never waits for a subscriber: one that falls behind by more
/// than [`PlaneConfig::event_capacity`] loses the oldest and gets [`EventKind::Lagged`] in their place. To catch
/// up, or to begin with a full picture, subscribe first, then take the status, and skip the events up to the
/// `seq` it was taken at. It ends when the plane has shut down and its last event has been read.
///
/// Dropping it ends the subscription; while there is none, events cost no more than the counts of the status.
///
/// [`PlaneConfig::event_capacity`]: crate::config::PlaneConfig::event_capacity
/// [`EventKind::Lagged`]: crate::event::EventKind::Lagged
#[derive(Debug)]
pub struct Events {
    subscription: Subscription,
}

impl Events {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self { subscription }
    }

    /// The next event; `None` once the plane is gone and all has been read.
    ///
    /// # Cancel safety
    /// Cancel safe: an event is taken only by the call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.subscription.poll_next(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.subscription.poll_next(cx)
    }
}
