//! Frames and their bytes: the codec and its limits. No I/O, no clock.

pub mod code;
pub mod frame;
pub mod hello;

/// The application protocol of the TLS handshake: it names the framing; features are the hello's.
pub const ALPN: &[u8] = b"sitelink/1";

/// The window every stream is guaranteed, in bytes: one full TLS record (RFC 8446 §5.1).
pub const MIN_WINDOW: u64 = 16_384;

/// Kind and length of a frame.
pub const HEADER: usize = 4;

/// The longest payload of any frame, in bytes: a data frame with its header fills one TLS record.
pub const MAX_PAYLOAD: usize = 16_384 - HEADER;

/// The longest metadata of an open, in bytes.
pub const MAX_METADATA: usize = 4096;

/// The longest text of a close, in bytes.
pub const MAX_DETAIL: usize = 120;
