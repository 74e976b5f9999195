//! Reads the payload of a whole frame. Everything in it is checked.

use bytes::Bytes;

use crate::id::{CarrierNumber, Cost, StreamId};
use crate::wire::buffers::Buffers;
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::encode::{
    CLOSE_CARRIER, CLOSE_SESSION, CONTROL_ACTIVE, CONTROL_COST, CONTROL_DRAIN, CONTROL_SERVE,
    CONTROL_WITHDRAW, OPEN_TO_KEY, OPEN_TO_SITE,
};
use crate::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};
use crate::wire::hello::Hello;
use crate::wire::reader::{Reader, text};
use crate::wire::{DecodeError, MAX_DETAIL, MAX_METADATA, kind};

impl Frame {
    /// Reads a payload whose length was found within [`kind::limit`].
    ///
    /// A stream id needs no check: what a variable-length integer holds is a stream id.
    /// Large data goes into one of `buffers`.
    pub(super) fn parse(kind: u8, payload: &[u8], buffers: &mut Buffers) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let frame = match kind {
            kind::DATA => data(&mut reader, buffers)?,
            kind::OPEN => open(&mut reader)?,
            kind::ACCEPT => Self::Accept { stream: stream(&mut reader)? },
            kind::REFUSE => Self::Refuse { stream: stream(&mut reader)?, code: stream_code(&mut reader)? },
            kind::FINISH => Self::Finish { stream: stream(&mut reader)?, total: reader.number()? },
            kind::RESET => Self::Reset { stream: stream(&mut reader)?, code: stream_code(&mut reader)? },
            kind::STOP => Self::Stop { stream: stream(&mut reader)?, code: stream_code(&mut reader)? },
            kind::CREDIT => Self::Credit { stream: stream(&mut reader)?, limit: reader.number()? },
            kind::SHRINK => Self::Shrink { stream: stream(&mut reader)?, limit: reader.number()? },
            kind::KEPT => Self::Kept { stream: stream(&mut reader)?, limit: reader.number()? },
            kind::MAX_STREAMS => Self::MaxStreams { limit: reader.number()? },
            kind::CONTROL => Self::Control { sequence: reader.number()?, change: change(&mut reader)? },
            kind::CARRIER_DEAD => {
                Self::CarrierDead { carrier: CarrierNumber(reader.number32()?), received: reader.number()? }
            }
            kind::RETIRE => Self::Retire { carrier: CarrierNumber(reader.number32()?) },
            kind::REQUEST_CARRIER => Self::RequestCarrier {
                carrier: CarrierNumber(reader.number32()?),
                code: CloseCode(reader.number32()?),
                deadline_millis: reader.number()?,
            },
            kind::HELLO => Self::Hello(Box::new(Hello::decode(reader.remainder())?)),
            kind::ACK => Self::Ack { received: reader.number()?, delay_micros: reader.number()? },
            kind::PING => Self::Ping { token: reader.number()? },
            kind::PONG => Self::Pong { token: reader.number()? },
            kind::CLOSE => close(&mut reader)?,
            _ if kind::is_ignorable(kind) => {
                reader.remainder();
                Self::Unknown { kind }
            }
            _ => return Err(DecodeError::UnknownKind),
        };
        reader.end()?;
        Ok(frame)
    }
}

fn stream(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    reader.number().map(StreamId)
}

fn stream_code(reader: &mut Reader<'_>) -> Result<StreamCode, DecodeError> {
    reader.number32().map(StreamCode)
}

fn data(reader: &mut Reader<'_>, buffers: &mut Buffers) -> Result<Frame, DecodeError> {
    let stream = stream(reader)?;
    match reader.remainder() {
        [] => Err(DecodeError::Malformed),
        payload => Ok(Frame::Data { stream, payload: buffers.copy(payload) }),
    }
}

fn open(reader: &mut Reader<'_>) -> Result<Frame, DecodeError> {
    let stream = stream(reader)?;
    let destination = match reader.byte()? {
        OPEN_TO_KEY => {
            let length = reader.byte()?;
            OpenTo::Key(text(reader.bytes(length.into())?)?)
        }
        OPEN_TO_SITE => OpenTo::Site,
        _ => return Err(DecodeError::Malformed),
    };
    let metadata = reader.remainder();
    if metadata.len() > MAX_METADATA {
        return Err(DecodeError::TooLarge);
    }
    Ok(Frame::Open { stream, destination, metadata: Bytes::copy_from_slice(metadata) })
}

fn change(reader: &mut Reader<'_>) -> Result<ControlChange, DecodeError> {
    Ok(match reader.byte()? {
        CONTROL_SERVE => ControlChange::Serve(text(reader.remainder())?),
        CONTROL_WITHDRAW => ControlChange::Withdraw(text(reader.remainder())?),
        CONTROL_COST => {
            ControlChange::Cost(Cost::new(reader.number32()?).map_err(|_| DecodeError::Malformed)?)
        }
        CONTROL_DRAIN => ControlChange::Drain,
        CONTROL_ACTIVE => ControlChange::Active(match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed),
        }),
        _ => return Err(DecodeError::Malformed),
    })
}

fn close(reader: &mut Reader<'_>) -> Result<Frame, DecodeError> {
    let scope = match reader.byte()? {
        CLOSE_CARRIER => CloseScope::Carrier,
        CLOSE_SESSION => CloseScope::Session,
        _ => return Err(DecodeError::Malformed),
    };
    let code = CloseCode(reader.number32()?);
    let retry_after_millis = reader.number()?;
    let detail = reader.remainder();
    if detail.len() > MAX_DETAIL {
        return Err(DecodeError::TooLarge);
    }
    Ok(Frame::Close { scope, code, retry_after_millis, detail: printable(detail) })
}

/// The text of a peer, fit for a log line: what is no character or a control character becomes `?`.
///
/// Never an error, because a close is worth more than its text; and never longer than it came.
fn printable(bytes: &[u8]) -> String {
    let unfit = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    String::from_utf8_lossy(bytes).chars().map(|c| if unfit(c) { '?' } else { c }).collect()
}
