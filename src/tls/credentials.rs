//! Credentials: a checked bundle of `ca.crt`, `tls.crt`, `tls.key` and, where there is one, `crl.pem`.

use std::fmt;
use std::sync::Arc;

use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem};
use sha2::{Digest, Sha256};

use crate::certificate::{PUBLIC_ROOTS, RevocationList, asks_for_public_roots};
use crate::error::CredentialsError;
use crate::id::Ordinal;
use crate::tls::leaf::LeafSummary;
use crate::tls::provider::provider;
use crate::tls::revocation::{Revocations, UNREADABLE};
use crate::tls::roots::public_roots;

/// A checked bundle: whom to trust, and (unless it is `ca.crt` alone) who we are.
///
/// Cloning costs one atomic increment. `Debug` shows name, ordinal and leaf, never a key.
///
/// The crypto provider is chosen when the bundle is made: the one the process has installed, else
/// aws-lc-rs, else ring, as compiled in. A provider installed later serves later bundles.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    ordinal: Ordinal,
    digest: [u8; 32],
    roots: Arc<RootCertStore>,
    public_roots: bool,
    revocations: Revocations,
    identity: Option<Identity>,
    warnings: Vec<CredentialsWarning>,
    provider: Arc<CryptoProvider>,
}

/// Who this end is: a chain, leaf first, and the leaf's key.
struct Identity {
    key: Arc<CertifiedKey>,
    leaf: LeafSummary,
}

/// The unchecked texts of a bundle, as they come from a Secret or a directory.
///
/// An empty `cert` or `key` is the same as none: Skupper writes a missing key as an empty file.
/// `Debug` shows lengths alone.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the parts a bundle has; callers make it")]
pub struct CredentialsParts {
    /// `ca.crt`: one or more certificates as PEM, the only ones trusted; or the one word [`PUBLIC_ROOTS`].
    pub ca: Vec<u8>,
    /// `tls.crt`: our chain as PEM, leaf first.
    pub cert: Option<Vec<u8>>,
    /// `tls.key`: the leaf's key as PEM: PKCS#1, PKCS#8 or SEC1.
    pub key: Option<Vec<u8>>,
    /// `crl.pem`: revocation lists as PEM, at most 64 of them in 1 MiB, checked at every handshake.
    ///
    /// A certificate whose issuer has no list here is taken for not revoked. A list whose successor is overdue stands; of
    /// several of one issuer the newest counts. An empty text is none of the above, and no bundle is made of it: a file
    /// that is being written begins so.
    pub crl: Option<Vec<u8>>,
}

impl CredentialsParts {
    /// The same identity, trusting the public roots (Mozilla's) in place of whatever `ca` holds: for a link to a site
    /// with a publicly issued certificate. The peer is known by its host name then; no access takes such a bundle.
    #[must_use]
    pub fn with_public_roots(self) -> Self {
        Self { ca: PUBLIC_ROOTS.into(), ..self }
    }
}

/// What is odd about a bundle that can nevertheless be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CredentialsWarning {
    /// No host name can be verified against the leaf: it serves a dialer, not a link access.
    #[error("tls.crt has no subject alternative name: no host name matches it")]
    NoAlternativeName,
    /// The bundle's own `ca.crt` did not issue its leaf: a peer with the same `ca.crt` will refuse it.
    #[error("tls.crt was issued by {issuer}, which the bundle's own ca.crt does not hold")]
    OtherIssuer {
        /// Who issued it.
        issuer: Arc<str>,
    },
    /// `crl.pem` holds a list of an authority that `ca.crt` has with several keys under one name, as one that was renewed with
    /// a new key has: peers whose certificates another of its keys has signed are refused. The key that is not used any more
    /// is best left out of `ca.crt`.
    #[error(
        "crl.pem has a list of {issuer}, which ca.crt has with several keys: it judges for one of them alone"
    )]
    Namesakes {
        /// Whose list it is.
        issuer: Arc<str>,
    },
}

impl Credentials {
    /// Checks a bundle: each part can be read, `ca.crt` holds a certificate, the key is the leaf's.
    ///
    /// Neither validity nor host names are checked: those are questions of the moment and of the peer.
    /// `name` is for events and messages. `ordinal` counts the rotations of this end's bundle.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] for a part that is not there (a certificate without its key, or the
    /// other way round), [`CredentialsError::Unreadable`] for one that is not what it must be,
    /// [`CredentialsError::KeyMismatch`], and [`CredentialsError::Provider`] where there is no crypto. A `crl.pem` that
    /// cannot be read, or is empty, refuses the whole bundle: what was in force stays, its lists included.
    pub fn from_pem(
        name: &str,
        parts: &CredentialsParts,
        ordinal: Ordinal,
    ) -> Result<Self, CredentialsError> {
        let provider = provider()?;
        let public_roots = asks_for_public_roots(&parts.ca);
        let roots = Arc::new(if public_roots { the_public_roots()? } else { read_roots(&parts.ca)? });
        let revocations = match &parts.crl {
            Some(crl) => read_revocations(crl, &roots, &provider)?,
            None => Revocations::default(),
        };
        let identity = match (present(parts.cert.as_ref()), present(parts.key.as_ref())) {
            (Some(cert), Some(key)) => Some(read_identity(cert, key, &provider)?),
            (None, None) => None,
            (None, Some(_)) => return Err(CredentialsError::Missing { part: CERT }),
            (Some(_), None) => return Err(CredentialsError::Missing { part: KEY }),
        };
        let mut warnings =
            identity.as_ref().map_or_else(Vec::new, |identity| identity.warnings(&roots, &provider));
        let namesakes = revocations.namesakes(&roots).into_iter();
        warnings.extend(namesakes.map(|issuer| CredentialsWarning::Namesakes { issuer }));
        if public_roots {
            // The peer trusts an authority of its own choice, which need not be a public one.
            warnings.retain(|warning| !matches!(warning, CredentialsWarning::OtherIssuer { .. }));
        }
        let (name, digest) = (name.into(), parts.digest());
        let shared =
            Shared { name, ordinal, digest, roots, public_roots, revocations, identity, warnings, provider };
        Ok(Self(Arc::new(shared)))
    }

    /// The name it is known by.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Which rotation of this end's bundle it is.
    #[must_use]
    pub fn ordinal(&self) -> Ordinal {
        self.0.ordinal
    }

    /// Whether it says who we are. A bundle of `ca.crt` alone does not.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.0.identity.is_some()
    }

    /// What our leaf says, if there is one.
    #[must_use]
    pub fn leaf(&self) -> Option<&LeafSummary> {
        self.0.identity.as_ref().map(|identity| &identity.leaf)
    }

    /// What is odd about it, though it can be used.
    #[must_use]
    pub fn warnings(&self) -> &[CredentialsWarning] {
        &self.0.warnings
    }

    /// Whether the texts of both are the same, byte for byte. Names and ordinals may differ.
    pub(crate) fn is_same_bundle(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }

    /// The revocation lists of `crl.pem`.
    #[must_use]
    pub fn revocation_lists(&self) -> &[RevocationList] {
        &self.0.revocations.lists
    }

    /// Whether it trusts the public roots, and therefore no authority of one's own.
    #[must_use]
    pub fn trusts_public_roots(&self) -> bool {
        self.0.public_roots
    }

    /// The revocation lists, for a verifier.
    pub(super) fn crls(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.0.revocations.ders.clone()
    }

    /// Our chain and key.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] for a bundle of `ca.crt` alone.
    pub(super) fn certified_key(&self) -> Result<Arc<CertifiedKey>, CredentialsError> {
        match &self.0.identity {
            Some(identity) => Ok(Arc::clone(&identity.key)),
            None => Err(CredentialsError::Missing { part: CERT }),
        }
    }

    /// Whom to trust; never empty.
    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.0.roots
    }

    /// The crypto it was checked with.
    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.0.provider
    }
}

impl CredentialsParts {
    /// Stands for the texts where they are compared, so that no second copy of a key is kept for that.
    ///
    /// Absent and empty differ: a part that is being written is there and empty first.
    pub(crate) fn digest(&self) -> [u8; 32] {
        // Taken apart, so that a part added one day cannot be forgotten here.
        let Self { ca, cert, key, crl } = self;
        let mut digest = Sha256::new();
        for part in [Some(ca), cert.as_ref(), key.as_ref(), crl.as_ref()] {
            digest.update([u8::from(part.is_some())]);
            let text = part.map_or(&[][..], Vec::as_slice);
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.0.name)
            .field("ordinal", &self.0.ordinal)
            .field("leaf", &self.leaf())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CredentialsParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsParts")
            .field("ca_bytes", &self.ca.len())
            .field("cert_bytes", &self.cert.as_ref().map(Vec::len))
            .field("key_bytes", &self.key.as_ref().map(Vec::len))
            .field("crl_bytes", &self.crl.as_ref().map(Vec::len))
            .finish()
    }
}

impl Identity {
    fn warnings(
        &self,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Vec<CredentialsWarning> {
        let mut warnings = Vec::new();
        if self.leaf.names.is_empty() {
            warnings.push(CredentialsWarning::NoAlternativeName);
        }
        if self.issued_by_another(roots, provider) {
            warnings.push(CredentialsWarning::OtherIssuer { issuer: Arc::clone(&self.leaf.issuer) });
        }
        warnings
    }

    /// Whether the chain leads to none of `roots`; every other fault of it is the peer's to find.
    fn issued_by_another(&self, roots: &Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> bool {
        let Some((leaf, intermediates)) = self.key.cert.split_first() else {
            return false;
        };
        // A moment at which the leaf is valid, so that no clock is needed.
        let seconds = u64::try_from(self.leaf.not_before).unwrap_or(0);
        let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let algorithms = provider.signature_verification_algorithms.all;
        let as_server = ParsedCertificate::try_from(leaf).and_then(|leaf| {
            verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, then, algorithms)
        });
        let as_client = || {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
            let verifier = builder.build().map_err(|error| Error::General(error.to_string()))?;
            verifier.verify_client_cert(leaf, intermediates, then).map(drop)
        };
        let verdict = match as_server {
            // The purpose is looked at before the issuer is: a client's leaf must be asked as one.
            Err(Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            )) => as_client(),
            other => other,
        };
        matches!(
            verdict,
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
        )
    }
}

/// The text of a part, if there is more than white space.
fn present(part: Option<&Vec<u8>>) -> Option<&[u8]> {
    part.map(Vec::as_slice).filter(|text| !text.trim_ascii().is_empty())
}

fn read_roots(ca: &[u8]) -> Result<RootCertStore, CredentialsError> {
    if ca.trim_ascii().is_empty() {
        return Err(CredentialsError::Missing { part: CA });
    }
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(CA, ca)? {
        roots.add(certificate).map_err(|_| unreadable(CA, "holds what is not a usable X.509 certificate"))?;
    }
    Ok(roots)
}

fn the_public_roots() -> Result<RootCertStore, CredentialsError> {
    public_roots().ok_or_else(|| unreadable(CA, "asks for the public roots, which this build does not have"))
}

fn read_revocations(
    crl: &[u8],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Revocations, CredentialsError> {
    let revocations = Revocations::from_pem(crl).map_err(|problem| unreadable(CRL, problem))?;
    // webpki reads them when a verifier is made: what it does not take must be known before one is needed.
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .with_crls(revocations.ders.clone())
        .build()
        .map_err(|_| unreadable(CRL, UNREADABLE))?;
    Ok(revocations)
}

fn read_identity(cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Identity, CredentialsError> {
    let chain = read_certificates(CERT, cert)?;
    let leaf = chain.first().ok_or(CredentialsError::Missing { part: CERT })?;
    let leaf = LeafSummary::from_der(leaf)
        .map_err(|problem| CredentialsError::Unreadable { part: CERT, problem })?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        unreadable(KEY, pem_problem(&error, "holds no private key (PKCS#1, PKCS#8 or SEC1) in PEM"))
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| unreadable(KEY, "is no private key of a kind that is supported"))?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        // A provider's key that cannot tell its public half is believed, as rustls itself does.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => return Err(CredentialsError::KeyMismatch),
        Err(_) => return Err(unreadable(CERT, "its leaf is not a usable X.509 certificate")),
    }
    Ok(Identity { key: Arc::new(key), leaf })
}

/// At least one certificate.
fn read_certificates(
    part: &'static str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let no_items = "holds no certificate in PEM";
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(part, pem_problem(&error, no_items)))?;
    if certificates.is_empty() { Err(unreadable(part, no_items)) } else { Ok(certificates) }
}

/// What is wrong with a PEM text. The parser's own words are not used: they quote the text.
fn pem_problem(error: &pem::Error, no_items: &'static str) -> &'static str {
    match error {
        pem::Error::NoItemsFound => no_items,
        pem::Error::MissingSectionEnd { .. } => "a PEM section has no end line",
        pem::Error::Base64Decode(_) => "a PEM section is not base64",
        _ => "is not PEM",
    }
}

fn unreadable(part: &'static str, problem: &'static str) -> CredentialsError {
    CredentialsError::Unreadable { part, problem: problem.into() }
}

// The names of the parts, as the keys of a `kubernetes.io/tls` Secret have them.
pub(crate) const CA: &str = "ca.crt";
pub(crate) const CERT: &str = "tls.crt";
pub(crate) const KEY: &str = "tls.key";
pub(crate) const CRL: &str = "crl.pem";

#[cfg(test)]
mod tests;
