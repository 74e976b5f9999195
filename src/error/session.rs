//! How a peer breaks the protocol, and how carriers and sessions end.

use std::io;
use std::time::Duration;

#[cfg(feature = "serde")]
use super::display;
use super::{Fault, TlsReason};
use crate::id::Instance;
use crate::wire::DecodeError;
use crate::wire::code::CloseCode;

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Violation {
    /// It acknowledged what was not sent.
    #[error("peer acknowledged what was not sent")]
    BadAck,
    /// Its hello lacks a part or contradicts the session.
    #[error("peer sent a bad hello")]
    BadHello,
    /// It sent more than its credit.
    #[error("peer exceeded its credit")]
    Credit,
    /// It finished a stream at another length than was received.
    #[error("peer finished a stream at another length than was received")]
    FinalSize,
    /// It sent too many cheap frames for too little work.
    #[error("peer sent too many frames for too little work")]
    Flood,
    /// It serves more routing keys than are taken.
    #[error("peer serves too many routing keys")]
    KeyLimit,
    /// Its bytes are no frame.
    #[error("peer sent bytes that are no frame")]
    Malformed,
    /// It opened more streams than allowed.
    #[error("peer opened too many streams")]
    StreamLimit,
    /// A frame is longer than its kind may be.
    #[error("peer sent a frame beyond its limit")]
    TooLarge,
    /// A frame came where it may not.
    #[error("peer sent a frame where it may not")]
    Unexpected,
    /// A critical frame kind is not known here.
    #[error("peer sent an unknown critical frame")]
    UnknownKind,
}

impl From<DecodeError> for Violation {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::BadHello => Self::BadHello,
            DecodeError::Malformed => Self::Malformed,
            DecodeError::TooLarge => Self::TooLarge,
            DecodeError::UnknownKind => Self::UnknownKind,
        }
    }
}

/// The only place where a violation gets its code.
impl From<Violation> for CloseCode {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::BadAck => Self::BAD_ACK,
            Violation::BadHello => Self::BAD_HELLO,
            Violation::Credit => Self::FLOW_CONTROL,
            Violation::FinalSize => Self::FINAL_SIZE,
            Violation::Flood => Self::FLOOD,
            Violation::KeyLimit => Self::KEY_LIMIT,
            Violation::Malformed => Self::MALFORMED,
            Violation::StreamLimit => Self::STREAM_LIMIT,
            Violation::TooLarge => Self::TOO_LARGE,
            Violation::Unexpected => Self::UNEXPECTED,
            Violation::UnknownKind => Self::UNKNOWN_KIND,
        }
    }
}

/// Why a carrier ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CarrierEnd {
    /// This end closed it.
    #[error("closed here: {0}")]
    Closed(CloseCode),
    /// Nothing was received for that long.
    #[error("no sign of life for {0:?}")]
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
    Dead(Duration),
    /// The TCP connection ended without a close frame.
    #[error("connection ended by the peer")]
    Eof,
    /// The TCP connection failed.
    #[error("connection lost: {0}")]
    Io(#[cfg_attr(feature = "serde", serde(serialize_with = "display"))] io::ErrorKind),
    /// The peer closed it.
    #[error("closed by the peer: {0}")]
    PeerClosed(CloseCode),
    /// Another carrier took its place before its own end was seen.
    #[error("replaced by a newer carrier")]
    Replaced,
    /// TLS failed on it.
    #[error("{0}")]
    Tls(TlsReason),
    /// The peer broke the protocol.
    #[error("{0}")]
    Violation(Violation),
}

/// Why a session ended for good, and every stream with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SessionEnd {
    /// This end closed it.
    #[error("session closed here: {0}")]
    Closed(CloseCode),
    /// The peer does not know the session any more (it restarted, or its resume window ran out).
    #[error("session unknown to the peer")]
    Gone,
    /// The peer closed it.
    #[error("session closed by the peer: {0}")]
    PeerClosed(CloseCode),
    /// Another instance of the router has answered.
    #[error("router restarted: instance {instance} answered")]
    Replaced {
        /// The new one.
        instance: Instance,
    },
    /// No carrier came back within the resume window.
    #[error("no carrier for {0:?}")]
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
    ResumeExpired(Duration),
    /// The peer broke the protocol.
    #[error("{0}")]
    Violation(Violation),
}

impl SessionEnd {
    /// Whose fault it is: of a close, of who closed it, unless another session took its place. A session that the peer does not
    /// know any more was mostly lost in an outage, as one whose resume window ran out here.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Gone | Self::ResumeExpired(_) | Self::Closed(CloseCode::REPLACED) => Fault::Network,
            Self::Closed(_) => Fault::Local,
            Self::PeerClosed(_) | Self::Replaced { .. } | Self::Violation(_) => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_networks_fault_whichever_end_noticed_first() {
        let instance = Instance([1; 16]);
        for (end, fault) in [
            (SessionEnd::Gone, Fault::Network),
            (SessionEnd::ResumeExpired(Duration::from_secs(30)), Fault::Network),
            (SessionEnd::Closed(CloseCode::REPLACED), Fault::Network),
            (SessionEnd::Closed(CloseCode::SHUTDOWN), Fault::Local),
            (SessionEnd::PeerClosed(CloseCode::SHUTDOWN), Fault::Peer),
            (SessionEnd::Replaced { instance }, Fault::Peer),
            (SessionEnd::Violation(Violation::Flood), Fault::Peer),
        ] {
            assert_eq!(end.fault(), fault, "{end}");
        }
    }
}
