//! The rustls configurations of both ends.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use crate::error::{CredentialsError, TlsReason};
use crate::tls::credentials::{CA, Credentials};
use crate::tls::leaf::bounded;
use crate::tls::verify::{AcceptorVerifier, DialerVerifier};
use crate::wire::ALPN;

/// Whether a link access lets in a dialer without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No: its handshake fails with [`TlsReason::NoPeerCertificate`].
    #[default]
    Required,
    /// Yes, as [`Principal::Anonymous`](crate::id::Principal::Anonymous). A certificate that is shown must
    /// still hold.
    Optional,
}

/// Whether a dialer shows its certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DialerIdentity {
    /// Yes; a bundle without one is refused before anything is dialed.
    #[default]
    Shown,
    /// No, whatever the bundle holds: the link says `noClientAuth`.
    Withheld,
}

/// The configuration for dialing: TLS 1.3, our ALPN, trust in the bundle's `ca.crt` alone, the host name
/// verified, nothing resumed.
///
/// Costs a few allocations; made once for a bundle and shared by its dials. `time` is asked for the
/// moment at which certificates must be valid; without one, the system's clock is.
///
/// # Errors
/// [`CredentialsError::Missing`] for a bundle without identity that is to show one, and
/// [`CredentialsError::Provider`] for a crypto provider without TLS 1.3.
pub(crate) fn client_config(
    credentials: &Credentials,
    identity: DialerIdentity,
    time: Option<Arc<dyn TimeProvider>>,
) -> Result<Arc<ClientConfig>, CredentialsError> {
    let (roots, provider) = (credentials.roots(), credentials.provider());
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .with_crls(credentials.crls())
        // The whole chain is looked up; an authority that has no list here has revoked nothing.
        .allow_unknown_revocation_status()
        .build()
        .map_err(|_| CredentialsError::Missing { part: CA })?;
    let builder = ClientConfig::builder_with_details(Arc::clone(provider), time.unwrap_or_else(system_time))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| CredentialsError::Provider)?
        // "Dangerous" is any verifier but webpki's own; ours asks webpki's and changes no verdict.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptorVerifier(webpki)));
    let mut config = match identity {
        DialerIdentity::Shown => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified_key()?)))
        }
        DialerIdentity::Withheld => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would carry the old identity past a rotation.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The configuration for accepting: TLS 1.3, our ALPN, a certificate of the bundle's `ca.crt` demanded of
/// the dialer, nothing resumed.
///
/// Costs and `time` as with [`client_config`].
///
/// # Errors
/// [`CredentialsError::Missing`] for a bundle without identity, [`CredentialsError::PublicRoots`] for one that trusts
/// those, and [`CredentialsError::Provider`] for a crypto provider without TLS 1.3.
pub(crate) fn server_config(
    credentials: &Credentials,
    auth: ClientAuth,
    time: Option<Arc<dyn TimeProvider>>,
) -> Result<Arc<ServerConfig>, CredentialsError> {
    if credentials.trusts_public_roots() {
        return Err(CredentialsError::PublicRoots);
    }
    let (roots, provider) = (credentials.roots(), credentials.provider());
    let key = credentials.certified_key()?;
    let webpki = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        // Without a hint every dialer shows what it has, and a foreign one is told apart from none.
        .clear_root_hint_subjects()
        .with_crls(credentials.crls())
        // As for the dialer.
        .allow_unknown_revocation_status();
    let webpki = match auth {
        ClientAuth::Required => webpki,
        ClientAuth::Optional => webpki.allow_unauthenticated(),
    };
    let webpki = webpki.build().map_err(|_| CredentialsError::Missing { part: CA })?;
    let mut config =
        ServerConfig::builder_with_details(Arc::clone(provider), time.unwrap_or_else(system_time))
            .with_protocol_versions(&[&TLS13])
            .map_err(|_| CredentialsError::Provider)?
            .with_client_cert_verifier(Arc::new(DialerVerifier(webpki)))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The name a dialer expects of its peer: a DNS name, or an IP address (without brackets), which only an
/// address of the certificate matches.
///
/// # Errors
/// [`TlsReason::Other`] when the host is neither.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, TlsReason> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsReason::Other {
        problem: bounded(&format!("{host:?} is neither a DNS name nor an address")),
    })
}

fn system_time() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}
