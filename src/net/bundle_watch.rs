//! A folder of credentials that is watched, for one access or one link.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{CredentialsError, PlaneError};
use crate::id::{AccessId, LinkId};
use crate::net::bundle::{paths, read_dir};
use crate::net::credentials::FIRST;
use crate::net::hub::Hub;
use crate::net::settling::{Settling, Shown};
use crate::net::stamp::Stamp;
use crate::net::watch::Watch;
use crate::tls::credentials::{Credentials, CredentialsParts};

/// What one look at a folder of credentials has found: the parts, or why there are none.
pub(crate) type Found = Result<CredentialsParts, CredentialsError>;

/// What stands for it where looks are compared.
pub(crate) type Digest = Result<[u8; 32], CredentialsError>;

/// A folder of credentials and what it was believed to hold last.
#[derive(Debug)]
pub(crate) struct BundleWatch {
    hub: Arc<Hub>,
    watch: Watch,
    name: Arc<str>,
    path: PathBuf,
    settling: Settling<Digest>,
    stamp: Option<Stamp>,
}

impl BundleWatch {
    /// Watches the folder `path`; `name` is what events call its bundle.
    pub(crate) fn new(hub: &Arc<Hub>, name: Arc<str>, path: PathBuf) -> Self {
        let watch = Watch::new(hub);
        let watched =
            Self { hub: Arc::clone(hub), watch, name, path, settling: Settling::default(), stamp: None };
        watched.follow();
        watched
    }

    /// Waits until the folder holds something else than before, and says what: the first time, what it holds at all.
    ///
    /// # Cancel safety
    /// Cancel safe: what was believed last changes only with the call that returns it.
    pub(crate) async fn changed(&mut self) -> Result<Credentials, CredentialsError> {
        loop {
            // In doubt only a second reading tells; else a folder in the same state need not be read.
            let before = if self.settling.is_in_doubt() { None } else { self.stamp.clone() };
            let (name, path) = (Arc::clone(&self.name), self.path.clone());
            let work = move || look(&name, &path, before.as_ref());
            let looked = self.watch.look(work, || self.overdue()).await;
            if let Some((stamp, Some(found))) = looked {
                self.stamp = Some(stamp);
                let shown = self.settling.observe(digest(&found));
                if shown != Shown::Nothing {
                    // The folder may be another one than that the system was asked to watch.
                    self.follow();
                }
                if shown == Shown::Change {
                    return found.and_then(|parts| Credentials::from_pem(&self.name, &parts, FIRST));
                }
            }
            self.watch.pause(self.settling.is_in_doubt()).await;
        }
    }

    /// Has an access take what the folder comes to hold, until the access is gone.
    pub(crate) async fn serve_access(mut self, access: AccessId) {
        loop {
            let taken = match self.changed().await {
                Ok(credentials) => self.hub.rotate_access(access, &credentials),
                Err(error) => {
                    self.hub.refuse(&self.name, &error);
                    continue;
                }
            };
            if matches!(taken, Err(PlaneError::Unknown)) {
                return;
            }
        }
    }

    /// Has a link take what the folder comes to hold, until the link is gone.
    pub(crate) async fn serve_link(mut self, link: LinkId) {
        loop {
            let taken = match self.changed().await {
                Ok(credentials) => self.hub.rotate_link(link, credentials),
                Err(error) => {
                    self.hub.refuse(&self.name, &error);
                    continue;
                }
            };
            if matches!(taken, Err(PlaneError::Unknown | PlaneError::ShutDown)) {
                return;
            }
        }
    }

    /// What the bundle is called.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn follow(&self) {
        // The folder above shows when this one is removed and made again, or is a link that is swapped.
        let folders = [Some(self.path.as_path()), self.path.parent()].into_iter().flatten();
        self.watch.follow(folders.map(Path::to_path_buf).collect::<BTreeSet<_>>());
    }

    fn overdue(&self) {
        let path = self.path.to_string_lossy().into();
        self.hub.refuse(&self.name, &CredentialsError::File { path, kind: ErrorKind::TimedOut });
    }
}

/// One look at a folder of credentials; without a finding if its files are as they were `before`. Blocks on the disk.
pub(crate) fn look(name: &str, path: &Path, before: Option<&Stamp>) -> (Stamp, Option<Found>) {
    // Taken before the files are read: what changes in between shows at the next look.
    let stamp = Stamp::of(paths(path));
    let still = before.is_some_and(|before| before.is_still(&stamp));
    (stamp, (!still).then(|| read_dir(name, path)))
}

/// What stands for a finding, without a copy of a key.
pub(crate) fn digest(found: &Found) -> Digest {
    found.as_ref().map(CredentialsParts::digest).map_err(Clone::clone)
}
