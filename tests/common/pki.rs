//! A throwaway PKI: authorities and the bundles they issue, as PEM texts.
//!
//! Dates are fixed, so no clock is read: valid is 2000 to 4000, expired is before, not yet valid after.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a PKI that cannot be made fails its test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// A certificate authority with a root of its own.
#[derive(Clone)]
pub(crate) struct TestCa {
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
    /// What peers trust: the root.
    root: String,
    /// What goes into a chain after the leaf: nothing, or the way up to the root.
    above: String,
    /// First and last year of what it issues.
    years: (i32, i32),
    purposes: Vec<ExtendedKeyUsagePurpose>,
    /// When what it issues ends, in Unix seconds, if not by the year.
    end: Option<i64>,
}

/// The parts of a credentials bundle.
#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) ca: String,
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) crl: Option<String>,
}

impl TestCa {
    /// A root authority whose subject is `CN=name`.
    pub(crate) fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(name), key()).unwrap();
        Self {
            root: issuer.pem(),
            issuer: Arc::new(issuer),
            above: String::new(),
            years: VALID,
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            end: None,
        }
    }

    /// An authority below this one: its bundles have a chain of two and trust this one's root.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let issuer = CertifiedIssuer::signed_by(authority(name), key(), &self.issuer).unwrap();
        Self { above: issuer.pem() + &self.above, issuer: Arc::new(issuer), ..self.clone() }
    }

    /// The same authority, issuing what has expired.
    pub(crate) fn expired(&self) -> Self {
        Self { years: EXPIRED, ..self.clone() }
    }

    /// The same authority, issuing what is not valid yet.
    pub(crate) fn not_yet_valid(&self) -> Self {
        Self { years: NOT_YET_VALID, ..self.clone() }
    }

    /// The same authority, issuing what may only be used by servers.
    pub(crate) fn for_servers_only(&self) -> Self {
        Self { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..self.clone() }
    }

    /// The same authority, issuing what ends at that moment, in Unix seconds.
    pub(crate) fn ending_at(&self, end: i64) -> Self {
        Self { end: Some(end), ..self.clone() }
    }

    /// The same authority, issuing for that use alone.
    pub(crate) fn for_use(&self, purpose: ExtendedKeyUsagePurpose) -> Self {
        Self { purposes: vec![purpose], ..self.clone() }
    }

    /// A list of this authority that revokes these bundles' leaves, made and to be renewed in these years.
    pub(crate) fn revoking(&self, revoked: &[&Bundle], years: (i32, i32)) -> String {
        self.revoking_serials(revoked.iter().map(|bundle| serial_of(&bundle.cert)).collect(), years)
    }

    /// A list of this authority that revokes the authority below it.
    pub(crate) fn revoking_authority(&self, below: &Self) -> String {
        self.revoking_serials(vec![serial_of(&below.issuer.pem())], VALID)
    }

    fn revoking_serials(&self, serials: Vec<SerialNumber>, years: (i32, i32)) -> String {
        let revoked = serials.into_iter().map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: date_time_ymd(years.0, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(years.0, 1, 1),
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A bundle whose leaf is `CN=<first host>` and names the hosts: DNS names, or IP addresses.
    pub(crate) fn server(&self, hosts: &[&str]) -> Bundle {
        self.issue(hosts[0], hosts.iter().map(|host| alternative_name(host)).collect())
    }

    /// A bundle whose leaf is `CN=name` and names no host.
    pub(crate) fn client(&self, name: &str) -> Bundle {
        self.issue(name, Vec::new())
    }

    /// A bundle with these subject alternative names, whatever they are.
    pub(crate) fn issue(&self, name: &str, names: Vec<SanType>) -> Bundle {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = match self.end {
            Some(end) => OffsetDateTime::from_unix_timestamp(end).unwrap(),
            None => date_time_ymd(self.years.1, 1, 1),
        };
        params.extended_key_usages = self.purposes.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = key();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Bundle { ca: self.root.clone(), cert: leaf.pem() + &self.above, key: key.serialize_pem(), crl: None }
    }

    /// The authority's own certificate and key as a bundle, as if it were a router.
    pub(crate) fn itself(&self) -> Bundle {
        let cert = self.issuer.pem() + &self.above;
        Bundle { ca: self.root.clone(), cert, key: self.issuer.key().serialize_pem(), crl: None }
    }

    /// A leaf `CN=name` that signed itself, and trusts `ca`.
    pub(crate) fn self_signed(name: &str, ca: &Self) -> Bundle {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.extended_key_usages = ca.purposes.clone();
        let key = key();
        let leaf = params.self_signed(&key).unwrap();
        Bundle { ca: ca.root.clone(), cert: leaf.pem(), key: key.serialize_pem(), crl: None }
    }

    /// What its peers trust, as PEM.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }
}

impl Bundle {
    /// The same identity, trusting another authority.
    pub(crate) fn trusting(self, ca: &TestCa) -> Self {
        Self { ca: ca.root.clone(), ..self }
    }

    /// The same bundle with more certificates after its chain.
    pub(crate) fn followed_by(self, other: &Self) -> Self {
        Self { cert: self.cert + &other.cert, ..self }
    }

    /// The same bundle with revocation lists.
    pub(crate) fn heeding(self, lists: &str) -> Self {
        Self { crl: Some(lists.to_owned()), ..self }
    }

    /// Writes `ca.crt`, `tls.crt` and `tls.key` into a folder, which is made.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("ca.crt"), &self.ca).unwrap();
        fs::write(folder.join("tls.crt"), &self.cert).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
        if let Some(crl) = &self.crl {
            fs::write(folder.join("crl.pem"), crl).unwrap();
        }
    }
}

/// The serial number of the first certificate of a PEM text.
fn serial_of(pem: &str) -> SerialNumber {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    SerialNumber::from_slice(certificate.raw_serial())
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(VALID.0, 1, 1);
    params.not_after = date_time_ymd(VALID.1, 1, 1);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn alternative_name(host: &str) -> SanType {
    match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().unwrap()),
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

const EXPIRED: (i32, i32) = (1990, 1995);
const VALID: (i32, i32) = (2000, 4000);
const NOT_YET_VALID: (i32, i32) = (3000, 3001);
