//! One stream: two halves that end independently, and what waits to be said about it.
//!
//! ```text
//!  sending half                                  receiving half
//!    Open ──finish()──▶ Finishing ─FINISH─▶ Ended    Open ──FINISH──▶ Finished
//!     │  ╲                  │                ▲         │
//!     │   ╲─reset()/STOP────┴───▶ RESET ─────┘         ├──RESET, REFUSE──▶ Failed
//!     └─ session lost ▶ Ended                          └──session lost──▶ Failed
//! ```
//!
//! Each half ends on the wire by exactly one FINISH or RESET of its sender (REFUSE counts as the acceptor's). The
//! stream is over when both have ended; its entry lives until the application has let go of it, too.

use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::id::{CarrierNumber, StreamId};
use crate::proto::session::age::Age;
use crate::proto::session::chunks::Chunks;
use crate::proto::session::fault::Fault;
use crate::proto::session::schedule::Turn;
use crate::wire::MIN_WINDOW;
use crate::wire::code::StreamCode;
use crate::wire::frame::OpenTo;

/// One stream of a session.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its id on the wire.
    pub(crate) id: StreamId,
    /// The carrier its frames go out on; `None` until there is one.
    pub(crate) carrier: Option<CarrierNumber>,
    /// Its place in that carrier's schedule.
    pub(crate) turn: Turn,
    /// How far opening has come.
    pub(crate) opening: Opening,
    /// What the open said; kept by the opener until sent and by the acceptor until accepted.
    pub(crate) request: Option<Box<OpenRequest>>,
    /// Where it goes, for those who look.
    pub(crate) to: OpenTo,
    /// When its open was sent, or came; `None` while it waits to be sent.
    pub(crate) since: Option<Age>,
    /// Control frames that wait to be sent.
    pub(crate) pending: Pending,
    /// What this end sends.
    pub(crate) send: SendHalf,
    /// What this end receives.
    pub(crate) recv: RecvHalf,
    /// Whether the peer filled its window to the byte: credit alone held it back.
    pub(crate) filled: bool,
    /// Whether the application holds the stream (or waits for its verdict).
    pub(crate) held: bool,
}

/// What an open says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    /// Where to.
    pub(crate) to: OpenTo,
    /// For the acceptor.
    pub(crate) metadata: Bytes,
}

/// How far opening has come, in order of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Opened here, no verdict yet.
    Asked,
    /// Opened by the peer, not accepted yet.
    Waiting,
    /// Accepted.
    Open,
    /// Refused.
    Refused(StreamCode),
}

/// Control frames of a stream that wait to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// OPEN, before anything else of the stream.
    pub(crate) open: bool,
    /// ACCEPT.
    pub(crate) accept: bool,
    /// REFUSE, with the code that `opening` has.
    pub(crate) refuse: bool,
    /// RESET.
    pub(crate) reset: Option<StreamCode>,
    /// STOP.
    pub(crate) stop: Option<StreamCode>,
    /// CREDIT up to the receiving half's limit.
    pub(crate) credit: bool,
    /// SHRINK of the receiving half to what it needs.
    pub(crate) shrink: bool,
    /// Not a frame that waits, but an answer: SHRINK was sent, or is to be, and KEPT has not come.
    pub(crate) asked: bool,
    /// KEPT, with the sending half's limit.
    pub(crate) kept: bool,
}

impl Pending {
    /// Whether anything waits.
    pub(crate) fn any(&self) -> bool {
        self.open
            || self.accept
            || self.credit
            || self.shrink
            || self.kept
            || self.refuse
            || self.reset.is_some()
            || self.stop.is_some()
    }
}

/// What this end sends on a stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    /// Written and not yet sent.
    pub(crate) queue: Chunks,
    /// Bytes in the queue.
    pub(crate) queued: usize,
    /// Bytes sent. `sent <= limit`
    pub(crate) sent: u64,
    /// The peer's credit.
    pub(crate) limit: u64,
    /// When the last of the credit was used, while there is none.
    pub(crate) dry: Option<Age>,
    /// How far its life has come.
    pub(crate) state: SendState,
    /// Who waits to write, or for the verdict on an open.
    pub(crate) waker: Option<Waker>,
}

/// The life of a sending half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    /// Takes bytes.
    Open,
    /// Takes no more; FINISH goes after what is queued.
    Finishing,
    /// FINISH or RESET was sent (or the half was ended by a refusal); the cause if not in good order.
    Ended(Option<Fault>),
    /// RESET waits to be sent; the cause for the application.
    Resetting(Fault),
}

/// What this end receives on a stream.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    /// Received and not yet read.
    pub(crate) queue: Chunks,
    /// Bytes received. `received <= limit`
    pub(crate) received: u64,
    /// Bytes the application has taken (or that were discarded): those after them are queued. `consumed <= received`
    pub(crate) consumed: u64,
    /// The credit granted. `limit <= consumed + window` while the half is open
    pub(crate) limit: u64,
    /// How far the credit runs ahead of the reader. `window >= MIN_WINDOW`
    pub(crate) window: u64,
    /// The limit that was in force when this window's worth began: a sender held back by credit stops here.
    pub(crate) edge: u64,
    /// When the edge was set; before the first, and after credit was taken back, it is the open that counts.
    pub(crate) turned: Option<Age>,
    /// Its place among the grown windows; 0 if it has none.
    pub(crate) place: u64,
    /// Since when the reader has taken nothing of what is queued; meaningless while nothing is.
    pub(crate) unread: Option<Age>,
    /// How far its life has come.
    pub(crate) state: RecvState,
    /// Who waits to read.
    pub(crate) waker: Option<Waker>,
}

/// The life of a receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecvState {
    /// More may come.
    Open,
    /// The peer finished: end of file after what is queued.
    Finished,
    /// The peer reset or refused, or the session was lost; or this end stopped reading.
    Failed(Fault),
    /// This end stopped reading; what comes is discarded until the peer ends its half.
    Stopped,
}

impl Stream {
    /// A stream that this end (`Asked`) or the peer (`Waiting`) opens.
    pub(crate) fn new(id: StreamId, opening: Opening, send_limit: u64) -> Self {
        Self {
            id,
            carrier: None,
            turn: Turn::default(),
            opening,
            request: None,
            to: OpenTo::Site,
            since: None,
            pending: Pending::default(),
            send: SendHalf {
                queue: Chunks::new(),
                queued: 0,
                sent: 0,
                limit: send_limit,
                dry: None,
                state: SendState::Open,
                waker: None,
            },
            recv: RecvHalf {
                queue: Chunks::new(),
                received: 0,
                consumed: 0,
                limit: MIN_WINDOW,
                window: MIN_WINDOW,
                edge: MIN_WINDOW,
                turned: None,
                place: 0,
                unread: None,
                state: RecvState::Open,
                waker: None,
            },
            filled: false,
            held: false,
        }
    }

    /// Whether data or FINISH could be sent now.
    pub(crate) fn wants_data(&self) -> bool {
        match self.send.state {
            SendState::Open => self.send.queued > 0 && self.send.sent < self.send.limit,
            SendState::Finishing => self.send.queued == 0 || self.send.sent < self.send.limit,
            SendState::Ended(_) | SendState::Resetting(_) => false,
        }
    }

    /// Whether both halves have ended on the wire. One that waits to be accepted is not over, however it ended: what
    /// came of it may be read, and its opener waits for the verdict.
    pub(crate) fn is_over(&self) -> bool {
        self.opening != Opening::Waiting
            && matches!(self.send.state, SendState::Ended(_))
            && !self.pending.any_but_credit()
            && matches!(self.recv.state, RecvState::Finished | RecvState::Failed(_))
    }

    /// Gives up the sending half: queued bytes are dropped and RESET is sent, unless the half has ended.
    pub(crate) fn abandon_sending(&mut self, code: StreamCode, cause: Fault) {
        if matches!(self.send.state, SendState::Open | SendState::Finishing) {
            self.send.clear();
            self.send.state = SendState::Resetting(cause);
            self.pending.reset = Some(code);
        }
    }

    /// Whether a control frame can go now. A reset waits for the verdict, which may end the half in its place.
    pub(crate) fn has_control(&self) -> bool {
        let mut pending = self.pending;
        pending.reset = pending.reset.filter(|_| self.opening != Opening::Waiting);
        pending.any()
    }

    /// Stops reading: queued bytes are dropped and STOP is sent, unless the peer has ended its half.
    pub(crate) fn stop_receiving(&mut self, code: StreamCode) {
        if self.recv.state == RecvState::Open {
            self.recv.discard();
            self.recv.state = RecvState::Stopped;
            self.pending.stop = Some(code);
            self.pending.credit = false;
        }
    }
}

impl Pending {
    fn any_but_credit(&self) -> bool {
        Self { credit: false, ..*self }.any()
    }
}

impl SendHalf {
    /// Drops what is queued.
    pub(crate) fn clear(&mut self) {
        self.queue = Chunks::new();
        self.queued = 0;
    }

    /// Queues written bytes. Small writes are joined: each would otherwise become a frame of its own.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        push_joined(&mut self.queue, bytes);
    }

    /// Takes up to `max` bytes off the queue for one frame, within the credit.
    pub(crate) fn take(&mut self, max: usize) -> Option<Bytes> {
        let credit = usize::try_from(self.limit - self.sent).unwrap_or(usize::MAX);
        let front = self.queue.front_mut()?;
        let len = front.len().min(max).min(credit);
        if len == 0 {
            return None;
        }
        let payload = if len == front.len() { self.queue.pop_front()? } else { front.split_to(len) };
        self.queued -= len;
        self.sent += len as u64;
        Some(payload)
    }

    /// Why nothing can be written any more, if so.
    pub(crate) fn failure(&self) -> Option<Fault> {
        match self.state {
            SendState::Open => None,
            SendState::Finishing | SendState::Ended(None) => Some(Fault::Closed),
            SendState::Ended(Some(fault)) | SendState::Resetting(fault) => Some(fault),
        }
    }
}

impl RecvHalf {
    /// Queues received bytes. Small ones are joined to the last chunk, so that a peer's tiny frames cannot make
    /// the queue weigh many times what it holds; that copies at most [`JOINED`] bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.received += bytes.len() as u64;
        push_joined(&mut self.queue, bytes);
    }

    /// Takes the next chunk for the application.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.queue.pop_front()?;
        self.consumed += chunk.len() as u64;
        Some(chunk)
    }

    /// Drops what is queued, as if it had been read.
    pub(crate) fn discard(&mut self) {
        self.consumed = self.received;
        self.queue = Chunks::new();
    }

    /// Bytes in the queue.
    pub(crate) fn queued(&self) -> u64 {
        self.received - self.consumed
    }
}

/// Queues a chunk, or joins it to the last one if both are small.
fn push_joined(queue: &mut Chunks, bytes: Bytes) {
    if bytes.len() <= TINY
        && let Some(last) = queue.back_mut()
        && last.len() + bytes.len() <= JOINED
    {
        let mut joined = BytesMut::with_capacity(last.len() + bytes.len());
        joined.extend_from_slice(last);
        joined.extend_from_slice(&bytes);
        *last = joined.freeze();
        return;
    }
    queue.push_back(bytes);
}

/// Frames and writes up to this size are joined to what is queued before them.
const TINY: usize = 256;

/// Up to this size of the joined chunk: a chunk costs about 100 bytes of bookkeeping, under a tenth of this.
const JOINED: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(StreamId(0), Opening::Open, 100)
    }

    #[test]
    fn a_frame_never_exceeds_the_credit() {
        let mut stream = stream();
        stream.send.push(Bytes::from(vec![1; 150]));
        assert_eq!(stream.send.take(1000).map(|bytes| bytes.len()), Some(100));
        assert_eq!(stream.send.take(1000), None);
        assert!(!stream.wants_data());
        stream.send.limit = 120;
        assert!(stream.wants_data());
        assert_eq!(stream.send.take(1000).map(|bytes| bytes.len()), Some(20));
    }

    #[test]
    fn a_finish_waits_for_what_is_queued() {
        let mut stream = stream();
        stream.send.push(Bytes::from(vec![1; 150]));
        stream.send.state = SendState::Finishing;
        stream.send.take(1000);
        assert!(!stream.wants_data(), "no credit: the finish must wait behind the data");
        stream.send.limit = 200;
        stream.send.take(1000);
        assert!(stream.wants_data());
    }

    #[test]
    fn tiny_frames_do_not_weigh_more_than_they_hold() {
        let mut stream = stream();
        (0..10_000).for_each(|_| stream.recv.push(Bytes::from_static(b"x")));
        assert_eq!(stream.recv.queued(), 10_000);
        assert!(stream.recv.queue.iter().count() <= 10_000 / JOINED + 1);
        (0..10_000).for_each(|_| stream.send.push(Bytes::from_static(b"x")));
        assert!(stream.send.queue.iter().count() <= 10_000 / JOINED + 1);
    }

    #[test]
    fn an_idle_stream_weighs_little() {
        // Beside it each end has 28 bytes in the table of ids, and a handle with what it shares: 136.
        assert!(size_of::<Stream>() <= 312, "{} bytes", size_of::<Stream>());
    }

    #[test]
    fn an_ended_half_is_not_abandoned_again() {
        let mut stream = stream();
        stream.send.state = SendState::Ended(None);
        stream.abandon_sending(StreamCode::CANCELLED, Fault::Closed);
        assert_eq!(stream.pending.reset, None);
    }
}
