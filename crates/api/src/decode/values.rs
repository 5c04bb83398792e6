//! Values that many schemas share: text with its place, string matches, ports by number or name, bytes.

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;

use super::{Decode, nearest, one_of, wrong_shape};
use crate::problem::quoted;
use crate::report::Report;
use crate::yaml::{Node, Span, Value};

/// A value and where it was written, for checks that come later and need to point at it. Compares by value only, so
/// that a document that merely moved within its file counts as unchanged.
#[derive(Clone, Copy, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written; all zero if that is not known.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        T::decode(node, report).map(|value| Self { value, span: node.span })
    }
}

/// How a text is compared (Istio `StringMatch`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StringMatch {
    /// Any value; it only has to be there. Written as an empty mapping.
    #[default]
    Present,
    /// This text.
    Exact(String),
    /// A text that begins with this.
    Prefix(String),
    /// A text that this regular expression (RE2) matches as a whole.
    Regex(String),
}

impl Decode for StringMatch {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        const KINDS: [&str; 3] = ["exact", "prefix", "regex"];
        let Value::Mapping(entries) = &node.value else {
            if let Value::String(s) = &node.value {
                let hint = format!("write `exact: {}` in the line below", s.chars().take(40).collect::<String>());
                report
                    .error(format!("the text {} stands here", quoted(s)))
                    .expected("`exact`, `prefix` or `regex`, and a text")
                    .hint(hint);
            } else {
                wrong_shape(node, "`exact`, `prefix` or `regex`, and a text", report);
            }
            return None;
        };
        let mut found = Vec::new();
        for entry in entries {
            let Some(kind) = KINDS.iter().find(|k| **k == entry.key) else {
                super::unknown_field(&entry.key, &KINDS, report);
                continue;
            };
            if !entry.value.is_null() {
                let text = report.field(kind, |r| String::decode(&entry.value, r));
                found.push((*kind, text));
            }
        }
        if let [_, _, ..] = found[..] {
            let named: Vec<&str> = found.iter().map(|(kind, _)| *kind).collect();
            report.error(format!("{} exclude each other", named.join(" and "))).expected("one of them");
            return None;
        }
        match found.pop() {
            None => Some(Self::Present),
            Some((kind, text)) => text.map(|text| match kind {
                "exact" => Self::Exact(text),
                "prefix" => Self::Prefix(text),
                _ => Self::Regex(text),
            }),
        }
    }
}

/// A port by its number, or by its name in the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(u32),
    /// A name.
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl Decode for IntOrString {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::String(s) => Some(Self::String(s.clone())),
            Value::Number(_) => u32::decode(node, report).map(Self::Int),
            _ => {
                wrong_shape(node, "a number or a name", report);
                None
            }
        }
    }
}

/// Bytes that a document holds in base64. Never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Decode for Bytes {
    const PRIVATE: bool = true;

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::String(text) = &node.value else {
            report.error(format!("{} stands here", node.shape())).expected("bytes in base64");
            return None;
        };
        // Long values are wrapped over lines; the line ends are not part of them.
        let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        match base64::engine::general_purpose::STANDARD.decode(packed) {
            Ok(bytes) => Some(Self(bytes)),
            Err(_) => {
                report
                    .error("the value is not base64")
                    .expected("bytes in base64")
                    .hint("encode it, for example with `base64 -w0`");
                None
            }
        }
    }

    fn of_null() -> Option<Self> {
        Some(Self::default())
    }
}

/// Text that no message may repeat.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct PrivateText(pub String);

impl Decode for PrivateText {
    const PRIVATE: bool = true;

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::String(s) => Some(Self(s.clone())),
            _ => {
                report.error(format!("{} stands here", node.shape())).expected("text").hint("write it in quotes");
                None
            }
        }
    }

    fn of_null() -> Option<Self> {
        Some(Self::default())
    }
}

impl fmt::Debug for PrivateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// Something that is allowed and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread;

impl Decode for Unread {
    fn decode(_: &Node, _: &mut Report) -> Option<Self> {
        Some(Self)
    }

    fn of_null() -> Option<Self> {
        Some(Self)
    }
}

/// Anything, as it was written: for parts whose form is not ours to know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree(pub serde_json::Value);

impl Decode for Tree {
    fn decode(node: &Node, _: &mut Report) -> Option<Self> {
        Some(Self(node.to_json()))
    }

    fn of_null() -> Option<Self> {
        Some(Self::default())
    }
}

/// Reads one of `words`; gives its index.
pub(crate) fn word(node: &Node, words: &[&str], report: &mut Report) -> Option<usize> {
    let Value::String(text) = &node.value else {
        wrong_shape(node, &one_of(words), report);
        return None;
    };
    let index = words.iter().position(|w| w == text);
    if index.is_none() {
        let found = report.error(format!("{} is not known here", quoted(text))).expected(one_of(words));
        if let Some(word) = nearest(text, words) {
            found.hint(format!("did you mean `{word}`?"));
        }
    }
    index
}
