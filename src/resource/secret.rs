//! The Secret: the bundle or proxy a Link names, without a look inside the certificates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::certificate::asks_for_public_roots;
use crate::resource::fields::Fields;
use crate::resource::host;
use crate::resource::host::Host;
use crate::resource::node::Node;

/// A Secret document, parsed. Cloning is cheap; `Debug` shows which parts are there, never their content.
///
/// Keys that no bundle and no proxy has are dropped.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretSpec {
    /// The namespace, empty if the document has none.
    pub namespace: Arc<str>,
    /// The name, an RFC 1123 subdomain.
    pub name: Arc<str>,
    /// What it is good for.
    pub kind: SecretKind,
    parts: BTreeMap<&'static str, Part>,
    problems: Vec<SecretProblem>,
}

/// What a Secret is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// A credentials bundle: type `kubernetes.io/tls`, or `Opaque` or no type with a part of a bundle.
    Tls,
    /// A proxy and who may use it: type `kubernetes.io/basic-auth`.
    Proxy,
    /// Anything else: no use to a link.
    Other,
}

/// Why a Secret cannot be used, without anything of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SecretProblem {
    /// The part, like `tls.crt`.
    pub part: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.problem)
    }
}

/// An HTTP proxy, out of a Secret. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySpec {
    /// Where the proxy is.
    pub host: Host,
    /// Where the proxy is, 1..=65535.
    pub port: u16,
    /// Who asks; empty for nobody.
    pub username: Arc<str>,
    /// Proof of it; empty for none.
    pub password: Arc<str>,
}

impl ProxySpec {
    /// A proxy made by hand, that wants no login.
    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port, username: Arc::from(""), password: Arc::from("") }
    }

    /// With the login of a user, shown to the proxy in the clear, as HTTP's basic authentication does.
    ///
    /// # Errors
    /// [`SecretProblem`] for a user name with a colon, which basic authentication cannot tell from the password's
    /// begin, and for control characters in either.
    pub fn with_login(mut self, username: &str, password: &str) -> Result<Self, SecretProblem> {
        let wrong = |part| move |problem| SecretProblem { part, problem };
        user_name(username.as_bytes()).map_err(wrong(USERNAME))?;
        printable(password.as_bytes()).map_err(wrong(PASSWORD))?;
        (self.username, self.password) = (Arc::from(username), Arc::from(password));
        Ok(self)
    }
}

/// `host:port`, with IPv6 in brackets.
impl fmt::Display for ProxySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.with_port(self.port, f)
    }
}

impl fmt::Debug for ProxySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySpec")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl SecretSpec {
    /// What it is known by: namespace and name.
    pub(crate) fn key(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.namespace), Arc::clone(&self.name))
    }

    /// `ca.crt`: whom to trust, PEM, or the word [`PUBLIC_ROOTS`](crate::PUBLIC_ROOTS). `None` if absent or unusable.
    #[must_use]
    pub fn ca_crt(&self) -> Option<&[u8]> {
        self.part(CA_CRT)
    }

    /// `tls.crt`: the certificate and its chain, PEM. `None` if absent or unusable.
    #[must_use]
    pub fn tls_crt(&self) -> Option<&[u8]> {
        self.part(TLS_CRT)
    }

    /// `tls.key`: the certificate's key, PEM. `None` if absent or unusable.
    #[must_use]
    pub fn tls_key(&self) -> Option<&[u8]> {
        self.part(TLS_KEY)
    }

    /// `crl.pem`: revocation lists, PEM. `None` if absent or unusable.
    #[must_use]
    pub fn crl_pem(&self) -> Option<&[u8]> {
        self.part(CRL_PEM)
    }

    /// The proxy, if it is one and without problems.
    #[must_use]
    pub fn proxy(&self) -> Option<ProxySpec> {
        if self.kind != SecretKind::Proxy || !self.is_usable() {
            return None;
        }
        let text = |part| self.part(part).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
        Some(ProxySpec {
            host: text(HOST).parse().ok()?,
            port: host::port(text(PORT))?,
            username: Arc::from(text(USERNAME)),
            password: Arc::from(text(PASSWORD)),
        })
    }

    /// What is wrong with it; a Secret with a problem counts as refused.
    #[must_use]
    pub fn problems(&self) -> &[SecretProblem] {
        &self.problems
    }

    /// Whether nothing is wrong with it. A bundle of `ca.crt` alone is usable, but only for a Link with
    /// `noClientAuth`: see [`SecretSpec::is_ca_only`].
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether it is a bundle without certificate and key.
    #[must_use]
    pub fn is_ca_only(&self) -> bool {
        self.kind == SecretKind::Tls && [TLS_CRT, TLS_KEY].iter().all(|part| !self.parts.contains_key(part))
    }

    fn part(&self, name: &str) -> Option<&[u8]> {
        match self.parts.get(name)? {
            Part::Good(bytes) => Some(bytes),
            Part::Bad => None,
        }
    }

    /// Reads the document. What is wrong with its parts is kept with it and goes to the report as well.
    pub(crate) fn read(namespace: Arc<str>, name: Arc<str>, fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse_repeated();
        let kind = fields.text("type").unwrap_or_default();
        let mut reader = Reader::default();
        // Kubernetes lets `stringData` overwrite `data`.
        reader.read(&mut fields.object("data"), Encoding::Base64);
        reader.read(&mut fields.object("stringData"), Encoding::Plain);
        let bundle = [CA_CRT, TLS_CRT, TLS_KEY].iter().any(|part| reader.parts.contains_key(part));
        let kind = match kind {
            "kubernetes.io/tls" => SecretKind::Tls,
            "" | "Opaque" if bundle => SecretKind::Tls,
            "kubernetes.io/basic-auth" => SecretKind::Proxy,
            _ => SecretKind::Other,
        };
        reader.judge(kind);
        for SecretProblem { part, problem } in &reader.problems {
            let object = reader.found_in.get(part).unwrap_or(&"data");
            fields.refuse(&format!("{object}.{part}"), *problem);
        }
        if kind == SecretKind::Other {
            fields.warn("type", "is neither a credentials bundle nor a proxy: not used");
        }
        Self { namespace, name, kind, parts: reader.parts, problems: reader.problems }
    }
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSpec")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("parts", &self.parts.keys())
            .field("problems", &self.problems)
            .finish()
    }
}

/// A part that was named in the document.
#[derive(Clone, PartialEq, Eq)]
enum Part {
    Good(Arc<[u8]>),
    /// There, but of no use.
    Bad,
}

#[derive(Clone, Copy)]
enum Encoding {
    Base64,
    Plain,
}

/// A Secret in the course of reading.
#[derive(Default)]
struct Reader {
    parts: BTreeMap<&'static str, Part>,
    found_in: BTreeMap<&'static str, &'static str>,
    problems: Vec<SecretProblem>,
}

impl Reader {
    /// Takes the parts of `data` or `stringData`. An empty one is as good as absent: Skupper writes an empty
    /// key where it has none. Not so revocation lists: where their making has failed nobody is to be let in for it.
    fn read(&mut self, fields: &mut Fields<'_, '_>, encoding: Encoding) {
        let object = if matches!(encoding, Encoding::Base64) { "data" } else { "stringData" };
        fields.refuse_repeated();
        for part in PARTS {
            let bytes = match fields.value(part) {
                None => continue,
                Some(node) => match (node, encoding) {
                    (Node::Text(text), Encoding::Plain) => Ok(text.as_bytes().to_vec()),
                    (Node::Text(text), Encoding::Base64) => decode(text),
                    _ => Err("must be text"),
                },
            };
            self.problems.retain(|problem| problem.part != part);
            self.found_in.insert(part, object);
            match bytes {
                Ok(bytes) if bytes.is_empty() && part != CRL_PEM => drop(self.parts.remove(part)),
                Ok(bytes) => drop(self.parts.insert(part, Part::Good(bytes.into()))),
                Err(problem) => self.spoil(part, problem),
            }
        }
    }

    /// Looks for what is missing, or not what its name says.
    fn judge(&mut self, kind: SecretKind) {
        match kind {
            SecretKind::Tls => {
                self.check(CA_CRT, Presence::Required, authorities);
                // Both may be missing, for a Link without client authentication; one alone is a mistake.
                let pair = [TLS_CRT, TLS_KEY].iter().any(|part| self.parts.contains_key(part));
                let presence = if pair { Presence::Required } else { Presence::Optional };
                self.check(TLS_CRT, presence, certificates);
                self.check(TLS_KEY, presence, private_key);
                self.check(CRL_PEM, Presence::Optional, revocation_lists);
            }
            SecretKind::Proxy => {
                self.check(HOST, Presence::Required, |bytes| {
                    let host = str::from_utf8(bytes).ok().and_then(|text| text.parse::<Host>().ok());
                    host.map(drop).ok_or("must be a DNS name or an IP address")
                });
                self.check(PORT, Presence::Required, |bytes| {
                    let port = str::from_utf8(bytes).ok().and_then(host::port);
                    port.map(drop).ok_or("must be 1..=65535 or amqps")
                });
                self.check(USERNAME, Presence::Optional, user_name);
                self.check(PASSWORD, Presence::Optional, printable);
            }
            // Nobody will use it, so nothing is wrong with it.
            SecretKind::Other => self.problems.clear(),
        }
    }

    fn check(&mut self, part: &'static str, presence: Presence, rule: fn(&[u8]) -> Result<(), &'static str>) {
        match self.parts.get(part) {
            Some(Part::Good(bytes)) => {
                if let Err(problem) = rule(bytes) {
                    self.spoil(part, problem);
                }
            }
            Some(Part::Bad) => {}
            None if presence == Presence::Required => {
                self.problems.push(SecretProblem { part, problem: MISSING })
            }
            None => {}
        }
    }

    fn spoil(&mut self, part: &'static str, problem: &'static str) {
        self.parts.insert(part, Part::Bad);
        self.problems.push(SecretProblem { part, problem });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// Decodes as Kubernetes does: standard alphabet, padded, line ends ignored.
fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(text).map_err(|_| "is not base64")
}

/// Certificates, or the wish for the public roots.
fn authorities(bytes: &[u8]) -> Result<(), &'static str> {
    if asks_for_public_roots(bytes) { Ok(()) } else { certificates(bytes) }
}

fn certificates(bytes: &[u8]) -> Result<(), &'static str> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        certificate.map_err(|_| "is not well-formed PEM")?;
        count += 1;
    }
    if count == 0 { Err("holds no PEM certificate") } else { Ok(()) }
}

fn private_key(bytes: &[u8]) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(bytes)
        .map(drop)
        .map_err(|_| "holds no PEM private key (PKCS#1, PKCS#8 or SEC1)")
}

fn revocation_lists(bytes: &[u8]) -> Result<(), &'static str> {
    let mut count = 0_usize;
    for list in CertificateRevocationListDer::pem_slice_iter(bytes) {
        list.map_err(|_| "is not well-formed PEM")?;
        count += 1;
    }
    if count == 0 { Err("holds no PEM revocation list") } else { Ok(()) }
}

/// RFC 7617: what stands before the first colon is the name, so that a name has none.
fn user_name(bytes: &[u8]) -> Result<(), &'static str> {
    printable(bytes)?;
    if bytes.contains(&b':') { Err("must not hold a colon") } else { Ok(()) }
}

/// RFC 7617 takes no control characters in a user name or password.
fn printable(bytes: &[u8]) -> Result<(), &'static str> {
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(()),
        _ => Err("must be text without control characters"),
    }
}

const CA_CRT: &str = "ca.crt";
const TLS_CRT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const CRL_PEM: &str = "crl.pem";
const HOST: &str = "host";
const PORT: &str = "port";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";

/// Every key that is looked at.
const PARTS: [&str; 8] = [CA_CRT, TLS_CRT, TLS_KEY, CRL_PEM, HOST, PORT, USERNAME, PASSWORD];

/// What is said of a part that is absent or empty.
pub(crate) const MISSING: &str = "is missing";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::manifest::Manifest;

    fn proxy(username: &str, password: &str) -> Manifest {
        let text = format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/basic-auth\nmetadata: {{name: p}}\nstringData:\n  \
             {{host: fd00::1, port: '3128', username: {username}, password: {password}}}\n"
        );
        Manifest::parse(text, "test")
    }

    #[test]
    fn a_proxy_is_read_and_shown_without_its_login() {
        let manifest = proxy("west", "'p:w'");
        let found = manifest.secret("", "p").and_then(SecretSpec::proxy).unwrap();
        let made = ProxySpec::new("fd00::1".parse().unwrap(), 3128).with_login("west", "p:w").unwrap();
        assert_eq!(found, made);
        assert_eq!(made.to_string(), "[fd00::1]:3128");
        let shown = format!("{made:?}");
        assert!(!shown.contains("west") && !shown.contains("p:w"), "{shown}");
    }

    /// As `kubectl create secret` takes it in when making the list had failed: taken for none, it let in who was revoked.
    #[test]
    fn an_empty_revocation_list_is_refused_where_an_empty_certificate_is_none() {
        let text = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: own}\n\
             data: {crl.pem: '', tls.crt: '', tls.key: ''}\n";
        let refused: Vec<_> =
            Manifest::parse(text, "test").refused().iter().map(ToString::to_string).collect();
        let expected =
            ["Secret own: data.crl.pem: holds no PEM revocation list", "Secret own: data.ca.crt: is missing"];
        assert!(expected.iter().all(|line| refused.iter().any(|refused| refused == line)), "{refused:?}");
        assert_eq!(refused.len(), 2, "{refused:?}");
    }

    #[test]
    fn a_login_that_basic_authentication_cannot_carry_is_refused_unquoted() {
        let colon = SecretProblem { part: USERNAME, problem: "must not hold a colon" };
        let control = |part| SecretProblem { part, problem: "must be text without control characters" };
        let spec = ProxySpec::new("proxy".parse().unwrap(), 1);
        for (username, password, problem) in [
            ("we:st", "secret", colon),
            ("we\nst", "secret", control(USERNAME)),
            ("west", "sec\0ret", control(PASSWORD)),
        ] {
            assert_eq!(spec.clone().with_login(username, password), Err(problem));
        }
        let manifest = proxy("'we:st'", "secret");
        let refused: Vec<_> = manifest.refused().iter().map(ToString::to_string).collect();
        assert_eq!(refused, ["Secret p: stringData.username: must not hold a colon"]);
        assert_eq!(manifest.secret("", "p").and_then(SecretSpec::proxy), None);
    }
}
