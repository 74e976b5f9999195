//! From what rustls says to what we say: typed reasons, the peer's principal, the protocol check.

use std::io;
use std::sync::Arc;

use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, Error, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::error::TlsReason;
use crate::id::Principal;
use crate::tls::leaf::{LeafSummary, bounded};
use crate::wire::ALPN;

/// Why TLS failed, from an error of rustls.
///
/// Made for connections of this module's configurations: their verifiers put the peer's names into the
/// errors. An alert about certificates is the peer's verdict on ours, also when it comes after the
/// handshake: in TLS 1.3 a dialer has finished before the acceptor has judged.
pub(crate) fn reason_of(error: &Error) -> TlsReason {
    match error {
        Error::AlertReceived(alert) => alert_reason(*alert),
        Error::InvalidCertificate(problem) => certificate_reason(problem),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => TlsReason::NotTls,
        Error::InvalidCertRevocationList(problem) => {
            TlsReason::RevocationList { problem: list_problem(problem) }
        }
        Error::NoApplicationProtocol
        | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => no_common_protocol(),
        Error::NoCertificatesPresented => TlsReason::NoPeerCertificate,
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => TlsReason::Version,
        other => TlsReason::Other { problem: bounded(&other.to_string()) },
    }
}

/// Why TLS failed, from the `io::Error` in which tokio-rustls wraps it; `None` when TLS did not fail but
/// the connection below it.
pub(crate) fn reason_of_io(error: &io::Error) -> Option<TlsReason> {
    error.get_ref()?.downcast_ref::<Error>().map(reason_of)
}

/// Requires that the handshake agreed on our protocol. Both ends must ask once it is complete: an end that
/// names no protocol at all gets through a rustls handshake.
///
/// # Errors
/// [`TlsReason::NoCommonProtocol`].
pub(crate) fn require_alpn(agreed: Option<&[u8]>) -> Result<(), TlsReason> {
    if agreed == Some(ALPN) { Ok(()) } else { Err(no_common_protocol()) }
}

/// Who the peer is and what its leaf says, from the certificates a finished handshake has verified.
///
/// Read from the leaf alone, which is the first: the others only lead to `ca.crt`, and a peer may send
/// what it likes among them. No certificate makes [`Principal::Anonymous`]: whether such a peer is let
/// in was decided in the handshake ([`ClientAuth`](crate::tls::config::ClientAuth)).
///
/// # Errors
/// [`TlsReason::BadCertificate`] for a leaf that webpki accepts and the X.509 reader does not.
pub(crate) fn peer_of(
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<(Principal, Option<Arc<LeafSummary>>), TlsReason> {
    let Some(leaf) = certificates.and_then(<[_]>::first) else {
        return Ok((Principal::Anonymous, None));
    };
    let leaf = LeafSummary::from_der(leaf).map_err(|problem| TlsReason::BadCertificate { problem })?;
    let principal =
        Principal::Certificate { issuer: Arc::clone(&leaf.issuer), subject: Arc::clone(&leaf.subject) };
    Ok((principal, Some(Arc::new(leaf))))
}

fn no_common_protocol() -> TlsReason {
    TlsReason::NoCommonProtocol { expected: String::from_utf8_lossy(ALPN).into() }
}

fn certificate_reason(problem: &CertificateError) -> TlsReason {
    let problem = match problem {
        CertificateError::ExpiredContext { time, not_after } => {
            return TlsReason::Expired { not_after: seconds(*not_after), now: seconds(*time) };
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            return TlsReason::NotYetValid { not_before: seconds(*not_before), now: seconds(*time) };
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            return TlsReason::WrongName {
                expected: bounded(&expected.to_str()),
                found: presented.iter().map(|name| bounded(name)).collect(),
            };
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<TlsReason>() {
            Some(reason) => return reason.clone(),
            // webpki has a word of its own for it that rustls passes on as it is.
            None if other.to_string() == "CaUsedAsEndEntity" => "it is an authority's and no leaf".into(),
            None => bounded(&other.to_string()),
        },
        CertificateError::BadEncoding => "not a readable X.509 certificate".into(),
        // The chain's signatures are told as an unknown issuer: what is left is the handshake's.
        CertificateError::BadSignature => "the handshake was not signed with its key".into(),
        CertificateError::Expired => "its validity ends before it begins".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not allow this use".into()
        }
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not known".into()
        }
        other => bounded(&other.to_string()),
    };
    TlsReason::BadCertificate { problem }
}

/// What is wrong with a list of ours, which is found only when somebody of its issuer shows a certificate.
fn list_problem(problem: &CertRevocationListError) -> Arc<str> {
    match problem {
        CertRevocationListError::BadSignature => {
            "a list is not signed with the key of the authority it names".into()
        }
        CertRevocationListError::IssuerInvalidForCrl => {
            "a list's issuer may not sign lists: its key usage lacks cRLSign".into()
        }
        other => bounded(&format!("{other:?}")),
    }
}

/// Saturates at the end of time, which no certificate reaches (its years have four digits).
fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn alert_reason(alert: AlertDescription) -> TlsReason {
    match alert {
        AlertDescription::NoApplicationProtocol => no_common_protocol(),
        AlertDescription::ProtocolVersion => TlsReason::Version,
        AlertDescription::AccessDenied
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRequired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate => {
            TlsReason::CertificateRefused { alert: alert_name(alert) }
        }
        _ => TlsReason::Alert { alert: alert_name(alert) },
    }
}

/// The alert as RFC 8446 §6 writes it.
fn alert_name(alert: AlertDescription) -> Arc<str> {
    let name = match alert {
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::BadRecordMac => "bad_record_mac",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateRequired => "certificate_required",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::CloseNotify => "close_notify",
        AlertDescription::DecodeError => "decode_error",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::IllegalParameter => "illegal_parameter",
        AlertDescription::InappropriateFallback => "inappropriate_fallback",
        AlertDescription::InsufficientSecurity => "insufficient_security",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::MissingExtension => "missing_extension",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::RecordOverflow => "record_overflow",
        AlertDescription::UnexpectedMessage => "unexpected_message",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::UnrecognisedName => "unrecognized_name",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::UnsupportedExtension => "unsupported_extension",
        AlertDescription::UserCanceled => "user_canceled",
        other => return format!("alert {}", u8::from(other)).into(),
    };
    name.into()
}
