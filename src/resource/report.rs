//! What the reader says about documents: refusals and warnings.

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use crate::resource::node::Node;

/// A document, or a part of one, was not taken.
///
/// `Display` names the document, the field and the value found:
/// `Link west: spec.cost: must be 1..=2147483647, found -4`. Values are escaped and cut at
/// [`MAX_FOUND`] characters; nothing out of a Secret is ever quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Remark);

/// A document was taken, but something about it deserves a look; or it was skipped as none of ours.
///
/// `Display` has the form of a [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(Remark);

/// What both have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remark {
    source: Arc<str>,
    subject: Subject,
    field: Option<Arc<str>>,
    message: Arc<str>,
}

/// The document that is spoken of, by the best name it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The source itself: a file that cannot be read.
    Source,
    /// A document that does not say what it is.
    Place(Place),
    /// A document of a known kind without a usable name.
    Unnamed { kind: Arc<str>, place: Place },
    /// A document with kind and name. The namespace is empty if the document has none.
    Named { kind: Arc<str>, namespace: Arc<str>, name: Arc<str> },
}

/// Where in its source a document stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1, as people do; empty documents do not count.
    pub(crate) document: usize,
    /// The way to the document through enclosing lists, like `items[3]`; empty for none.
    pub(crate) item: String,
}

macro_rules! remark {
    ($name:ident) => {
        impl $name {
            pub(crate) fn new(
                source: &Arc<str>,
                subject: &Subject,
                field: Option<&str>,
                message: impl Into<Arc<str>>,
            ) -> Self {
                let field = field.map(Arc::from);
                Self(Remark {
                    source: Arc::clone(source),
                    subject: subject.clone(),
                    field,
                    message: message.into(),
                })
            }

            /// Where the document was read from: the file's path, or the name the caller gave.
            #[must_use]
            pub fn source(&self) -> &str {
                &self.0.source
            }

            /// The document's kind, like `Link`, if it says so.
            #[must_use]
            pub fn kind(&self) -> Option<&str> {
                match &self.0.subject {
                    Subject::Named { kind, .. } | Subject::Unnamed { kind, .. } => Some(kind),
                    Subject::Place(_) | Subject::Source => None,
                }
            }

            /// The document's name, if it has a usable one.
            #[must_use]
            pub fn name(&self) -> Option<&str> {
                match &self.0.subject {
                    Subject::Named { name, .. } => Some(name),
                    _ => None,
                }
            }

            /// The document's namespace, if it has a name and a namespace.
            #[must_use]
            pub fn namespace(&self) -> Option<&str> {
                match &self.0.subject {
                    Subject::Named { namespace, .. } if !namespace.is_empty() => Some(namespace),
                    _ => None,
                }
            }

            /// The path of the field, like `spec.endpoints[1].port`, if it is about one.
            #[must_use]
            pub fn field(&self) -> Option<&str> {
                self.0.field.as_deref()
            }

            /// What is wrong, without the document and the field.
            #[must_use]
            pub fn message(&self) -> &str {
                &self.0.message
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
remark!(Refusal);
remark!(Warning);

impl Refusal {
    /// Whether it is about a Link, of today's form or an old one.
    pub(crate) fn is_of_link(&self) -> bool {
        matches!(self.kind(), Some("Link" | "LinkConfig"))
    }

    /// Another document of that kind and name, in the file `first`, stands.
    pub(crate) fn given_twice(
        kind: &str,
        namespace: &Arc<str>,
        name: &str,
        source: &Arc<str>,
        first: &str,
    ) -> Self {
        let (namespace, name) = (Arc::clone(namespace), Arc::from(name));
        let subject = Subject::Named { kind: Arc::from(kind), namespace, name };
        Self::new(source, &subject, Some("metadata.name"), format!("already given in {first}, which stands"))
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Source => f.write_str(&self.source)?,
            Subject::Place(place) => write!(f, "{place} of {}", self.source)?,
            Subject::Unnamed { kind, place } => write!(f, "{kind} in {place} of {}", self.source)?,
            Subject::Named { kind, namespace, name } if namespace.is_empty() => write!(f, "{kind} {name}")?,
            Subject::Named { kind, namespace, name } => write!(f, "{kind} {namespace}/{name}")?,
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.item.is_empty() {
            write!(f, "{} of ", self.item)?;
        }
        write!(f, "document {}", self.document)
    }
}

/// A value as a refusal shows it: text in quotes and escaped, the rest as JSON, cut at [`MAX_FOUND`].
pub(crate) struct Found<'a>(pub(crate) &'a Node);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key pasted into the wrong field is a key all the same.
        if self.0.holds_pem() {
            return f.write_str("PEM");
        }
        let mut cut = Cut { out: f, left: MAX_FOUND };
        match write!(cut, "{}", self.0) {
            Err(_) if cut.left == 0 => f.write_str("…"),
            ended => ended,
        }
    }
}

/// Text out of a document as a label: escaped without quotes and cut at [`MAX_FOUND`].
pub(crate) fn label(text: &str) -> Arc<str> {
    let mut escaped = text.chars().flat_map(char::escape_debug);
    let mut shown: String = escaped.by_ref().take(MAX_FOUND).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown.into()
}

/// The name of a source: escaped, and whole, because it is the system's or the caller's.
pub(crate) fn source_name(text: &str) -> Arc<str> {
    text.chars().flat_map(char::escape_debug).collect::<String>().into()
}

/// Passes on so many characters and then fails, so that a huge value is never rendered whole.
struct Cut<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Cut<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.out.write_char(c)
        })
    }
}

/// How many characters of a value are shown: enough for any legal name's distinguishing part, short enough
/// for a log line.
pub const MAX_FOUND: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_escaped_and_cut() {
        assert_eq!(&*label("west"), "west");
        assert_eq!(&*label("a\n\u{202e}b"), "a\\n\\u{202e}b");
        assert_eq!(*label(&"x".repeat(MAX_FOUND)), *"x".repeat(MAX_FOUND));
        assert_eq!(*label(&"x".repeat(MAX_FOUND + 1)), *format!("{}…", "x".repeat(MAX_FOUND)));
    }

    #[test]
    fn a_value_is_shown_to_its_limit_and_no_further() {
        let shown = |length| Found(&Node::Text("x".repeat(length))).to_string();
        assert_eq!(shown(MAX_FOUND - 2), format!("\"{}\"", "x".repeat(MAX_FOUND - 2)));
        assert_eq!(shown(MAX_FOUND - 1), format!("\"{}…", "x".repeat(MAX_FOUND - 1)));
        assert_eq!(shown(5_000_000).chars().count(), MAX_FOUND + 1);
    }
}
