//! Why credentials are refused.

use std::io;
use std::sync::Arc;

#[cfg(feature = "serde")]
use super::display;

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
    /// The public roots vouch for host names and not for who may link: no access can trust them.
    #[error("ca.crt: the public roots do not say who may link, so an access cannot trust them")]
    PublicRoots,
    /// A part cannot be read as what it must be.
    #[error("{part}: {problem}")]
    Unreadable {
        /// `ca.crt`, `tls.crt`, `tls.key` or `crl.pem`.
        part: &'static str,
        /// What is wrong, without its content.
        problem: Arc<str>,
    },
}
