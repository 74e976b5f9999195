//! Revocation lists: `crl.pem` of a bundle.
//!
//! A list is an operator's file, yet its content comes from an authority, and is read before anybody has looked at its
//! signature. So it is bounded, and read by two parsers that are fuzzed; the signature is webpki's to judge when a
//! certificate of the list's issuer is shown.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Name;

use crate::certificate::RevocationList;
use crate::tls::leaf::text_of;

/// The lists of a `crl.pem`, as webpki reads them and as we tell them.
#[derive(Clone, Debug, Default)]
pub(super) struct Revocations {
    /// For the verifiers.
    pub(super) ders: Vec<CertificateRevocationListDer<'static>>,
    /// What they say of themselves, in the same order.
    pub(super) lists: Vec<RevocationList>,
}

impl Revocations {
    /// Reads a `crl.pem`; the newest list stands first. Whether webpki can use the lists is seen when a verifier is made of them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        if pem.len() > MAX_BYTES {
            return Err("is longer than 1 MiB");
        }
        let mut found = Vec::new();
        for der in CertificateRevocationListDer::pem_slice_iter(pem) {
            let der = der.map_err(|_| "is not well-formed PEM")?;
            if found.len() == MAX_LISTS {
                return Err("holds more than 64 lists");
            }
            found.push((summary(&der)?, der));
        }
        if found.is_empty() {
            return Err("holds no revocation list in PEM");
        }
        // webpki asks the first list of an issuer and no other: where a newer one was put behind it, the older would
        // let in whom the newer revokes.
        found.sort_by_key(|(list, _)| Reverse(list.this_update));
        // Those it would never ask are left out, or it would be told of them that a successor is missing.
        let mut kept = BTreeSet::new();
        let mut scoped = Vec::new();
        for (list, der) in found {
            if kept.insert(scope(&der)?) {
                scoped.push((list, der));
            }
        }
        let (lists, ders) = scoped.into_iter().unzip();
        Ok(Self { ders, lists })
    }

    /// The authorities with a list that are trusted with several keys under one name: webpki asks the list of the
    /// certificates of either key, and lets in none of the other's.
    pub(super) fn namesakes(&self, roots: &RootCertStore) -> BTreeSet<Arc<str>> {
        let is_one = |der: &[u8], list: &RevocationList| {
            let (_, read) = CertificateRevocationList::from_der(der).ok()?;
            let of = roots.roots.iter().filter(|root| is_name(&root.subject, read.issuer()));
            let keys: BTreeSet<&[u8]> = of.map(|root| &*root.subject_public_key_info).collect();
            (keys.len() > 1).then(|| Arc::clone(&list.issuer))
        };
        self.ders.iter().zip(&self.lists).filter_map(|(der, list)| is_one(der, list)).collect()
    }
}

/// Whose certificates a list is about: of equal ones webpki asks the first.
fn scope(der: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), &'static str> {
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| UNREADABLE)?;
    let partition = list
        .extensions()
        .iter()
        .find(|extension| extension.oid == x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    Ok((list.issuer().as_raw().to_vec(), partition.map(|extension| extension.value.to_vec())))
}

/// Whether the subject of a root, which has lost its outermost tag and length, is that name.
fn is_name(subject: &[u8], name: &X509Name<'_>) -> bool {
    name.as_raw().strip_suffix(subject).is_some_and(|head| head.len() <= LONGEST_HEAD)
}

pub(super) fn summary(der: &[u8]) -> Result<RevocationList, &'static str> {
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| UNREADABLE)?;
    let next_update = list.next_update().map(|time| time.timestamp());
    Ok(RevocationList::new(text_of(list.issuer()), list.last_update().timestamp(), next_update))
}

/// A tag and a length of up to four octets (X.690 §8.1.3).
const LONGEST_HEAD: usize = 6;

/// What is said of a list that either parser does not take.
pub(super) const UNREADABLE: &str = "holds what is not a readable X.509 revocation list";

/// The longest `crl.pem`: what a Secret may hold as a whole, some 20,000 revoked certificates.
const MAX_BYTES: usize = 1 << 20;

/// The most lists: one for each authority of a long chain, old and new, and each may be asked at every handshake.
pub(super) const MAX_LISTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::TestCa;

    #[test]
    fn a_list_tells_who_made_it_and_when_its_successor_is_due() {
        let ca = TestCa::new("CA");
        let found = Revocations::from_pem(ca.revoking(&[], (2026, 2027)).as_bytes()).unwrap();
        let expected = RevocationList::new("CN=CA".into(), 1_767_225_600, Some(1_798_761_600));
        assert_eq!(found.lists, [expected]);
    }

    #[test]
    fn what_is_no_list_or_too_much_of_it_is_told_so() {
        let one = TestCa::new("CA").revoking(&[], (2026, 2027));
        let problem = |pem: &str| Revocations::from_pem(pem.as_bytes()).unwrap_err();
        assert_eq!(problem(""), "holds no revocation list in PEM");
        assert_eq!(problem("-----BEGIN X509 CRL-----\n"), "is not well-formed PEM");
        assert_eq!(problem("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), UNREADABLE);
        assert_eq!(problem(&one.repeat(65)), "holds more than 64 lists");
        assert_eq!(
            Revocations::from_pem(one.repeat(64).as_bytes()).unwrap().lists.len(),
            1,
            "the same each time"
        );
        assert_eq!(problem(&" ".repeat(MAX_BYTES + 1)), "is longer than 1 MiB");
    }
}
