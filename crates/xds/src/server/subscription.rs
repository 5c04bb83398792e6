//! One type on one stream: what the client asked for, what it has, and what is due. Both variants share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::status::{Nack, SubscriptionStatus, Taken};
use model::ResourceKind;

use super::{EncodedResource, ResourceSet, has_wildcard, may_be_removed};
use crate::kind_of;

/// The name that stands for everything.
pub(super) const WILDCARD: &str = "*";

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub type_url: Arc<str>,
    pub wildcard: bool,
    pub names: BTreeSet<Arc<str>>,
    /// Those of the names that the client did not ask for yet, but will: it was sent what needs them.
    lent: BTreeSet<Arc<str>>,
    /// Some name, or `*`, was asked for: an empty list no longer means everything.
    pub named: bool,
    /// What the client has, or will have once it has read what was sent.
    pub held: BTreeMap<Arc<str>, Held>,
    /// The nonce of the newest response.
    pub last_nonce: Option<String>,
    /// A response is due even if there is nothing to tell.
    pub answer_due: bool,
    set: Option<Arc<ResourceSet>>,
    dirty: Dirty,
    /// Names that must be answered, changed or not.
    forced: BTreeSet<Arc<str>>,
    /// Names to be answered as soon as the client asks for them: their clusters were sent and wait for them.
    awaited: BTreeSet<Arc<str>>,
    /// What the client has and should lose.
    gone: BTreeSet<Arc<str>>,
    outstanding: Option<Outstanding>,
    sent_version: Option<Arc<str>>,
    acked_version: Option<Arc<str>>,
    nack: Option<Nack>,
}

/// What the client has of one name.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub version: Arc<str>,
    /// The resource itself, where it may have to be sent again while it is on its way out.
    pub resource: Option<Arc<EncodedResource>>,
    /// The client was told that there is none.
    pub absent: bool,
}

/// Names to compare with what is held.
#[derive(Debug)]
enum Dirty {
    All,
    Names(BTreeSet<Arc<str>>),
}

/// A response that was neither acknowledged nor refused yet.
#[derive(Debug)]
struct Outstanding {
    nonce: String,
    version: Arc<str>,
    /// It only takes away.
    removal: bool,
}

/// What is due now, removals apart.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub changed: Vec<Arc<EncodedResource>>,
    /// Names asked for that do not exist.
    pub missing: Vec<Arc<str>>,
    /// To be answered even if the rest is empty.
    pub answer: bool,
}

impl Due {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.missing.is_empty() && !self.answer
    }
}

impl Subscription {
    pub fn new(type_url: Arc<str>, set: Option<Arc<ResourceSet>>) -> Self {
        Self {
            type_url,
            wildcard: false,
            names: BTreeSet::new(),
            lent: BTreeSet::new(),
            named: false,
            held: BTreeMap::new(),
            last_nonce: None,
            answer_due: false,
            set,
            dirty: Dirty::All,
            forced: BTreeSet::new(),
            awaited: BTreeSet::new(),
            gone: BTreeSet::new(),
            outstanding: None,
            sent_version: None,
            acked_version: None,
            nack: None,
        }
    }

    /// A request without names that comes first: everything, for the types that have such a thing.
    pub fn subscribe_legacy(&mut self) {
        if has_wildcard(&self.type_url) {
            self.subscribe_all();
        }
    }

    pub fn subscribe_all(&mut self) {
        self.wildcard = true;
        self.answer_due = true;
        self.dirty = Dirty::All;
    }

    /// A name is asked for, for the first time or anew: it will be answered.
    pub fn subscribe(&mut self, name: Arc<str>) {
        self.names.insert(name.clone());
        // What was lent is on its way.
        if !self.lent.remove(&name) {
            self.forced.insert(name);
        }
    }

    /// The client will ask for this name, since it was sent what needs it: it is answered now.
    pub fn lend(&mut self, name: &Arc<str>) {
        if !self.wildcard && self.names.insert(name.clone()) {
            self.lent.insert(name.clone());
            self.forced.insert(name.clone());
        }
    }

    /// The client gave up what needed this name; if it never asked for the name, it never will.
    pub fn take_back(&mut self, name: &Arc<str>) {
        if self.lent.contains(name) {
            self.unsubscribe(name);
        }
    }

    /// A name is asked for that the client has already; it is answered if it changed.
    pub fn resume(&mut self, name: Arc<str>) {
        self.mark_dirty(&name);
        self.names.insert(name);
    }

    /// A name is no longer asked for. Under a wildcard it stays covered, and its state must be told.
    pub fn unsubscribe(&mut self, name: &str) {
        let Some(name) = self.names.take(name) else { return };
        self.lent.remove(&name);
        if self.wildcard {
            self.forced.insert(name);
        } else {
            self.forget(&name);
        }
    }

    pub fn unsubscribe_all(&mut self) {
        self.wildcard = false;
        self.answer_due = false;
        let others: Vec<_> = self.held.keys().filter(|name| !self.names.contains(*name)).cloned().collect();
        others.iter().for_each(|name| self.forget(name));
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.held.remove(name);
        self.forced.remove(name);
        self.gone.remove(name);
    }

    /// Takes the newest set. Only what differs from the last one will be looked at, if that is known.
    pub fn offer(&mut self, set: Option<Arc<ResourceSet>>) {
        // Clients have other names for virtual hosts than a set has.
        let by_other_names = kind_of(&self.type_url) == Some(ResourceKind::VirtualHost);
        let changed = match (&self.set, &set) {
            (Some(old), Some(new)) if old.id() == new.id() => return,
            (None, None) => return,
            _ if by_other_names => None,
            (Some(old), Some(new)) => new.changed_since(old.id()),
            _ => None,
        };
        match changed {
            Some(names) => names.iter().for_each(|name| self.mark_dirty(name)),
            None => self.dirty = Dirty::All,
        }
        self.set = set;
    }

    fn mark_dirty(&mut self, name: &Arc<str>) {
        if let Dirty::Names(names) = &mut self.dirty {
            names.insert(name.clone());
        }
    }

    /// A cluster was sent that will wait for this name, even if the name did not change.
    pub fn awaited(&mut self, name: Arc<str>) {
        self.awaited.insert(name);
    }

    /// What exists under a name.
    pub fn current(&self, name: &str) -> Option<Arc<EncodedResource>> {
        self.set.as_ref()?.find(name)
    }

    fn wants(&self, name: &Arc<str>) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Is anything under way, or about to be, that adds or changes? Then removals wait.
    pub fn has_news(&self) -> bool {
        let comparing = match &self.dirty {
            Dirty::All => true,
            Dirty::Names(names) => !names.is_empty(),
        };
        comparing
            || self.answer_due
            || !self.forced.is_empty()
            || self.outstanding.as_ref().is_some_and(|outstanding| !outstanding.removal)
    }

    /// Takes out what is due. Nothing, while a response is outstanding.
    pub fn take_due(&mut self) -> Due {
        if self.is_waiting() {
            return Due::default();
        }
        let awaited: Vec<_> = self.awaited.iter().filter(|name| self.wants(name)).cloned().collect();
        for name in awaited {
            self.awaited.remove(&name);
            self.forced.insert(name);
        }
        let forced = std::mem::take(&mut self.forced);
        let mut due = Due { answer: std::mem::take(&mut self.answer_due), ..Due::default() };
        for name in self.take_dirty() {
            if forced.contains(&name) || !self.wants(&name) {
                continue;
            }
            match (self.current(&name), self.held.get(&name)) {
                (Some(new), Some(old)) if new.version == old.version && !old.absent => _ = self.gone.remove(&name),
                (Some(new), _) => due.changed.push(new),
                (None, Some(old)) if !old.absent => _ = self.gone.insert(name),
                (None, _) => {}
            }
        }
        for name in forced {
            match self.current(&name) {
                Some(new) => due.changed.push(new),
                None => due.missing.push(name),
            }
        }
        due.changed.sort_by(|a, b| a.name.cmp(&b.name));
        due
    }

    fn take_dirty(&mut self) -> BTreeSet<Arc<str>> {
        match std::mem::replace(&mut self.dirty, Dirty::Names(BTreeSet::new())) {
            Dirty::Names(names) => names,
            Dirty::All if self.wildcard => {
                let existing = self.set.iter().flat_map(|set| set.iter()).map(|it| it.name.clone());
                existing.chain(self.held.keys().cloned()).chain(self.names.iter().cloned()).collect()
            }
            Dirty::All => self.names.iter().chain(self.held.keys()).cloned().collect(),
        }
    }

    /// Takes out what the client should lose now.
    pub fn take_gone(&mut self) -> Vec<Arc<str>> {
        if self.is_waiting() || !may_be_removed(&self.type_url) {
            return Vec::new();
        }
        let gone = std::mem::take(&mut self.gone);
        gone.into_iter().filter(|name| self.held.contains_key(name) && self.current(name).is_none()).collect()
    }

    /// Notes that the client has a resource now.
    pub fn hold(&mut self, resource: &Arc<EncodedResource>, keep: bool) {
        self.gone.remove(&resource.name);
        let resource_kept = keep.then(|| resource.clone());
        let held = Held { version: resource.version.clone(), resource: resource_kept, absent: false };
        self.held.insert(resource.name.clone(), held);
    }

    /// Notes that the client knows that a name stands for nothing.
    pub fn hold_absent(&mut self, name: &Arc<str>) {
        self.held.insert(name.clone(), Held { version: "".into(), resource: None, absent: true });
    }

    /// Is something to be taken away yet?
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Notes that a response went out.
    pub fn sent(&mut self, nonce: &str, version: Arc<str>, removal: bool) {
        self.last_nonce = Some(nonce.to_owned());
        self.sent_version = Some(version.clone());
        self.outstanding = Some(Outstanding { nonce: nonce.to_owned(), version, removal });
    }

    /// The version of the whole set.
    pub fn version(&self) -> Arc<str> {
        self.set.as_ref().map_or_else(|| "0".into(), |set| set.version().clone())
    }

    /// Pairs an answer with its response. A refused response counts as read: the same will not be sent again.
    pub fn answered(&mut self, nonce: &str, error: Option<&str>) {
        let Some(outstanding) = self.outstanding.take_if(|outstanding| outstanding.nonce == nonce) else { return };
        match error {
            None => {
                self.acked_version = Some(outstanding.version);
                self.nack = None;
            }
            Some(message) => {
                self.nack = Some(Nack { version: outstanding.version, message: message.to_owned() });
            }
        }
    }

    /// What the client has of a resource; none if it does not ask for it.
    pub fn taken(&self, name: &str) -> Option<Taken> {
        if !(self.wildcard || self.names.contains(name)) {
            return None;
        }
        let held = self.held.get(name).filter(|held| !held.absent);
        Some(Taken {
            version: held.map(|held| held.version.clone()),
            acknowledged: self.outstanding.is_none() && self.nack.is_none(),
            refusal: self.nack.as_ref().map(|nack| nack.message.clone()),
        })
    }

    pub fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            type_url: self.type_url.clone(),
            kind: kind_of(&self.type_url),
            wildcard: self.wildcard,
            names: self.names.difference(&self.lent).cloned().collect(),
            sent_version: self.sent_version.clone(),
            acked_version: self.acked_version.clone(),
            nack: self.nack.clone(),
        }
    }
}
