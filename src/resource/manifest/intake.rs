//! One document on its way into a [`Manifest`].

use std::sync::Arc;

use crate::id::LinkName;
use crate::resource::document::read_link;
use crate::resource::fields::{Fields, NAME_RULE, NAMESPACE_RULE, Report, is_namespace, is_object_name};
use crate::resource::legacy::Form;
use crate::resource::link::{LinkKey, LinkSpec};
use crate::resource::manifest::{LINK, MAX_DOCUMENTS, Manifest, SECRET};
use crate::resource::node::{Map, Node};
use crate::resource::report::{Place, Refusal, Subject, label};
use crate::resource::secret::{MISSING, SecretSpec};

impl Manifest {
    /// Takes a document. `within` is the kind and version that an enclosing list gives its items.
    pub(super) fn take_document(
        &mut self,
        node: &Node,
        source: &Arc<str>,
        place: Place,
        within: Option<(&str, &str)>,
    ) {
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
        let version =
            if has_version { fields.text("apiVersion") } else { within.map(|(_, version)| version) };
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
        let mut report =
            Report::new(source, Subject::Unnamed { kind: label(kind), place: place.clone() }, false);
        let mut fields = report.fields(map);
        fields.refuse_repeated();
        if fields.refusals() > 0 {
            // Which of two lists is meant nobody knows.
            return self.conclude(report);
        }
        let items = fields.list("items").unwrap_or_default();
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
        let Some((namespace, name)) = identify(map, kind, &mut report) else {
            return self.conclude(report);
        };
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
        let Ok(name) = LinkName::new(&*name) else {
            return self.conclude(report);
        };
        let link = read_link(LinkKey { namespace, name }, form, &mut fields);
        let taken = report.refused.is_empty();
        let source = Arc::clone(&report.source);
        self.conclude(report);
        if taken {
            self.add_link(link, &source);
        }
    }

    fn take_secret(&mut self, map: &Map, version: &str, mut report: Report) {
        let Some((namespace, name)) = identify(map, SECRET, &mut report) else {
            return self.conclude(report);
        };
        let mut fields = report.fields(map);
        if version != "v1" {
            refuse_version(&mut fields, "must be v1");
            return self.conclude(report);
        }
        let mut metadata = fields.object("metadata");
        match metadata.object("labels").text("skupper.io/type") {
            Some("connection-token") => {
                report.refuse(
                    None,
                    "a connection token of Skupper 1.x cannot be used: make a Link at the remote site",
                );
                return self.conclude(report);
            }
            Some("token-claim") => {
                report.refuse(
                    None,
                    "a token claim of Skupper 1.x cannot be used: make a Link at the remote site",
                );
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

    pub(super) fn add_link(&mut self, link: LinkSpec, source: &Arc<str>) {
        match self.links.iter().find(|(known, _)| known.key == link.key) {
            Some((_, first)) => {
                let (namespace, name) = (&link.key.namespace, link.key.name.as_str());
                self.direct.push(Refusal::given_twice(LINK, namespace, name, source, first));
                self.link_rivals.push((link, Arc::clone(source)));
            }
            None if self.links.len() >= MAX_DOCUMENTS => {
                let subject = named(LINK, &link.key.namespace, link.key.name.as_str());
                self.direct.push(Refusal::new(source, &subject, None, TOO_MANY));
            }
            None => self.links.push((link, Arc::clone(source))),
        }
    }

    pub(super) fn add_secret(&mut self, secret: SecretSpec, source: &Arc<str>) {
        let same = |known: &SecretSpec| known.namespace == secret.namespace && known.name == secret.name;
        match self.secrets.iter().find(|(known, _)| same(known)) {
            Some((_, first)) => {
                let (namespace, name) = (&secret.namespace, &secret.name);
                self.direct.push(Refusal::given_twice(SECRET, namespace, name, source, first));
                self.secret_rivals.push((secret, Arc::clone(source)));
            }
            None if self.secrets.len() >= MAX_DOCUMENTS => {
                let subject = named(SECRET, &secret.namespace, &secret.name);
                self.direct.push(Refusal::new(source, &subject, None, TOO_MANY));
            }
            None => self.secrets.push((secret, Arc::clone(source))),
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

pub(super) fn named(kind: &str, namespace: &Arc<str>, name: &str) -> Subject {
    Subject::Named { kind: Arc::from(kind), namespace: Arc::clone(namespace), name: Arc::from(name) }
}

fn refuse_version(fields: &mut Fields<'_, '_>, rule: &str) {
    match fields.value("apiVersion") {
        Some(found) => fields.refuse_found("apiVersion", rule, found),
        None => fields.refuse("apiVersion", MISSING),
    }
}

/// What is said of a document beyond [`MAX_DOCUMENTS`] of its kind.
const TOO_MANY: &str = "is one too many: 4096 of its kind are taken";

/// What the kind of a list ends with: `List` itself, `LinkList`, `SecretList`.
const LIST: &str = "List";
