//! What the examples share: throwaway certificates, and the documents and folders made of them.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fs, io};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

pub(crate) mod mount;

/// A certificate authority that lives as long as the process. For demonstrations only.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A bundle as PEM texts.
pub(crate) struct Bundle {
    /// Whom to trust.
    pub(crate) ca_crt: String,
    /// Who we are.
    pub(crate) tls_crt: String,
    /// The proof of it.
    pub(crate) tls_key: String,
}

impl Authority {
    /// Makes an authority of that name.
    pub(crate) fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Issues a bundle for a router on this host, good for dialing and for accepting.
    pub(crate) fn issue(&self, name: &str) -> Result<Bundle, rcgen::Error> {
        self.issue_for(name, &["127.0.0.1".to_owned(), "localhost".to_owned()])
    }

    /// Issues one for a router at those names and addresses.
    pub(crate) fn issue_for(&self, name: &str, hosts: &[String]) -> Result<Bundle, rcgen::Error> {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.0)?;
        Ok(Bundle { ca_crt: self.0.pem(), tls_crt: leaf.pem(), tls_key: key.serialize_pem() })
    }
}

impl Bundle {
    /// Writes the bundle as a folder: `ca.crt`, `tls.crt`, and `tls.key`, which only its owner may read.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("ca.crt"), &self.ca_crt)?;
        fs::write(folder.join("tls.crt"), &self.tls_crt)?;
        let key = folder.join("tls.key");
        // A file of before keeps its mode, so it is made anew.
        match fs::remove_file(&key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key)?;
        file.write_all(self.tls_key.as_bytes())
    }

    /// The bundle as a Kubernetes Secret.
    pub(crate) fn secret(&self, name: &str) -> String {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata:\n  name: {name}\ndata:\n  \
             ca.crt: {}\n  tls.crt: {}\n  tls.key: {}\n",
            encode(&self.ca_crt),
            encode(&self.tls_crt),
            encode(&self.tls_key)
        )
    }
}

/// A Link document to one interior router on this host.
pub(crate) fn link(name: &str, port: u16, tls_credentials: &str) -> String {
    format!(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: {name}\nspec:\n  cost: 1\n  \
         tlsCredentials: {tls_credentials}\n  endpoints:\n    - name: inter-router\n      host: 127.0.0.1\n      \
         port: \"{port}\"\n      group: {name}-router\n"
    )
}

/// Any error, as the examples' `main` returns it.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
