//! What is said of an exchange beside its head (xDS "dynamic metadata"): values that filters leave under their names, such as
//! the claims of a token, and conditions on them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::StringMatch;

/// A value of any shape, as JSON has them (`google.protobuf.Value`).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Fields(Fields),
}

/// Values by name.
pub type Fields = BTreeMap<String, Value>;

impl Value {
    /// The value that a path of names leads to.
    pub fn at(&self, path: &[impl AsRef<str>]) -> Option<&Self> {
        path.iter().try_fold(self, |value, key| match value {
            Self::Fields(fields) => fields.get(key.as_ref()),
            _ => None,
        })
    }
}

/// A text as it is, everything else as JSON: `["a","b"]`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            other => other.json(f),
        }
    }
}

impl Value {
    fn json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = |f: &mut fmt::Formatter<'_>, index: usize| if index > 0 { f.write_str(",") } else { Ok(()) };
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => quoted(text, f),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    between(f, index)?;
                    value.json(f)?;
                }
                f.write_str("]")
            }
            Self::Fields(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    between(f, index)?;
                    quoted(name, f)?;
                    f.write_str(":")?;
                    value.json(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// What filters have said of one exchange.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// By the filter's name. One or two filters at most say anything.
    said: Vec<(Cow<'static, str>, Fields)>,
}

impl Metadata {
    /// What a filter has said, to be added to.
    pub fn of(&mut self, filter: impl Into<Cow<'static, str>>) -> &mut Fields {
        let filter = filter.into();
        let at = self.said.iter().position(|(name, _)| *name == filter).unwrap_or_else(|| {
            self.said.push((filter, Fields::new()));
            self.said.len() - 1
        });
        &mut self.said[at].1
    }

    /// All that a filter has said, if anything.
    pub fn said(&self, filter: &str) -> Option<&Fields> {
        self.said.iter().find(|(name, _)| *name == filter).map(|(_, fields)| fields)
    }

    /// All that was said, by the filters' names.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Fields)> {
        self.said.iter().map(|(filter, fields)| (&**filter, fields))
    }

    /// The value at a path within what a filter has said. An empty path leads to nothing.
    pub fn get(&self, filter: &str, path: &[impl AsRef<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        self.said(filter)?.get(first.as_ref())?.at(rest)
    }
}

/// What is asked of a value (xDS `ValueMatcher`). A value that is not there meets none of them.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataValue {
    /// It is null.
    Null,
    /// It is this number.
    Number(f64),
    /// It is a number in `start..end`.
    Range {
        /// The first number that matches.
        start: f64,
        /// The first number after.
        end: f64,
    },
    /// It is a text that matches.
    Text(StringMatch),
    /// It is this truth value.
    Bool(bool),
    /// It is there (true); false never matches, as in Envoy.
    Present(bool),
    /// It is a list, and one of its members matches.
    OneOf(Box<MetadataValue>),
    /// One of these matches.
    Any(Vec<MetadataValue>),
}

impl MetadataValue {
    /// Does a value meet the condition?
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Number(wanted), Value::Number(number)) => wanted == number,
            (Self::Range { start, end }, Value::Number(number)) => (*start..*end).contains(number),
            (Self::Text(text), Value::Text(value)) => text.matches(value),
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Present(wanted), _) => *wanted,
            (Self::OneOf(condition), Value::List(values)) => values.iter().any(|value| condition.matches(value)),
            (Self::Any(conditions), value) => conditions.iter().any(|condition| condition.matches(value)),
            _ => false,
        }
    }
}

/// A condition on what a filter has said (xDS `MetadataMatcher`).
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataMatch {
    /// The filter's name.
    pub filter: String,
    /// The way to the value; at least one name.
    pub path: Vec<String>,
    /// The condition.
    pub value: MetadataValue,
    /// The condition must not hold.
    pub invert: bool,
}

impl MetadataMatch {
    /// Is the condition met by what was said of an exchange, if anything?
    pub fn matches(&self, metadata: Option<&Metadata>) -> bool {
        let value = metadata.and_then(|metadata| metadata.get(&self.filter, &self.path));
        value.is_some_and(|value| self.value.matches(value)) != self.invert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Value {
        Value::List(values.iter().map(|text| Value::Text((*text).into())).collect())
    }

    #[test]
    fn in_words() {
        let fields = Fields::from([("a\"".to_owned(), texts(&["x", "y\n"])), ("n".to_owned(), Value::Number(1.5))]);
        for (value, expected) in [
            (Value::Text("a\"b".into()), "a\"b"),
            (Value::Null, "null"),
            (Value::Number(3.0), "3"),
            (Value::Fields(fields), "{\"a\\\"\":[\"x\",\"y\\u000a\"],\"n\":1.5}"),
        ] {
            assert_eq!(value.to_string(), expected);
        }
    }

    #[test]
    fn conditions_on_values() {
        let mut metadata = Metadata::default();
        let claims = Fields::from([
            ("iss".to_owned(), Value::Text("a".into())),
            ("groups".to_owned(), texts(&["dev", "ops"])),
            ("level".to_owned(), Value::Number(3.0)),
            ("admin".to_owned(), Value::Bool(false)),
            ("none".to_owned(), Value::Null),
            ("deep".to_owned(), Value::Fields(Fields::from([("er".to_owned(), Value::Text("x".into()))]))),
        ]);
        metadata.of("jwt").insert("payload".into(), Value::Fields(claims));
        let text = |text: &str| MetadataValue::Text(StringMatch::exact(text));
        let one_of = |value| MetadataValue::OneOf(Box::new(value));
        for (path, value, expected) in [
            ("payload.iss", text("a"), true),
            ("payload.iss", text("b"), false),
            ("payload.iss", one_of(text("a")), false),
            ("payload.groups", text("dev"), false),
            ("payload.groups", one_of(text("ops")), true),
            ("payload.groups", MetadataValue::Any(vec![text("ops"), one_of(text("dev"))]), true),
            ("payload.groups", MetadataValue::Any(vec![]), false),
            ("payload.level", MetadataValue::Number(3.0), true),
            ("payload.level", MetadataValue::Range { start: 1.0, end: 3.0 }, false),
            ("payload.admin", MetadataValue::Bool(false), true),
            ("payload.none", MetadataValue::Null, true),
            ("payload.none", MetadataValue::Present(true), true),
            ("payload.absent", MetadataValue::Null, false),
            ("payload.absent", MetadataValue::Present(false), false),
            ("payload.iss", MetadataValue::Present(false), false),
            ("payload.deep.er", text("x"), true),
            ("payload.iss.er", text("x"), false),
            ("", MetadataValue::Present(true), false),
        ] {
            let path = path.split('.').map(str::to_owned).collect();
            let mut condition = MetadataMatch { filter: "jwt".into(), path, value, invert: false };
            assert_eq!(condition.matches(Some(&metadata)), expected, "{condition:?}");
            condition.invert = true;
            assert_eq!(condition.matches(Some(&metadata)), !expected, "{condition:?}");
            // Nothing was said, or by another.
            assert!(condition.matches(None));
            condition.filter = "other".into();
            assert!(condition.matches(Some(&metadata)));
        }
    }
}
