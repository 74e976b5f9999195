//! What certificates and revocation lists say, as plain values for status, events, messages and policies.

use std::sync::Arc;

use crate::id::KeyPin;

/// What a leaf certificate says of itself, for status, events and messages.
///
/// Text is bounded and has no control characters: [`MAX_NAME`](crate::tls::leaf::MAX_NAME),
/// [`MAX_NAMES`](crate::tls::leaf::MAX_NAMES).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeafSummary {
    /// Whom it names, as RFC 4514 text.
    pub subject: Arc<str>,
    /// Who issued it, as RFC 4514 text.
    pub issuer: Arc<str>,
    /// Its serial number in hex, as `openssl x509 -serial` has it but in lower case.
    pub serial: Arc<str>,
    /// Begin of its validity, Unix seconds.
    pub not_before: i64,
    /// End of its validity, Unix seconds.
    pub not_after: i64,
    /// The DNS names and IP addresses of its subject alternative name, as many as are told.
    ///
    /// Empty where there is no such extension: a common name is no host name.
    pub names: Vec<Arc<str>>,
    /// Its public key, by which a policy can know its holder whatever the certificate says.
    pub key: KeyPin,
}

impl LeafSummary {
    /// Puts together what a certificate says.
    pub(crate) fn new(
        subject: Arc<str>,
        issuer: Arc<str>,
        serial: Arc<str>,
        (not_before, not_after): (i64, i64),
        names: Vec<Arc<str>>,
        key: KeyPin,
    ) -> Self {
        Self { subject, issuer, serial, not_before, not_after, names, key }
    }
}

/// A revocation list of a bundle's `crl.pem`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RevocationList {
    /// Who issued it, as RFC 4514 text.
    pub issuer: Arc<str>,
    /// When it was made, Unix seconds.
    pub this_update: i64,
    /// When its successor was to be there, Unix seconds; `None` if it does not say. After that it is stale: still
    /// used, and told by an event.
    pub next_update: Option<i64>,
}

impl RevocationList {
    /// Puts together what a list says.
    pub(crate) fn new(issuer: Arc<str>, this_update: i64, next_update: Option<i64>) -> Self {
        Self { issuer, this_update, next_update }
    }
}

/// What a `ca.crt` may hold in place of certificates: the wish for the public roots, in so many words.
///
/// Nothing else may be in it: the public roots never stand beside an authority of one's own.
pub const PUBLIC_ROOTS: &str = "webpki-roots";

/// Whether a `ca.crt` asks for the public roots.
pub(crate) fn asks_for_public_roots(ca: &[u8]) -> bool {
    ca.trim_ascii() == PUBLIC_ROOTS.as_bytes()
}
