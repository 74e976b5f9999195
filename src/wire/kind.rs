//! Kinds of frames: their numbers, what their bits mean, and how long each may be.

use crate::id::MAX_TEXT_ID;
use crate::wire::varint::MAX_SIZE;
use crate::wire::{DecodeError, MAX_DETAIL, MAX_METADATA, MAX_PAYLOAD};

/// Opens a stream.
pub const OPEN: u8 = 0x01;
/// Accepts a stream.
pub const ACCEPT: u8 = 0x02;
/// Refuses a stream.
pub const REFUSE: u8 = 0x03;
/// Bytes of a stream.
pub const DATA: u8 = 0x04;
/// Ends a half in good order.
pub const FINISH: u8 = 0x05;
/// Abandons a half.
pub const RESET: u8 = 0x06;
/// Asks the peer to end its half.
pub const STOP: u8 = 0x07;
/// Allows more bytes on a stream.
pub const CREDIT: u8 = 0x08;
/// Allows more streams.
pub const MAX_STREAMS: u8 = 0x09;
/// A session-wide change.
pub const CONTROL: u8 = 0x0a;
/// A carrier is held dead.
pub const CARRIER_DEAD: u8 = 0x0b;
/// Asks the peer to do with less credit.
pub const SHRINK: u8 = 0x0c;
/// Answers a shrink.
pub const KEPT: u8 = 0x0d;
/// A carrier is to be left in good order.
pub const RETIRE: u8 = 0x0e;
/// Asks the dialer for a carrier in the place of another.
pub const REQUEST_CARRIER: u8 = 0x0f;
/// First on a carrier.
pub const HELLO: u8 = 0x40;
/// Acknowledges logged bytes.
pub const ACK: u8 = 0x41;
/// Asks for a pong.
pub const PING: u8 = 0x42;
/// Answers a ping.
pub const PONG: u8 = 0x43;
/// Last on a carrier.
pub const CLOSE: u8 = 0x44;

/// Whether frames of that kind are logged by their sender and count for acknowledging.
///
/// Holds for kinds not known here too, so that both ends count the same bytes.
#[must_use]
pub fn is_logged(kind: u8) -> bool {
    kind & NOT_LOGGED == 0
}

/// Whether a receiver that does not know that kind skips it.
#[must_use]
pub fn is_ignorable(kind: u8) -> bool {
    kind & IGNORABLE != 0
}

/// The longest payload of that kind in bytes.
///
/// # Errors
/// [`DecodeError::UnknownKind`] when the kind is neither known nor ignorable.
pub fn limit(kind: u8) -> Result<usize, DecodeError> {
    Ok(match kind {
        DATA => MAX_PAYLOAD,
        OPEN => MAX_SIZE + 2 + MAX_TEXT_ID + MAX_METADATA,
        ACCEPT | MAX_STREAMS | RETIRE | PING | PONG => MAX_SIZE,
        REFUSE | FINISH | RESET | STOP | CREDIT | SHRINK | KEPT | CARRIER_DEAD | ACK => 2 * MAX_SIZE,
        REQUEST_CARRIER => 3 * MAX_SIZE,
        CONTROL => MAX_SIZE + 1 + MAX_TEXT_ID,
        HELLO => MAX_HELLO,
        CLOSE => 1 + 2 * MAX_SIZE + MAX_DETAIL,
        _ if is_ignorable(kind) => MAX_PAYLOAD,
        _ => return Err(DecodeError::UnknownKind),
    })
}

/// The longest hello in bytes. The longest of this version takes 2.5 KB: five texts of 255, 64 dead
/// carriers of 16, and the rest; what is above is room for fields to come.
pub const MAX_HELLO: usize = 4096;

const IGNORABLE: u8 = 0x80;
const NOT_LOGGED: u8 = 0x40;
