//! Changes to headers by a filter of their own (Envoy's header mutation filter): unlike those of routes they come one after
//! the other, as they stand.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::StringMatch;
use crate::headers::HeaderWrite;

/// A filter that changes headers. What routes say comes after what it says itself.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderMutation {
    /// The name under which it stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// Its own changes.
    pub own: Mutations,
    /// Virtual hosts speak before their routes, so that the routes have the last word; otherwise after them.
    pub route_last: bool,
}

/// Changes to the headers of both ways.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mutations {
    /// Of requests.
    pub request: Vec<HeaderEdit>,
    /// Of responses, whoever made them.
    pub response: Vec<HeaderEdit>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderEdit {
    /// A header goes.
    Remove(HeaderName),
    /// Every header whose name matches goes.
    RemoveMatching(StringMatch),
    /// A header is written.
    Write(HeaderWrite),
}

impl HeaderEdit {
    /// Makes the change.
    pub fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Remove(name) => drop(headers.remove(name)),
            Self::RemoveMatching(names) => {
                let gone: Vec<HeaderName> =
                    headers.keys().filter(|name| names.matches(name.as_str())).cloned().collect();
                gone.iter().for_each(|name| drop(headers.remove(name)));
            }
            Self::Write(write) => write.apply(headers),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::headers::WriteAction;

    #[test]
    fn one_after_the_other() {
        let write = |name: &'static str, action| {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static("new"));
            HeaderEdit::Write(HeaderWrite { name, value, action })
        };
        let edits = [
            write("a", WriteAction::Overwrite),
            HeaderEdit::Remove(HeaderName::from_static("a")),
            write("b", WriteAction::OverwriteIfThere),
            write("c", WriteAction::OverwriteIfThere),
            HeaderEdit::RemoveMatching(StringMatch::Prefix { value: "x-".into(), ignore_case: false }),
            write("x-3", WriteAction::AddIfAbsent),
        ];
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "x-1", "x-2"] {
            headers.insert(name, HeaderValue::from_static("old"));
        }
        edits.iter().for_each(|edit| edit.apply(&mut headers));
        let mut all: Vec<String> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        all.sort();
        assert_eq!(all, ["b=new", "x-3=new"]);
    }
}
