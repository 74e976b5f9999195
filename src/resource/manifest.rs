//! The manifest: every Link and Secret read, and what was not taken.

use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::id::LinkName;
use crate::resource::fields::NAME_RULE;
use crate::resource::fields::NAMESPACE_RULE;
use crate::resource::fields::Fields;
use crate::resource::fields::Report;
use crate::resource::fields::is_namespace;
use crate::resource::fields::is_object_name;
use crate::resource::link::Form;
use crate::resource::link::LinkKey;
use crate::resource::link::LinkSpec;
use crate::resource::node::Map;
use crate::resource::node::Node;
use crate::resource::report::Place;
use crate::resource::report::Refusal;
use crate::resource::report::Subject;
use crate::resource::report::Warning;
use crate::resource::report::label;
use crate::resource::secret::MISSING;
use crate::resource::secret::SecretKind;
use crate::resource::secret::SecretSpec;
use crate::resource::split;
use crate::resource::split::Piece;

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
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    links: Vec<(LinkSpec, Arc<str>)>,
    secrets: Vec<(SecretSpec, Arc<str>)>,
    /// What was refused when it was read.
    direct: Vec<Refusal>,
    /// `direct`, then what follows from all documents together.
    refused: Vec<Refusal>,
    warnings: Vec<Warning>,
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
                manifest.read_file(&file);
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
        manifest.take_source(text.as_ref(), &label(source));
        manifest.settle();
        manifest
    }

    /// Adds another manifest, as if its documents had been read after this one's.
    pub fn merge(&mut self, other: Self) {
        self.direct.extend(other.direct);
        self.warnings.extend(other.warnings);
        for (link, source) in other.links {
            self.add_link(link, &source);
        }
        for (secret, source) in other.secrets {
            self.add_secret(secret, &source);
        }
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
        let (namespace, bare) = name.split_once('/').map_or((None, name), |(namespace, bare)| (Some(namespace), bare));
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
                Err(LinkNotFound { name: label(name), ambiguous: false, refusal: refusal.cloned() })
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
    fn read_file(&mut self, path: &Path) {
        let source = label(&path.to_string_lossy());
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES as u64 + 1;
        match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => self.take_source(&bytes, &source),
            Err(error) => {
                let message = format!("cannot be read: {}", error.kind());
                self.direct.push(Refusal::new(&source, &Subject::Source, None, message));
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
}

/// There is no Link of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNotFound {
    name: Arc<str>,
    ambiguous: bool,
    refusal: Option<Refusal>,
}

impl LinkNotFound {
    /// Why a document of that name was refused, if there was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
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

/// One document on its way in.
impl Manifest {
    /// Takes a document. `within` is the kind and version that an enclosing list gives its items.
    fn take_document(&mut self, node: &Node, source: &Arc<str>, place: Place, within: Option<(&str, &str)>) {
        let nowhere = Subject::Place(place.clone());
        let mut report = Report::new(source, nowhere, false);
        let Node::Map(map) = node else {
            // A Secret gone wrong may parse as bare text, so nothing is shown before the kind is known.
            report.refuse(None, "must be an object");
            return self.conclude(report);
        };
        let mut fields = report.fields(map);
        let stated = |key| fields.value(key).is_some();
        let (has_kind, has_version) = (stated("kind"), stated("apiVersion"));
        let kind = if has_kind { fields.text("kind") } else { within.map(|(kind, _)| kind) };
        let version = if has_version { fields.text("apiVersion") } else { within.map(|(_, version)| version) };
        let Some(kind) = kind else {
            if !has_kind {
                fields.refuse("kind", "is missing");
            }
            return self.conclude(report);
        };
        if has_version && version.is_none() {
            return self.conclude(report);
        }
        let version = version.unwrap_or_default();
        if kind.ends_with(LIST) && fields.has("items") {
            self.conclude(report);
            return self.take_list(map, (kind, version), source, &place);
        }
        let report = Report::new(source, Subject::Unnamed { kind: label(kind), place }, kind != SECRET);
        match (kind, version.split('/').next()) {
            (SECRET, _) => self.take_secret(map, version, report),
            ("Link" | "LinkConfig", Some("skupper.io" | "")) => self.take_link(map, kind, version, report),
            ("AccessToken", _) => self.take_stranger(map, report, true),
            _ => self.take_stranger(map, report, false),
        }
    }

    fn take_list(&mut self, map: &Map, (kind, version): (&str, &str), source: &Arc<str>, place: &Place) {
        let mut report = Report::new(source, Subject::Unnamed { kind: label(kind), place: place.clone() }, false);
        let items = report.fields(map).list("items").unwrap_or_default();
        let item_kind = kind.strip_suffix(LIST).filter(|kind| !kind.is_empty());
        let within = item_kind.map(|kind| (kind, version));
        if items.len() > MAX_DOCUMENTS {
            report.refuse(Some("items"), format!("must be at most {MAX_DOCUMENTS}, found {}", items.len()));
            return self.conclude(report);
        }
        self.conclude(report);
        for (index, item) in items.iter().enumerate() {
            let item_place = if place.item.is_empty() {
                format!("items[{index}]")
            } else {
                format!("{}.items[{index}]", place.item)
            };
            self.take_document(item, source, Place { item: item_place, ..*place }, within);
        }
    }

    fn take_link(&mut self, map: &Map, kind: &str, version: &str, mut report: Report) {
        let Some((namespace, name)) = identify(map, kind, &mut report) else { return self.conclude(report) };
        let mut fields = report.fields(map);
        let form = match (kind, version) {
            ("Link", "skupper.io/v2alpha1") => Form::Current,
            (_, "skupper.io/v1alpha1") => Form::Legacy,
            _ => {
                let rule = match kind {
                    "Link" => "must be skupper.io/v2alpha1 or skupper.io/v1alpha1",
                    _ => "must be skupper.io/v1alpha1",
                };
                refuse_version(&mut fields, rule);
                return self.conclude(report);
            }
        };
        let Ok(name) = LinkName::new(&*name) else { return self.conclude(report) };
        let link = LinkSpec::read(LinkKey { namespace, name }, form, &mut fields);
        let taken = report.refused.is_empty();
        let source = Arc::clone(&report.source);
        self.conclude(report);
        if taken {
            self.add_link(link, &source);
        }
    }

    fn take_secret(&mut self, map: &Map, version: &str, mut report: Report) {
        let Some((namespace, name)) = identify(map, SECRET, &mut report) else { return self.conclude(report) };
        let mut fields = report.fields(map);
        if version != "v1" {
            refuse_version(&mut fields, "must be v1");
            return self.conclude(report);
        }
        let mut metadata = fields.object("metadata");
        match metadata.object("labels").text("skupper.io/type") {
            Some("connection-token") => {
                report.refuse(None, "a connection token of Skupper 1.x cannot be used: make a Link at the remote site");
                return self.conclude(report);
            }
            Some("token-claim") => {
                report.refuse(None, "a token claim of Skupper 1.x cannot be used: make a Link at the remote site");
                return self.conclude(report);
            }
            _ => {}
        }
        let secret = SecretSpec::read(namespace, name, &mut report.fields(map));
        // What is wrong with a part is known to the Secret; anything else makes the document unreadable.
        let taken = report.refused.len() == secret.problems().len();
        let source = Arc::clone(&report.source);
        self.conclude(report);
        if taken {
            self.add_secret(secret, &source);
        }
    }

    /// Reports a document that is neither Link nor Secret.
    fn take_stranger(&mut self, map: &Map, mut report: Report, is_token: bool) {
        let text = |object: Option<&Map>, key| match object.and_then(|object| object.get(key)) {
            Some(Node::Text(text)) => label(text),
            _ => Arc::from(""),
        };
        let metadata = match map.get("metadata") {
            Some(Node::Map(metadata)) => Some(metadata),
            _ => None,
        };
        if let (Subject::Unnamed { kind, .. }, name) = (&report.subject, text(metadata, "name"))
            && !name.is_empty()
        {
            let kind = Arc::clone(kind);
            report.subject = Subject::Named { kind, namespace: text(metadata, "namespace"), name };
        }
        if is_token {
            report.refuse(None, "redeem it first: it holds the right to a Link, not a Link");
        } else {
            report.warn(None, "skipped: neither Link nor Secret");
        }
        self.conclude(report);
    }

    fn conclude(&mut self, report: Report) {
        self.direct.extend(report.refused);
        self.warnings.extend(report.warned);
    }

    fn add_link(&mut self, link: LinkSpec, source: &Arc<str>) {
        match self.links.iter().find(|(known, _)| known.key == link.key) {
            Some((_, first)) => {
                let subject = named(LINK, &link.key.namespace, link.key.name.as_str());
                self.direct.push(twice(source, &subject, first));
            }
            None => self.links.push((link, Arc::clone(source))),
        }
    }

    fn add_secret(&mut self, secret: SecretSpec, source: &Arc<str>) {
        let same = |known: &SecretSpec| known.namespace == secret.namespace && known.name == secret.name;
        match self.secrets.iter().find(|(known, _)| same(known)) {
            Some((_, first)) => {
                let subject = named(SECRET, &secret.namespace, &secret.name);
                self.direct.push(twice(source, &subject, first));
            }
            None => self.secrets.push((secret, Arc::clone(source))),
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

/// Reads name and namespace, and gives the report its subject. `None` if there is no usable name.
fn identify(map: &Map, kind: &str, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = report.fields(map);
    let mut metadata = fields.object("metadata");
    let before = metadata.refusals();
    let name = metadata.text("name");
    match name {
        Some(name) if is_object_name(name) => {}
        Some(name) => metadata.refuse_text("name", NAME_RULE, name),
        None if metadata.refusals() == before => metadata.refuse("name", MISSING),
        None => {}
    }
    let namespace = metadata.text("namespace").unwrap_or_default();
    if !namespace.is_empty() && !is_namespace(namespace) {
        metadata.refuse_text("namespace", NAMESPACE_RULE, namespace);
    }
    if metadata.refusals() > before {
        return None;
    }
    let (namespace, name) = (Arc::from(namespace), Arc::from(name?));
    report.subject = named(kind, &namespace, &name);
    Some((namespace, name))
}

fn named(kind: &str, namespace: &Arc<str>, name: &str) -> Subject {
    Subject::Named { kind: Arc::from(kind), namespace: Arc::clone(namespace), name: Arc::from(name) }
}

fn twice(source: &Arc<str>, subject: &Subject, first: &str) -> Refusal {
    Refusal::new(source, subject, Some("metadata.name"), format!("already given in {first}, which stands"))
}

fn refuse_version(fields: &mut Fields<'_, '_>, rule: &str) {
    match fields.value("apiVersion") {
        Some(found) => fields.refuse_found("apiVersion", rule, found),
        None => fields.refuse("apiVersion", MISSING),
    }
}

/// The documents of a folder by name, so that which of two comes first does not depend on the disk.
fn documents_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let known = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
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

/// What the kind of a list ends with: `List` itself, `LinkList`, `SecretList`.
const LIST: &str = "List";

/// The names of documents in a folder, as `kubectl apply -f` takes them.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The largest file that is read: 1,000 times a Link with its Secret (4 KiB), 4 times what etcd lets one
/// object have.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// Documents of one file, and items of one list: what fills the largest file with real documents.
pub const MAX_DOCUMENTS: usize = 4096;
