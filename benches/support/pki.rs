//! One authority and one leaf for both ends, and what each peer makes of them: the same provider, the same cipher suite,
//! both ends authenticated, no resumption.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sitelink::{Credentials, CredentialsParts, Ordinal};

/// An authority and a leaf for 127.0.0.1.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    ca: String,
    leaf: String,
    key: String,
}

impl Pki {
    /// Makes a new authority, and pins the process's crypto to aws-lc-rs with one suite, so that every peer uses it.
    pub(crate) fn new() -> Self {
        let provider =
            CryptoProvider { cipher_suites: vec![TLS13_AES_256_GCM_SHA384], ..aws_lc_rs::default_provider() };
        // A second call finds the first one's, which is the same.
        drop(provider.install_default());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("ring makes keys"))
            .expect("the parameters are complete");
        let key = KeyPair::generate().expect("ring makes keys");
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.signed_by(&key, &ca))
            .expect("the parameters are complete");
        Self { ca: ca.pem(), leaf: leaf.pem(), key: key.serialize_pem() }
    }

    /// The bundle as a plane takes it.
    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        let parts = CredentialsParts {
            ca: self.ca.clone().into_bytes(),
            cert: Some(self.leaf.clone().into_bytes()),
            key: Some(self.key.clone().into_bytes()),
            crl: None,
        };
        Credentials::from_pem(name, &parts, Ordinal(1)).expect("the bundle is whole")
    }

    /// A server that wants a client certificate and gives no tickets, which no peer here would use again.
    pub(crate) fn server(&self) -> ServerConfig {
        let verifier = WebPkiClientVerifier::builder(self.roots()).build().expect("there is a root");
        let (chain, key) = self.identity();
        let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("the key is the leaf's");
        config.send_tls13_tickets = 0;
        config
    }

    /// A client that shows the leaf.
    pub(crate) fn client(&self) -> ClientConfig {
        let (chain, key) = self.identity();
        let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .expect("the key is the leaf's");
        config.resumption = Resumption::disabled();
        config
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("PEM")).expect("a certificate");
        Arc::new(roots)
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let leaf = CertificateDer::from_pem_slice(self.leaf.as_bytes()).expect("PEM");
        (vec![leaf], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM"))
    }
}
