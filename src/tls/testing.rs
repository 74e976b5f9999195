//! What tests of this room share: the throwaway PKI and a clock that stands still.

use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

pub(crate) use self::pki::{Bundle, TestCa};
use crate::id::Ordinal;
use crate::tls::credentials::{Credentials, CredentialsParts};

// One PKI serves unit tests and integration tests.
#[path = "../../tests/common/pki.rs"]
mod pki;

/// A clock that always says [`NOW`].
#[derive(Debug)]
pub(crate) struct StandingClock;

impl TimeProvider for StandingClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

/// The parts of a bundle.
pub(crate) fn parts(bundle: &Bundle) -> CredentialsParts {
    CredentialsParts {
        ca: bundle.ca.clone().into_bytes(),
        cert: Some(bundle.cert.clone().into_bytes()),
        key: Some(bundle.key.clone().into_bytes()),
        crl: bundle.crl.clone().map(String::into_bytes),
    }
}

/// Checked credentials of a bundle.
pub(crate) fn credentials(bundle: &Bundle) -> Credentials {
    Credentials::from_pem("test", &parts(bundle), Ordinal(1)).unwrap()
}

/// 2026-01-01, in Unix seconds: within the years of what the test PKI calls valid.
pub(crate) const NOW: u64 = 1_767_225_600;
