//! The private door for fuzzing.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;

use crate::certificate::LeafSummary;
use crate::tls::leaf::{MAX_NAME, MAX_NAMES};
use crate::tls::revocation::{MAX_LISTS, Revocations, summary};

/// Reads any bytes as a certificate, as a revocation list and as a `crl.pem`.
///
/// # Panics
/// When a text or a list of names is longer than any may be. Never for another cause: that is the finding.
pub fn fuzz_certificate(data: &[u8]) {
    if let Ok(leaf) = LeafSummary::from_der(data) {
        let texts = [&leaf.subject, &leaf.issuer].into_iter().chain(&leaf.names);
        texts.for_each(is_bounded);
        assert!(leaf.names.len() <= MAX_NAMES, "{} names", leaf.names.len());
    }
    if let Ok(list) = summary(data) {
        is_bounded(&list.issuer);
    }
    // What a verifier would make of it; it has to be told nothing but good or bad.
    let list = CertificateRevocationListDer::from(data.to_vec());
    let roots = Arc::new(RootCertStore::empty());
    if let Ok(provider) = crate::tls::provider::provider() {
        let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider);
        drop(builder.with_crls([list]).build());
    }
    if let Ok(found) = Revocations::from_pem(data) {
        assert!(found.lists.len() <= MAX_LISTS, "{} lists", found.lists.len());
        assert_eq!(found.lists.len(), CertificateRevocationListDer::pem_slice_iter(data).count());
    }
}

fn is_bounded(text: &Arc<str>) {
    assert!(text.chars().count() <= MAX_NAME, "a text of {} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "a control character");
}
