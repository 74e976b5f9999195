//! Why an HTTP proxy gave no tunnel.

use std::sync::Arc;

use super::{Detail, Fault};

/// Why an HTTP proxy gave no tunnel to the endpoint.
///
/// A proxy that cannot be reached at all is a [`DialError::Resolve`](super::DialError::Resolve) or
/// [`DialError::Connect`](super::DialError::Connect) with the proxy's host or address; one that hangs up before it
/// has answered is a [`DialError::Lost`](super::DialError::Lost).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ProxyReason {
    /// It wants a user name and password, and was shown none or wrong ones (status 407, or 401).
    #[error("authentication required")]
    AuthenticationRequired,
    /// Its answer is longer than any answer to a CONNECT has to be.
    #[error("answer longer than {limit} bytes")]
    AnswerTooLong {
        /// How many bytes or header lines are taken.
        limit: usize,
    },
    /// What it sent is no answer of HTTP/1.
    #[error("no HTTP answer")]
    NotHttp,
    /// It refused, or could not reach the endpoint.
    #[error("refused with status {status}{}", Detail(.phrase))]
    Refused {
        /// The status, outside 200..=299.
        status: u16,
        /// The proxy's words, at most 120 characters.
        phrase: Arc<str>,
    },
    /// It sent something behind its answer, where nothing can come: the endpoint waits for our first byte.
    #[error("unexpected bytes behind its answer")]
    UnexpectedBytes,
}

impl ProxyReason {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::AuthenticationRequired => Fault::Local,
            Self::AnswerTooLong { .. } | Self::NotHttp | Self::Refused { .. } | Self::UnexpectedBytes => {
                Fault::Network
            }
        }
    }
}
