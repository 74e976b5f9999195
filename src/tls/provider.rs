//! Which crypto is used.

use std::sync::Arc;

use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;

use crate::error::CredentialsError;

/// The provider the process installed, else the one compiled in (aws-lc-rs before ring), with the
/// hybrid post-quantum key exchange moved to the front where there is one.
///
/// Only the order of the key exchanges is touched: what an embedder took out stays out.
///
/// # Errors
/// [`CredentialsError::Provider`] when neither exists.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, CredentialsError> {
    let chosen = CryptoProvider::get_default().map(|installed| CryptoProvider::clone(installed));
    let mut provider = chosen.or_else(compiled_in).ok_or(CredentialsError::Provider)?;
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    Ok(Arc::new(provider))
}

/// Fills `bytes` from the provider's generator; `None` without a provider or when the system has none to give.
pub(crate) fn random(bytes: &mut [u8]) -> Option<()> {
    provider().ok()?.secure_random.fill(bytes).ok()
}

#[cfg(feature = "aws-lc-rs")]
fn compiled_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn compiled_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::ring::default_provider())
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn compiled_in() -> Option<CryptoProvider> {
    None
}
