//! A look at the streams from outside: what each is at, and whose turn it is when nothing moves.
//!
//! Nothing is kept for it but what changes with a transition, and nothing is computed until somebody looks.

use std::ops::Range;
use std::time::Instant;

use crate::id::{Side, StreamId};
use crate::proto::session::stream::{Opening, RecvState, SendState, Stream};
use crate::proto::session::{Session, State};
use crate::snapshot::{StallCause, StreamState};
use crate::wire::frame::OpenTo;

/// A stream at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamLook {
    /// Its id on the wire.
    pub(crate) id: StreamId,
    /// Where it goes.
    pub(crate) to: OpenTo,
    /// Whether the peer opened it.
    pub(crate) by_peer: bool,
    /// How far its life has come.
    pub(crate) state: StreamState,
    /// When its open was sent or came.
    pub(crate) since: Option<Instant>,
    /// Data bytes sent.
    pub(crate) sent: u64,
    /// Data bytes received.
    pub(crate) received: u64,
    /// Bytes written here and not sent yet.
    pub(crate) queued: u64,
    /// Bytes received and not read yet.
    pub(crate) unread: u64,
    /// Bytes that the peer lets this end send.
    pub(crate) credit: u64,
    /// Why nothing of what is queued can be sent, and since when.
    pub(crate) sending: Option<(StallCause, Instant)>,
    /// Why nothing of what was received is taken, and since when.
    pub(crate) receiving: Option<(StallCause, Instant)>,
}

/// Counts of streams since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamCounts {
    /// Opened here.
    pub(crate) opened: u64,
    /// Opened by the peer.
    pub(crate) opened_by_peer: u64,
    /// Of those, refused.
    pub(crate) turned_down: u64,
}

impl Session {
    /// One more than the highest slot that a stream may be in.
    pub(crate) fn slots(&self) -> usize {
        self.streams.capacity()
    }

    /// The streams in a range of slots. Costs the length of the range.
    pub(crate) fn look(&self, slots: Range<usize>) -> impl Iterator<Item = StreamLook> + '_ {
        slots.filter_map(|slot| self.streams.get(slot)).map(|stream| self.look_at(stream))
    }

    /// Counts of streams since the session began.
    pub(crate) fn stream_counts(&self) -> StreamCounts {
        StreamCounts {
            opened: self.opened,
            opened_by_peer: self.peer_opened - self.late.len() as u64,
            turned_down: self.turned_down,
        }
    }

    fn look_at(&self, stream: &Stream) -> StreamLook {
        let Stream { send, recv, .. } = stream;
        StreamLook {
            id: stream.id,
            to: stream.to.clone(),
            by_peer: stream.id.0.is_multiple_of(2) != (self.params.side == Side::Dialer),
            state: state_of(stream),
            since: stream.since.map(|age| age.instant(self.origin)),
            sent: send.sent,
            received: recv.received,
            queued: send.queued as u64,
            unread: recv.queued(),
            credit: send.limit - send.sent,
            sending: self.sending_stall(stream),
            receiving: recv
                .unread
                .filter(|_| recv.queued() > 0)
                .map(|since| (StallCause::OwnReader, since.instant(self.origin))),
        }
    }

    fn sending_stall(&self, stream: &Stream) -> Option<(StallCause, Instant)> {
        if stream.send.queued == 0 {
            return None;
        }
        // Without credit it would not move on the best of carriers.
        match (stream.send.dry, &self.state) {
            (Some(since), _) => Some((StallCause::PeerReader, since.instant(self.origin))),
            (None, State::Recovering { since, .. }) => Some((StallCause::NoCarrier, *since)),
            (None, _) => None,
        }
    }
}

fn state_of(stream: &Stream) -> StreamState {
    let sends = matches!(stream.send.state, SendState::Open | SendState::Finishing);
    let receives = stream.recv.state == RecvState::Open;
    match (stream.opening, sends, receives) {
        (Opening::Asked, ..) => StreamState::Asked,
        (Opening::Waiting, ..) => StreamState::Waiting,
        (Opening::Refused(_), ..) | (Opening::Open, false, false) => StreamState::Ending,
        (Opening::Open, true, true) => StreamState::Open,
        (Opening::Open, true, false) => StreamState::Sending,
        (Opening::Open, false, true) => StreamState::Receiving,
    }
}
