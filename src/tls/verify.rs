//! Certificate verifiers that remember what they saw.
//!
//! The verdicts are webpki's, all of them. What is added is the peer's leaf in the error, where rustls'
//! own errors leave it out: a verifier is shared by all connections of a configuration, so the error is
//! the only way from here to the one connection it concerns.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::TlsReason;
use crate::tls::leaf::LeafSummary;

/// What a dialer verifies an acceptor with: chain, validity, purpose, host name.
#[derive(Debug)]
pub(super) struct AcceptorVerifier(pub(super) Arc<WebPkiServerVerifier>);

/// What an acceptor verifies a dialer with: chain, validity, purpose.
#[derive(Debug)]
pub(super) struct DialerVerifier(pub(super) Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for AcceptorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| with_leaf(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl ClientCertVerifier for DialerVerifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| with_leaf(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Adds what is known of the leaf to an error that lacks it.
///
/// An unknown issuer and a revoked certificate become a [`TlsReason`] inside the error, for which rustls tells the
/// peer `certificate_unknown` instead of `unknown_ca` or `certificate_revoked`: the price of saying at this end whose
/// certificate it was. All others keep their kind and with it their alert.
fn with_leaf(error: Error, leaf: &CertificateDer<'_>) -> Error {
    let (kind, leaf) = match (error, LeafSummary::from_der(leaf)) {
        (Error::InvalidCertificate(kind), Ok(leaf)) => (kind, leaf),
        (error, _) => return error,
    };
    Error::InvalidCertificate(match kind {
        CertificateError::UnknownIssuer => unknown_issuer(leaf.subject, leaf.issuer),
        // An authority of the right name and another key: what is left when a site has made its CA anew.
        CertificateError::BadSignature => {
            unknown_issuer(leaf.subject, format!("another {} of the same name", leaf.issuer).into())
        }
        CertificateError::Revoked => told(TlsReason::Revoked { subject: leaf.subject, serial: leaf.serial }),
        // webpki's own list of names is meant for programmers.
        CertificateError::NotValidForNameContext { expected, .. } => {
            CertificateError::NotValidForNameContext {
                expected,
                presented: leaf.names.iter().map(|name| String::from(&**name)).collect(),
            }
        }
        other => other,
    })
}

fn unknown_issuer(subject: Arc<str>, issuer: Arc<str>) -> CertificateError {
    told(TlsReason::UnknownIssuer { subject, issuer })
}

fn told(reason: TlsReason) -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(reason)))
}
