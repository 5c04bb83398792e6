//! YAML and JSON text as a tree that remembers where each value was written.
//!
//! Owns reading (over the events of `granit-parser`), the limits against hostile text, and writing. Knows nothing of
//! kinds or fields. Scalars follow the YAML 1.2 core schema, with what Kubernetes users expect on top: merge keys (`<<`)
//! and octal numbers with a leading zero. JSON is YAML.
//!
//! ```
//! let stream = api::yaml::read("demo.yaml", "hosts: [reviews]", &api::yaml::Limits::default());
//! let root = &stream.documents[0];
//! let hosts = root.get("hosts").unwrap();
//! assert_eq!((hosts.span.line, hosts.span.column), (1, 8));
//! ```

mod inside;
mod load;
mod scalar;
mod write;

pub(crate) use inside::read_inside;
pub use load::{Limits, Stream, read};
pub use write::write;

use serde_json::Value as Json;

/// A place in a text: line and column from 1, columns in characters. Zero means that the place is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where it begins; for an aliased value, where the anchor stands.
    pub span: Span,
    /// Where the first character of a text in a literal block (`|`) stands; not known for anything else.
    pub block: Span,
}

/// The seven shapes of a YAML or JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(Number),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order in which it was written; no key stands in it twice.
    Mapping(Vec<Entry>),
}

/// One line of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key begins.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

/// A number kept as its text, so that nothing is lost and a message can show what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The whole number, if it is one.
    pub fn as_integer(&self) -> Option<i128> {
        scalar::integer(&self.0)
    }

    /// The number as floating point, which may round it.
    pub fn as_float(&self) -> Option<f64> {
        scalar::float(&self.0)
    }
}

impl Node {
    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// The entry of `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Is this `null`, or nothing at all?
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The same value without positions. Numbers that JSON cannot say (`.inf`, `.nan`) become text.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => json_number(n),
            Value::String(s) => Json::String(s.clone()),
            Value::Sequence(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Mapping(entries) => {
                Json::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect())
            }
        }
    }

    /// A tree without positions, for values that come from storage and not from a text.
    pub fn from_json(json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => Value::Number(Number(n.to_string())),
            Json::String(s) => Value::String(s.clone()),
            Json::Array(items) => Value::Sequence(items.iter().map(Node::from_json).collect()),
            Json::Object(map) => Value::Mapping(map.iter().map(|(key, value)| Entry::from_json(key, value)).collect()),
        };
        Self { value, span: Span::default(), block: Span::default() }
    }

    /// How a person would call this value: `a list`, `a number`...
    pub fn shape(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Entry {
    fn from_json(key: &str, value: &Json) -> Self {
        Self { key: key.to_owned(), key_span: Span::default(), value: Node::from_json(value) }
    }
}

fn json_number(number: &Number) -> Json {
    if let Some(whole) = number.as_integer() {
        if let Ok(n) = i64::try_from(whole) {
            return n.into();
        }
        if let Ok(n) = u64::try_from(whole) {
            return n.into();
        }
    }
    let float = number.as_float().and_then(serde_json::Number::from_f64);
    float.map_or_else(|| Json::String(number.text().to_owned()), Json::Number)
}
