//! What the nodes of a graph are: workloads, apps or services, and what lies outside.

use std::collections::HashMap;
use std::sync::Arc;

use crate::book::Outcome;
use crate::documents::{GraphType, NodeKind};
use crate::flow::Flow;
use crate::names::{Peer, Service};

/// A node without its traffic.
pub(crate) struct Node {
    pub id: String,
    pub kind: NodeKind,
    pub namespace: String,
    pub name: String,
    pub app: Option<String>,
    pub version: Option<String>,
    pub principal: Option<String>,
    pub cluster: Option<String>,
}

impl Node {
    fn new(kind: NodeKind, id: String, namespace: &str, name: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { id, kind, namespace, name, app: None, version: None, principal: None, cluster: None }
    }

    /// Takes up what another telling of the same node knows.
    pub fn learn(&mut self, other: Self) {
        for (mine, its) in [
            (&mut self.app, other.app),
            (&mut self.version, other.version),
            (&mut self.principal, other.principal),
            (&mut self.cluster, other.cluster),
        ] {
            *mine = mine.take().or(its);
        }
    }
}

/// Makes nodes of flows' ends.
pub(crate) struct Nodes {
    kind: GraphType,
    /// The service by which each workload is called, for graphs of services.
    served: HashMap<(Arc<str>, Arc<str>), Arc<Service>>,
}

impl Nodes {
    /// `outcomes` are all that are known: by them callers' services are found.
    pub fn new(kind: GraphType, outcomes: &[Option<Arc<Outcome>>]) -> Self {
        let mut served: HashMap<(Arc<str>, Arc<str>), Arc<Service>> = HashMap::new();
        if kind == GraphType::Service {
            for names in outcomes.iter().flatten().map(|outcome| &outcome.edge.names) {
                let (peer, service) = (&names.destination, &names.service);
                if !peer.is_known() || !service.is_inside() {
                    continue;
                }
                let known =
                    served.entry((peer.namespace.clone(), peer.name.clone())).or_insert_with(|| service.clone());
                // Of several the one that is called like the app; else the first by name.
                let rank = |it: &Service| (it.name != *peer.app(), it.name.clone());
                if rank(service) < rank(known) {
                    *known = service.clone();
                }
            }
        }
        Self { kind, served }
    }

    /// Who calls.
    pub fn source(&self, flow: &Flow) -> Node {
        self.peer(&flow.source).unwrap_or_else(unknown)
    }

    /// Who is called.
    pub fn target(&self, flow: &Flow) -> Node {
        let service = &flow.service;
        if self.kind == GraphType::Service && service.is_inside() {
            return service_node(service);
        }
        self.peer(&flow.destination).unwrap_or_else(|| match () {
            () if service.is_inside() => service_node(service),
            () if service.is_known() => {
                let name = &service.name;
                Node::new(NodeKind::External, format!("external:{name}"), &service.namespace, name)
            }
            () => unknown(),
        })
    }

    fn peer(&self, peer: &Peer) -> Option<Node> {
        let Peer { namespace, name, .. } = peer;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if !peer.is_known() {
            return None;
        }
        let app = peer.app();
        let mut node = match self.kind {
            GraphType::Service => match self.served.get(&(namespace.clone(), name.clone())) {
                Some(service) => return Some(service_node(service)),
                // Nobody calls it by a service: it stands for itself.
                None => Node::new(NodeKind::Workload, format!("workload:{namespace}/{name}"), namespace, name),
            },
            GraphType::Workload => {
                Node::new(NodeKind::Workload, format!("workload:{namespace}/{name}"), namespace, name)
            }
            GraphType::App => Node::new(NodeKind::App, format!("app:{namespace}/{app}"), namespace, app),
            GraphType::VersionedApp => {
                let id = match &*peer.version {
                    "" => format!("app:{namespace}/{app}"),
                    version => format!("app:{namespace}/{app}@{version}"),
                };
                Node::new(NodeKind::App, id, namespace, app)
            }
        };
        if self.kind != GraphType::App {
            node.app = some(app);
            node.version = some(&peer.version);
        }
        if node.kind == NodeKind::Workload {
            node.principal = some(&peer.principal);
        }
        node.cluster = some(&peer.cluster);
        Some(node)
    }
}

fn service_node(service: &Service) -> Node {
    let Service { namespace, name, .. } = service;
    Node::new(NodeKind::Service, format!("service:{namespace}/{name}"), namespace, name)
}

fn unknown() -> Node {
    Node::new(NodeKind::Unknown, "unknown".to_owned(), "", "unknown")
}
