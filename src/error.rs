//! What can fail, and whose fault it is.
//!
//! One type for each verb that can fail. Each is `Clone`, because one cause is handed to many: to every
//! stream of a session, to an event and to a status. Text of a peer is bounded before it gets here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::id::{GroupName, Instance, KeyPin, Principal, SiteId};
use crate::wire::code::{CloseCode, StreamCode};

mod credentials;
mod proxy;
mod session;
mod tls;

pub use self::credentials::CredentialsError;
pub use self::proxy::ProxyReason;
pub use self::session::{CarrierEnd, SessionEnd, Violation};
pub use self::tls::TlsReason;

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
    /// The tunnel through an HTTP proxy, for a link that names one.
    Proxy,
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
            Self::Proxy => "proxy",
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
    /// The link's `bind-address` cannot be dialed from.
    #[error("cannot dial from {address}: {kind}")]
    Bind {
        /// The local address.
        address: IpAddr,
        /// What the system said; [`io::ErrorKind::Unsupported`] when the host has no address of its family.
        #[cfg_attr(feature = "serde", serde(serialize_with = "display"))]
        kind: io::ErrorKind,
    },
    /// The peer closed or refused the carrier instead of greeting it.
    #[error("refused by the peer: {code}{}", Detail(.detail))]
    Closed {
        /// Why.
        code: CloseCode,
        /// The peer's words.
        detail: Arc<str>,
        /// When the peer wants to be asked again.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::optional_seconds"))]
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
    /// The router reached is not among those that may answer the link.
    #[error("{principal} may not answer this link{}", Pin(.key))]
    NotAllowed {
        /// Who it is.
        principal: Principal,
        /// Its public key, as a policy would name it.
        key: Option<KeyPin>,
    },
    /// The carrier reached another instance than the session's.
    #[error("reached instance {found}, but the session is with {expected}")]
    OtherInstance {
        /// The session's.
        expected: Instance,
        /// The one that answered.
        found: Instance,
    },
    /// The carrier reached the session's instance, which shows another principal than when the session began: its
    /// credentials are another's now. The session gets no more carriers, and a successor takes its place.
    #[error("reached {found}, but the session began with {expected}")]
    OtherPrincipal {
        /// The session's.
        expected: Principal,
        /// The one that answered.
        found: Principal,
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
    /// The HTTP proxy gave no tunnel to the endpoint.
    #[error("proxy {proxy}: {reason}")]
    Proxy {
        /// The proxy, `host:port`.
        proxy: Arc<str>,
        /// Why.
        reason: ProxyReason,
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
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
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
            Self::Bind { .. } | Self::Duplicate { .. } | Self::Local(_) => Fault::Local,
            Self::Proxy { reason, .. } => reason.fault(),
            Self::Closed { .. }
            | Self::NotAllowed { .. }
            | Self::OtherInstance { .. }
            | Self::OtherPrincipal { .. }
            | Self::Violation(_) => Fault::Peer,
            Self::Tls(reason) => reason.fault(),
        }
    }

    /// The phase in which dialing ended.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Bind { .. } | Self::Connect { .. } => Phase::Connect,
            Self::Proxy { .. } => Phase::Proxy,
            Self::Lost { phase, .. } | Self::TimedOut { phase, .. } => *phase,
            Self::Resolve { .. } | Self::Local(_) => Phase::Resolve,
            Self::Tls(_) => Phase::Tls,
            Self::Closed { .. }
            | Self::Duplicate { .. }
            | Self::NotAllowed { .. }
            | Self::OtherInstance { .. }
            | Self::OtherPrincipal { .. }
            | Self::Violation(_) => Phase::Hello,
        }
    }
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
    /// Refused, with that code: by the last candidate that was asked, where none had a server for it; with any other code by
    /// the first that said so. A peer that refuses more than a thousand a second for long is not asked at that pace any more, lest it
    /// take them for a flood and end the session: its last answer for the destination is given in its name.
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
            Self::NoPath => Fault::Network,
            Self::OutcomeUnknown(end) => end.fault(),
            Self::Refused(_) | Self::StreamLimit => Fault::Peer,
        }
    }
}

/// Why reading or writing a stream failed.
///
/// `AsyncRead` and `AsyncWrite` wrap it in an [`io::Error`]:
/// `error.get_ref().and_then(|e| e.downcast_ref::<StreamError>())` gets it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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
    /// This end took longer to accept it than [`Deadlines::accept`](crate::config::Deadlines::accept): its opener was told so.
    #[error("not accepted in time")]
    TimedOut,
}

impl StreamError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Closed | Self::TimedOut => Fault::Local,
            Self::SessionLost(end) => end.fault(),
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
            Self::TimedOut => io::ErrorKind::TimedOut,
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
    /// The link, group, session or access is not (or no longer) one of this plane.
    #[error("not one of this plane")]
    Unknown,
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
    /// The peer is not among those who may link.
    #[error("{principal} may not link here{}", Pin(.key))]
    NotAllowed {
        /// Who it is.
        principal: Principal,
        /// Its public key, as a policy would name it.
        key: Option<KeyPin>,
    },
    /// A phase did not end in time.
    #[error("no end of the {phase} phase within {after:?}")]
    TimedOut {
        /// The phase.
        phase: Phase,
        /// Its deadline.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
        after: Duration,
    },
    /// TLS was refused by either end.
    #[error("{0}")]
    Tls(TlsReason),
    /// The peer does not speak the protocol.
    #[error("{0}")]
    Violation(Violation),
}

impl PeerRefusal {
    /// The sort of refusal in a word, by which refusals are counted; that of the reason where TLS was refused.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SiteIdConflict { .. } => "site_id_conflict",
            Self::Evicted => "evicted",
            Self::Hello(_) => "hello",
            Self::Lost { .. } => "lost",
            Self::NotAllowed { .. } => "not_allowed",
            Self::TimedOut { .. } => "timed_out",
            Self::Tls(reason) => reason.kind(),
            Self::Violation(_) => "violation",
        }
    }
}

/// ` (key …)`, or nothing without a key.
struct Pin<'a>(&'a Option<KeyPin>);

impl fmt::Display for Pin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |key| write!(f, " (key {key})"))
    }
}

/// `: text`, or nothing for an empty text.
struct Detail<'a>(&'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0.escape_debug()) }
    }
}

/// Serializes a value by its `Display`.
#[cfg(feature = "serde")]
fn display<T: fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
