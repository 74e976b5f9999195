//! Identity in, rustls configurations out; failed handshakes in, typed reasons out. No I/O, no clock.
//!
//! A bundle of PEM texts becomes checked [`Credentials`](credentials::Credentials). From them come the
//! configurations of both ends: TLS 1.3 only, trust in `ca.crt` alone, host names always verified, no
//! session resumption. What fails is told as a [`TlsReason`](crate::error::TlsReason).

pub mod config;
pub mod credentials;
#[cfg(any(test, feature = "__entries"))]
#[doc(hidden)]
pub mod entries;
pub mod leaf;
pub(crate) mod proof;
pub(crate) mod provider;
pub(crate) mod reason;
mod revocation;
mod roots;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;
