//! Frames and their bytes: the codec and its limits. No I/O, no clock.

mod buffers;
pub mod code;
pub mod decoder;
pub mod encode;
#[cfg(any(test, feature = "__entries"))]
#[doc(hidden)]
pub mod entries;
pub mod frame;
pub mod hello;
pub mod kind;
mod parse;
mod reader;
pub mod varint;

/// Bytes that are no frame. Each ends the carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "each must get a violation, and so a close code")]
pub enum DecodeError {
    /// A hello that cannot be read, or lacks a part.
    #[error("bad hello")]
    BadHello,
    /// A payload that is not what its kind holds.
    #[error("malformed frame")]
    Malformed,
    /// A payload longer than its kind may have.
    #[error("frame beyond its limit")]
    TooLarge,
    /// A kind that is neither known nor ignorable.
    #[error("unknown critical frame kind")]
    UnknownKind,
}

/// The application protocol of the TLS handshake: it names the framing; features are the hello's.
pub const ALPN: &[u8] = b"sitelink/1";

/// The window every stream is guaranteed, in bytes: one full TLS record (RFC 8446 §5.1).
pub const MIN_WINDOW: u64 = 16_384;

/// Kind and length of a frame.
pub const HEADER: usize = 4;

/// The longest payload of any frame, in bytes: a data frame with its header fills one TLS record.
pub const MAX_PAYLOAD: usize = 16_384 - HEADER;

/// The longest data of any data frame, in bytes: one whose stream id takes one byte.
///
/// What fits beside a given stream id says [`max_data`](encode::max_data).
pub const MAX_DATA: usize = MAX_PAYLOAD - 1;

/// The longest metadata of an open, in bytes.
pub const MAX_METADATA: usize = 4096;

/// The longest text of a close, in bytes.
pub const MAX_DETAIL: usize = 120;
