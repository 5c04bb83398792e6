//! The book of names: every edge and outcome that was ever told, by number. Numbers are given once, so that figures of
//! the past, in memory and on disk, keep their meaning.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::names::{EdgeNames, OVERFLOW};

/// An edge has no more outcomes; what is more is counted by the hundred of its status.
const MOST_OUTCOMES: usize = 250;
/// Destinations whose edges' figures stand side by side, so that a question about one of them reads little.
const DESTINATIONS_IN_GROUP: usize = 8;

/// Who talks to whom, as one side told.
#[derive(Debug)]
pub(crate) struct Edge {
    pub id: u32,
    /// Edges of one group have their figures in one row.
    pub group: u32,
    pub names: EdgeNames,
    /// When it last had traffic, in ms since 1970.
    pub last: AtomicU64,
}

/// How what passed on an edge ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub id: u32,
    pub edge: Arc<Edge>,
    pub kind: Kind,
}

/// What an outcome is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Requests. `code` is 0 where there was no answer.
    Exchanges { route: Arc<str>, code: u16, grpc: Option<u16>, flags: Arc<str> },
    /// Connections that carry something else.
    Connections,
}

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    most_edges: usize,
    edges: HashMap<EdgeNames, Arc<Edge>>,
    /// Outcomes of each edge, by its number.
    of: HashMap<u32, HashMap<Kind, Arc<Outcome>>>,
    by_id: Vec<Option<Arc<Outcome>>>,
    next_edge: u32,
    destinations: HashMap<(bool, Arc<str>, Arc<str>), u32>,
    texts: HashSet<Arc<str>>,
    /// What the disk does not have yet, if there is one.
    fresh: Vec<Arc<Outcome>>,
    for_disk: bool,
}

impl Book {
    pub fn new(most_edges: usize, for_disk: bool) -> Self {
        Self {
            most_edges,
            for_disk,
            edges: HashMap::new(),
            of: HashMap::new(),
            by_id: Vec::new(),
            next_edge: 1,
            destinations: HashMap::new(),
            texts: HashSet::new(),
            fresh: Vec::new(),
        }
    }

    /// The edge of these names, made if it is new. If there are too many, the one that stands for all of them: true.
    pub fn edge(&mut self, names: EdgeNames, now: u64) -> (Arc<Edge>, bool) {
        if let Some(known) = self.edges.get(&names) {
            return (known.clone(), false);
        }
        if self.edges.len() < self.most_edges {
            return (self.add(names, now), false);
        }
        let overflow = EdgeNames::overflow(names.reporter, names.protocol);
        let known = self.edges.get(&overflow).cloned();
        (known.unwrap_or_else(|| self.add(overflow, now)), true)
    }

    fn add(&mut self, names: EdgeNames, now: u64) -> Arc<Edge> {
        let group = self.group(&names);
        let names = self.interned(names);
        self.put(Edge { id: self.next_edge, group, names, last: AtomicU64::new(now) })
    }

    fn put(&mut self, edge: Edge) -> Arc<Edge> {
        let edge = Arc::new(edge);
        self.next_edge = self.next_edge.max(edge.id.saturating_add(1));
        self.edges.insert(edge.names.clone(), edge.clone());
        edge
    }

    fn group(&mut self, names: &EdgeNames) -> u32 {
        let (known, peer, service) = (names.destination.is_known(), &names.destination, &names.service);
        let (namespace, name) = if known { (&peer.namespace, &peer.name) } else { (&service.namespace, &service.name) };
        let next = self.destinations.len() / DESTINATIONS_IN_GROUP;
        *self.destinations.entry((known, namespace.clone(), name.clone())).or_insert(next as u32)
    }

    /// Names are held once: most edges share theirs with others.
    fn interned(&mut self, names: EdgeNames) -> EdgeNames {
        let mut text = |text: &Arc<str>| match self.texts.get(text) {
            Some(known) => known.clone(),
            None => {
                self.texts.insert(text.clone());
                text.clone()
            }
        };
        let mut peer = |peer: &crate::names::Peer| crate::names::Peer {
            namespace: text(&peer.namespace),
            name: text(&peer.name),
            app: text(&peer.app),
            version: text(&peer.version),
            cluster: text(&peer.cluster),
            principal: text(&peer.principal),
        };
        let (source, destination) = (peer(&names.source), peer(&names.destination));
        let service = crate::names::Service {
            host: text(&names.service.host),
            name: text(&names.service.name),
            namespace: text(&names.service.namespace),
        };
        EdgeNames { source: Arc::new(source), destination: Arc::new(destination), service: Arc::new(service), ..names }
    }

    /// The outcome of an edge, made if it is new. If it has too many, the one that stands for them: true.
    pub fn outcome(&mut self, edge: &Arc<Edge>, kind: Kind) -> (Arc<Outcome>, bool) {
        let of = self.of.entry(edge.id).or_default();
        if let Some(known) = of.get(&kind) {
            return (known.clone(), false);
        }
        let (kind, over) = match kind {
            Kind::Exchanges { code, .. } if of.len() >= MOST_OUTCOMES => {
                let kind =
                    Kind::Exchanges { route: OVERFLOW.into(), code: code / 100 * 100, grpc: None, flags: "".into() };
                if let Some(known) = of.get(&kind) {
                    return (known.clone(), true);
                }
                (kind, true)
            }
            kind => (kind, false),
        };
        let outcome = Arc::new(Outcome { id: self.by_id.len() as u32, edge: edge.clone(), kind });
        if self.for_disk {
            self.fresh.push(outcome.clone());
        }
        self.set(&outcome);
        (outcome, over)
    }

    fn set(&mut self, outcome: &Arc<Outcome>) {
        let at = outcome.id as usize;
        if self.by_id.len() <= at {
            self.by_id.resize(at + 1, None);
        }
        self.by_id[at] = Some(outcome.clone());
        self.of.entry(outcome.edge.id).or_default().insert(outcome.kind.clone(), outcome.clone());
    }

    /// Takes up an edge that the disk has.
    pub fn restore_edge(&mut self, id: u32, group: u32, names: EdgeNames, now: u64) -> Arc<Edge> {
        self.group(&names);
        let names = self.interned(names);
        self.put(Edge { id, group, names, last: AtomicU64::new(now) })
    }

    /// Takes up an outcome that the disk has.
    pub fn restore_outcome(&mut self, id: u32, edge: &Arc<Edge>, kind: Kind) {
        self.set(&Arc::new(Outcome { id, edge: edge.clone(), kind }));
    }

    /// Numbers below this were given before: rows of the disk may have them.
    pub fn skip_to(&mut self, outcome: u32, edge: u32) {
        self.next_edge = self.next_edge.max(edge);
        if self.by_id.len() < outcome as usize {
            self.by_id.resize(outcome as usize, None);
        }
    }

    pub fn get(&self, outcome: u32) -> Option<&Arc<Outcome>> {
        self.by_id.get(outcome as usize)?.as_ref()
    }

    /// All outcomes by number, for a question that must not hold others up.
    pub fn all(&self) -> Vec<Option<Arc<Outcome>>> {
        self.by_id.clone()
    }

    /// How many edges and outcomes there are.
    pub fn len(&self) -> (usize, usize) {
        (self.edges.len(), self.of.values().map(HashMap::len).sum())
    }

    /// Outcomes that were not given to the disk yet.
    pub fn fresh(&self) -> Vec<Arc<Outcome>> {
        self.fresh.clone()
    }

    /// The disk has the first so many.
    pub fn written(&mut self, count: usize) {
        self.fresh.drain(..count.min(self.fresh.len()));
    }

    /// Forgets edges that had no traffic since then and that nobody tells of any more; those that are almost too many
    /// go sooner. Gives the edges and outcomes that are gone.
    pub fn forget(&mut self, before: u64, sooner: u64) -> (Vec<u32>, Vec<u32>) {
        let before = if self.edges.len() * 10 > self.most_edges * 9 { sooner } else { before };
        let mut gone = (Vec::new(), Vec::new());
        self.edges.retain(|_, edge| {
            let of = self.of.get(&edge.id);
            let count = of.map_or(0, HashMap::len);
            // One for the table of edges, one for each outcome: nobody else holds it.
            let held = Arc::strong_count(edge) > 1 + count
                || of.is_some_and(|of| of.values().any(|it| Arc::strong_count(it) > 2));
            if held || edge.last.load(Relaxed) >= before {
                return true;
            }
            gone.0.push(edge.id);
            false
        });
        for edge in &gone.0 {
            for outcome in self.of.remove(edge).into_iter().flatten().map(|(_, outcome)| outcome) {
                self.by_id[outcome.id as usize] = None;
                gone.1.push(outcome.id);
            }
        }
        if !gone.0.is_empty() {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
        }
        gone
    }
}

/// Flags with which the caller's proxy answers without asking anybody: the request never arrived.
const NEVER_SENT: [&str; 17] =
    ["UF", "UH", "UO", "NR", "NC", "DF", "FI", "RL", "RLSE", "UAEX", "OM", "NFCF", "DO", "UDO", "LH", "IH", "DPE"];
/// Flags with which it answers although somebody was asked. Whoever is known to have been asked tells of it itself.
const CUT_SHORT: [&str; 9] = ["UT", "URX", "UC", "UR", "LR", "SI", "DT", "UMSDR", "UPE"];

impl Outcome {
    /// Did the request never come to the workload that it was for? Only of what the caller's side told.
    pub fn never_arrived(&self) -> bool {
        let Kind::Exchanges { code, flags, .. } = &self.kind else { return false };
        let any = |of: &[&str]| flags.split(',').any(|flag| of.contains(&flag));
        any(&NEVER_SENT) || (!self.edge.names.destination.is_known() && (*code == 0 || any(&CUT_SHORT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Peer, Protocol, Reporter, Security, Service};

    fn names(source: &str) -> EdgeNames {
        EdgeNames {
            reporter: Reporter::Source,
            source: Arc::new(Peer { namespace: "a".into(), name: source.into(), ..Peer::default() }),
            destination: Arc::default(),
            service: Arc::new(Service::default()),
            protocol: Protocol::Http,
            security: Security::Unknown,
        }
    }

    fn exchanges(route: usize, code: u16) -> Kind {
        Kind::Exchanges { route: route.to_string().into(), code, grpc: None, flags: "".into() }
    }

    #[test]
    fn what_is_too_much_is_counted_together() {
        let mut book = Book::new(2, false);
        let (first, _) = book.edge(names("a"), 0);
        assert!(!book.edge(names("b"), 0).1 && !book.edge(names("a"), 0).1);
        let (overflow, over) = book.edge(names("c"), 0);
        assert!(over && &*overflow.names.source.name == OVERFLOW);
        assert_eq!(book.edge(names("d"), 0).0.id, overflow.id);
        for route in 0..1000 {
            book.outcome(&first, exchanges(route, 503));
        }
        assert_eq!(book.len(), (3, MOST_OUTCOMES + 1));
        assert_eq!(book.outcome(&first, exchanges(2000, 599)).0.id, book.outcome(&first, exchanges(2001, 500)).0.id);
    }

    #[test]
    fn idle_edges_go_when_nobody_holds_them() {
        let mut book = Book::new(100, false);
        let (held, _) = book.edge(names("a"), 0);
        let id = book.outcome(&book.edges[&names("a")].clone(), exchanges(1, 200)).0.id;
        book.edge(names("b"), 50);
        assert_eq!(book.forget(40, 40), (vec![], vec![]));
        drop(held);
        assert_eq!(book.forget(40, 40), (vec![1], vec![id]));
        assert!(book.get(id).is_none());
        assert_eq!(book.edge(names("a"), 60).0.id, 3, "numbers are given once");
    }
}
