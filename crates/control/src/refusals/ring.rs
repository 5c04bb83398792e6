//! What is kept, and who gives way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::entry::Told;

/// All entries together hold no more than this.
const MOST_BYTES: usize = 16 << 20;
/// So many newest entries of a sender are looked at for the same connection.
const SAME: usize = 16;

/// The entries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ring {
    most: usize,
    most_bytes: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, Told>,
    /// The entries of each workload, by namespace and name, the oldest first.
    of: HashMap<(String, String), VecDeque<u64>>,
    bytes: usize,
    last: u64,
}

/// Which entries. Empty or none: any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub request_id: String,
    pub namespace: String,
    pub workload: String,
    pub from: String,
    pub service: Option<Called>,
    /// Newer than this.
    pub after: u64,
}

/// A service, as refusals may name it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    pub namespace: String,
    pub name: String,
    /// Its host; empty if there is no such service now.
    pub host: String,
    /// Namespaces and names of the workloads behind it.
    pub workloads: Vec<(String, String)>,
}

impl Ring {
    /// Keeps so many entries; 0: none.
    pub fn new(most: usize) -> Self {
        Self { most, most_bytes: MOST_BYTES, kept: Arc::default() }
    }

    /// How many it keeps at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes an entry in. False if it is kept already, or nothing is kept.
    pub fn take(&self, told: Told) -> bool {
        if self.most == 0 {
            return false;
        }
        let mut kept = self.lock();
        let owner = (told.sender.namespace.clone(), told.sender.workload.clone());
        let newest = kept.of.get(&owner).into_iter().flat_map(|of| of.iter().rev().take(SAME));
        if newest.filter_map(|seq| kept.entries.get(seq)).any(|other| other.is_same_connection(&told)) {
            return false;
        }
        kept.last += 1;
        let seq = kept.last;
        kept.bytes += told.bytes();
        kept.entries.insert(seq, Told { seq, ..told });
        kept.of.entry(owner).or_default().push_back(seq);
        while kept.entries.len() > self.most || kept.bytes > self.most_bytes {
            kept.give_way();
        }
        true
    }

    /// Of the entries that fit the newest so many, the oldest first; and whether there are more.
    pub fn find(&self, wanted: &Wanted, limit: usize) -> (Vec<Told>, bool) {
        let kept = self.lock();
        let newest = kept.entries.range(wanted.after + 1..).rev().map(|(_, told)| told);
        let mut found: Vec<Told> = newest.filter(|told| wanted.fits(told)).take(limit + 1).cloned().collect();
        let more = found.len() > limit;
        found.truncate(limit);
        found.reverse();
        (found, more)
    }

    /// How many are kept, and when the oldest of them began.
    pub fn state(&self) -> (usize, Option<SystemTime>, u64) {
        let kept = self.lock();
        (kept.entries.len(), kept.entries.values().next().map(|told| told.at), kept.last)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The workload that has most gives its oldest; of two, the one whose oldest is older.
    fn give_way(&mut self) {
        let most = self.of.iter().max_by_key(|(_, of)| (of.len(), std::cmp::Reverse(of.front().copied())));
        let Some(owner) = most.map(|(owner, _)| owner.clone()) else { return };
        let Some(of) = self.of.get_mut(&owner) else { return };
        if let Some(told) = of.pop_front().and_then(|seq| self.entries.remove(&seq)) {
            self.bytes -= told.bytes();
        }
        if of.is_empty() {
            self.of.remove(&owner);
        }
    }
}

impl Wanted {
    fn fits(&self, told: &Told) -> bool {
        let sender = &told.sender;
        let is = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let id = told.request.as_ref().map_or("", |request| &request.id);
        let of_workload = self.workload.is_empty() || self.workload == sender.workload || self.workload == sender.node;
        let caller = told.principal.as_deref().unwrap_or_default();
        let source = told.source.map(|at| at.ip().to_string()).unwrap_or_default();
        let from = self.from.is_empty()
            || source == self.from
            || caller == self.from
            || caller.strip_prefix("spiffe://") == Some(&*self.from)
            || is_account(caller, &self.from);
        let to = self.service.as_ref().is_none_or(|service| service.was_called(told));
        is(&self.request_id, id) && is(&self.namespace, &sender.namespace) && of_workload && from && to
    }
}

impl Called {
    fn was_called(&self, told: &Told) -> bool {
        let Self { namespace, name, host, workloads } = self;
        if told.cluster.starts_with("inbound|") {
            return workloads.iter().any(|(ns, of)| *ns == told.sender.namespace && *of == told.sender.workload);
        }
        let Some(asked) = told.host() else { return false };
        // Whoever calls within a namespace may leave it out.
        asked == host
            || (asked == name && told.sender.namespace == *namespace)
            || asked
                .strip_prefix(&**name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest == namespace || rest.strip_suffix(".svc") == Some(namespace))
    }
}

/// Is it the identity of this account, `ACCOUNT` or `NAMESPACE/ACCOUNT`?
fn is_account(identity: &str, name: &str) -> bool {
    let Some((_, path)) = identity.split_once("/ns/") else { return false };
    let Some((namespace, account)) = path.split_once("/sa/") else { return false };
    account == name || name.split_once('/') == Some((namespace, account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals::entry::{Request, Sender};
    use proto::envoy::data::accesslog::v3::HttpAccessLogEntry;

    fn told(workload: &str, id: &str) -> Told {
        let sender = Arc::new(Sender {
            node: format!("{workload}-1"),
            namespace: "default".into(),
            workload: workload.into(),
            identity: String::new(),
            ours: true,
        });
        let told = Told::of_request(&sender, HttpAccessLogEntry::default(), SystemTime::now()).unwrap();
        let request = Request { id: id.into(), ..told.request.clone().unwrap() };
        Told { request: Some(request), principal: Some("spiffe://t/ns/a/sa/b".into()), ..told }
    }

    #[test]
    fn of_which_service() {
        let called = |host: &str| Called {
            namespace: "default".into(),
            name: "api".into(),
            host: host.into(),
            workloads: vec![("default".into(), "api-v1".into())],
        };
        let there = called("api.default.svc.cluster.local");
        for (workload, cluster, host, expected) in [
            ("api-v1", "inbound|9080||", "anything", true),
            ("web-v1", "inbound|9080||", "api:9080", false),
            ("web-v1", "outbound|9080|v1|api.default.svc.cluster.local", "api:9080", true),
            ("api-v1", "outbound|9080||other.default.svc.cluster.local", "other", false),
            ("web-v1", "", "api:9080", true),
            ("web-v1", "", "api.default", true),
            ("web-v1", "", "api.default.svc:9080", true),
            ("web-v1", "", "api.elsewhere", false),
            ("web-v1", "", "", false),
        ] {
            let told = told(workload, "1");
            let request = Request { host: host.into(), ..told.request.clone().unwrap() };
            let told = Told { request: Some(request), cluster: cluster.into(), ..told };
            assert_eq!(there.was_called(&told), expected, "{workload} {cluster} {host}");
        }
    }

    fn ids(ring: &Ring, wanted: &Wanted) -> Vec<String> {
        ring.find(wanted, 100).0.into_iter().map(|told| told.request.unwrap().id).collect()
    }

    #[test]
    fn who_has_most_gives_way() {
        let ring = Ring::new(5);
        ring.take(told("quiet", "q"));
        for n in 0..20 {
            ring.take(told("loud", &n.to_string()));
        }
        assert_eq!(ids(&ring, &Wanted::default()), ["q", "16", "17", "18", "19"]);
        let quiet = Wanted { workload: "quiet".into(), ..Wanted::default() };
        assert_eq!(ids(&ring, &quiet), ["q"]);
        let (count, oldest, last) = ring.state();
        assert_eq!((count, oldest.is_some(), last), (5, true, 21));
        assert_eq!(ids(&ring, &Wanted { after: 19, ..Wanted::default() }), ["18", "19"]);
        let (two, more) = ring.find(&Wanted::default(), 2);
        assert_eq!((two.len(), more, two[1].seq), (2, true, 21));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let one = told("a", "x").bytes();
        let ring = Ring { most_bytes: 3 * one, ..Ring::new(1000) };
        for _ in 0..10 {
            ring.take(told("a", "x"));
        }
        assert_eq!(ring.state().0, 3);
        assert!(!Ring::new(0).take(told("a", "x")), "nothing is kept");
    }

    #[test]
    fn who_is_asked_for() {
        let ring = Ring::new(5);
        ring.take(told("w", "1"));
        for (from, expected) in [("b", 1), ("a/b", 1), ("t/ns/a/sa/b", 1), ("spiffe://t/ns/a/sa/b", 1), ("c/b", 0)] {
            assert_eq!(ids(&ring, &Wanted { from: from.into(), ..Wanted::default() }).len(), expected, "{from}");
        }
        assert_eq!(ids(&ring, &Wanted { request_id: "2".into(), ..Wanted::default() }).len(), 0);
        assert_eq!(ids(&ring, &Wanted { namespace: "other".into(), ..Wanted::default() }).len(), 0);
    }
}
