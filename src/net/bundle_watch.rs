//! A folder of credentials that is watched, for one access or one link.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

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

    /// Waits until the folder holds something else than before, and says what: the first time, what it holds at all. Boxed,
    /// for it is part of what a caller of the plane awaits.
    ///
    /// # Cancel safety
    /// Cancel safe: what was believed last changes only with the call that returns it.
    pub(crate) fn changed(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + '_>> {
        Box::pin(self.next_change())
    }

    async fn next_change(&mut self) -> Result<Credentials, CredentialsError> {
        loop {
            // In doubt only a second reading tells; else a folder in the same state need not be read.
            let before = if self.settling.is_in_doubt() { None } else { self.stamp.clone() };
            let (name, path) = (Arc::clone(&self.name), self.path.clone());
            let work = move || look(&name, &path, before.as_ref());
            let looked = self.watch.look(work, || self.overdue()).await;
            if let Some((stamp, Some(found))) = looked {
                self.stamp = stamp;
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

    /// Has a link take what the folder comes to hold, until the link is gone, or `stop` ends the watch.
    pub(crate) async fn serve_link(mut self, link: LinkId, stop: &CancellationToken) {
        loop {
            let taken = match self.changed().await {
                Ok(credentials) => self.hub.rotate_watched(link, credentials, stop),
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

/// One look at a folder of credentials; without a finding if its files are as they were `before`. There is no stamp of
/// what could not be read: the next time it may be readable, and as it was. Blocks on the disk.
pub(crate) fn look(name: &str, path: &Path, before: Option<&Stamp>) -> (Option<Stamp>, Option<Found>) {
    // Taken before the files are read: what changes in between shows at the next look.
    let stamp = Stamp::of(paths(path));
    if before.is_some_and(|before| before.is_still(&stamp)) {
        return (Some(stamp), None);
    }
    let found = read_dir(name, path);
    (found.is_ok().then_some(stamp), Some(found))
}

/// What stands for a finding, without a copy of a key.
pub(crate) fn digest(found: &Found) -> Digest {
    found.as_ref().map(CredentialsParts::digest).map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that the system described but did not open, for want of descriptors, was never read again: its facts stayed
    /// the same.
    #[test]
    fn a_folder_that_could_not_be_read_is_read_again_though_it_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.crt");
        fs::create_dir(&ca).unwrap();
        let (stamp, found) = look("own", folder.path(), None);
        assert!(matches!(found, Some(Err(CredentialsError::Unreadable { .. }))), "{found:?}");
        assert_eq!(stamp, None);
        fs::remove_dir(&ca).unwrap();
        fs::write(&ca, "any").unwrap();
        let (stamp, found) = look("own", folder.path(), None);
        assert!(matches!(found, Some(Ok(_))) && stamp.is_some(), "{found:?}");
    }
}
