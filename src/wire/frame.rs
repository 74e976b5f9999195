//! Frames: what two sitelinks say to each other, and its bytes.
//!
//! A frame is a kind (one byte), the length of its payload (three bytes, big endian) and the payload.
//! Numbers inside payloads are variable-length integers of RFC 9000 §16. The two top bits of a kind say
//! what a receiver that does not know it does:
//!
//! ```text
//!   bit 7   0 critical: a violation             1 ignorable: skip it
//!   bit 6   0 logged: counts for acknowledging  1 not logged
//! ```
//!
//! `docs/protocol.md` is the specification; `frame/tests.rs` and `hello/tests.rs` hold its golden vectors.

use bytes::Bytes;

use crate::id::{CarrierNumber, Cost, RoutingKey, StreamId};
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::hello::Hello;

/// One frame, decoded.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "crate-internal vocabulary: every match must see every kind")]
pub enum Frame {
    /// Opens a stream. The opener may send data up to the initial window at once.
    Open {
        /// The new stream.
        stream: StreamId,
        /// What the stream is for.
        destination: OpenTo,
        /// Free bytes for the acceptor, at most [`MAX_METADATA`](crate::wire::MAX_METADATA).
        metadata: Bytes,
    },
    /// Accepts a stream.
    Accept {
        /// The stream.
        stream: StreamId,
    },
    /// Refuses a stream: ends the acceptor's half and asks the opener to end its own.
    Refuse {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: StreamCode,
    },
    /// Bytes of a stream, never empty.
    Data {
        /// The stream.
        stream: StreamId,
        /// 1..=[`MAX_DATA`](crate::wire::MAX_DATA) bytes.
        payload: Bytes,
    },
    /// Ends the sender's half of a stream in good order.
    Finish {
        /// The stream.
        stream: StreamId,
        /// How many bytes the sender sent on it in all, so that a loss cannot pass for an end.
        total: u64,
    },
    /// Abandons the sender's half of a stream; what is unread at the receiver is discarded.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: StreamCode,
    },
    /// Asks the peer to end its half: nobody reads it any more. Answered by a reset unless that half has ended.
    Stop {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: StreamCode,
    },
    /// Allows the peer to send up to an absolute offset of the stream.
    Credit {
        /// The stream.
        stream: StreamId,
        /// The offset; a lower one than before changes nothing.
        limit: u64,
    },
    /// Asks the peer to do with less credit than it has. Answered by a kept unless its half has ended.
    Shrink {
        /// The stream.
        stream: StreamId,
        /// The offset it is asked to keep to.
        limit: u64,
    },
    /// Answers a shrink: the sender sends no more than this before the next credit.
    Kept {
        /// The stream.
        stream: StreamId,
        /// The offset: what was asked, or what the sender had sent already if that is more.
        limit: u64,
    },
    /// Allows the peer to have opened that many streams in the life of the session.
    MaxStreams {
        /// The count; a lower one than before changes nothing.
        limit: u64,
    },
    /// Takes a session-wide change, applied in order of `sequence` whatever the carrier.
    Control {
        /// 0, 1, 2, … in each direction of the session.
        sequence: u64,
        /// The change.
        change: ControlChange,
    },
    /// Says that the sender holds a carrier dead, and how much of it it had received.
    CarrierDead {
        /// The carrier.
        carrier: CarrierNumber,
        /// Its logged bytes received into the session; nothing after them is processed.
        received: u64,
    },
    /// Says that the sender moves its streams off a carrier, and asks the receiver to do the same.
    Retire {
        /// The carrier: named, since the frame may be sent again on another one.
        carrier: CarrierNumber,
    },
    /// Asks the dialer for a carrier in the place of another, which the acceptor cuts at the deadline.
    RequestCarrier {
        /// The carrier to be replaced.
        carrier: CarrierNumber,
        /// Why.
        code: CloseCode,
        /// Milliseconds from when it comes.
        deadline_millis: u64,
    },
    /// First on every carrier, both ways.
    Hello(Box<Hello>),
    /// Acknowledges all logged bytes of this carrier up to a count.
    Ack {
        /// Logged bytes of this carrier received into the session.
        received: u64,
        /// Microseconds since the newest of them came, so that waiting is not taken for distance.
        delay_micros: u64,
    },
    /// Asks for a pong.
    Ping {
        /// Comes back in the pong.
        token: u64,
    },
    /// Answers a ping.
    Pong {
        /// The ping's.
        token: u64,
    },
    /// Last on a carrier.
    Close {
        /// What is closed.
        scope: CloseScope,
        /// Why.
        code: CloseCode,
        /// Milliseconds after which a dialer may try again; 0 says nothing.
        retry_after_millis: u64,
        /// For people, at most [`MAX_DETAIL`](crate::wire::MAX_DETAIL) bytes.
        detail: String,
    },
    /// A kind this end does not know and may ignore.
    Unknown {
        /// The kind.
        kind: u8,
    },
}

/// Where a stream is to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "crate-internal vocabulary: every match must see every kind")]
pub enum OpenTo {
    /// To whoever serves the routing key at the peer.
    Key(RoutingKey),
    /// To the peer's site itself.
    Site,
}

/// A session-wide change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "crate-internal vocabulary: every match must see every kind")]
pub enum ControlChange {
    /// The sender serves a routing key.
    Serve(RoutingKey),
    /// The sender serves a routing key no more.
    Withdraw(RoutingKey),
    /// The sender's cost of this session.
    Cost(Cost),
    /// The sender takes no new streams.
    Drain,
    /// The sender's end is active (true) or on standby.
    Active(bool),
}

/// What a close frame closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "crate-internal vocabulary: every match must see every kind")]
pub enum CloseScope {
    /// This carrier only; the session goes on on others.
    Carrier,
    /// The session with all its carriers and streams.
    Session,
}

#[cfg(test)]
pub(in crate::wire) mod tests;
