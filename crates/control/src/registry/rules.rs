//! The rules of coming and going, without I/O: time is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Registered;
use crate::store::WorkloadChange;

/// How long a workload stays whose connection broke. A proxy comes back from a broken connection within its first
/// back-off, well below this; a process that was killed should not get requests for longer.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long workloads of the last run stay. Proxies back off for up to some seconds while the control plane is away, and
/// endpoints that vanish meanwhile would stop traffic that flows.
pub const RESTORE: Duration = Duration::from_secs(15);

/// How a proxy's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The proxy ended it: it is stopping.
    Clean,
    /// The connection broke: it may come back.
    Broken,
}

/// Which workloads are there.
#[derive(Debug, Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
    next_order: u64,
}

#[derive(Debug)]
struct Entry {
    registered: Arc<Registered>,
    /// Streams that say they are it, oldest first. The newest counts.
    claims: Vec<Claim>,
    /// When it vanishes, if nobody claims it.
    vanishes: Option<Instant>,
}

#[derive(Debug)]
struct Claim {
    stream: u64,
    order: u64,
    registered: Arc<Registered>,
}

impl Registry {
    /// Workloads of the last run, which have [`RESTORE`] to come back.
    pub fn restored(kept: Vec<Arc<Registered>>, now: Instant) -> Self {
        let entry =
            |registered: Arc<Registered>| Entry { registered, claims: Vec::new(), vanishes: Some(now + RESTORE) };
        let entries = kept.into_iter().map(|registered| (registered.key(), entry(registered))).collect();
        Self { entries, next_order: 0 }
    }

    /// A proxy is there. One that comes back is as ready as it was, until it says otherwise.
    pub fn joined(&mut self, stream: u64, mut registered: Arc<Registered>) -> WorkloadChange {
        self.next_order += 1;
        let before = self.entries.get(&registered.key()).map(|entry| &entry.registered);
        if before.is_some_and(|before| before.node == registered.node && before.ready && !registered.ready) {
            Arc::make_mut(&mut registered).ready = true;
        }
        let claim = Claim { stream, order: self.next_order, registered: registered.clone() };
        let entry = self.entries.entry(registered.key()).or_insert_with(|| Entry {
            registered: registered.clone(),
            claims: Vec::new(),
            vanishes: None,
        });
        entry.claims.retain(|claim| claim.stream != stream);
        entry.claims.push(claim);
        entry.vanishes = None;
        entry.registered = registered.clone();
        WorkloadChange::Put(registered)
    }

    /// A proxy says whether its program is ready.
    pub fn ready(&mut self, stream: u64, ready: bool) -> Option<WorkloadChange> {
        let claims = |entry: &Entry| entry.claims.iter().any(|claim| claim.stream == stream);
        let entry = self.entries.values_mut().find(|entry| claims(entry))?;
        let claim = entry.claims.iter_mut().find(|claim| claim.stream == stream)?;
        Arc::make_mut(&mut claim.registered).ready = ready;
        let newest = entry.claims.iter().max_by_key(|claim| claim.order)?;
        if newest.registered == entry.registered {
            return None;
        }
        entry.registered = newest.registered.clone();
        Some(WorkloadChange::Put(entry.registered.clone()))
    }

    /// A proxy's stream ended.
    pub fn left(&mut self, stream: u64, how: Departure, now: Instant) -> Vec<WorkloadChange> {
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for (key, entry) in &mut self.entries {
            let before = entry.claims.len();
            entry.claims.retain(|claim| claim.stream != stream);
            if entry.claims.len() == before {
                continue;
            }
            match entry.claims.iter().max_by_key(|claim| claim.order) {
                // An older one with that name is still there, and counts again.
                Some(newest) if newest.registered != entry.registered => {
                    entry.registered = newest.registered.clone();
                    changes.push(WorkloadChange::Put(entry.registered.clone()));
                }
                Some(_) => {}
                None if how == Departure::Clean => gone.push(key.clone()),
                None => entry.vanishes = Some(now + GRACE),
            }
        }
        changes.extend(gone.iter().filter_map(|key| self.remove(key)));
        changes
    }

    /// What vanishes by now.
    pub fn expire(&mut self, now: Instant) -> Vec<WorkloadChange> {
        let late = |entry: &Entry| entry.vanishes.is_some_and(|at| at <= now);
        let gone: Vec<String> =
            self.entries.iter().filter(|(_, entry)| late(entry)).map(|(key, _)| key.clone()).collect();
        gone.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// When [`Registry::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.vanishes).min()
    }

    /// Names that several instances claim: a word on each for people.
    pub fn notices(&self) -> Vec<String> {
        let doubles = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.claims.iter().any(|claim| claim.registered.node != entry.registered.node));
        doubles
            .map(|(key, entry)| {
                let nodes: Vec<&str> = entry.claims.iter().map(|claim| claim.registered.node.as_str()).collect();
                format!(
                    "workload {key}: {} running instances have this name ({}); only the newest gets requests: give \
                     each instance a name of its own",
                    nodes.len(),
                    nodes.join(", ")
                )
            })
            .collect()
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, key: &str) -> Option<WorkloadChange> {
        let entry = self.entries.remove(key)?;
        Some(WorkloadChange::Remove {
            namespace: entry.registered.metadata.namespace.clone(),
            instance: entry.registered.instance().to_owned(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::registration::{NodeMetadata, RegisteredCapture, RegisteredRole, Registration};

    pub fn workload(name: &str, node: &str) -> Arc<Registered> {
        let capture = RegisteredCapture::Upstreams(Vec::new());
        let registration = Registration {
            proxy_version: None,
            instance: name.to_owned(),
            role: RegisteredRole::Sidecar { service: None, ports: Vec::new(), capture },
            address: [127, 64, 0, 2].into(),
            weight: 1,
            tells_readiness: false,
            on_demand: false,
            admin: None,
            metrics: None,
        };
        let metadata =
            NodeMetadata { namespace: "default".to_owned(), halcyon: Some(registration), ..NodeMetadata::default() };
        Arc::new(Registered { node: node.to_owned(), locality: Default::default(), metadata, ready: true })
    }

    /// What the change says: `+node` or `-name`.
    fn told(changes: impl IntoIterator<Item = WorkloadChange>) -> Vec<String> {
        let tell = |change| match change {
            WorkloadChange::Put(registered) if !registered.ready => format!("?{}", registered.node),
            WorkloadChange::Put(registered) => format!("+{}", registered.node),
            WorkloadChange::Remove { namespace, instance } => format!("-{namespace}/{instance}"),
        };
        changes.into_iter().map(tell).collect()
    }

    #[test]
    fn clean_ends_at_once_and_broken_ones_after_a_grace() {
        let now = Instant::now();
        let mut registry = Registry::default();
        assert_eq!(told([registry.joined(1, workload("a", "a"))]), ["+a"]);
        assert_eq!(told(registry.left(1, Departure::Clean, now)), ["-default/a"]);
        registry.joined(2, workload("a", "a"));
        assert!(registry.left(2, Departure::Broken, now).is_empty());
        assert_eq!(registry.next_expiry(), Some(now + GRACE));
        assert!(registry.expire(now + GRACE - Duration::from_millis(1)).is_empty());
        // It came back in time.
        registry.joined(3, workload("a", "a"));
        assert_eq!((registry.next_expiry(), registry.expire(now + GRACE).len()), (None, 0));
        assert!(registry.left(3, Departure::Broken, now).is_empty());
        assert_eq!(told(registry.expire(now + GRACE)), ["-default/a"]);
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn the_last_runs_workloads_stay_for_a_while() {
        let now = Instant::now();
        let mut registry = Registry::restored(vec![workload("a", "a"), workload("b", "b")], now);
        registry.joined(1, workload("a", "a"));
        assert_eq!(told(registry.expire(now + RESTORE)), ["-default/b"]);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn ready_when_it_says_so_and_still_when_it_comes_back() {
        let now = Instant::now();
        let waiting = |node: &str| Arc::new(Registered { ready: false, ..Registered::clone(&workload("a", node)) });
        let mut registry = Registry::default();
        assert_eq!(told([registry.joined(1, waiting("a"))]), ["?a"]);
        assert_eq!(told(registry.ready(1, false)), [""; 0]);
        assert_eq!(told(registry.ready(1, true)), ["+a"]);
        assert_eq!(told(registry.ready(1, true)), [""; 0]);
        registry.left(1, Departure::Broken, now);
        assert_eq!(told([registry.joined(2, waiting("a"))]), ["+a"]);
        assert_eq!(told(registry.ready(1, false)), [""; 0], "a stream that has ended");
        assert_eq!(told(registry.ready(2, false)), ["?a"]);
        // Another proxy under the name has a program of its own; the older one's word does not count for it.
        registry.ready(2, true);
        assert_eq!(told([registry.joined(3, waiting("b"))]), ["?b"]);
        assert_eq!(told(registry.ready(2, true)), [""; 0]);
        assert_eq!(told(registry.left(3, Departure::Clean, now)), ["+a"]);
    }

    #[test]
    fn the_newer_of_two_counts_and_it_is_said() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.joined(1, workload("a", "old"));
        assert_eq!(told([registry.joined(2, workload("a", "new"))]), ["+new"]);
        assert!(registry.notices()[0].contains("old, new"), "{:?}", registry.notices());
        assert_eq!(told(registry.left(2, Departure::Clean, now)), ["+old"]);
        assert!(registry.notices().is_empty());
        // The same proxy on a new stream, before its old one is noticed to be broken, is no second one.
        registry.joined(3, workload("a", "old"));
        assert!(registry.notices().is_empty());
        assert!(registry.left(1, Departure::Broken, now).is_empty());
        assert_eq!((registry.next_expiry(), registry.len()), (None, 1));
    }
}
