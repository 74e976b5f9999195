//! Writes frames.
//!
//! What is written is the caller's own, so nothing here fails: limits are held by who makes a frame, and
//! broken ones are found by the debug assertions.

use bytes::{BufMut, BytesMut};

use crate::id::StreamId;
use crate::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};
use crate::wire::{HEADER, MAX_DETAIL, MAX_PAYLOAD, kind, varint};

impl Frame {
    /// Appends the whole frame, header and payload.
    ///
    /// A data frame copies its payload; where that matters, write [`data_header`] and the payload apart.
    /// A detail longer than [`MAX_DETAIL`] is cut.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(self.kind());
        out.put_bytes(0, HEADER - 1);
        self.encode_payload(out);
        let length = out.len() - start - HEADER;
        debug_assert!(
            kind::limit(self.kind()).is_ok_and(|limit| length <= limit),
            "a {length} byte payload of {self:?}"
        );
        out[start + 1..start + HEADER].copy_from_slice(&length24(length));
    }

    /// The frame's kind on the wire.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => kind::OPEN,
            Self::Accept { .. } => kind::ACCEPT,
            Self::Refuse { .. } => kind::REFUSE,
            Self::Data { .. } => kind::DATA,
            Self::Finish { .. } => kind::FINISH,
            Self::Reset { .. } => kind::RESET,
            Self::Stop { .. } => kind::STOP,
            Self::Credit { .. } => kind::CREDIT,
            Self::Shrink { .. } => kind::SHRINK,
            Self::Kept { .. } => kind::KEPT,
            Self::MaxStreams { .. } => kind::MAX_STREAMS,
            Self::Control { .. } => kind::CONTROL,
            Self::CarrierDead { .. } => kind::CARRIER_DEAD,
            Self::Retire { .. } => kind::RETIRE,
            Self::RequestCarrier { .. } => kind::REQUEST_CARRIER,
            Self::Hello(_) => kind::HELLO,
            Self::Ack { .. } => kind::ACK,
            Self::Ping { .. } => kind::PING,
            Self::Pong { .. } => kind::PONG,
            Self::Close { .. } => kind::CLOSE,
            Self::Unknown { kind } => *kind,
        }
    }

    fn encode_payload(&self, out: &mut BytesMut) {
        match self {
            Self::Open { stream, destination, metadata } => {
                varint::encode(stream.0, out);
                destination.encode(out);
                out.put_slice(metadata);
            }
            Self::Accept { stream } => varint::encode(stream.0, out),
            Self::Refuse { stream, code } | Self::Reset { stream, code } | Self::Stop { stream, code } => {
                pair(stream.0, code.0.into(), out);
            }
            Self::Data { stream, payload } => {
                debug_assert!(!payload.is_empty(), "a data frame without data on stream {stream}");
                varint::encode(stream.0, out);
                out.put_slice(payload);
            }
            Self::Finish { stream, total } => pair(stream.0, *total, out),
            Self::Credit { stream, limit }
            | Self::Shrink { stream, limit }
            | Self::Kept { stream, limit } => {
                pair(stream.0, *limit, out);
            }
            Self::MaxStreams { limit } => varint::encode(*limit, out),
            Self::Control { sequence, change } => {
                varint::encode(*sequence, out);
                change.encode(out);
            }
            Self::CarrierDead { carrier, received } => pair(carrier.0.into(), *received, out),
            Self::Retire { carrier } => varint::encode(carrier.0.into(), out),
            Self::RequestCarrier { carrier, code, deadline_millis } => {
                pair(carrier.0.into(), code.0.into(), out);
                varint::encode(*deadline_millis, out);
            }
            Self::Hello(hello) => hello.encode(out),
            Self::Ack { received, delay_micros } => pair(*received, *delay_micros, out),
            Self::Ping { token } | Self::Pong { token } => varint::encode(*token, out),
            Self::Close { scope, code, retry_after_millis, detail } => {
                out.put_u8(match scope {
                    CloseScope::Carrier => CLOSE_CARRIER,
                    CloseScope::Session => CLOSE_SESSION,
                });
                pair(code.0.into(), *retry_after_millis, out);
                out.put_slice(cut(detail, MAX_DETAIL).as_bytes());
            }
            Self::Unknown { .. } => {}
        }
    }
}

impl OpenTo {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Key(key) => {
                out.put_u8(OPEN_TO_KEY);
                // A text id is at most 255 bytes long.
                out.put_u8(u8::try_from(key.as_str().len()).unwrap_or(u8::MAX));
                out.put_slice(key.as_str().as_bytes());
            }
            Self::Site => out.put_u8(OPEN_TO_SITE),
        }
    }
}

impl ControlChange {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Serve(key) => {
                out.put_u8(CONTROL_SERVE);
                out.put_slice(key.as_str().as_bytes());
            }
            Self::Withdraw(key) => {
                out.put_u8(CONTROL_WITHDRAW);
                out.put_slice(key.as_str().as_bytes());
            }
            Self::Cost(cost) => {
                out.put_u8(CONTROL_COST);
                varint::encode(cost.get().into(), out);
            }
            Self::Drain => out.put_u8(CONTROL_DRAIN),
            Self::Active(active) => {
                out.put_u8(CONTROL_ACTIVE);
                out.put_u8((*active).into());
            }
        }
    }
}

/// The bytes of a data frame before its payload, which follows uncopied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER + varint::MAX_SIZE],
    /// 1 <= stream_size <= varint::MAX_SIZE
    stream_size: usize,
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..HEADER + self.stream_size]
    }
}

/// The bytes that go before a data payload of that length: 1..=[`max_data`].
#[must_use]
pub fn data_header(stream: StreamId, payload_len: usize) -> Header {
    debug_assert!((1..=max_data(stream)).contains(&payload_len), "{payload_len} bytes of data in a frame");
    let mut bytes = [0; HEADER + varint::MAX_SIZE];
    bytes[0] = kind::DATA;
    bytes[1..HEADER].copy_from_slice(&length24(varint::size(stream.0) + payload_len));
    varint::encode(stream.0, &mut &mut bytes[HEADER..]);
    Header { bytes, stream_size: varint::size(stream.0) }
}

/// How many bytes a data frame takes beside its payload: 5, 6, 8 or 12.
#[must_use]
pub fn data_overhead(stream: StreamId) -> usize {
    HEADER + varint::size(stream.0)
}

/// The longest data payload with which the whole frame still fits one TLS record of 16,384 bytes.
#[must_use]
pub fn max_data(stream: StreamId) -> usize {
    MAX_PAYLOAD - varint::size(stream.0)
}

fn pair(first: u64, second: u64, out: &mut BytesMut) {
    varint::encode(first, out);
    varint::encode(second, out);
}

/// The longest start of a text that has at most that many bytes and ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The low 24 bits, big endian; no payload is longer than 14.
fn length24(length: usize) -> [u8; 3] {
    let [.., high, middle, low] = length.to_be_bytes();
    [high, middle, low]
}

pub(super) const OPEN_TO_KEY: u8 = 0;
pub(super) const OPEN_TO_SITE: u8 = 1;

pub(super) const CONTROL_SERVE: u8 = 0;
pub(super) const CONTROL_WITHDRAW: u8 = 1;
pub(super) const CONTROL_COST: u8 = 2;
pub(super) const CONTROL_DRAIN: u8 = 3;
pub(super) const CONTROL_ACTIVE: u8 = 4;

pub(super) const CLOSE_CARRIER: u8 = 0;
pub(super) const CLOSE_SESSION: u8 = 1;
