//! Events of one stream, for subscribers that asked.

use crate::error::StreamError;
use crate::event::{Destination, EventKind};
use crate::id::{SessionNumber, StreamId};
use crate::net::fanout::Fanout;
use crate::stats::Traffic;

/// A stream whose opening was told: its end must be, too.
#[derive(Debug)]
pub(crate) struct StreamWatch {
    fanout: Fanout,
    session: SessionNumber,
    stream: StreamId,
}

impl StreamWatch {
    /// Tells that a stream was opened, if a subscriber wants to hear of streams; costs one look otherwise.
    pub(crate) fn begin(
        fanout: &Fanout,
        session: SessionNumber,
        stream: StreamId,
        destination: impl FnOnce() -> Destination,
        by_peer: bool,
    ) -> Option<Box<Self>> {
        if !fanout.wants_streams() {
            return None;
        }
        fanout.publish(EventKind::StreamOpened { session, stream, destination: destination(), by_peer });
        Some(Box::new(Self { fanout: fanout.clone(), session, stream }))
    }

    /// Tells that it is over.
    pub(crate) fn end(&self, traffic: Traffic, error: Option<StreamError>) {
        let Self { fanout, session, stream } = self;
        fanout.publish(EventKind::StreamClosed { session: *session, stream: *stream, traffic, error });
    }
}
