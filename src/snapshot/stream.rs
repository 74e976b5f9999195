//! A stream at one moment, and whose turn it is when nothing moves.

use std::time::Duration;

use crate::event::Destination;
use crate::id::StreamId;

/// A stream at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamView {
    /// Its id on the wire, the same at both ends.
    pub stream: StreamId,
    /// Where it goes.
    pub destination: Destination,
    /// Whether the peer opened it.
    pub by_peer: bool,
    /// How far its life has come.
    pub state: StreamState,
    /// When its open was sent, or came; `None` while it waits to be sent.
    pub opened_micros: Option<u64>,
    /// Data bytes sent.
    pub sent_bytes: u64,
    /// Data bytes received.
    pub received_bytes: u64,
    /// Bytes written here and not sent yet.
    pub queued_bytes: u64,
    /// Bytes received and not read yet.
    pub unread_bytes: u64,
    /// Bytes that the peer lets this end send.
    pub credit_bytes: u64,
    /// Why nothing of what is queued can be sent.
    pub sending: Option<StallView>,
    /// Why nothing of what was received is taken.
    pub receiving: Option<StallView>,
}

/// How far the life of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum StreamState {
    /// Opened here; the peer has not said yet whether it takes it.
    Asked,
    /// Opened by the peer; nobody has accepted it yet.
    Waiting,
    /// Open both ways.
    Open,
    /// The peer has ended its half; this end still sends.
    Sending,
    /// This end has ended its half; the peer still sends.
    Receiving,
    /// Both halves have ended; what is left is to be read, or to be let go of.
    Ending,
}

/// Why a half of a stream moves nothing, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StallView {
    /// Whose turn it is.
    pub cause: StallCause,
    /// Since when.
    pub since_micros: u64,
}

/// Whose turn it is on a stream that moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StallCause {
    /// The session has no carrier.
    NoCarrier,
    /// The application here has not read what came.
    OwnReader,
    /// The peer grants no credit: its application has not read what was sent.
    PeerReader,
}

/// Streams of one session in a status: enough to see a pattern. [`Plane::streams`](crate::Plane::streams) shows more.
pub const MAX_WAITING: usize = 8;

/// How long a stream may move nothing before it counts as stalled. A reader may think for some seconds;
/// skupper-router calls a delivery stuck after the same time.
pub const STALLED: Duration = Duration::from_secs(10);
