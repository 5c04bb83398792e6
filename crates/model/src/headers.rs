//! Changes to a head's headers: set, add, remove.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to the headers of a request or response: removals first, then writes in their order, as Envoy does. Most routes
/// make none, and hold no room for any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChanges(Option<Box<Changes>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Changes {
    remove: Vec<HeaderName>,
    write: Vec<HeaderWrite>,
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
    /// The value replaces those there; nothing is written if there is none.
    OverwriteIfThere,
}

impl HeaderWrite {
    /// Writes it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let (name, value) = (&self.name, || self.value.clone());
        match self.action {
            WriteAction::Append => {
                headers.append(name, value());
            }
            WriteAction::Overwrite => drop(headers.insert(name, value())),
            WriteAction::AddIfAbsent if headers.contains_key(name) => {}
            WriteAction::AddIfAbsent => drop(headers.insert(name, value())),
            WriteAction::OverwriteIfThere if headers.contains_key(name) => drop(headers.insert(name, value())),
            WriteAction::OverwriteIfThere => {}
        }
    }
}

impl HeaderChanges {
    /// Drops these headers, then sets or adds those, in order.
    pub fn new(remove: Vec<HeaderName>, write: Vec<HeaderWrite>) -> Self {
        let any = !remove.is_empty() || !write.is_empty();
        Self(any.then(|| Box::new(Changes { remove, write })))
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Headers to drop.
    pub fn remove(&self) -> &[HeaderName] {
        self.0.as_ref().map_or(&[], |changes| &changes.remove)
    }

    /// Headers to set or add, in order.
    pub fn write(&self) -> &[HeaderWrite] {
        self.0.as_ref().map_or(&[], |changes| &changes.write)
    }

    /// Makes the changes. Removals come first, as in Envoy, so that a name can be removed and written anew.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in self.remove() {
            headers.remove(name);
        }
        self.write().iter().for_each(|write| write.apply(headers));
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
        let changes = HeaderChanges::new(
            vec![HeaderName::from_static("a")],
            vec![
                write("a", "new", WriteAction::Append),
                write("b", "2", WriteAction::Append),
                write("c", "2", WriteAction::Overwrite),
                write("d", "2", WriteAction::AddIfAbsent),
            ],
        );
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "c", "d"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        changes.apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("a"), all("b"), all("c"), all("d")), (vec!["new"], vec!["1", "2"], vec!["2"], vec!["1"]));
    }
}
