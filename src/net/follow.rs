//! Following documents: what is on the disk becomes what the plane keeps, change by change.
//!
//! One task for all that is followed together. Each round it looks (where that may block), believes what two looks
//! agree on, lets the [`Reconciler`] say what that changes, and has the plane make those changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{CredentialsError, PlaneError};
use crate::event::EventKind;
use crate::id::{LinkId, LinkName};
use crate::net::bundle;
use crate::net::bundle_watch::{self, Digest, Found};
use crate::net::credentials::FIRST;
use crate::net::followed::{FollowedLink, FollowingStatus, Resources};
use crate::net::hub::Hub;
use crate::net::secrets::LinkSecrets;
use crate::net::settling::{Settling, Shown};
use crate::net::stamp::Stamp;
use crate::net::watch::Watch;
use crate::resource::link::{LinkKey, LinkSpec};
use crate::resource::manifest::{Manifest, documents_in};
use crate::resource::reconcile::{Change, Documents, Reading, Reconciler, SecretKey, Wanted};
use crate::resource::report::{Refusal, Warning, source_name};
use crate::resource::secret::SecretSpec;
use crate::tls::credentials::Credentials;

/// The task that follows.
#[derive(Debug)]
pub(crate) struct Follow {
    hub: Arc<Hub>,
    watch: Watch,
    resources: Resources,
    roots: Vec<Root>,
    bundles: BTreeMap<Arc<str>, Bundle>,
    documents: Documents,
    reconciler: Reconciler<Taken, CredentialsError>,
    /// The Secrets that were looked at, so that each is looked at once.
    judged: BTreeMap<SecretKey, (SecretSpec, Judged)>,
    links: BTreeMap<LinkKey, LinkId>,
    /// What the documents last said of them.
    specs: BTreeMap<LinkKey, LinkSpec>,
    told: watch::Sender<Arc<FollowingStatus>>,
}

/// What a bundle was found to be.
type Judged = Result<Taken, CredentialsError>;

/// What a followed file or folder holds, or why nobody knows.
type Read = Result<Arc<Manifest>, ErrorKind>;

/// A followed file or folder.
#[derive(Debug, Default)]
struct Root {
    stamp: Option<Stamp>,
    settling: Settling<Read>,
}

/// A folder of credentials that links name.
#[derive(Debug, Default)]
struct Bundle {
    stamp: Option<Stamp>,
    settling: Settling<Digest>,
    /// What it was believed to hold last.
    holds: Option<Judged>,
}

/// Credentials that are equal when their texts are.
#[derive(Clone, Debug)]
struct Taken(Credentials);

impl PartialEq for Taken {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same_bundle(&other.0)
    }
}

/// What one look is to find out; `None` for a stamp wants a reading in any case.
struct Order {
    roots: Vec<(PathBuf, Option<Stamp>)>,
    credentials: Option<PathBuf>,
    /// The folders of credentials that are known to be needed.
    bundles: BTreeMap<Arc<str>, Option<Stamp>>,
    /// The manifests believed last, for roots that need no reading.
    believed: Vec<Option<Arc<Manifest>>>,
}

/// What it has found; `None` for what needed no reading.
struct Looked {
    roots: Vec<(Option<Stamp>, Option<Read>)>,
    bundles: BTreeMap<Arc<str>, (Option<Stamp>, Option<Found>)>,
}

impl Follow {
    /// A task that has not looked yet, and where it tells what it knows.
    pub(crate) fn new(hub: &Arc<Hub>, resources: Resources) -> (Self, watch::Receiver<Arc<FollowingStatus>>) {
        let (told, status) = watch::channel(Arc::default());
        let roots = resources.paths.iter().map(|_| Root::default()).collect();
        let follow = Self {
            hub: Arc::clone(hub),
            watch: Watch::new(hub),
            resources,
            roots,
            bundles: BTreeMap::new(),
            documents: Documents::default(),
            reconciler: Reconciler::default(),
            judged: BTreeMap::new(),
            links: BTreeMap::new(),
            specs: BTreeMap::new(),
            told,
        };
        follow.heed();
        (follow, status)
    }

    /// Looks until the first reading is believed, and takes it in. Boxed, for it is part of what a caller of the plane awaits.
    ///
    /// # Errors
    /// [`PlaneError::Setting`] for a path that cannot be read at all, [`PlaneError::ShutDown`], and nothing is taken in then.
    ///
    /// # Cancel safety
    /// Dropped before it returns, it has taken nothing in.
    pub(crate) fn begin(&mut self) -> Pin<Box<dyn Future<Output = Result<(), PlaneError>> + Send + '_>> {
        Box::pin(self.first_reading())
    }

    async fn first_reading(&mut self) -> Result<(), PlaneError> {
        while !self.round().await {
            self.watch.pause(true).await;
        }
        for (root, path) in self.roots.iter().zip(&self.resources.paths) {
            if let Some(Err(kind)) = root.settling.settled() {
                let problem = format!("{}: {kind}", path.display()).into();
                return Err(PlaneError::Setting { setting: "resources", problem });
            }
        }
        if self.hub.closing.is_cancelled() {
            return Err(PlaneError::ShutDown);
        }
        self.take_in();
        Ok(())
    }

    /// Looks again and again, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            self.watch.pause(self.is_in_doubt()).await;
            if self.round().await {
                self.take_in();
            }
        }
    }

    /// Takes one look. Says whether something is believed now that was not, and nothing is left of which nothing is
    /// known.
    async fn round(&mut self) -> bool {
        let order = self.order();
        let paths = self.resources.paths.clone();
        let hub = Arc::clone(&self.hub);
        let overdue = move || {
            for path in paths {
                let source = source_name(&path.to_string_lossy());
                let message = format!("{source}: cannot be read: {}", ErrorKind::TimedOut).into();
                hub.publish(EventKind::DocumentRefused { source, message });
            }
        };
        let Some(looked) = self.watch.look(move || order.look(), overdue).await else { return false };
        let mut changed = false;
        let mut shown = |now: Shown| {
            changed |= now == Shown::Change;
            now != Shown::Nothing
        };
        let mut stirred = false;
        for (root, (stamp, found)) in self.roots.iter_mut().zip(looked.roots) {
            root.stamp = stamp;
            stirred |= found.is_some_and(|found| shown(root.settling.observe(found)));
        }
        self.bundles.retain(|name, _| looked.bundles.contains_key(name));
        for (name, (stamp, found)) in looked.bundles {
            let bundle = self.bundles.entry(Arc::clone(&name)).or_default();
            bundle.stamp = stamp;
            let Some(found) = found else { continue };
            let now = bundle.settling.observe(bundle_watch::digest(&found));
            stirred |= shown(now);
            if now == Shown::Change {
                let taken = found.and_then(|parts| Credentials::from_pem(&name, &parts, FIRST));
                bundle.holds = Some(taken.map(Taken));
            }
        }
        if stirred {
            self.heed();
        }
        changed && self.roots.iter().all(|root| root.settling.settled().is_some())
    }

    fn order(&self) -> Order {
        let roots = self.roots.iter().zip(&self.resources.paths).map(|(root, path)| {
            let stamp = if root.settling.is_in_doubt() { None } else { root.stamp.clone() };
            (path.clone(), stamp)
        });
        let needed = self.reconciler.names().map(|name| (Arc::clone(name), None));
        let mut bundles: BTreeMap<_, _> = needed.collect();
        for (name, bundle) in &self.bundles {
            if let (false, Some(stamp)) = (bundle.settling.is_in_doubt(), bundles.get_mut(name)) {
                stamp.clone_from(&bundle.stamp);
            }
        }
        let believed = self.roots.iter().map(|root| root.settling.settled()?.as_ref().ok().cloned());
        Order {
            roots: roots.collect(),
            credentials: self.resources.credentials.clone(),
            bundles,
            believed: believed.collect(),
        }
    }

    /// Asks for notices of the folders that matter.
    fn heed(&self) {
        let mut folders = BTreeSet::new();
        let files = self.resources.paths.iter().flat_map(|path| [Some(path.as_path()), path.parent()]);
        folders.extend(files.flatten().map(Path::to_path_buf));
        if let Some(root) = &self.resources.credentials {
            folders.insert(root.clone());
            folders.extend(self.bundles.keys().filter_map(|name| bundle::named(name, root).ok()));
        }
        self.watch.follow(folders);
    }

    fn is_in_doubt(&self) -> bool {
        self.roots.iter().any(|root| root.settling.is_in_doubt())
            || self.bundles.values().any(|bundle| bundle.settling.is_in_doubt())
    }

    /// Makes what is believed what the plane keeps, and tells what is not taken.
    fn take_in(&mut self) {
        let mut reading = Reading::default();
        for (root, path) in self.roots.iter().zip(&self.resources.paths) {
            match root.settling.settled() {
                Some(Ok(manifest)) => reading.manifest.merge(Manifest::clone(manifest)),
                Some(Err(kind)) => reading.lost.push((path.to_string_lossy().into(), *kind)),
                None => {}
            }
        }
        let before = (self.documents.refused().to_vec(), self.documents.warnings().to_vec());
        let problems = self.reconciler.problems().clone();
        self.documents.update(reading);
        self.judge();
        let (judged, bundles) = (&self.judged, &self.bundles);
        let root = self.resources.credentials.is_some();
        let secret = |link: &LinkSpec, secret: &SecretSpec| {
            let found = judged.get(&secret.key()).map(|(_, found)| found.clone());
            presentable(link, found.unwrap_or(Err(CredentialsError::NotFound(Arc::clone(&secret.name)))))
        };
        let folder = |link: &LinkSpec, name: &Arc<str>| {
            let absent = || Err(CredentialsError::NotFound(Arc::clone(name)));
            let found =
                if root { bundles.get(name).and_then(|bundle| bundle.holds.clone()) } else { Some(absent()) };
            found.map(|found| presentable(link, found))
        };
        let changes = self.reconciler.reconcile(&self.documents, secret, folder);
        self.tell(&before.0, &before.1);
        changes.into_iter().for_each(|change| self.make(change));
        for ((link, name), problem) in self.reconciler.problems() {
            if problems.get(&(link.clone(), Arc::clone(name))) != Some(problem) {
                self.hub.refuse(name, problem);
            }
        }
        self.publish();
    }

    /// Looks at the Secrets that are new or changed.
    fn judge(&mut self) {
        let mut before = std::mem::take(&mut self.judged);
        for secret in self.documents.secrets() {
            let judged = match before.remove(&secret.key()) {
                Some((known, judged)) if known == *secret => judged,
                _ => Credentials::from_secret(secret).map(Taken),
            };
            self.judged.insert(secret.key(), (secret.clone(), judged));
        }
    }

    /// Has the plane make a change.
    fn make(&mut self, change: Change<Taken, CredentialsError>) {
        let wanted = match change {
            Change::Leave(key) => {
                self.specs.remove(&key);
                if let Some(link) = self.links.remove(&key) {
                    self.hub.unlink(link, self.resources.grace);
                }
                return;
            }
            Change::Keep(wanted) => *wanted,
        };
        let Wanted { mut spec, credentials, proxy } = wanted;
        let credentials = credentials.map(|found| found.map(|taken| taken.0));
        let secrets = LinkSecrets { credentials, proxy, source: None, policy: None };
        let known = self.links.get(&spec.key).copied();
        let key = spec.key.clone();
        let said_before = self.specs.insert(key.clone(), spec.clone());
        if said_before.is_some_and(|before| before == spec)
            && let Some(cost) = known.and_then(|link| self.hub.cost_of(link))
        {
            // Only what belongs to the document has changed: a cost that was set by hand stands.
            spec.cost = cost;
        }
        let kept = match self.hub.keep(known, spec.clone(), secrets.clone(), None) {
            // Somebody has given it up by hand; the documents want it.
            Err(PlaneError::Unknown) => self.hub.keep(None, spec, secrets, None),
            kept => kept,
        };
        match kept {
            Ok(link) => {
                self.links.insert(key, link);
            }
            // Nothing is kept any more.
            Err(PlaneError::ShutDown) => {}
            Err(error) => {
                self.reconciler.forget(&key);
                let (name, message) = (key.name.clone(), format!("Link {key}: {error}").into());
                self.hub.publish(EventKind::LinkRefused { link: known, name, message });
            }
        }
    }

    /// Tells what was not said before.
    fn tell(&self, refused: &[Refusal], warnings: &[Warning]) {
        for refusal in self.documents.refused().iter().filter(|refusal| !refused.contains(refusal)) {
            let (source, message) = (refusal.source().into(), refusal.to_string().into());
            self.hub.publish(match self.link_of(refusal) {
                Some((link, name)) => EventKind::LinkRefused { link, name, message },
                None => EventKind::DocumentRefused { source, message },
            });
        }
        for warning in self.documents.warnings().iter().filter(|warning| !warnings.contains(warning)) {
            let (source, message) = (warning.source().into(), warning.to_string().into());
            self.hub.publish(EventKind::DocumentWarning { source, message });
        }
    }

    /// The Link that a refusal is of, with its id if it is in force.
    fn link_of(&self, refusal: &Refusal) -> Option<(Option<LinkId>, LinkName)> {
        let name = LinkName::new(refusal.name().filter(|_| refusal.is_of_link())?).ok()?;
        let key = LinkKey { namespace: refusal.namespace().unwrap_or_default().into(), name: name.clone() };
        Some((self.links.get(&key).copied(), name))
    }

    fn publish(&self) {
        let links = self.documents.links().map(|link| FollowedLink {
            key: link.value.key.clone(),
            link: self.links.get(&link.value.key).copied(),
            source: Arc::clone(&link.source),
            held: link.held,
        });
        let problems = self.reconciler.problems().iter();
        let status = FollowingStatus {
            readings: self.told.borrow().readings + 1,
            links: links.collect(),
            refused: self.documents.refused().to_vec(),
            warnings: self.documents.warnings().to_vec(),
            credentials: problems
                .map(|((link, name), problem)| (link.clone(), Arc::clone(name), problem.clone()))
                .collect(),
        };
        self.told.send_replace(Arc::new(status));
    }
}

impl Order {
    /// Looks. Blocks on the disk.
    fn look(self) -> Looked {
        let Self { roots, credentials, mut bundles, believed } = self;
        let mut looked = Looked { roots: Vec::new(), bundles: BTreeMap::new() };
        for ((path, before), believed) in roots.into_iter().zip(believed) {
            // Taken before the files are read: what changes in between shows at the next look.
            let stamp = Stamp::of(files(&path));
            let still = before.is_some_and(|before| before.is_still(&stamp));
            let found = (!still).then(|| Manifest::read(&path).map(Arc::new).map_err(|error| error.kind()));
            let newest = match &found {
                Some(Ok(found)) => Some(found),
                _ => believed.as_ref(),
            };
            for name in newest.into_iter().flat_map(|manifest| manifest.links()).filter_map(bundle_of) {
                bundles.entry(name).or_insert(None);
            }
            // As of bundles: there is no stamp of what could not be read.
            let unread = match &found {
                None => false,
                Some(Ok(manifest)) => manifest.is_unread(),
                Some(Err(_)) => true,
            };
            looked.roots.push(((!unread).then_some(stamp), found));
        }
        for (name, before) in bundles {
            let Some(root) = &credentials else { break };
            let seen = match bundle::named(&name, root) {
                Ok(path) => bundle_watch::look(&name, &path, before.as_ref()),
                Err(error) => (None, Some(Err(error))),
            };
            looked.bundles.insert(name, seen);
        }
        looked
    }
}

/// The name of a link's credentials.
fn bundle_of(link: &LinkSpec) -> Option<Arc<str>> {
    link.tls_credentials.clone()
}

/// Whether a link can be dialed with what was found: without client authentication only whom to trust is needed.
fn presentable(link: &LinkSpec, found: Judged) -> Judged {
    match found {
        Ok(taken) if !link.no_client_auth && !taken.0.has_identity() => {
            Err(CredentialsError::Missing { part: "tls.crt" })
        }
        found => found,
    }
}

/// The path itself and, of a folder, its documents. Blocks on the disk.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_path_buf()];
    // What cannot be listed is no folder, or told by the reading.
    files.extend(documents_in(path).unwrap_or_default());
    files
}
