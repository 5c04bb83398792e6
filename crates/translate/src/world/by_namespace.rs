//! Documents by their namespaces: most of them are for workloads of their own namespace, and there may be very many.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Resource;

use super::document::{Document, OfKind};

/// The documents of a kind, by namespace.
#[derive(Debug)]
pub(crate) struct ByNamespace<T: OfKind>(Arc<BTreeMap<String, Arc<Vec<Document<T>>>>>);

impl<T: OfKind> ByNamespace<T> {
    /// The resources of this kind.
    pub fn all(resources: &[Arc<Resource>]) -> Self {
        let mut all: BTreeMap<String, Vec<Document<T>>> = BTreeMap::new();
        for document in resources.iter().filter_map(Document::of) {
            all.entry(document.namespace().to_owned()).or_default().push(document);
        }
        let sorted = all.into_iter().map(|(namespace, mut documents)| {
            documents.sort_by(|a, b| a.age().cmp(&b.age()));
            (namespace, Arc::new(documents))
        });
        Self(Arc::new(sorted.collect()))
    }

    /// Puts one in the place of another; either may be of another kind, or not be at all.
    pub fn replace(&mut self, old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) {
        let mut namespaces: Vec<&str> = old.into_iter().chain(new).map(|resource| resource.namespace()).collect();
        namespaces.dedup();
        for namespace in namespaces {
            let here = |resource: &&Arc<Resource>| resource.namespace() == namespace;
            let all = Arc::make_mut(&mut self.0);
            let documents = all.entry(namespace.to_owned()).or_default();
            Document::replace(documents, old.filter(here), new.filter(here));
            if documents.is_empty() {
                all.remove(namespace);
            }
        }
    }

    /// All of them, by namespace, and there the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Document<T>> {
        self.0.values().flat_map(|documents| documents.iter())
    }

    /// Those of any of these namespaces, the oldest first.
    pub fn of<'a>(&'a self, namespaces: [&str; 2], wanted: impl Fn(&Document<T>) -> bool) -> Vec<&'a Document<T>> {
        let [first, second] = namespaces;
        let list = |namespace| self.0.get(namespace).into_iter().flat_map(|documents| documents.iter());
        let mut found: Vec<_> = list(first).filter(|document| wanted(document)).collect();
        if second != first {
            found.extend(list(second).filter(|document| wanted(document)));
            found.sort_by(|a, b| a.age().cmp(&b.age()));
        }
        found
    }
}

impl<T: OfKind> Clone for ByNamespace<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: OfKind> Default for ByNamespace<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
