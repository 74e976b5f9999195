//! Credentials from where routers keep them: a folder, or a Secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::CredentialsError;
use crate::id::Ordinal;
use crate::net::bundle::{read_dir, read_named};
use crate::resource::secret::SecretSpec;
use crate::tls::credentials::{Credentials, CredentialsParts};

impl Credentials {
    /// Reads the bundle in a folder: `ca.crt`, `tls.crt`, `tls.key`, `crl.pem`. Its ordinal is 1. Blocks on the disk.
    ///
    /// # Errors
    /// The folder or a part cannot be read, or the parts make no bundle.
    pub fn from_dir(name: &str, path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        Self::from_pem(name, &read_dir(name, path.as_ref())?, FIRST)
    }

    /// Reads the bundle `name` below a folder of bundle folders, as Skupper's `input/certs/` is. Blocks on the disk.
    ///
    /// # Errors
    /// [`CredentialsError::Name`] for a name with `..` or `/` in it, before the disk is touched; else as
    /// [`Credentials::from_dir`].
    pub fn from_root(name: &str, root: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        Self::from_pem(name, &read_named(name, root.as_ref())?, FIRST)
    }

    /// Takes the bundle out of a Secret. Its ordinal is 1.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] for a Secret without `ca.crt`, and when the parts make no bundle.
    pub fn from_secret(secret: &SecretSpec) -> Result<Self, CredentialsError> {
        let ca = secret.ca_crt().ok_or(CredentialsError::Missing { part: "ca.crt" })?.to_vec();
        let part = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let (cert, key, crl) = (part(secret.tls_crt()), part(secret.tls_key()), part(secret.crl_pem()));
        let parts = CredentialsParts { ca, cert, key, crl };
        Self::from_pem(&Arc::clone(&secret.name), &parts, FIRST)
    }
}

/// Where the credentials of a link or an access come from.
///
/// ```
/// use sitelink::CredentialsSource;
///
/// // Follows what the folder holds, for as long as the link or access lives.
/// let source = CredentialsSource::directory("server", "/etc/site/server");
/// # assert!(format!("{source:?}").contains("/etc/site/server"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CredentialsSource {
    /// A bundle that was read already. It changes by `rotate` alone.
    Fixed(Credentials),
    /// A folder with `ca.crt`, `tls.crt` and `tls.key`, which is watched: what it comes to hold is taken for new
    /// handshakes.
    ///
    /// A bundle is taken when two looks at it agree and its key fits its certificate. Until then, and when the
    /// folder is gone or holds what is no bundle, what is in use stays; that is told once for each different content.
    Directory {
        /// What events call it.
        name: Arc<str>,
        /// The folder. Its parts may be links, as Kubernetes mounts them.
        path: PathBuf,
    },
}

impl CredentialsSource {
    /// A folder that is watched; `name` is what events call its bundle.
    pub fn directory(name: impl Into<Arc<str>>, path: impl Into<PathBuf>) -> Self {
        Self::Directory { name: name.into(), path: path.into() }
    }
}

impl From<Credentials> for CredentialsSource {
    fn from(credentials: Credentials) -> Self {
        Self::Fixed(credentials)
    }
}

/// The ordinal of a bundle that has not been rotated.
pub(crate) const FIRST: Ordinal = Ordinal(1);
