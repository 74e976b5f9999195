//! What a Link document names and does not hold: its credentials and its proxy.

use std::path::Path;

use crate::error::CredentialsError;
use crate::net::credentials::CredentialsSource;
use crate::policy::PeerPolicy;
use crate::resource::link::LinkSpec;
use crate::resource::manifest::Manifest;
use crate::resource::secret::ProxySpec;
use crate::tls::credentials::Credentials;

/// The credentials and the proxy that a Link is dialed with.
///
/// Made by hand from [`Credentials`] or a [`CredentialsSource`], or found among documents and folders with
/// [`LinkSecrets::find`]. What was looked for in vain is kept: the link is then taken on as not configured, and its
/// status says what is missing.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LinkSecrets {
    /// `None` if the document names no bundle and none was given.
    pub(crate) credentials: Option<Result<Credentials, CredentialsError>>,
    /// `None` if the document names no proxy, or one that was not found.
    pub(crate) proxy: Option<ProxySpec>,
    /// What is to be watched for the credentials; only a plane that takes the link on looks at it.
    pub(crate) source: Option<CredentialsSource>,
    /// `None` leaves the link's policy as it is.
    pub(crate) policy: Option<PeerPolicy>,
}

impl LinkSecrets {
    /// Looks up what `spec` names: the bundle as a Secret of the Link's namespace among `documents`, else as a folder
    /// below `root`, laid out as Skupper's `input/certs/<name>/` is; the proxy as a Secret among `documents`.
    ///
    /// Only RFC 1123 names reach the disk. Blocks on the disk when the bundle is no Secret. Never fails: what is
    /// missing or broken is told when the link is taken on.
    pub fn find(spec: &LinkSpec, documents: &Manifest, root: Option<&Path>) -> Self {
        let secret = |name: &str| documents.secret(&spec.key.namespace, name);
        let credentials = spec.tls_credentials.as_deref().map(|name| match (secret(name), root) {
            (Some(found), _) => Credentials::from_secret(found),
            (None, Some(root)) => Credentials::from_root(name, root),
            (None, None) => Err(CredentialsError::NotFound(name.into())),
        });
        let proxy = spec.settings.proxy_configuration.as_deref().and_then(secret);
        Self { credentials, proxy: proxy.and_then(|found| found.proxy()), source: None, policy: None }
    }

    /// Dials through this proxy. It is used only by a Link whose settings name one.
    pub fn with_proxy(mut self, proxy: ProxySpec) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Lets only these routers answer, beyond what the plane's policy says; see also
    /// [`Plane::set_link_policy`](crate::Plane::set_link_policy). Without it a link is answered by whoever holds a
    /// certificate of `ca.crt` for the endpoint's host, and a link that is changed keeps the policy it has.
    pub fn with_policy(mut self, policy: PeerPolicy) -> Self {
        self.policy = Some(policy);
        self
    }
}

impl From<Credentials> for LinkSecrets {
    fn from(credentials: Credentials) -> Self {
        Self { credentials: Some(Ok(credentials)), ..Self::default() }
    }
}

/// `None` is a link without credentials: it is taken on as not configured.
impl From<Option<Credentials>> for LinkSecrets {
    fn from(credentials: Option<Credentials>) -> Self {
        Self { credentials: credentials.map(Ok), ..Self::default() }
    }
}

/// A folder is watched for as long as the link is kept with it. One that holds no bundle yet is a link that is not
/// configured yet.
impl From<CredentialsSource> for LinkSecrets {
    fn from(source: CredentialsSource) -> Self {
        match source {
            CredentialsSource::Fixed(credentials) => credentials.into(),
            source @ CredentialsSource::Directory { .. } => Self { source: Some(source), ..Self::default() },
        }
    }
}
