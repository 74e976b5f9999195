//! The public roots, for a bundle whose `ca.crt` asks for them.

use rustls::RootCertStore;

/// The public roots; `None` in a build without them.
#[cfg(feature = "webpki-roots")]
pub(super) fn public_roots() -> Option<RootCertStore> {
    Some(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// The public roots; `None` in a build without them.
#[cfg(not(feature = "webpki-roots"))]
pub(super) fn public_roots() -> Option<RootCertStore> {
    None
}
