//! What a proxy tells, taken into the table: checked, bounded, and never a panic, whatever comes. No I/O and no clock.
//!
//! A report counts in the slot of the time at which it comes: proxies' clocks are not asked.

use std::collections::HashMap;
use std::sync::Arc;

use proto::halcyon::observe::v1 as wire;
use telemetry::spread;

use crate::book::{Edge, Kind, Outcome};
use crate::names::{EdgeNames, Peer, Protocol, Reporter, clip};
use crate::row::Cell;
use crate::table::Table;

/// Of so many endpoints of a cluster it is told why they get nothing.
const MOST_UNHEALTHY: usize = 20;
/// A stream names no more edges, outcomes and clusters.
const MOST_EDGES: usize = 5_000;
const MOST_OUTCOMES: usize = 20_000;
const MOST_CLUSTERS: usize = 2_000;
/// A report tells of no more at once.
const MOST_FIGURES: usize = 50_000;
/// No count of one report is larger: what is, was not counted.
const MOST: u64 = 1 << 48;

/// Who tells, as the door proved it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Teller {
    /// The node id by which it is known to discovery.
    pub node: String,
    /// Its workload's namespace.
    pub namespace: String,
    /// Its workload's name.
    pub workload: String,
    /// Its SPIFFE identity.
    pub identity: String,
}

/// What one stream has named so far, and what stands because of it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub teller: Teller,
    /// None: refused.
    edges: HashMap<u32, Option<Arc<Edge>>>,
    outcomes: HashMap<u32, Option<Arc<Outcome>>>,
    /// Connections by the teller's number of the edge.
    connections: HashMap<u32, Arc<Outcome>>,
    /// Connections that stand, by our outcome.
    open: HashMap<u32, u64>,
    /// Clusters by name, and when they were told.
    pub clusters: HashMap<String, (wire::ClusterState, u64)>,
}

/// What became of a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Edges of which this teller may not tell.
    pub foreign: u64,
    /// One of them.
    pub such_as: Option<String>,
    /// Numbers that mean nothing.
    pub malformed: u64,
    /// Names that are over a bound.
    pub overflowed: u64,
}

impl Stream {
    pub fn new(teller: Teller) -> Self {
        Self {
            teller,
            edges: HashMap::new(),
            outcomes: HashMap::new(),
            connections: HashMap::new(),
            open: HashMap::new(),
            clusters: HashMap::new(),
        }
    }

    /// Takes in a report. `now` in ms since 1970.
    pub fn take(&mut self, table: &mut Table, report: &wire::ReportRequest, now: u64) -> Verdict {
        let mut verdict = Verdict { overflowed: report.untold.min(MOST), ..Verdict::default() };
        report.edges.iter().for_each(|edge| self.edge(table, edge, now, &mut verdict));
        report.outcomes.iter().for_each(|outcome| self.outcome(table, outcome, &mut verdict));
        let figures = report.exchanges.len() + report.connections.len();
        if report.window_ms == 0 && figures > 0 {
            verdict.malformed += figures as u64;
        } else {
            verdict.malformed += figures.saturating_sub(MOST_FIGURES) as u64;
            for told in report.exchanges.iter().take(MOST_FIGURES) {
                self.exchanges(table, told, &mut verdict);
            }
            for told in report.connections.iter().take(MOST_FIGURES) {
                self.connections(table, told, &mut verdict);
            }
        }
        report.clusters.iter().for_each(|cluster| self.cluster(cluster, now, &mut verdict));
        verdict
    }

    /// The stream is over: its connections stand no more.
    pub fn end(&mut self, table: &mut Table) {
        self.open.drain().for_each(|(outcome, was)| table.set_open(outcome, was, 0));
        self.clusters.clear();
    }

    fn edge(&mut self, table: &mut Table, told: &wire::Edge, now: u64, verdict: &mut Verdict) {
        if told.id == 0 || self.edges.contains_key(&told.id) {
            verdict.malformed += 1;
            return;
        }
        if self.edges.len() >= MOST_EDGES {
            verdict.overflowed += 1;
            return;
        }
        let known = match self.own(told) {
            Ok(names) => {
                let (edge, over) = table.book.edge(names, now);
                verdict.overflowed += u64::from(over);
                Some(edge)
            }
            Err(None) => {
                verdict.malformed += 1;
                None
            }
            Err(Some(shown)) => {
                verdict.foreign += 1;
                verdict.such_as.get_or_insert(shown);
                None
            }
        };
        self.edges.insert(told.id, known);
    }

    /// The names of an edge, if this teller may tell of it: its own side has to be itself.
    pub fn own(&self, told: &wire::Edge) -> Result<EdgeNames, Option<String>> {
        let mut names = EdgeNames::of(told).ok_or(None)?;
        let own = if names.reporter == Reporter::Source { &mut names.source } else { &mut names.destination };
        if *own.namespace != *clip(&self.teller.namespace) || *own.name != *clip(&self.teller.workload) {
            return Err(Some(format!("{}, told by its {}", names.shown(), names.reporter.word())));
        }
        if !own.principal.is_empty() && *own.principal != *self.teller.identity {
            *own = Arc::new(Peer { principal: clip(&self.teller.identity).into(), ..(**own).clone() });
        }
        Ok(names)
    }

    fn outcome(&mut self, table: &mut Table, told: &wire::Outcome, verdict: &mut Verdict) {
        if told.id == 0 || self.outcomes.contains_key(&told.id) {
            verdict.malformed += 1;
            return;
        }
        if self.outcomes.len() >= MOST_OUTCOMES {
            verdict.overflowed += 1;
            return;
        }
        let known = match self.edges.get(&told.edge) {
            // An edge that was refused: said once, there.
            Some(None) => None,
            Some(Some(edge)) if edge.names.protocol != Protocol::Tcp && told.code < 1000 => {
                let kind = Kind::Exchanges {
                    route: clip(&told.route).into(),
                    code: told.code as u16,
                    grpc: told.grpc_status_plus_one.checked_sub(1).map(|status| status.min(999) as u16),
                    flags: flags(&told.flags),
                };
                let (outcome, over) = table.book.outcome(&edge.clone(), kind);
                verdict.overflowed += u64::from(over);
                Some(outcome)
            }
            _ => {
                verdict.malformed += 1;
                None
            }
        };
        self.outcomes.insert(told.id, known);
    }

    fn exchanges(&self, table: &mut Table, told: &wire::Exchanges, verdict: &mut Verdict) {
        let outcome = match self.outcomes.get(&told.outcome) {
            Some(Some(outcome)) => outcome,
            // Refused before, and said then.
            Some(None) => return,
            None => {
                verdict.malformed += 1;
                return;
            }
        };
        let mut cell = Cell {
            count: told.requests,
            micros: told.micros,
            bytes_in: told.request_bytes,
            bytes_out: told.response_bytes,
            messages_in: told.request_messages,
            messages_out: told.response_messages,
            ..Cell::default()
        };
        if !is_sane(&[cell.count, cell.bytes_in, cell.bytes_out, cell.messages_in, cell.messages_out])
            || told.micros >= 1 << 60
        {
            verdict.malformed += 1;
            return;
        }
        match buckets(told) {
            Some(spread) => cell.spread = spread,
            None => verdict.malformed += 1,
        }
        table.add(outcome.id, &cell);
    }

    fn connections(&mut self, table: &mut Table, told: &wire::Connections, verdict: &mut Verdict) {
        let edge = match self.edges.get(&told.edge) {
            Some(Some(edge)) if edge.names.protocol == Protocol::Tcp => edge,
            Some(None) => return,
            _ => {
                verdict.malformed += 1;
                return;
            }
        };
        if !is_sane(&[told.opened, told.closed, told.sent_bytes, told.received_bytes, told.open]) {
            verdict.malformed += 1;
            return;
        }
        let outcome =
            self.connections.entry(told.edge).or_insert_with(|| table.book.outcome(edge, Kind::Connections).0).id;
        let cell = Cell {
            count: told.opened,
            closed: told.closed,
            bytes_in: told.received_bytes,
            bytes_out: told.sent_bytes,
            ..Cell::default()
        };
        table.add(outcome, &cell);
        let was = self.open.insert(outcome, told.open).unwrap_or(0);
        table.set_open(outcome, was, told.open);
    }

    fn cluster(&mut self, told: &wire::ClusterState, now: u64, verdict: &mut Verdict) {
        let name = clip(&told.name);
        if self.clusters.len() >= MOST_CLUSTERS && !self.clusters.contains_key(&name) {
            verdict.overflowed += 1;
            return;
        }
        let before = self.clusters.get(&name);
        let sum = |of: fn(&wire::ClusterState) -> u64| before.map_or(0, |(it, _)| of(it)).saturating_add(of(told));
        let state = wire::ClusterState {
            name: name.clone(),
            service_host: clip(&told.service_host),
            subset: clip(&told.subset),
            open_circuits: told.open_circuits.iter().take(8).map(|it| clip(it)).collect(),
            retries: sum(|it| it.retries),
            timeouts: sum(|it| it.timeouts),
            overflows: sum(|it| it.overflows),
            connect_failures: sum(|it| it.connect_failures),
            ejections: sum(|it| it.ejections),
            unhealthy: told.unhealthy.iter().take(MOST_UNHEALTHY).map(unhealthy).collect(),
            endpoints: told.endpoints,
            healthy: told.healthy,
            ejected: told.ejected,
            active_connections: told.active_connections,
            active_requests: told.active_requests,
            pending_requests: told.pending_requests,
        };
        self.clusters.insert(name, (state, now));
    }
}

fn unhealthy(told: &wire::UnhealthyEndpoint) -> wire::UnhealthyEndpoint {
    wire::UnhealthyEndpoint { address: clip(&told.address), flags: clip(&told.flags) }
}

fn is_sane(counts: &[u64]) -> bool {
    counts.iter().all(|count| *count <= MOST)
}

/// None if the buckets are not ours, or hold more than there were requests.
fn buckets(told: &wire::Exchanges) -> Option<Vec<(u8, u64)>> {
    if told.buckets.len() != told.counts.len() || told.buckets.len() > spread::BUCKETS {
        return None;
    }
    let mut cell = Cell::default();
    let mut total = 0u64;
    for (&bucket, &times) in told.buckets.iter().zip(&told.counts).filter(|(_, times)| **times > 0) {
        total = total.checked_add(times)?;
        cell.add_to(u8::try_from(bucket).ok().filter(|it| usize::from(*it) < spread::BUCKETS)?, times);
    }
    (total <= told.requests).then_some(cell.spread)
}

/// Flags sorted, so that the same set is the same outcome whoever tells; `-` is none.
fn flags(told: &str) -> Arc<str> {
    let told = clip(told);
    let mut flags: Vec<&str> = told.split(',').map(str::trim).filter(|flag| !flag.is_empty() && *flag != "-").collect();
    flags.sort_unstable();
    flags.dedup();
    flags.join(",").into()
}

#[cfg(test)]
mod tests;
