//! The graph of who calls whom.

pub(crate) mod nodes;
pub(crate) mod render;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::book::Kind;
use crate::documents::{EdgeResponse, EdgeService, Graph, GraphEdge, GraphNode, GraphType};
use crate::flow::{self, Told};
use crate::moment;
use crate::names::{Protocol, Security, Service};
use crate::tally::{Latency, Tally, share};
use crate::window::{Measure, Span, Window};
use nodes::{Node, Nodes};

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct GraphQuery {
    pub kind: GraphType,
    /// Of what has to do with one of these; empty: all.
    pub namespaces: Vec<String>,
    /// End of the window; none: now.
    pub at: Option<u64>,
    pub window_s: u64,
}

impl GraphQuery {
    /// The span that is asked for.
    pub fn span(&self, now: u64) -> Span {
        let to = self.at.unwrap_or(now).min(now);
        Span { from: to.saturating_sub(self.window_s * 1000), to }
    }
}

/// What is added up of an edge of the graph.
#[derive(Default)]
struct Line {
    tally: Tally,
    latency: Latency,
    /// Few of each: a list takes less than a tree.
    services: Vec<(Arc<Service>, u64)>,
    responses: Vec<((u16, Arc<str>, Option<u16>), u64)>,
    /// With mutual TLS, and of how many that is known.
    mutual: (u64, u64),
    source_principal: Option<Arc<str>>,
    destination_principal: Option<Arc<str>>,
    reporters: (bool, bool),
}

/// What is added up of a node.
#[derive(Default)]
struct Point {
    inbound: (Tally, Latency),
    outbound: (Tally, Latency),
    called: bool,
}

/// Answers.
pub(crate) fn graph(window: &Window, query: &GraphQuery) -> Graph {
    let of_namespaces = |namespace: &str| query.namespaces.iter().any(|it| it == namespace);
    let flows = flow::flows(&window.outcomes, |outcome| {
        let names = &outcome.edge.names;
        query.namespaces.is_empty()
            || of_namespaces(&names.source.namespace)
            || of_namespaces(&names.destination.namespace)
            || of_namespaces(&names.service.namespace)
    });
    let nodes = Nodes::new(query.kind, &window.outcomes);
    let (mut found, mut points) = (Vec::<Node>::new(), Vec::<Point>::new());
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut lines: BTreeMap<(usize, usize, Protocol), Line> = BTreeMap::new();
    for told in flow::told(&flows, &window.sums) {
        let tally = Tally::of(told.counted());
        if tally.is_idle() {
            continue;
        }
        let [source, target] = [nodes.source(told.flow), nodes.target(told.flow)].map(|node| {
            let place = *places.entry(node.id.clone()).or_insert(found.len());
            match found.get_mut(place) {
                Some(known) => known.learn(node),
                None => {
                    found.push(node);
                    points.push(Point::default());
                }
            }
            place
        });
        points[source].outbound.0.merge(&tally);
        points[source].outbound.1.add_all(told.as_caller());
        points[target].inbound.0.merge(&tally);
        points[target].inbound.1.add_all(told.as_called());
        points[target].called |= source != target;
        lines.entry((source, target, told.flow.protocol)).or_default().add(&told, &tally);
    }
    let measure = window.measure;
    let edges = lines
        .into_iter()
        .map(|((source, target, protocol), line)| line.edge(&found[source].id, &found[target].id, protocol, measure));
    let mut edges: Vec<GraphEdge> = edges.collect();
    let nodes = found.into_iter().zip(points).map(|(node, point)| point.node(node, measure));
    let mut nodes: Vec<GraphNode> = nodes.collect();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    edges.sort_by(|a, b| a.id.cmp(&b.id));
    Graph {
        at: moment::shown(window.to),
        window_s: query.window_s,
        kind: query.kind,
        notices: window.notices.clone(),
        nodes,
        edges,
    }
}

impl Line {
    fn add(&mut self, told: &Told<'_>, tally: &Tally) {
        self.tally.merge(tally);
        self.latency.add_all(told.as_caller());
        for (outcome, cell) in told.counted() {
            count(&mut self.services, &outcome.edge.names.service, cell.count);
            if let Kind::Exchanges { code, grpc, flags, .. } = &outcome.kind {
                count(&mut self.responses, &(*code, flags.clone(), *grpc), cell.count);
            }
        }
        for (outcome, cell) in told.all() {
            let names = &outcome.edge.names;
            let count = cell.count.max(cell.open);
            if names.security != Security::Unknown {
                self.mutual.0 += if names.security == Security::MutualTls { count } else { 0 };
                self.mutual.1 += count;
            }
            let learn = |known: &mut Option<Arc<str>>, told: &Arc<str>| {
                if !told.is_empty() {
                    known.get_or_insert_with(|| told.clone());
                }
            };
            learn(&mut self.source_principal, &names.source.principal);
            learn(&mut self.destination_principal, &names.destination.principal);
        }
        let (source, destination) = told.reporters();
        self.reporters = (self.reporters.0 || source, self.reporters.1 || destination);
    }

    fn edge(mut self, source: &str, target: &str, protocol: Protocol, measure: Measure) -> GraphEdge {
        let (health, reasons) = self.tally.health("");
        self.services.sort();
        self.responses.sort();
        let all = self.services.iter().map(|(_, count)| count).sum::<u64>();
        let services =
            self.services.iter().filter(|(service, _)| service.is_known()).map(|(service, count)| EdgeService {
                host: service.host.to_string(),
                name: service.name.to_string(),
                namespace: service.namespace.to_string(),
                share: if all > 0 { share(*count, all) } else { 1.0 },
            });
        let responses = self.responses.iter().map(|((code, flags, grpc), count)| EdgeResponse {
            code: if *code == 0 { "-".to_owned() } else { code.to_string() },
            flags: flags.to_string(),
            grpc_status: grpc.map(|status| status.to_string()),
            requests: measure.number(*count),
            rps: measure.rate(*count),
        });
        GraphEdge {
            id: format!("{source}>{target}>{}", protocol.word()),
            source: source.to_owned(),
            target: target.to_owned(),
            protocol: protocol.word().into(),
            services: services.collect(),
            traffic: self.tally.traffic(&self.latency, measure),
            health,
            reasons,
            responses: responses.collect(),
            mtls: (self.mutual.1 > 0).then(|| share(self.mutual.0, self.mutual.1)),
            source_principal: self.source_principal.map(|it| it.to_string()),
            destination_principal: self.destination_principal.map(|it| it.to_string()),
            reporter: match self.reporters {
                (true, true) => "both",
                (false, true) => "destination",
                _ => "source",
            }
            .into(),
        }
    }
}

fn count<T: PartialEq + Clone>(all: &mut Vec<(T, u64)>, of: &T, count: u64) {
    match all.iter_mut().find(|(known, _)| known == of) {
        Some((_, sum)) => *sum = sum.saturating_add(count),
        None => all.push((of.clone(), count)),
    }
}

impl Point {
    fn node(self, node: Node, measure: Measure) -> GraphNode {
        let ((inbound, mut reasons), (outbound, more)) =
            (self.inbound.0.health("inbound "), self.outbound.0.health("outbound "));
        reasons.extend(more);
        GraphNode {
            root: !self.called,
            health: inbound.max(outbound),
            reasons,
            inbound: self.inbound.0.traffic(&self.inbound.1, measure),
            outbound: self.outbound.0.traffic(&self.outbound.1, measure),
            id: node.id,
            kind: node.kind,
            namespace: node.namespace,
            name: node.name,
            app: node.app,
            version: node.version,
            principal: node.principal,
            cluster: node.cluster,
        }
    }
}

#[cfg(test)]
mod tests;
