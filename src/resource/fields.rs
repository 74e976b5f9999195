//! Reading the fields of a document, with a refusal for each that is not what it must be.

use std::sync::Arc;

use crate::resource::node::{Map, Node};
use crate::resource::report::{Found, Refusal, Subject, Warning, label};

/// What is said of one document while it is read.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) source: Arc<str>,
    pub(crate) subject: Subject,
    /// Whether values may be shown. Never those of a Secret.
    pub(crate) quotes: bool,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) warned: Vec<Warning>,
}

impl Report {
    pub(crate) fn new(source: &Arc<str>, subject: Subject, quotes: bool) -> Self {
        Self { source: Arc::clone(source), subject, quotes, refused: Vec::new(), warned: Vec::new() }
    }

    /// Refuses the document for the sake of a field, or as a whole.
    pub(crate) fn refuse(&mut self, field: Option<&str>, message: impl Into<Arc<str>>) {
        self.refused.push(Refusal::new(&self.source, &self.subject, field, message));
    }

    pub(crate) fn warn(&mut self, field: Option<&str>, message: impl Into<Arc<str>>) {
        self.warned.push(Warning::new(&self.source, &self.subject, field, message));
    }

    /// The fields of the document itself.
    ///
    /// Several readers look at them in turn; [`Fields::refuse_repeated`] is for one of these to call.
    pub(crate) fn fields<'r, 'n>(&'r mut self, map: &'n Map) -> Fields<'r, 'n> {
        Fields { report: self, map: Some(map), path: String::new() }
    }
}

/// The fields of one object of a document. A missing object has no fields.
#[derive(Debug)]
pub(crate) struct Fields<'r, 'n> {
    report: &'r mut Report,
    map: Option<&'n Map>,
    path: String,
}

impl<'n> Fields<'_, 'n> {
    /// The keys, without those whose value is `null`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'n str> + use<'n> {
        let entries = self.map.into_iter().flat_map(|map| &map.entries);
        entries.filter(|(_, node)| !matches!(node, Node::Null)).map(|(key, _)| key.as_str())
    }

    /// Whether the field is there and not `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The field as it stands.
    pub(crate) fn value(&self, key: &str) -> Option<&'n Node> {
        self.map.and_then(|map| map.get(key))
    }

    /// The object in a field.
    pub(crate) fn object(&mut self, key: &str) -> Fields<'_, 'n> {
        let map = match self.value(key) {
            Some(Node::Map(map)) => Some(map),
            Some(other) => {
                self.refuse_found(key, "must be an object", other);
                None
            }
            None => None,
        };
        self.nested(key, map)
    }

    /// The object in a field whose value the caller has looked at.
    pub(crate) fn nested(&mut self, key: &str, map: Option<&'n Map>) -> Fields<'_, 'n> {
        let path = self.path_of(key);
        Fields { report: self.report, map, path }
    }

    /// Refuses keys that were given more than once: which of the values is meant nobody knows.
    pub(crate) fn refuse_repeated(&mut self) {
        for repeated in self.map.into_iter().flat_map(|map| &map.repeated).take(MAX_REPEATED) {
            if self.report.quotes {
                self.refuse(&label(repeated), "is given twice");
            } else {
                let path = (!self.path.is_empty()).then_some(&*self.path);
                self.report.refuse(path, "a key is given twice");
                return;
            }
        }
    }

    /// The list in a field.
    pub(crate) fn list(&mut self, key: &str) -> Option<&'n [Node]> {
        match self.value(key)? {
            Node::List(items) => Some(items),
            other => {
                self.refuse_found(key, "must be a list", other);
                None
            }
        }
    }

    /// The text in a field.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'n str> {
        match self.value(key)? {
            Node::Text(text) => Some(text),
            other => {
                self.refuse_found(key, "must be text", other);
                None
            }
        }
    }

    /// The truth value in a field, false if there is none.
    pub(crate) fn flag(&mut self, key: &str) -> bool {
        match self.value(key) {
            Some(Node::Bool(flag)) => *flag,
            Some(other) => {
                self.refuse_found(key, "must be true or false", other);
                false
            }
            None => false,
        }
    }

    /// The integer in a field.
    pub(crate) fn integer(&mut self, key: &str) -> Option<i64> {
        let node = self.value(key)?;
        if let Node::Integer(value) = node
            && let Ok(value) = i64::try_from(*value)
        {
            return Some(value);
        }
        self.refuse_found(key, "must be an integer", node);
        None
    }

    /// The name of another object in a field; empty text is as good as none.
    pub(crate) fn name(&mut self, key: &str) -> Option<Arc<str>> {
        let text = self.text(key)?;
        if text.is_empty() {
            return None;
        }
        if !is_object_name(text) {
            self.refuse_text(key, NAME_RULE, text);
            return None;
        }
        Some(Arc::from(text))
    }

    /// Refuses a field for its value.
    pub(crate) fn refuse_found(&mut self, key: &str, rule: &str, found: &Node) {
        let message =
            if self.report.quotes { format!("{rule}, found {}", Found(found)) } else { rule.to_owned() };
        self.refuse(key, message);
    }

    /// Refuses a field for its text.
    pub(crate) fn refuse_text(&mut self, key: &str, rule: &str, found: &str) {
        self.refuse_found(key, rule, &Node::Text(found.to_owned()));
    }

    /// Refuses a field.
    pub(crate) fn refuse(&mut self, key: &str, message: impl Into<Arc<str>>) {
        let path = self.path_of(key);
        self.report.refuse(Some(&path), message);
    }

    /// Warns of a field.
    pub(crate) fn warn(&mut self, key: &str, message: impl Into<Arc<str>>) {
        let path = self.path_of(key);
        self.report.warn(Some(&path), message);
    }

    /// How many refusals there are so far, to see whether a step added any.
    pub(crate) fn refusals(&self) -> usize {
        self.report.refused.len()
    }

    /// The path of a field; an index like `[0]` is joined without a dot.
    fn path_of(&self, key: &str) -> String {
        match (&*self.path, key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) if key.starts_with('[') => format!("{path}{key}"),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// Whether the text is an RFC 1123 subdomain: what Kubernetes takes as the name of a Link or Secret. `..`,
/// `/` and absolute paths are not, so such a name can be joined to a directory.
pub(crate) fn is_object_name(text: &str) -> bool {
    text.len() <= MAX_OBJECT_NAME && text.split('.').all(is_label)
}

/// Whether the text is an RFC 1123 label of lower case: what Kubernetes takes as a namespace.
pub(crate) fn is_namespace(text: &str) -> bool {
    text.len() <= MAX_NAMESPACE && is_label(text)
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// Repeated keys of one object that are told one by one.
const MAX_REPEATED: usize = 16;

/// What is said of a name that is none.
pub(crate) const NAME_RULE: &str = "must be an RFC 1123 name (a-z, 0-9, '-' and '.')";

/// What is said of a namespace that is none.
pub(crate) const NAMESPACE_RULE: &str = "must be an RFC 1123 label (a-z, 0-9 and '-')";

/// Kubernetes: `DNS1123SubdomainMaxLength`.
const MAX_OBJECT_NAME: usize = 253;

/// Kubernetes: `DNS1123LabelMaxLength`.
const MAX_NAMESPACE: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_name_cannot_leave_its_directory() {
        for name in ["west", "west-6bfn6", "a.b", "0", &"a".repeat(253)] {
            assert!(is_object_name(name), "{name:?}");
        }
        for name in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.",
            "/etc",
            "a/b",
            "a\\b",
            "West",
            "a_b",
            "-a",
            "a-",
            "a\0",
            &"a".repeat(254),
        ] {
            assert!(!is_object_name(name), "{name:?}");
        }
    }
}
