//! Followed documents: what of them is in force, and what a newer reading changes.
//!
//! Two steps, both without I/O. [`Documents`] says which Links and Secrets stand, after a reading in which some may be
//! broken, given twice or gone. [`Reconciler`] says what that changes for the links that are kept.
//!
//! What is in force leaves only when its document is seen to be gone: not because it is broken now, nor because the
//! file it was in cannot be understood.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::resource::link::{LinkKey, LinkSpec};
use crate::resource::manifest::Manifest;
use crate::resource::report::{Refusal, Subject, Warning, source_name};
use crate::resource::secret::{ProxySpec, SecretSpec};

/// What a Secret is known by: namespace and name.
pub(crate) type SecretKey = (Arc<str>, Arc<str>);

/// One reading of all that is followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Everything that could be read.
    pub(crate) manifest: Manifest,
    /// Followed files and folders that could not be looked at, and why.
    pub(crate) lost: Vec<(Arc<str>, ErrorKind)>,
}

/// A document that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing<T> {
    /// What it says.
    pub(crate) value: T,
    /// The file it came from.
    pub(crate) source: Arc<str>,
    /// Whether the newest reading has it; if not, its document is broken, or its file cannot be understood.
    pub(crate) held: bool,
}

/// The Links and Secrets in force, and what was said of the newest reading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents {
    links: BTreeMap<LinkKey, Standing<LinkSpec>>,
    secrets: BTreeMap<SecretKey, Standing<SecretSpec>>,
    /// The keys of `links` in the order of the documents.
    order: Vec<LinkKey>,
    refused: Vec<Refusal>,
    warnings: Vec<Warning>,
}

impl Documents {
    /// Takes a newer reading in.
    ///
    /// Of two documents of one name that stands which stood before; one that only moved to another file is the same.
    pub(crate) fn update(&mut self, reading: Reading) {
        let Reading { mut manifest, lost } = reading;
        // Written as the files of the documents are, or those of a folder with a quote in its name would not be found.
        let lost: Vec<_> = lost.into_iter().map(|(path, kind)| (source_name(&path), kind)).collect();
        let links: BTreeMap<_, _> =
            self.links.iter().map(|(key, link)| (key.clone(), Arc::clone(&link.source))).collect();
        let secrets: BTreeMap<_, _> =
            self.secrets.iter().map(|(key, secret)| (key.clone(), Arc::clone(&secret.source))).collect();
        manifest.prefer(&links, &secrets);
        self.refused = manifest.refused().to_vec();
        self.warnings = manifest.warnings().to_vec();
        for (path, kind) in &lost {
            let message = format!("cannot be read: {kind}");
            self.refused.push(Refusal::new(path, &Subject::Source, None, message));
        }
        let doubts = Doubts::of(&manifest, &lost);
        let found = manifest.sourced_links().map(|(link, source)| (link.key.clone(), link.clone(), source));
        let verdict = |key: &LinkKey, old: &Standing<LinkSpec>, found: Option<(&LinkSpec, &Arc<str>)>| {
            doubts.verdict(key.into(), &old.source, found.map(|(_, source)| source))
        };
        let (links, rivals) = stand(std::mem::take(&mut self.links), found, verdict);
        self.links = links;
        self.order = manifest.links().map(|link| link.key.clone()).collect();
        let listed: BTreeSet<_> = self.order.iter().cloned().collect();
        self.order.extend(self.links.keys().filter(|key| !listed.contains(key)).cloned());
        for (key, source, stands) in rivals {
            self.refused.push(Refusal::given_twice(
                "Link",
                &key.namespace,
                key.name.as_str(),
                &source,
                &stands,
            ));
        }
        let found = manifest.sourced_secrets().map(|(secret, source)| (secret.key(), secret.clone(), source));
        let verdict =
            |key: &SecretKey, old: &Standing<SecretSpec>, found: Option<(&SecretSpec, &Arc<str>)>| {
                match (doubts.verdict(key.into(), &old.source, found.map(|(_, source)| source)), found) {
                    // A Secret with a problem is read all the same; one that was good is held against it.
                    (Verdict::Leave, Some((new, _))) if !new.is_usable() && old.value.is_usable() => {
                        Verdict::Hold
                    }
                    (verdict, _) => verdict,
                }
            };
        let (secrets, rivals) = stand(std::mem::take(&mut self.secrets), found, verdict);
        self.secrets = secrets;
        for ((namespace, name), source, stands) in rivals {
            self.refused.push(Refusal::given_twice("Secret", &namespace, &name, &source, &stands));
        }
    }

    /// The Links in force, in the order of their documents; those that are held come last.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Standing<LinkSpec>> {
        self.order.iter().filter_map(|key| self.links.get(key))
    }

    /// The Secret in force of that namespace and name.
    pub(crate) fn secret(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&SecretSpec> {
        let found = self.secrets.get(&(Arc::clone(namespace), Arc::clone(name)));
        found.map(|standing| &standing.value)
    }

    /// The Secrets in force.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretSpec> {
        self.secrets.values().map(|standing| &standing.value)
    }

    /// What of the newest reading is not taken, and why.
    pub(crate) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// What of the newest reading deserves a look.
    pub(crate) fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// A document's name, whatever its kind.
#[derive(Clone, Copy)]
struct Named<'a> {
    secret: bool,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> From<&'a LinkKey> for Named<'a> {
    fn from(key: &'a LinkKey) -> Self {
        Self { secret: false, namespace: &key.namespace, name: key.name.as_str() }
    }
}

impl<'a> From<&'a SecretKey> for Named<'a> {
    fn from((namespace, name): &'a SecretKey) -> Self {
        Self { secret: true, namespace, name }
    }
}

/// Where a reading cannot be believed when it shows nothing.
struct Doubts<'a> {
    /// Files with something in them that says neither kind nor name: it may be anything.
    sources: BTreeSet<&'a str>,
    /// What was followed and is not there.
    lost: &'a [(Arc<str>, ErrorKind)],
    /// Documents that were refused by name: secret or not, namespace, name, file.
    refused: BTreeSet<(bool, &'a str, &'a str, &'a str)>,
    files: BTreeSet<&'a str>,
}

impl<'a> Doubts<'a> {
    fn of(manifest: &'a Manifest, lost: &'a [(Arc<str>, ErrorKind)]) -> Self {
        let mut doubts =
            Self { sources: BTreeSet::new(), lost, refused: BTreeSet::new(), files: BTreeSet::new() };
        for refusal in manifest.refused() {
            doubts.files.insert(refusal.source());
            match (refusal.kind(), refusal.name()) {
                (Some(kind @ ("Link" | "LinkConfig" | "Secret")), Some(name)) => {
                    let namespace = refusal.namespace().unwrap_or_default();
                    doubts.refused.insert((kind == "Secret", namespace, name, refusal.source()));
                }
                // Of a kind that is none of ours, or named but of no interest.
                (Some(_), Some(_)) => {}
                _ => {
                    doubts.sources.insert(refusal.source());
                }
            }
        }
        doubts
    }

    /// What becomes of a document that was in force in the file `source`, given the file in which it is found now.
    fn verdict(&self, of: Named<'_>, source: &str, found: Option<&Arc<str>>) -> Verdict {
        if found.is_some_and(|found| **found == *source) {
            return Verdict::Leave;
        }
        let refused = |file: &str| self.refused.contains(&(of.secret, of.namespace, of.name, file));
        let unclear = self.sources.contains(source)
            || self.lost.iter().any(|(path, _)| Path::new(source).starts_with(Path::new(&**path)))
            || refused(source);
        match found {
            Some(_) if unclear => Verdict::Outlive,
            Some(_) => Verdict::Leave,
            // Broken where it was, or moved to another file and broken there.
            None if unclear || self.files.iter().any(|file| refused(file)) => Verdict::Hold,
            None => Verdict::Leave,
        }
    }
}

/// What becomes of a document that was in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It makes way for what was found, or for nothing.
    Leave,
    /// It stays, because nothing better is there.
    Hold,
    /// It stays, although another file has one of its name: its own says something that cannot be understood.
    Outlive,
}

/// What stands, and what of that another document would stand for: its key, its file, and the file of what stands.
type Stood<K, T> = (BTreeMap<K, Standing<T>>, Vec<(K, Arc<str>, Arc<str>)>);

/// What stands after `found`, when `before` stood.
fn stand<K: Ord + Clone, T>(
    mut before: BTreeMap<K, Standing<T>>,
    found: impl Iterator<Item = (K, T, Arc<str>)>,
    verdict: impl Fn(&K, &Standing<T>, Option<(&T, &Arc<str>)>) -> Verdict,
) -> Stood<K, T> {
    let (mut standing, mut rivals) = (BTreeMap::new(), Vec::new());
    for (key, value, source) in found {
        let stays = before.remove(&key).map(|old| (verdict(&key, &old, Some((&value, &source))), old));
        let stands = match stays {
            None | Some((Verdict::Leave, _)) => Standing { value, source, held: false },
            Some((Verdict::Hold, old)) => Standing { held: true, ..old },
            Some((Verdict::Outlive, old)) => {
                rivals.push((key.clone(), source, Arc::clone(&old.source)));
                Standing { held: true, ..old }
            }
        };
        standing.insert(key, stands);
    }
    let left = before.into_iter().filter(|(key, old)| verdict(key, old, None) != Verdict::Leave);
    standing.extend(left.map(|(key, old)| (key, Standing { held: true, ..old })));
    (standing, rivals)
}

/// A link as it is to be kept: its document, with what its credentials (`C`, or why not: `E`) and its proxy were found
/// to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<C, E> {
    /// The document.
    pub(crate) spec: LinkSpec,
    /// `None` if the document names none.
    pub(crate) credentials: Option<Result<C, E>>,
    /// `None` if the document names none, or one that was not found.
    pub(crate) proxy: Option<ProxySpec>,
}

/// What is to be done about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<C, E> {
    /// Take it on, or change it to this.
    Keep(Box<Wanted<C, E>>),
    /// Give it up.
    Leave(LinkKey),
}

/// Compares the links that stand with those that are kept.
#[derive(Clone, Debug)]
pub(crate) struct Reconciler<C, E> {
    kept: BTreeMap<LinkKey, Wanted<C, E>>,
    problems: BTreeMap<(LinkKey, Arc<str>), E>,
}

impl<C, E> Default for Reconciler<C, E> {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), problems: BTreeMap::new() }
    }
}

impl<C: Clone + PartialEq, E: Clone + PartialEq> Reconciler<C, E> {
    /// The changes that make what is kept what stands; none for a link that is as it was. They count as made.
    ///
    /// `secret` looks at a Secret as the credentials of a link; `folder` says what the folder of that name holds, `None`
    /// while nobody knows. A link whose credentials nobody knows yet is left for later. Credentials that were found and
    /// are broken or gone now stay, as long as the link names them; so does its proxy.
    pub(crate) fn reconcile(
        &mut self,
        documents: &Documents,
        secret: impl Fn(&LinkSpec, &SecretSpec) -> Result<C, E>,
        folder: impl Fn(&LinkSpec, &Arc<str>) -> Option<Result<C, E>>,
    ) -> Vec<Change<C, E>> {
        let mut changes = Vec::new();
        self.problems.clear();
        let standing: BTreeSet<_> = documents.links().map(|link| &link.value.key).collect();
        for key in self.kept.keys().filter(|key| !standing.contains(key)) {
            changes.push(Change::Leave(key.clone()));
        }
        self.kept.retain(|key, _| standing.contains(key));
        for link in documents.links().map(|link| &link.value) {
            let before = self.kept.get(&link.key);
            let credentials = match &link.tls_credentials {
                None => None,
                Some(name) => {
                    let found = match documents.secret(&link.key.namespace, name) {
                        Some(found) => Some(secret(link, found)),
                        None => folder(link, name),
                    };
                    let same = before.filter(|before| before.spec.tls_credentials.as_ref() == Some(name));
                    let before = same.and_then(|before| before.credentials.as_ref());
                    match (found, before) {
                        (Some(Err(problem)), Some(Ok(before))) => {
                            self.problems.insert((link.key.clone(), Arc::clone(name)), problem);
                            Some(Ok(before.clone()))
                        }
                        (Some(found), _) => Some(found),
                        (None, Some(before)) => Some(before.clone()),
                        (None, None) => continue,
                    }
                }
            };
            let proxy = link.settings.proxy_configuration.as_ref().and_then(|name| {
                let found = documents.secret(&link.key.namespace, name).and_then(SecretSpec::proxy);
                let same =
                    |before: &&Wanted<C, E>| before.spec.settings.proxy_configuration.as_ref() == Some(name);
                found.or_else(|| before.filter(same).and_then(|before| before.proxy.clone()))
            });
            let wanted = Wanted { spec: link.clone(), credentials, proxy };
            if before != Some(&wanted) {
                changes.push(Change::Keep(Box::new(wanted.clone())));
                self.kept.insert(link.key.clone(), wanted);
            }
        }
        changes
    }

    /// A change could not be made: it is tried again the next time.
    pub(crate) fn forget(&mut self, key: &LinkKey) {
        self.kept.remove(key);
    }

    /// What is wrong with credentials that links go on without: link and name.
    pub(crate) fn problems(&self) -> &BTreeMap<(LinkKey, Arc<str>), E> {
        &self.problems
    }

    /// The names of all credentials that links are kept with.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.kept.values().filter_map(|wanted| wanted.spec.tls_credentials.as_ref())
    }
}

#[cfg(test)]
mod tests;
