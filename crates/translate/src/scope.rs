//! What a proxy may see: services by their `exportTo`, narrowed by the `Sidecar` that applies to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::istio::{ConnectionPoolSettings, OutboundMode, Sidecar};
use base::HostPattern;
use model::Locality;

use crate::edge::GatewayEdge;
use crate::names::without_dot;
use crate::node::{Capture, Node, Role};
use crate::service::{Service, selected};
use crate::settings::OutboundPolicy;
use crate::world::{Document, World};

impl World {
    /// The services that `node` sees.
    pub fn visible(&self, node: &Node) -> Vec<&Arc<Service>> {
        let exported = self.services().filter(|s| s.visible.includes(&node.namespace));
        match self.sidecar(node) {
            Some(sidecar) if !sidecar.spec().egress.is_empty() => {
                let namespace = sidecar_namespace(sidecar, node);
                exported.filter(|s| reaches(sidecar.spec(), namespace, s)).collect()
            }
            _ => exported.collect(),
        }
    }

    /// Does `node` see this service?
    pub(crate) fn shows(&self, service: &Service, node: &Node) -> bool {
        let within = |sidecar: &Document<Sidecar>| {
            sidecar.spec().egress.is_empty() || reaches(sidecar.spec(), sidecar_namespace(sidecar, node), service)
        };
        service.visible.includes(&node.namespace) && self.sidecar(node).is_none_or(within)
    }

    /// What of a node decides what it has in common with others: everything outgoing that does not name its own addresses.
    /// Nodes of equal scope get the same.
    pub fn scope(&self, node: &Node) -> Node {
        let role = match &node.role {
            Role::Sidecar { capture, .. } => Role::Sidecar {
                ports: Vec::new(),
                capture: match capture {
                    Capture::Redirect { .. } => Capture::Redirect { netns: "".into(), outbound: Vec::new() },
                    Capture::Upstreams(_) => Capture::Upstreams(Vec::new()),
                },
            },
            Role::Program => Role::Program,
            Role::Gateway { .. } => Role::Gateway {
                bind: Ipv4Addr::UNSPECIFIED.into(),
                ports: BTreeMap::new(),
                edge: GatewayEdge::default(),
            },
        };
        Node {
            id: "".into(),
            role,
            labels: self.pairs.of(&node.namespace, &node.labels),
            identity: None,
            address: Ipv4Addr::UNSPECIFIED.into(),
            locality: if self.pairs.localities { node.locality.clone() } else { Locality::default() },
            workload: Arc::default(),
            ..node.clone()
        }
    }

    /// What becomes of destinations that nobody knows, for this proxy.
    pub(crate) fn outbound_policy(&self, node: &Node) -> OutboundPolicy {
        let own = self.sidecar(node).and_then(|s| s.spec().outbound_traffic_policy.as_ref());
        match own.map(|policy| policy.mode) {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) => OutboundPolicy::AllowAny,
            None => self.settings.outbound_policy,
        }
    }

    /// The limits on what this proxy serves.
    pub(crate) fn inbound_pool(&self, node: &Node) -> Option<&ConnectionPoolSettings> {
        self.sidecar(node).and_then(|sidecar| sidecar.spec().inbound_connection_pool.as_ref())
    }

    /// The `Sidecar` that applies: one that selects the workload, else the namespace's, else the root namespace's.
    fn sidecar(&self, node: &Node) -> Option<&Document<Sidecar>> {
        if matches!(node.role, Role::Gateway { .. }) {
            return None;
        }
        let labels = |s: &Sidecar| s.workload_selector.as_ref().map(|w| w.labels.clone()).filter(|l| !l.is_empty());
        let find = |namespace: &str, own: bool| {
            self.sidecars.iter().filter(|d| d.namespace() == namespace).find(|d| match labels(d.spec()) {
                Some(labels) => own && selected(&labels, &node.labels),
                None => !own,
            })
        };
        let own = find(&node.namespace, true).or_else(|| find(&node.namespace, false));
        own.or_else(|| find(&self.settings.root_namespace, false))
    }
}

/// `.` in the root namespace's default means the namespace of the workload.
fn sidecar_namespace<'a>(sidecar: &'a Document<Sidecar>, node: &'a Node) -> &'a str {
    if sidecar.namespace() == node.namespace { sidecar.namespace() } else { &node.namespace }
}

/// Do the egress hosts (`namespace/host`) take in the service? `~namespace/host` leaves out what others take in, and
/// `~/host` takes in nothing.
fn reaches(sidecar: &Sidecar, own: &str, service: &Service) -> bool {
    let hosts = || sidecar.egress.iter().flat_map(|listener| &listener.hosts);
    let entries = || hosts().filter_map(|written| written.value.split_once('/'));
    let is_meant = |namespace: &str, host: &str| {
        let in_namespace = match namespace {
            "*" => true,
            "." => service.namespace == own,
            namespace => service.namespace == namespace,
        };
        let pattern = without_dot(host).parse::<HostPattern>();
        in_namespace && pattern.is_ok_and(|p| p.matches(&service.host) || p.to_string() == *service.host)
    };
    let left_out = |(namespace, host): (&str, &str)| namespace.strip_prefix('~').is_some_and(|n| is_meant(n, host));
    entries().any(|(namespace, host)| is_meant(namespace, host)) && !entries().any(left_out)
}
