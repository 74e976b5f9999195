//! The manifest: every Link and Secret read, and what was not taken.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use crate::resource::link::{LinkKey, LinkSpec};
use crate::resource::manifest::intake::named;
use crate::resource::report::{Place, Refusal, Subject, Warning, label, source_name};
use crate::resource::secret::{MISSING, SecretKind, SecretSpec};
use crate::resource::split;
use crate::resource::split::Piece;

mod intake;

/// The Links and Secrets of some documents, with a refusal or warning for all that was not as it must be.
///
/// Documents come as YAML (several, divided by `---`), as JSON, as JSON objects one after another, or in a
/// Kubernetes `List`; Links and Secrets in any order. One bad document does not stop the others: reading
/// never fails, it refuses.
///
/// ```
/// use sitelink::resource::manifest::Manifest;
///
/// let manifest = Manifest::parse(
///     "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: west}, spec: {cost: -4, endpoints: []}}",
///     "west.yaml",
/// );
/// assert_eq!(manifest.refused()[0].to_string(), "Link west: spec.cost: must be 1..=2147483647, found -4");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    links: Vec<(LinkSpec, Arc<str>)>,
    secrets: Vec<(SecretSpec, Arc<str>)>,
    /// Links that were refused because another of their name stands.
    link_rivals: Vec<(LinkSpec, Arc<str>)>,
    /// Secrets likewise.
    secret_rivals: Vec<(SecretSpec, Arc<str>)>,
    /// What was refused when it was read.
    direct: Vec<Refusal>,
    /// `direct`, then what follows from all documents together.
    refused: Vec<Refusal>,
    warnings: Vec<Warning>,
    /// Whether a file could not be read.
    unread: bool,
}

impl Manifest {
    /// Reads a file, or the files of a folder that end in `.yaml`, `.yml` or `.json`, in the order of their
    /// names. Folders in the folder, and names that begin with a dot, are passed over.
    ///
    /// A file that cannot be read or is larger than [`MAX_FILE_BYTES`] is a refusal. Blocks on the disk.
    ///
    /// # Errors
    /// When `path` itself cannot be found or listed.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut manifest = Self::default();
        if fs::metadata(path)?.is_dir() {
            for file in documents_in(path)? {
                // Opening a pipe would wait for a writer; one that is named outright is meant.
                if fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
                    let source = source_name(&file.to_string_lossy());
                    manifest.direct.push(Refusal::new(&source, &Subject::Source, None, "is not a file"));
                } else {
                    manifest.read_file(&file);
                }
            }
        } else {
            manifest.read_file(path);
        }
        manifest.settle();
        Ok(manifest)
    }

    /// Reads documents from memory. `source` is how refusals call it.
    #[must_use]
    pub fn parse(text: impl AsRef<[u8]>, source: &str) -> Self {
        let mut manifest = Self::default();
        manifest.take_source(text.as_ref(), &source_name(source));
        manifest.settle();
        manifest
    }

    /// Adds another manifest, as if its documents had been read after this one's.
    pub fn merge(&mut self, other: Self) {
        self.unread |= other.unread;
        self.direct.extend(other.direct);
        self.warnings.extend(other.warnings);
        for (link, source) in other.links {
            self.add_link(link, &source);
        }
        for (secret, source) in other.secrets {
            self.add_secret(secret, &source);
        }
        self.link_rivals.extend(other.link_rivals);
        self.secret_rivals.extend(other.secret_rivals);
        self.settle();
    }

    /// The Links, in the order in which they were read.
    pub fn links(&self) -> impl Iterator<Item = &LinkSpec> {
        self.links.iter().map(|(link, _)| link)
    }

    /// The Link of that name (`name`, or `namespace/name` where the name alone is ambiguous).
    ///
    /// # Errors
    /// [`LinkNotFound`], with the refusal of a document of that name if there was one.
    pub fn link(&self, name: &str) -> Result<&LinkSpec, LinkNotFound> {
        let (namespace, bare) =
            name.split_once('/').map_or((None, name), |(namespace, bare)| (Some(namespace), bare));
        let fits = |link: &LinkKey| {
            link.name.as_str() == bare && namespace.is_none_or(|namespace| *link.namespace == *namespace)
        };
        let mut found = self.links().filter(|link| fits(&link.key));
        match (found.next(), found.next()) {
            (Some(link), None) => Ok(link),
            (Some(_), Some(_)) => Err(LinkNotFound { name: label(name), ambiguous: true, refusal: None }),
            (None, _) => {
                let refusal = self.refused.iter().find(|refusal| {
                    refusal.kind().is_some_and(|kind| kind != SECRET) && refusal.name() == Some(bare)
                });
                Err(LinkNotFound {
                    name: label(name),
                    ambiguous: false,
                    refusal: refusal.cloned().map(Box::new),
                })
            }
        }
    }

    /// The Secrets, in the order in which they were read, those with problems among them.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSpec> {
        self.secrets.iter().map(|(secret, _)| secret)
    }

    /// The Secret of that namespace (empty for none) and name.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&SecretSpec> {
        self.secrets().find(|secret| *secret.namespace == *namespace && *secret.name == *name)
    }

    /// What was not taken, and why.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// What was taken but deserves a look, and what was skipped as none of ours.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl Manifest {
    /// The Links with their files.
    pub(crate) fn sourced_links(&self) -> impl Iterator<Item = (&LinkSpec, Arc<str>)> {
        self.links.iter().map(|(link, source)| (link, Arc::clone(source)))
    }

    /// The Secrets with their files.
    pub(crate) fn sourced_secrets(&self) -> impl Iterator<Item = (&SecretSpec, Arc<str>)> {
        self.secrets.iter().map(|(secret, source)| (secret, Arc::clone(source)))
    }

    /// Of documents of one name, lets that one stand which comes from the file named here, instead of the first.
    pub(crate) fn prefer(
        &mut self,
        links: &BTreeMap<LinkKey, Arc<str>>,
        secrets: &BTreeMap<(Arc<str>, Arc<str>), Arc<str>>,
    ) {
        let swapped = swap_in(&mut self.links, &mut self.link_rivals, |link| link.key.clone(), links);
        let swapped = swapped
            .into_iter()
            .map(|(key, is, was)| (LINK, key.namespace, Arc::from(key.name.as_str()), is, was));
        let secrets = swap_in(&mut self.secrets, &mut self.secret_rivals, SecretSpec::key, secrets);
        let secrets = secrets.into_iter().map(|(key, is, was)| (SECRET, key.0, key.1, is, was));
        for (kind, namespace, name, is, was) in swapped.chain(secrets) {
            let wrong = Refusal::given_twice(kind, &namespace, &name, &is, &was);
            let right = Refusal::given_twice(kind, &namespace, &name, &was, &is);
            let told = self.direct.iter_mut().filter(|refusal| **refusal == wrong);
            told.for_each(|refusal| *refusal = right.clone());
        }
        self.settle();
    }

    /// Whether a file of it could not be read, which another reading of the same files may find otherwise.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    fn read_file(&mut self, path: &Path) {
        let source = source_name(&path.to_string_lossy());
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES as u64 + 1;
        match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => self.take_source(&bytes, &source),
            Err(error) => {
                let message = format!("cannot be read: {}", error.kind());
                self.direct.push(Refusal::new(&source, &Subject::Source, None, message));
                self.unread = true;
            }
        }
    }

    fn take_source(&mut self, bytes: &[u8], source: &Arc<str>) {
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("is larger than {MAX_FILE_BYTES} bytes");
            self.direct.push(Refusal::new(source, &Subject::Source, None, message));
            return;
        }
        let mut document = 0;
        for piece in split::pieces(bytes) {
            document += 1;
            if document > MAX_DOCUMENTS {
                let message = format!("holds more than {MAX_DOCUMENTS} documents; the rest is not read");
                self.direct.push(Refusal::new(source, &Subject::Source, None, message));
                return;
            }
            let place = Place { document, item: String::new() };
            match piece {
                Piece::Document(node) => self.take_document(&node, source, place, None),
                Piece::Broken(problem) => {
                    self.direct.push(Refusal::new(source, &Subject::Place(place), None, problem));
                }
            }
        }
    }

    /// Refuses what only all documents together show: a bundle without certificate and key that no Link
    /// without client authentication names.
    fn settle(&mut self) {
        self.refused.clone_from(&self.direct);
        for (secret, source) in &self.secrets {
            let wanted = self.links.iter().any(|(link, _)| {
                link.no_client_auth
                    && link.key.namespace == secret.namespace
                    && link.tls_credentials.as_deref() == Some(&*secret.name)
            });
            if secret.kind != SecretKind::Tls || !secret.is_usable() || !secret.is_ca_only() || wanted {
                continue;
            }
            let subject = named(SECRET, &secret.namespace, &secret.name);
            for field in ["data.tls.crt", "data.tls.key"] {
                self.refused.push(Refusal::new(source, &subject, Some(field), MISSING));
            }
        }
    }
}

/// Lets those of `rivals` stand that come from the file wanted for their key. Each key with the file it comes from now,
/// and the one before.
fn swap_in<K: Ord, T>(
    standing: &mut [(T, Arc<str>)],
    rivals: &mut [(T, Arc<str>)],
    key: impl Fn(&T) -> K,
    wanted: &BTreeMap<K, Arc<str>>,
) -> Vec<(K, Arc<str>, Arc<str>)> {
    let mut swapped = Vec::new();
    for rival in rivals {
        let of = key(&rival.0);
        let stands = standing.iter_mut().find(|(value, _)| key(value) == of);
        let Some(stands) = stands.filter(|(_, source)| *source != rival.1) else { continue };
        if wanted.get(&of) == Some(&rival.1) {
            std::mem::swap(stands, rival);
            swapped.push((of, Arc::clone(&stands.1), Arc::clone(&rival.1)));
        }
    }
    swapped
}

/// There is no Link of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNotFound {
    name: Arc<str>,
    ambiguous: bool,
    refusal: Option<Box<Refusal>>,
}

impl LinkNotFound {
    /// Why a document of that name was refused, if there was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }
}

impl fmt::Display for LinkNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.refusal, self.ambiguous) {
            (Some(refusal), _) => write!(f, "refused: {refusal}"),
            (None, true) => write!(f, "several namespaces have a Link {}", self.name),
            (None, false) => write!(f, "no Link {}", self.name),
        }
    }
}

impl std::error::Error for LinkNotFound {}

/// The documents of a folder by name, so that which of two comes first does not depend on the disk.
pub(crate) fn documents_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let known =
            path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        // Links are followed: Kubernetes mounts each file as one. What cannot be looked at is reported later.
        if known && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

const LINK: &str = "Link";

const SECRET: &str = "Secret";

/// The names of documents in a folder, as `kubectl apply -f` takes them.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The largest file that is read: 1,000 times a Link with its Secret (4 KiB), 4 times what etcd lets one
/// object have.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// Documents of one file, items of one list, and Links and Secrets of one manifest: what fills the largest file with real
/// documents.
pub const MAX_DOCUMENTS: usize = 4096;
