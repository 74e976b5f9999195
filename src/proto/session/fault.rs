//! Why a half of a stream ended, in eight bytes: every idle stream has room for two of these.

use crate::error::{SessionEnd, StreamError};
use crate::wire::code::StreamCode;

/// A [`StreamError`] without the end of the session, which the session has once for all its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This end finished, reset or stopped that half itself.
    Closed,
    /// The acceptor refused the stream.
    Refused(StreamCode),
    /// The peer reset its half.
    Reset(StreamCode),
    /// The peer reads no more.
    Stopped(StreamCode),
    /// The session ended for good.
    Lost,
}

impl Fault {
    /// What the application is told, given how the session ended, if it has: before that no stream is lost with it.
    pub(crate) fn error(self, end: Option<&SessionEnd>) -> StreamError {
        match self {
            Self::Closed => StreamError::Closed,
            Self::Refused(code) => StreamError::Refused(code),
            Self::Reset(code) => StreamError::Reset(code),
            Self::Stopped(code) => StreamError::Stopped(code),
            Self::Lost => StreamError::SessionLost(end.cloned().unwrap_or(SessionEnd::Gone)),
        }
    }
}
