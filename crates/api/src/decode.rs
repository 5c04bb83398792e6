//! Trees to typed values, collecting every problem on the way.
//!
//! A schema is written once with [`object!`] (fields) and [`choice!`] (enumerations); both give the type and its
//! decoding. A value that cannot be read becomes its default after its problem was noted, so that the rest of the
//! document is still looked at.

mod macros;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use macros::{choice, object};
pub use values::{Bytes, IntOrString, Spanned, StringMatch, Tree, Unread};
pub(crate) use values::{PrivateText, word};

use crate::problem::quoted;
use crate::report::{Report, Step, camel_case};
use crate::yaml::{Node, Value};

/// Reads a value from a tree. `None` means that a problem was noted.
pub(crate) trait Decode: Sized {
    /// No message may repeat what stands in its place.
    const PRIVATE: bool = false;

    /// Reads `node`, which is not null.
    fn decode(node: &Node, report: &mut Report) -> Option<Self>;

    /// What an empty item of a list or map means, if it may be empty.
    fn of_null() -> Option<Self> {
        None
    }
}

/// Which names a mapping may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Those of the schema, in protobuf's JSON form or its original form (`exportTo`, `export_to`).
    Istio,
    /// Those of the schema, letter for letter.
    Exact,
    /// Those of the schema, beside the parts that every document has.
    Document,
    /// Any; what the schema does not name is not read.
    Open,
}

/// The parts that every document has.
const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Is it one of them?
pub(crate) fn is_of_every_document(name: &str) -> bool {
    ENVELOPE.contains(&name)
}

/// Valid names are listed in a message up to this many.
const SHORT_LIST: usize = 16;

/// The fields of one mapping, sorted by schema.
pub(crate) struct Fields<'n> {
    names: &'static [&'static str],
    found: Vec<Option<&'n Node>>,
}

impl<'n> Fields<'n> {
    /// Finds each field of the schema in `node`, and notes names that the schema does not have.
    pub fn open(node: &'n Node, names: &'static [&'static str], naming: Naming, report: &mut Report) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            wrong_shape(node, "a mapping (`name: value` lines)", report);
            return None;
        };
        let mut fields = Self { names, found: vec![None; names.len()] };
        for entry in entries {
            let index =
                names.iter().position(|n| *n == entry.key || naming == Naming::Istio && camel_case(&entry.key) == *n);
            match index {
                Some(index) if fields.found[index].is_some() => report.down(Step::Unknown(entry.key.clone()), |r| {
                    let message =
                        format!("{} is written twice, once in each of its two spellings", quoted(names[index]));
                    r.error(message).hint("keep one of the two");
                }),
                Some(index) => fields.found[index] = Some(&entry.value),
                None if naming == Naming::Open => {}
                None if naming == Naming::Document && ENVELOPE.contains(&entry.key.as_str()) => {}
                None => unknown_field(&entry.key, names, report),
            }
        }
        Some(fields)
    }

    /// Reads the field `name`; its default if it is absent, null or unreadable.
    pub fn take<T: Decode + Default>(&self, name: &'static str, report: &mut Report) -> T {
        match self.node(name) {
            Some(node) => report.field(name, |r| T::decode(node, r)).unwrap_or_default(),
            None => T::default(),
        }
    }

    /// Reads the field `name`, and notes an error if it is absent or null.
    pub fn require<T: Decode + Default>(&self, name: &'static str, report: &mut Report) -> T {
        if self.node(name).is_none() {
            report.field(name, |r| {
                r.error(format!("the field {} is missing", quoted(name))).hint("add it");
            });
        }
        self.take(name, report)
    }

    fn node(&self, name: &'static str) -> Option<&'n Node> {
        let index = self.names.iter().position(|n| *n == name)?;
        self.found[index].filter(|node| !node.is_null())
    }
}

fn unknown_field(key: &str, names: &[&str], report: &mut Report) {
    report.down(Step::Unknown(key.to_owned()), |r| {
        let mut found = r.error(format!("the field {} is not known", quoted(key)));
        if names.len() <= SHORT_LIST && !names.is_empty() {
            found = found.expected(one_of(names));
        }
        match nearest(key, names) {
            Some(name) => found.hint(format!("did you mean `{name}`?")),
            None => found.hint("remove it, or check that it is indented as meant"),
        };
    });
}

/// The names in backticks with commas and an `or` between them, for messages.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            format!("{} or `{last}`", first.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The candidate that `word` most likely stands for: letters' case and bars aside, at most a third of it mistyped.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |s: &str| s.chars().take(64).filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_lowercase();
    let word = plain(word);
    let distance = |c: &str| {
        let c = plain(c);
        let plural = c.strip_suffix('s') == Some(&word) || word.strip_suffix('s') == Some(&c);
        if plural { 0 } else { strsim::damerau_levenshtein(&word, &c) }
    };
    let (best, candidate) = candidates.iter().map(|c| (distance(c), *c)).min_by_key(|(d, _)| *d)?;
    (best <= 1.max(word.chars().count().min(candidate.len()) / 3)).then_some(candidate)
}

/// Notes that `node` has the wrong shape. The value itself is shown when it is short and single.
pub(crate) fn wrong_shape(node: &Node, expected: &str, report: &mut Report) {
    let found = match &node.value {
        Value::Number(n) => format!("the number {}", quoted(n.text())),
        Value::String(s) => format!("the text {}", quoted(s)),
        Value::Bool(b) => format!("`{b}`"),
        _ => node.shape().to_owned(),
    };
    report.error(format!("{found} stands here")).expected(expected);
}

impl Decode for bool {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            // Kubernetes reads YAML 1.1, where these words are true and false.
            Value::String(s) if matches!(s.as_str(), "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Some(true),
            Value::String(s) if matches!(s.as_str(), "no" | "No" | "NO" | "off" | "Off" | "OFF") => Some(false),
            Value::String(s) if s == "true" || s == "false" => {
                report
                    .error(format!("the text {} stands here", quoted(s)))
                    .expected("`true` or `false`")
                    .hint("remove the quotes");
                None
            }
            _ => {
                wrong_shape(node, "`true` or `false`", report);
                None
            }
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::String(s) => Some(s.clone()),
            Value::Number(n) => {
                let text = n.text();
                report
                    .error(format!("the number {} stands here", quoted(text)))
                    .expected("text")
                    .hint(format!("write it in quotes: `\"{text}\"`"));
                None
            }
            Value::Bool(b) => {
                report
                    .error(format!("`{b}` stands here"))
                    .expected("text")
                    .hint(format!("write it in quotes: `\"{b}\"`"));
                None
            }
            _ => {
                wrong_shape(node, "text", report);
                None
            }
        }
    }

    fn of_null() -> Option<Self> {
        Some(String::new())
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => { $(
        impl Decode for $number {
            fn decode(node: &Node, report: &mut Report) -> Option<Self> {
                whole_number(node, <$number>::MIN as i128, <$number>::MAX as i128, report).map(|n| n as $number)
            }
        }
    )* };
}
whole_numbers!(u16, u32, u64, i32, i64);

fn whole_number(node: &Node, min: i128, max: i128, report: &mut Report) -> Option<i128> {
    let expected = match (min, max) {
        (0, max) if max > i64::MAX as i128 => "a whole number, 0 or more".to_owned(),
        _ => format!("a whole number from {min} to {max}"),
    };
    match &node.value {
        // Floating point with nothing behind the point (`1e3`, `5.0`) is whole, as in JSON.
        Value::Number(n) => {
            let float = || n.as_float().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i128);
            match n.as_integer().or_else(float) {
                Some(number) if (min..=max).contains(&number) => return Some(number),
                _ => report.error(format!("the number {} does not fit here", quoted(n.text()))).expected(expected),
            };
        }
        Value::String(s) if s.parse::<i128>().is_ok_and(|n| (min..=max).contains(&n)) => {
            report.error(format!("the text {} stands here", quoted(s))).expected(expected).hint("remove the quotes");
        }
        _ => wrong_shape(node, &expected, report),
    }
    None
}

impl Decode for f64 {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Number(n) if n.as_float().is_some_and(f64::is_finite) => n.as_float(),
            Value::Number(n) => n.as_integer().map(|i| i as f64).or_else(|| {
                wrong_shape(node, "a number", report);
                None
            }),
            _ => {
                wrong_shape(node, "a number", report);
                None
            }
        }
    }
}

impl Decode for Duration {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        const EXPECTED: &str = "a number and a unit, such as `5s`, `250ms` or `1h30m`";
        match &node.value {
            Value::String(s) => match base::parse_duration(s) {
                Ok(duration) => return Some(duration),
                Err(_) => report.error(format!("{} is not a duration", quoted(s))).expected(EXPECTED),
            },
            Value::Number(n) => {
                let text = n.text();
                report
                    .error(format!("the duration {} has no unit", quoted(text)))
                    .expected(EXPECTED)
                    .hint(format!("write `{text}s` for seconds"))
            }
            _ => {
                wrong_shape(node, EXPECTED, report);
                return None;
            }
        };
        None
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        T::decode(node, report).map(Some)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        T::decode(node, report).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Sequence(items) = &node.value else {
            let hint = matches!(node.value, Value::Mapping(_) | Value::String(_) | Value::Number(_));
            let found = report.error(format!("{} stands here", node.shape())).expected("a list");
            if hint {
                found.hint("begin the line with `- `");
            }
            return None;
        };
        let mut out = Vec::with_capacity(items.len().min(1024));
        for (index, item) in items.iter().enumerate() {
            out.extend(report.down(Step::Index(index), |r| present(item, r)));
        }
        Some(out)
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            let expected = "a mapping (`name: value` lines)";
            if T::PRIVATE {
                report.error(format!("{} stands here", node.shape())).expected(expected);
            } else {
                wrong_shape(node, expected, report);
            }
            return None;
        };
        let mut out = BTreeMap::new();
        for entry in entries {
            if let Some(value) = report.down(Step::Key(entry.key.clone()), |r| present(&entry.value, r)) {
                out.insert(entry.key.clone(), value);
            }
        }
        Some(out)
    }
}

/// A map whose keys are ports.
impl<T: Decode> Decode for BTreeMap<u16, T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let named = BTreeMap::<String, T>::decode(node, report)?;
        let mut out = BTreeMap::new();
        for (key, value) in named {
            match key.parse() {
                Ok(port) if port > 0 => {
                    out.insert(port, value);
                }
                _ => report.down(Step::Key(key.clone()), |r| {
                    r.error(format!("{} is not a port", quoted(&key))).expected("a number from 1 to 65535");
                }),
            }
        }
        Some(out)
    }
}

/// Reads an item of a list or map, which may only be null where the type allows it.
fn present<T: Decode>(node: &Node, report: &mut Report) -> Option<T> {
    if !node.is_null() {
        return T::decode(node, report);
    }
    let empty = T::of_null();
    if empty.is_none() {
        report.error("nothing stands here").expected("a value").hint("write one, or remove the line");
    }
    empty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name() {
        let names = ["weight", "destination", "headers", "exportTo"];
        for (word, expected) in [
            ("weigth", Some("weight")),
            ("header", Some("headers")),
            ("export-to", Some("exportTo")),
            ("EXPORTTO", Some("exportTo")),
            ("timeout", None),
        ] {
            assert_eq!(nearest(word, &names), expected, "{word}");
        }
    }
}
