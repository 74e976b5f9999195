//! One parsed document as a tree, whatever syntax it came in.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// `null`, which Kubernetes takes as if the field were not there.
    Null,
    Bool(bool),
    /// Wide enough for what either syntax calls an integer.
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Map),
}

/// An object, with what its syntax allowed but its meaning does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map {
    pub(crate) entries: BTreeMap<String, Node>,
    /// Keys that were given more than once; the first value is kept.
    pub(crate) repeated: Vec<String>,
}

impl Node {
    /// Whether text of a PEM file is in it, at any depth.
    pub(crate) fn holds_pem(&self) -> bool {
        match self {
            Self::Text(text) => text.contains("-----BEGIN"),
            Self::List(items) => items.iter().any(Self::holds_pem),
            Self::Map(map) => map.entries.values().any(Self::holds_pem),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Float(_) => false,
        }
    }
}

impl Map {
    /// The value of a key; `null` is as good as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).filter(|node| !matches!(node, Node::Null))
    }
}

/// Compact JSON with escaped text.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if position == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (position, (key, value)) in map.entries.iter().enumerate() {
                    write!(f, "{}{key:?}:{value}", if position == 0 { "" } else { "," })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// What one document may cost. YAML aliases make small text into a large tree; this counts the tree.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
    spent: Cell<bool>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { nodes: Cell::new(MAX_NODES), bytes: Cell::new(MAX_TEXT_BYTES), spent: Cell::new(false) }
    }

    /// Whether a document ended for want of budget.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// Takes a value and its text out of the budget.
    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match (self.nodes.get().checked_sub(1), self.bytes.get().checked_sub(bytes)) {
            (Some(nodes), Some(bytes)) => {
                self.nodes.set(nodes);
                self.bytes.set(bytes);
                Ok(())
            }
            _ => Err(self.exhausted()),
        }
    }

    fn exhausted<E: Error>(&self) -> E {
        self.spent.set(true);
        E::custom("beyond the limits of a document")
    }
}

/// Builds a [`Node`] within a [`Budget`].
#[derive(Clone, Copy)]
pub(crate) struct Seed<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl<'b> Seed<'b> {
    pub(crate) fn new(budget: &'b Budget) -> Self {
        Self { budget, depth: MAX_DEPTH }
    }

    /// The seed of a value one level deeper.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.budget.exhausted())?;
        Ok(Self { depth, ..self })
    }

    fn scalar<E: Error>(self, node: Node) -> Result<Node, E> {
        let bytes = if let Node::Text(text) = &node { text.len() } else { 0 };
        self.budget.take(bytes)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(Node::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Node::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(Node::Integer(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        // Above 2^127 the digits no longer matter: no field takes such a number.
        self.scalar(i128::try_from(value).map_or(Node::Float(f64::INFINITY), Node::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(Node::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.scalar(Node::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Node, E> {
        self.scalar(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.budget.take(0)?;
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.budget.take(0)?;
        let deeper = self.deeper()?;
        let mut map = Map::default();
        while let Some(key) = access.next_key::<String>()? {
            self.budget.take(key.len())?;
            let value = access.next_value_seed(deeper)?;
            match map.entries.entry(key) {
                Entry::Occupied(first) => map.repeated.push(first.key().clone()),
                Entry::Vacant(place) => {
                    place.insert(value);
                }
            }
        }
        Ok(Node::Map(map))
    }
}

/// Levels of a document. A Link in a List needs 7, the `managedFields` that Kubernetes adds some 12.
const MAX_DEPTH: usize = 64;

/// Values of a document: a List of 4,096 Links with four endpoints each.
const MAX_NODES: usize = 250_000;

/// Text of a document: twice what a file may hold, so that only aliases can exceed it.
const MAX_TEXT_BYTES: usize = 8 << 20;
