//! Changes to a head's headers: set, add, remove.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to the headers of a request or response: removals first, then writes in their order, as Envoy does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChanges {
    /// Headers to drop.
    pub remove: Vec<HeaderName>,
    /// Headers to set or add, in order.
    pub write: Vec<HeaderWrite>,
}

/// One header to write. Values are literal: `%` has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderWrite {
    /// The name.
    pub name: HeaderName,
    /// The value.
    pub value: HeaderValue,
    /// What happens when the header is there already.
    pub action: WriteAction,
}

/// What happens when a header to be written is there already (xDS `HeaderAppendAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAction {
    /// The value is added to those there.
    Append,
    /// The value replaces those there.
    Overwrite,
    /// Nothing is written if it is there.
    AddIfAbsent,
}

impl HeaderChanges {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.write.is_empty()
    }

    /// Makes the changes. Removals come first, as in Envoy, so that a name can be removed and written anew.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for write in &self.write {
            match write.action {
                WriteAction::Append => {
                    headers.append(&write.name, write.value.clone());
                }
                WriteAction::Overwrite => {
                    headers.insert(&write.name, write.value.clone());
                }
                WriteAction::AddIfAbsent if headers.contains_key(&write.name) => {}
                WriteAction::AddIfAbsent => {
                    headers.insert(&write.name, write.value.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_actions() {
        let write = |name: &'static str, value: &'static str, action| HeaderWrite {
            name: HeaderName::from_static(name),
            value: HeaderValue::from_static(value),
            action,
        };
        let changes = HeaderChanges {
            remove: vec![HeaderName::from_static("a")],
            write: vec![
                write("a", "new", WriteAction::Append),
                write("b", "2", WriteAction::Append),
                write("c", "2", WriteAction::Overwrite),
                write("d", "2", WriteAction::AddIfAbsent),
            ],
        };
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "c", "d"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        changes.apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("a"), all("b"), all("c"), all("d")), (vec!["new"], vec!["1", "2"], vec!["2"], vec!["1"]));
    }
}
