//! What can fail, and whose fault it is.
//!
//! One type for each verb that can fail. Each is `Clone`, because one cause is handed to many: to every
//! stream of a session, to an event and to a status. Text of a peer is bounded before it gets here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::wire::DecodeError;
use crate::id::{GroupName, Instance, SiteId};
use crate::wire::code::{CloseCode, StreamCode};

/// Whose fault an error is, which is what a router's policy branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "three places where a fault can lie")]
pub enum Fault {
    /// This end: a setting, a document, a credential. Retrying alone does not help.
    Local,
    /// Between the ends. Retrying may help.
    Network,
    /// The other end.
    Peer,
}

/// A phase of dialing or accepting a carrier, each with a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Phase {
    /// Looking up the host name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The hellos.
    Hello,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Hello => "hello",
        })
    }
}

/// Why a carrier could not be dialed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DialError {
    /// The peer closed or refused the carrier instead of greeting it.
    #[error("refused by the peer: {code}{}", Detail(.detail))]
    Closed {
        /// Why.
        code: CloseCode,
        /// The peer's words.
        detail: Arc<str>,
        /// When the peer wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No TCP connection to an address.
    #[error("no connection to {address}: {kind}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// The router reached is linked already, by another group of the same link.
    #[error("reached the router that group {:?} is linked to", .of.as_str())]
    Duplicate {
        /// The other group.
        of: GroupName,
    },
    /// This end has no usable credentials or settings for the link.
    #[error("{0}")]
    Local(Arc<str>),
    /// The carrier reached another instance than the session's.
    #[error("reached instance {found}, but the session is with {expected}")]
    OtherInstance {
        /// The session's.
        expected: Instance,
        /// The one that answered.
        found: Instance,
    },
    /// The connection was lost in a phase.
    #[error("connection lost in the {phase} phase: {kind}")]
    Lost {
        /// The phase.
        phase: Phase,
        /// What the system said.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// The host name has no address.
    #[error("host {host:?} not found: {kind}")]
    Resolve {
        /// The host.
        host: Arc<str>,
        /// What the resolver said.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// A phase did not end in time.
    #[error("no end of the {phase} phase within {after:?}")]
    TimedOut {
        /// The phase.
        phase: Phase,
        /// Its deadline.
        after: Duration,
    },
    /// TLS was refused by either end.
    #[error("{0}")]
    Tls(TlsReason),
    /// The peer does not speak the protocol.
    #[error("{0}")]
    Violation(Violation),
}

impl DialError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::Resolve { .. } | Self::TimedOut { .. } => {
                Fault::Network
            }
            Self::Duplicate { .. } | Self::Local(_) => Fault::Local,
            Self::Closed { .. } | Self::OtherInstance { .. } | Self::Violation(_) => Fault::Peer,
            Self::Tls(reason) => reason.fault(),
        }
    }

    /// The phase in which dialing ended.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Connect { .. } => Phase::Connect,
            Self::Lost { phase, .. } | Self::TimedOut { phase, .. } => *phase,
            Self::Resolve { .. } | Self::Local(_) => Phase::Resolve,
            Self::Tls(_) => Phase::Tls,
            Self::Closed { .. }
            | Self::Duplicate { .. }
            | Self::OtherInstance { .. }
            | Self::Violation(_) => Phase::Hello,
        }
    }
}

/// Why TLS did not come about: what was expected and what was found.
///
/// The same type serves both ends. "Peer" is the other end as seen by the one that reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TlsReason {
    /// The peer refused our certificate (an alert in the handshake or in place of its hello).
    #[error("own certificate refused by the peer: {alert}")]
    CertificateRefused {
        /// The alert, in the words of RFC 8446.
        alert: Arc<str>,
    },
    /// The peer's certificate has expired.
    #[error("peer certificate expired at {not_after} (unix seconds), now {now}")]
    Expired {
        /// End of its validity, Unix seconds.
        not_after: i64,
        /// This end's clock, Unix seconds.
        now: i64,
    },
    /// The peer sent an alert that says nothing of certificates.
    #[error("peer sent alert {alert}")]
    Alert {
        /// The alert, in the words of RFC 8446.
        alert: Arc<str>,
    },
    /// The peer's certificate cannot be used as what it was shown for, or cannot be read.
    #[error("peer certificate unusable: {problem}")]
    BadCertificate {
        /// What is wrong.
        problem: Arc<str>,
    },
    /// The peer does not speak `sitelink/1`.
    #[error("peer does not speak {expected} (ALPN)")]
    NoCommonProtocol {
        /// Our ALPN.
        expected: Arc<str>,
    },
    /// The peer showed no certificate where one is required.
    #[error("peer showed no certificate")]
    NoPeerCertificate,
    /// What came is not TLS.
    #[error("peer does not speak TLS")]
    NotTls,
    /// The peer's certificate is not valid yet.
    #[error("peer certificate not valid before {not_before} (unix seconds), now {now}")]
    NotYetValid {
        /// Begin of its validity, Unix seconds.
        not_before: i64,
        /// This end's clock, Unix seconds.
        now: i64,
    },
    /// Anything else of the handshake.
    #[error("TLS handshake failed: {problem}")]
    Other {
        /// What is wrong.
        problem: Arc<str>,
    },
    /// The peer's certificate was not issued by the bundle's `ca.crt`.
    #[error("peer certificate of {subject} was issued by {issuer}, which ca.crt does not hold")]
    UnknownIssuer {
        /// Whom the leaf names.
        subject: Arc<str>,
        /// Who issued it.
        issuer: Arc<str>,
    },
    /// The peer offers no TLS 1.3.
    #[error("peer does not offer TLS 1.3")]
    Version,
    /// The peer's certificate names other hosts.
    #[error("peer certificate is for {}, expected {expected}", List(.found))]
    WrongName {
        /// The endpoint's host.
        expected: Arc<str>,
        /// The subject alternative names found; empty for a certificate with a common name alone.
        found: Vec<Arc<str>>,
    },
}

impl TlsReason {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::CertificateRefused { .. } => Fault::Local,
            _ => Fault::Peer,
        }
    }
}

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
    ResumeExpired(Duration),
    /// The peer broke the protocol.
    #[error("{0}")]
    Violation(Violation),
}

/// Why a stream could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// More metadata or initial data than may travel with an open.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// Metadata or initial data.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// No live session leads there.
    #[error("no path")]
    NoPath,
    /// The session ended before a verdict: the peer may or may not have got the stream.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(SessionEnd),
    /// Every candidate refused; the last one's code.
    #[error("refused: {0}")]
    Refused(StreamCode),
    /// The plane shuts down.
    #[error("plane is shut down")]
    ShutDown,
    /// The chosen session has as many streams as its peer allows.
    #[error("peer takes no more streams")]
    StreamLimit,
}

impl OpenError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLong { .. } | Self::ShutDown => Fault::Local,
            Self::NoPath | Self::OutcomeUnknown(_) => Fault::Network,
            Self::Refused(_) | Self::StreamLimit => Fault::Peer,
        }
    }
}

/// Why reading or writing a stream failed.
///
/// `AsyncRead` and `AsyncWrite` wrap it in an [`io::Error`]:
/// `error.get_ref().and_then(|e| e.downcast_ref::<StreamError>())` gets it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// This end finished, reset or stopped that half itself.
    #[error("half closed here")]
    Closed,
    /// The peer refused the stream.
    #[error("refused: {0}")]
    Refused(StreamCode),
    /// The peer reset its half.
    #[error("reset by the peer: {0}")]
    Reset(StreamCode),
    /// The session ended for good.
    #[error("{0}")]
    SessionLost(SessionEnd),
    /// The peer reads no more.
    #[error("peer reads no more: {0}")]
    Stopped(StreamCode),
}

impl StreamError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Closed => Fault::Local,
            Self::SessionLost(_) => Fault::Network,
            Self::Refused(_) | Self::Reset(_) | Self::Stopped(_) => Fault::Peer,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Closed => io::ErrorKind::NotConnected,
            Self::Refused(_) => io::ErrorKind::ConnectionRefused,
            Self::Reset(_) => io::ErrorKind::ConnectionReset,
            Self::SessionLost(_) => io::ErrorKind::ConnectionAborted,
            Self::Stopped(_) => io::ErrorKind::BrokenPipe,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Why the plane refused a setting or a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {kind}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The credentials cannot be used.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// A setting contradicts another or its bounds.
    #[error("{setting}: {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong.
        problem: Arc<str>,
    },
    /// The plane shuts down.
    #[error("plane is shut down")]
    ShutDown,
    /// Too many routing keys are served.
    #[error("more than {limit} routing keys")]
    TooManyKeys {
        /// How many a plane may serve.
        limit: usize,
    },
    /// The link or access is not (or no longer) one of this plane.
    #[error("not one of this plane")]
    Unknown,
}

/// Why a credentials bundle was refused. Nothing of a key is ever in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CredentialsError {
    /// A part could not be read from the disk.
    #[error("{path}: {kind}")]
    File {
        /// The file.
        path: Arc<str>,
        /// What the system said.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// The key is not that of the certificate.
    #[error("tls.key is not the key of tls.crt")]
    KeyMismatch,
    /// A part is missing.
    #[error("{part} is missing")]
    Missing {
        /// `ca.crt`, `tls.crt` or `tls.key`.
        part: &'static str,
    },
    /// The name may not be looked up.
    #[error("{0:?} is not a name credentials can have")]
    Name(Arc<str>),
    /// No bundle of that name.
    #[error("no credentials named {0:?}")]
    NotFound(Arc<str>),
    /// No crypto provider: none installed in the process, none compiled in.
    #[error("no crypto provider")]
    Provider,
    /// A part cannot be read as what it must be.
    #[error("{part}: {problem}")]
    Unreadable {
        /// `ca.crt`, `tls.crt` or `tls.key`.
        part: &'static str,
        /// What is wrong, without its content.
        problem: Arc<str>,
    },
}

/// Why an access refused a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PeerRefusal {
    /// A live (site, router) was claimed by another principal.
    #[error("site {site} is live under another principal")]
    SiteIdConflict {
        /// The site claimed.
        site: SiteId,
    },
    /// Too many handshakes at once: the oldest unfinished one made room.
    #[error("handshake evicted for a newer one")]
    Evicted,
    /// The hello was not taken.
    #[error("{0}")]
    Hello(CloseCode),
    /// The connection was lost in a phase.
    #[error("connection lost in the {phase} phase: {kind}")]
    Lost {
        /// The phase.
        phase: Phase,
        /// What the system said.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// A phase did not end in time.
    #[error("no end of the {phase} phase within {after:?}")]
    TimedOut {
        /// The phase.
        phase: Phase,
        /// Its deadline.
        after: Duration,
    },
    /// TLS was refused by either end.
    #[error("{0}")]
    Tls(TlsReason),
    /// The peer does not speak the protocol.
    #[error("{0}")]
    Violation(Violation),
}

/// `: text`, or nothing for an empty text.
struct Detail<'a>(&'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0.escape_debug())
        }
    }
}

/// Names joined by commas, or "no host".
struct List<'a>(&'a [Arc<str>]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no host")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}

/// Serializes a value by its `Display`.
#[cfg(feature = "serde")]
fn display<T: fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
