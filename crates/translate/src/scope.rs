//! What a proxy may see: services by their `exportTo`, narrowed by the `Sidecar` that applies to it.

mod egress;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::istio::{ConnectionPoolSettings, IngressListener, OutboundMode, Sidecar};
use model::Locality;

use crate::edge::GatewayEdge;
use crate::names::PASSTHROUGH;
use crate::node::{Capture, Node, Role};
use crate::routes::{Reading, cluster};
use crate::service::{Service, selected};
use crate::settings::OutboundPolicy;
use crate::world::{Document, World};

use egress::gatherings;
pub use egress::{Gathering, Place, Way, reached, reached_by_number, way};

impl World {
    /// The services that `node` sees, with the ports that it reaches.
    pub fn visible(&self, node: &Node) -> Vec<Arc<Service>> {
        let exported = self.services().filter(|s| s.visible.includes(&node.namespace));
        let visible: Vec<_> = match self.sidecar(node) {
            Some(sidecar) if !sidecar.spec().egress.is_empty() => {
                let namespace = sidecar_namespace(sidecar, node);
                exported.filter_map(|s| egress::reached(sidecar.spec(), namespace, s)).collect()
            }
            _ => exported.cloned().collect(),
        };
        self.allowed(node, visible)
    }

    /// Of services those that the policies of a node's workload let it call, and those that only these policies know.
    fn allowed(&self, node: &Node, visible: Vec<Arc<Service>>) -> Vec<Arc<Service>> {
        let Some(egress) = self.egress(node) else { return visible };
        let narrowed = visible.iter().filter_map(|service| egress.narrowed(service));
        narrowed.chain(egress.services(self)).collect()
    }

    /// A service as `node` sees it: with the ports that it reaches, if there are any.
    pub(crate) fn seen(&self, service: &Arc<Service>, node: &Node) -> Option<Arc<Service>> {
        if !service.visible.includes(&node.namespace) {
            return None;
        }
        let seen = match self.sidecar(node) {
            Some(sidecar) if !sidecar.spec().egress.is_empty() => {
                egress::reached(sidecar.spec(), sidecar_namespace(sidecar, node), service)
            }
            _ => Some(service.clone()),
        };
        match self.egress(node) {
            Some(egress) => egress.narrowed(&seen?),
            None => seen,
        }
    }

    /// Of what a node sees the ports for which there are listeners of their own.
    pub(crate) fn by_number<'a>(&self, node: &Node, visible: &'a [Arc<Service>]) -> Cow<'a, [Arc<Service>]> {
        match self.sidecar(node) {
            Some(sidecar) if gatherings(sidecar.spec()).next().is_some() => {
                let namespace = sidecar_namespace(sidecar, node);
                let exported = self.services().filter(|s| s.visible.includes(&node.namespace));
                let reached = exported.filter_map(|s| reached_by_number(sidecar.spec(), namespace, s)).collect();
                Cow::Owned(self.allowed(node, reached))
            }
            _ => Cow::Borrowed(visible),
        }
    }

    /// The listeners of a node that lead to ports of any number, each with the services that it leads to.
    pub(crate) fn gatherings(&self, node: &Node) -> Vec<(Gathering<'_>, Vec<Arc<Service>>)> {
        let Some(sidecar) = self.sidecar(node) else { return Vec::new() };
        let namespace = sidecar_namespace(sidecar, node);
        let reached = |gathering: Gathering<'_>| {
            let exported = self.services().filter(|s| s.visible.includes(&node.namespace));
            let reached = exported.filter(|service| gathering.reaches(namespace, service)).cloned().collect();
            self.allowed(node, reached)
        };
        gatherings(sidecar.spec()).map(|gathering| (gathering, reached(gathering))).collect()
    }

    /// Where connections of `node` to a port come in.
    pub(crate) fn way(&self, node: &Node, port: u16) -> Way {
        self.sidecar(node).map_or(Way::Usual, |sidecar| egress::way(sidecar.spec(), port))
    }

    /// What of a node decides what it has in common with others: everything outgoing that does not name its own addresses.
    /// Nodes of equal scope get the same.
    pub fn scope(&self, node: &Node) -> Node {
        let role = match &node.role {
            Role::Sidecar { capture, .. } => Role::Sidecar {
                ports: Vec::new(),
                capture: match capture {
                    // Our launcher calls every program's namespace the same.
                    Capture::Redirect { netns, .. } => Capture::Redirect { netns: netns.clone(), outbound: Vec::new() },
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
            identity: node.identity.clone().filter(|_| self.egress_asks_accounts()),
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

    /// Where connections of this proxy to destinations that nobody knows go, if they go on: to the cluster of the egress
    /// proxy, if its `Sidecar` names one, else to where they were made to.
    pub(crate) fn unknown_cluster(&self, node: &Node) -> Option<Arc<str>> {
        if self.outbound_policy(node) == OutboundPolicy::RegistryOnly || self.egress(node).is_some() {
            return None;
        }
        let sidecar = self.sidecar(node);
        let proxy = sidecar.and_then(|s| Some((s, s.spec().outbound_traffic_policy.as_ref()?.egress_proxy.as_ref()?)));
        Some(proxy.map_or(PASSTHROUGH.into(), |(sidecar, proxy)| {
            let reading = Reading { world: self, node, namespace: sidecar.namespace(), gateway: None, port: 0 };
            cluster(proxy, reading)
        }))
    }

    /// The ports that this proxy serves by its `Sidecar`; empty if that says nothing of them.
    pub(crate) fn ingress(&self, node: &Node) -> &[IngressListener] {
        self.sidecar(node).map_or(&[], |sidecar| &sidecar.spec().ingress)
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
