//! Why TLS did not come about.

use std::fmt;
use std::sync::Arc;

use super::Fault;
use crate::moment::Moment;

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
    #[error("peer certificate expired at {}, now {}", Moment(*.not_after), Moment(*.now))]
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
    #[error("peer certificate not valid before {}, now {}", Moment(*.not_before), Moment(*.now))]
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
    /// The peer's certificate, or one above it in its chain, was taken back by its issuer.
    #[error("peer certificate of {subject}, serial {serial}, is revoked, or one that vouches for it")]
    Revoked {
        /// Whom the leaf names.
        subject: Arc<str>,
        /// The leaf's serial number in hex.
        serial: Arc<str>,
    },
    /// A revocation list of this end's `crl.pem` does not hold: nobody of its issuer can be judged.
    #[error("own crl.pem: {problem}")]
    RevocationList {
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
    /// The sort of reason in a word, as it is serialized.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CertificateRefused { .. } => "certificate_refused",
            Self::Expired { .. } => "expired",
            Self::Alert { .. } => "alert",
            Self::BadCertificate { .. } => "bad_certificate",
            Self::NoCommonProtocol { .. } => "no_common_protocol",
            Self::NoPeerCertificate => "no_peer_certificate",
            Self::NotTls => "not_tls",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Other { .. } => "other",
            Self::RevocationList { .. } => "revocation_list",
            Self::Revoked { .. } => "revoked",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::Version => "version",
            Self::WrongName { .. } => "wrong_name",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::CertificateRefused { .. } | Self::RevocationList { .. } => Fault::Local,
            _ => Fault::Peer,
        }
    }
}

/// Names joined by commas, or "no host".
struct List<'a>(&'a [Arc<str>]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("no host") } else { f.write_str(&self.0.join(", ")) }
    }
}
