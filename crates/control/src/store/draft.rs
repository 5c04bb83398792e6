//! A change before it is stored: which resources there would be, and what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use api::{Kind, Origin, Problem, Resource, ResourceKey};
use translate::Edit;

use super::disk::{Changes, Table};
use super::{Catalog, Holder, Stored, row};
use crate::audit::{self, Author};
use crate::v1::{Applied, AuditEntry, Outcome};

/// All resources as they would be, and the rows to be written for that.
pub struct Draft {
    pub resources: Catalog,
    /// What stood before in the place of what is different.
    before: BTreeMap<ResourceKey, Option<Arc<Resource>>>,
    pub changes: Changes,
    pub results: Vec<Applied>,
    pub problems: Vec<Problem>,
    holder: Holder,
    now: SystemTime,
}

impl Draft {
    /// A draft in which nothing is changed yet, for changes by `holder`.
    pub fn new(resources: &Catalog, holder: Holder, now: SystemTime) -> Self {
        Self {
            resources: resources.clone(),
            before: BTreeMap::new(),
            changes: Changes::default(),
            results: Vec::new(),
            problems: Vec::new(),
            holder,
            now,
        }
    }

    /// Puts a resource in.
    pub fn apply(&mut self, resource: &Arc<Resource>) {
        let key = resource.key();
        let old = self.resources.get(&key).cloned();
        if let Some(held) = old.as_ref().filter(|old| self.is_held_by_a_file(old)) {
            let problem = Problem::error(format!("{key} is held by the file {}", held.resource.origin));
            let problem = problem.expected("a resource that was applied").hint("change it in that file");
            self.problems.push(resource.problem(problem, api::yaml::Span::default()));
            return;
        }
        if old.as_ref().is_some_and(|old| self.holder == Holder::Files && old.holder == Holder::Api) {
            tracing::warn!("{key}: it was applied before; from now on the file {} holds it", resource.origin);
        }
        let outcome = match &old {
            None => Outcome::Created,
            Some(old) if says_the_same(&old.resource, resource) => Outcome::Unchanged,
            Some(_) => Outcome::Configured,
        };
        let same_place =
            old.as_ref().is_some_and(|old| old.resource.origin == resource.origin && old.holder == self.holder);
        if outcome != Outcome::Unchanged || !same_place {
            self.put(key.clone(), resource, old.as_deref(), outcome);
        }
        let note = note(resource.kind);
        self.results.push(Applied { key, outcome, origin: resource.origin.clone(), note });
    }

    fn put(&mut self, key: ResourceKey, resource: &Arc<Resource>, old: Option<&Stored>, outcome: Outcome) {
        let created = resource.meta.created.or(old.map(|old| old.created)).unwrap_or(self.now);
        let generation = old.map_or(1, |old| old.generation + u64::from(outcome == Outcome::Configured));
        let stored = row::stored(resource.clone(), created, generation, self.holder);
        self.changes.put(Table::Resources, row::key(&key), row::write(&stored));
        self.before.entry(key.clone()).or_insert_with(|| old.map(|old| old.resource.clone()));
        self.resources.insert_mut(key, Arc::new(stored));
    }

    /// Takes a resource out.
    pub fn delete(&mut self, key: &ResourceKey) {
        let old = self.resources.get(key).cloned();
        if let Some(held) = old.as_ref().filter(|old| self.is_held_by_a_file(old)) {
            let problem = Problem::error(format!("{key} is held by the file {}", held.resource.origin)).of(key.clone());
            let problem = problem.expected("a resource that was applied");
            self.problems.push(problem.hint("delete it in that file, or take the file out of its directory"));
            return;
        }
        let origin = old.as_ref().map_or_else(Origin::default, |old| old.resource.origin.clone());
        let outcome = if old.is_some() { Outcome::Deleted } else { Outcome::NotFound };
        if let Some(old) = old {
            self.changes.remove(Table::Resources, row::key(key));
            self.before.entry(key.clone()).or_insert_with(|| Some(old.resource.clone()));
            self.resources.remove_mut(key);
        }
        self.results.push(Applied { key: key.clone(), outcome, origin, note: None });
    }

    /// Takes out what the watched directory held and does not hold any more.
    pub fn keep_only(&mut self, kept: impl Fn(&ResourceKey) -> bool) {
        let gone = |key: &ResourceKey, stored: &Stored| stored.holder == self.holder && !kept(key);
        let gone: Vec<ResourceKey> =
            self.resources.iter().filter(|(key, stored)| gone(key, stored)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.delete(key));
    }

    /// What is different, each as it was and as it is.
    pub fn edit(&self) -> Edit {
        let now = |key| self.resources.get(key).map(|stored: &Arc<Stored>| stored.resource.clone());
        let resources = self.before.iter().map(|(key, before)| (before.clone(), now(key))).collect();
        Edit { resources, ..Edit::default() }
    }

    /// What the audit log says of it: an entry for each resource that says something else than before. Of a file that is
    /// where it comes from.
    pub fn entries(&self, by: &Author) -> Vec<AuditEntry> {
        let changed = |outcome| matches!(outcome, Outcome::Created | Outcome::Configured | Outcome::Deleted);
        let of = |applied: &Applied| {
            let before = self.before.get(&applied.key).and_then(Option::as_deref);
            let after = self.resources.get(&applied.key).map(|stored| &*stored.resource);
            let action = if applied.outcome == Outcome::Deleted { "delete" } else { "apply" };
            let mut entry = AuditEntry::new(by, action, applied.key.to_string(), applied.outcome);
            if entry.from.is_empty() {
                entry.from = applied.origin.file.clone();
            }
            entry.diff = audit::diff(before, after);
            entry
        };
        self.results.iter().filter(|applied| changed(applied.outcome)).map(of).collect()
    }

    fn is_held_by_a_file(&self, old: &Stored) -> bool {
        self.holder == Holder::Api && old.holder == Holder::Files
    }
}

fn says_the_same(old: &Resource, new: &Resource) -> bool {
    old.api_version == new.api_version && old.document() == new.document()
}

/// What a person should know who applies one of this kind.
fn note(kind: Kind) -> Option<String> {
    matches!(kind, Kind::Deployment | Kind::Pod).then(|| {
        "its labels, ports and identity are known now, but its containers are not run here: start its program with \
         `halcyon run`"
            .to_owned()
    })
}
