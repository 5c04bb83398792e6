//! Flows: what both sides tell of the same traffic, put together so that it counts once.
//!
//! The rule, for each caller, called workload, service and protocol:
//!
//! * Where the called side told, its figures count, and of the caller's those of requests that never arrived (it answered
//!   them itself, with flags such as `UF`, `UH`, `UO` or `NR`): nobody else knows of them.
//! * Where it did not, the caller's count. So it is for all whose destination workload the caller does not know: these are
//!   flows of their own, to the service.
//! * Latency is the called side's where the question is how it answers, the caller's where it is how long the call took;
//!   the other side's where that one told nothing.
//! * Where calls are not with mutual TLS, neither side knows the other: the caller tells `a -> unknown`, the called side
//!   `unknown -> b`. A graph shows both. A sum over a service would count both, so that there the caller's word of what
//!   arrived gives way.
//!
//! Kiali puts Istio's metrics together in the same way (source-reported where the destination is unknown,
//! destination-reported for what comes in, source-reported for what goes out).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::book::Outcome;
use crate::names::{Peer, Protocol, Reporter, Service};
use crate::row::Cell;
use crate::window::Sums;

/// Who calls whom by what name: all outcomes that both sides ever told of it.
#[derive(Debug)]
pub(crate) struct Flow {
    pub source: Arc<Peer>,
    pub destination: Arc<Peer>,
    pub service: Arc<Service>,
    pub protocol: Protocol,
    pub outcomes: Vec<Arc<Outcome>>,
}

/// What both sides told of a flow in a window.
pub(crate) struct Told<'a> {
    pub flow: &'a Flow,
    by_source: Vec<(&'a Outcome, &'a Cell)>,
    by_destination: Vec<(&'a Outcome, &'a Cell)>,
    /// What arrived is told by the called side, under an unknown caller.
    pub shadowed: bool,
}

type Key = (Arc<str>, Arc<str>, Arc<str>, Arc<str>, Arc<str>, Arc<str>, Protocol);

/// The flows of outcomes, as far as they are wanted.
pub(crate) fn flows(outcomes: &[Option<Arc<Outcome>>], wanted: impl Fn(&Outcome) -> bool) -> Vec<Flow> {
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut edges: HashMap<u32, usize> = HashMap::new();
    let mut flows: Vec<Flow> = Vec::new();
    for outcome in outcomes.iter().flatten().filter(|outcome| wanted(outcome)) {
        let names = &outcome.edge.names;
        let place = *edges.entry(outcome.edge.id).or_insert_with(|| {
            let (source, destination, service) = (&names.source, &names.destination, &names.service);
            let key = (
                source.namespace.clone(),
                source.name.clone(),
                destination.namespace.clone(),
                destination.name.clone(),
                service.namespace.clone(),
                service.name.clone(),
                names.protocol,
            );
            *places.entry(key).or_insert_with(|| {
                flows.push(Flow {
                    source: source.clone(),
                    destination: destination.clone(),
                    service: service.clone(),
                    protocol: names.protocol,
                    outcomes: Vec::new(),
                });
                flows.len() - 1
            })
        });
        flows[place].outcomes.push(outcome.clone());
    }
    flows
}

/// The groups in whose rows these flows stand.
pub(crate) fn groups(flows: &[Flow]) -> BTreeSet<u32> {
    flows.iter().flat_map(|flow| flow.outcomes.iter().map(|outcome| outcome.edge.group)).collect()
}

/// What was told in a window, of those flows of which anything was.
pub(crate) fn told<'a>(flows: &'a [Flow], sums: &'a Sums) -> Vec<Told<'a>> {
    let mut all: Vec<Told<'a>> = flows.iter().filter_map(|flow| Told::of(flow, sums)).collect();
    let anonymous: HashSet<(Arc<str>, Arc<str>, Protocol)> = all
        .iter()
        .filter(|told| !told.flow.source.is_known() && !told.by_destination.is_empty())
        .map(|told| told.flow.service_key())
        .collect();
    for told in &mut all {
        told.shadowed = !told.flow.destination.is_known() && anonymous.contains(&told.flow.service_key());
    }
    all
}

impl Flow {
    fn service_key(&self) -> (Arc<str>, Arc<str>, Protocol) {
        (self.service.namespace.clone(), self.service.name.clone(), self.protocol)
    }
}

impl<'a> Told<'a> {
    fn of(flow: &'a Flow, sums: &'a Sums) -> Option<Self> {
        let (mut by_source, mut by_destination) = (Vec::new(), Vec::new());
        for outcome in &flow.outcomes {
            let Some(cell) = sums.get(outcome.id) else { continue };
            let side = match outcome.edge.names.reporter {
                Reporter::Source => &mut by_source,
                Reporter::Destination => &mut by_destination,
            };
            side.push((&**outcome, cell));
        }
        let told = !by_source.is_empty() || !by_destination.is_empty();
        told.then_some(Self { flow, by_source, by_destination, shadowed: false })
    }

    /// What counts.
    pub fn counted(&self) -> impl Iterator<Item = (&'a Outcome, &'a Cell)> + '_ {
        let alone = self.by_destination.is_empty();
        let never = self.by_source.iter().filter(move |(outcome, _)| alone || outcome.never_arrived());
        self.by_destination.iter().chain(never).copied()
    }

    /// What counts where flows of a service are added up.
    pub fn counted_once(&self) -> impl Iterator<Item = (&'a Outcome, &'a Cell)> + '_ {
        self.counted().filter(|(outcome, _)| !self.shadowed || outcome.never_arrived())
    }

    /// As the called side saw it, for latency.
    pub fn as_called(&self) -> &[(&'a Outcome, &'a Cell)] {
        if self.by_destination.is_empty() { &self.by_source } else { &self.by_destination }
    }

    /// As the caller saw it, for latency.
    pub fn as_caller(&self) -> &[(&'a Outcome, &'a Cell)] {
        if self.by_source.is_empty() { &self.by_destination } else { &self.by_source }
    }

    /// Everything that was told, by either side.
    pub fn all(&self) -> impl Iterator<Item = (&'a Outcome, &'a Cell)> + '_ {
        self.by_source.iter().chain(&self.by_destination).copied()
    }

    /// Who told: the caller's side, the called one's.
    pub fn reporters(&self) -> (bool, bool) {
        (!self.by_source.is_empty(), !self.by_destination.is_empty())
    }
}
