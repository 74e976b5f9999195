//! Turns the bytes of a carrier, however they are cut, into frames.

use bytes::BytesMut;

use crate::id::StreamId;
use crate::wire::buffers::Buffers;
use crate::wire::frame::Frame;
use crate::wire::varint::{self, MAX_SIZE};
use crate::wire::{DecodeError, HEADER, kind};

/// The decoder of one carrier, one way.
///
/// A frame that lies whole in the input is parsed where it lies. Of one that does not, the decoder keeps
/// what has come, in a buffer of the frame's declared length and never more, made after that length was
/// found within the limit of its kind. Either way the bytes of a data frame are copied once.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Where the data of large frames goes.
    buffers: Buffers,
}

/// A frame and what it counts for.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The frame.
    pub frame: Frame,
    /// Its length with its header when its kind is logged, else 0: what the carrier's count grows by.
    pub logged_bytes: u64,
}

impl Decoder {
    /// A decoder at the start of a carrier.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::START, buffers: Buffers::default() }
    }

    /// Takes as much off the front of `input` as the next frame needs.
    ///
    /// `None` when the input ended before the frame; all of it was taken then. Call it until it says so.
    ///
    /// # Errors
    /// [`DecodeError`] as soon as the bytes can be no frame, and ever after.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Decoded>, DecodeError> {
        let result = match self.whole(input) {
            Ok(None) => self.advance(input),
            result => result,
        };
        if let Err(error) = &result {
            self.state = State::Failed(*error);
        }
        result
    }

    /// Whether no part of a frame is held: an end of the connection here cuts none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.state, State::Header { held: 0, .. })
    }

    /// Gives back memory that is only kept for the frames to come, if no large one came since the last call: for a
    /// carrier that falls idle.
    pub fn rest(&mut self) {
        self.buffers.rest();
    }

    /// The usual case: nothing is held and the frame lies whole in the input.
    fn whole(&mut self, input: &mut &[u8]) -> Result<Option<Decoded>, DecodeError> {
        if !self.is_empty() {
            return Ok(None);
        }
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let head = Head::parse(*header)?;
        let Some((payload, rest)) = rest.split_at_checked(head.length) else {
            return Ok(None);
        };
        *input = rest;
        let frame = Frame::parse(head.kind, payload, &mut self.buffers)?;
        Ok(Some(head.decoded(frame)))
    }

    /// Goes through the states until the input ends or a frame is whole.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Decoded>, DecodeError> {
        let (head, frame) = loop {
            match &mut self.state {
                State::Header { bytes, held } => {
                    if !fill(bytes, held, input) {
                        return Ok(None);
                    }
                    self.state = Head::parse(*bytes)?.begin();
                }
                State::Short { head, bytes, held } => {
                    if !fill(&mut bytes[..head.length], held, input) {
                        return Ok(None);
                    }
                    let frame = Frame::parse(head.kind, &bytes[..head.length], &mut self.buffers)?;
                    break (*head, frame);
                }
                State::Long { head, bytes } => {
                    if !append(bytes, head.length, input) {
                        return Ok(None);
                    }
                    let frame = Frame::parse(head.kind, bytes, &mut self.buffers)?;
                    break (*head, frame);
                }
                State::DataStream { head, bytes, held } => {
                    let Some(stream) = data_stream(*head, bytes, held, input)? else {
                        return Ok(None);
                    };
                    let length = head.length - *held;
                    let bytes = self.buffers.take(length);
                    self.state = State::DataPayload { head: *head, stream, bytes, length };
                }
                State::DataPayload { head, stream, bytes, length } => {
                    if !append(bytes, *length, input) {
                        return Ok(None);
                    }
                    let payload = self.buffers.lend(std::mem::take(bytes));
                    let frame = Frame::Data { stream: *stream, payload };
                    break (*head, frame);
                }
                State::Skip { head, left } => {
                    let count = (*left).min(input.len());
                    *input = &input[count..];
                    *left -= count;
                    if *left > 0 {
                        return Ok(None);
                    }
                    break (*head, Frame::Unknown { kind: head.kind });
                }
                State::Failed(error) => return Err(*error),
            }
        };
        self.state = State::START;
        Ok(Some(head.decoded(frame)))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What is held of a frame that has not come whole.
#[derive(Debug)]
enum State {
    /// Part of the header.
    Header { bytes: [u8; HEADER], held: usize },
    /// Part of a payload short enough to need no buffer of its own.
    Short { head: Head, bytes: [u8; SHORT], held: usize },
    /// Part of another payload; the buffer's capacity is the payload's length.
    Long { head: Head, bytes: BytesMut },
    /// Part of the stream id of a data frame.
    DataStream { head: Head, bytes: [u8; MAX_SIZE], held: usize },
    /// Part of the data of a data frame, `length` bytes in all; the buffer becomes the payload.
    DataPayload { head: Head, stream: StreamId, bytes: BytesMut, length: usize },
    /// How much of an unknown frame is still to be skipped; nothing of it is kept.
    Skip { head: Head, left: usize },
    /// The bytes were no frame; nothing after them can be.
    Failed(DecodeError),
}

impl State {
    const START: Self = Self::Header { bytes: [0; HEADER], held: 0 };
}

/// A header within its limits.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    /// length <= kind::limit(kind)
    length: usize,
}

impl Head {
    fn parse([kind, high, middle, low]: [u8; HEADER]) -> Result<Self, DecodeError> {
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if length > kind::limit(kind)? {
            return Err(DecodeError::TooLarge);
        }
        Ok(Self { kind, length })
    }

    /// The state in which the payload is awaited.
    fn begin(self) -> State {
        match self.kind {
            kind::DATA => State::DataStream { head: self, bytes: [0; MAX_SIZE], held: 0 },
            _ if self.length <= SHORT => State::Short { head: self, bytes: [0; SHORT], held: 0 },
            kind::OPEN | kind::CONTROL | kind::REQUEST_CARRIER | kind::HELLO | kind::CLOSE => {
                State::Long { head: self, bytes: BytesMut::with_capacity(self.length) }
            }
            // Only an unknown kind is longer than `SHORT` and none of these.
            _ => State::Skip { head: self, left: self.length },
        }
    }

    fn decoded(self, frame: Frame) -> Decoded {
        let logged_bytes = if kind::is_logged(self.kind) { (HEADER + self.length) as u64 } else { 0 };
        Decoded { frame, logged_bytes }
    }
}

/// Reads the stream id of a data frame; `None` when the input ended before it did.
fn data_stream(
    head: Head,
    bytes: &mut [u8; MAX_SIZE],
    held: &mut usize,
    input: &mut &[u8],
) -> Result<Option<StreamId>, DecodeError> {
    // The first byte says how many there are.
    if head.length == 0 {
        return Err(DecodeError::Malformed);
    }
    if !fill(&mut bytes[..1], held, input) {
        return Ok(None);
    }
    let size = varint::length(bytes[0]);
    // A data frame is never empty.
    if head.length <= size {
        return Err(DecodeError::Malformed);
    }
    if !fill(&mut bytes[..size], held, input) {
        return Ok(None);
    }
    Ok(Some(StreamId(varint::decode(&mut &bytes[..size])?)))
}

/// Fills the rest of `bytes`; says whether they are full.
fn fill(bytes: &mut [u8], held: &mut usize, input: &mut &[u8]) -> bool {
    let Some(rest) = bytes.get_mut(*held..) else {
        return true;
    };
    let count = rest.len().min(input.len());
    let (taken, left) = input.split_at(count);
    rest[..count].copy_from_slice(taken);
    *held += count;
    *input = left;
    *held == bytes.len()
}

/// Appends up to a length of `length`; says whether it is reached.
fn append(bytes: &mut BytesMut, length: usize, input: &mut &[u8]) -> bool {
    let (taken, left) = input.split_at(input.len().min(length - bytes.len()));
    bytes.extend_from_slice(taken);
    *input = left;
    bytes.len() == length
}

/// Two numbers: all that frames of a fixed form hold that come often, so that none of them is allocated for.
const SHORT: usize = 2 * MAX_SIZE;

#[cfg(test)]
mod tests;
