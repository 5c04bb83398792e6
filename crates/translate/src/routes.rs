//! Virtual hosts: which rules apply to a host, and the routes they become.

mod headers;
mod http_rule;

use std::sync::Arc;

use api::istio::{HttpRoute, VirtualService};
use base::HostPattern;
use model::tcp_proxy::WeightedTarget;
use model::{Route, VirtualHost};

use crate::names::{self, complete_host, short_forms};
use crate::node::Node;
use crate::service::{Service, Visibility, selected};
use crate::world::{Document, World};

pub use http_rule::{Reading, cluster, default_route, routes, takes_all};

/// The virtual host of a service in the mesh, on one port: its forms and addresses, and the rules for it.
pub fn mesh_host(world: &World, node: &Node, service: &Service, port: u16) -> VirtualHost {
    let mut domains = short_forms(&service.host, &node.namespace, &world.settings.dns_domain);
    domains.extend(service.addresses.iter().map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    let routes = match world.mesh_rule(node, &service.host) {
        Some(rule) if !rule.spec().http.is_empty() => {
            let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port };
            routes(&world.http_rules(rule), reading)
        }
        _ => vec![default_route(names::outbound(port, "", &service.host))],
    };
    VirtualHost { name: format!("{}:{port}", service.host).into(), domains, routes, ..VirtualHost::default() }
}

/// Where raw connections to a port of a service go: as a TCP rule says, else to the service.
pub fn raw_targets(world: &World, node: &Node, service: &Service, port: u16) -> Vec<WeightedTarget> {
    let rule = world.mesh_rule(node, &service.host);
    let ruled = rule.and_then(|rule| {
        let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port };
        let route = rule.spec().tcp.iter().find(|tcp| {
            tcp.match_.is_empty()
                || tcp.match_.iter().any(|m| {
                    m.port.as_ref().is_none_or(|p| p.value == u32::from(port))
                        && selected(&m.source_labels, &node.labels)
                        && (m.source_namespace.is_empty() || m.source_namespace == node.namespace)
                        && (m.gateways.is_empty() || m.gateways.iter().any(|g| g.value == "mesh"))
                })
        })?;
        Some(weighted(&route.route, reading))
    });
    ruled
        .filter(|targets| !targets.is_empty())
        .unwrap_or_else(|| vec![WeightedTarget { cluster: names::outbound(port, "", &service.host), weight: 1 }])
}

/// The clusters of a rule for raw connections. The weight of a lone destination has no meaning.
pub fn weighted(destinations: &[api::istio::RouteDestination], reading: Reading<'_>) -> Vec<WeightedTarget> {
    let lone = destinations.len() == 1;
    let weight = |d: &api::istio::RouteDestination| if lone { 1 } else { d.weight.as_ref().map_or(0, |w| w.value) };
    destinations
        .iter()
        .filter(|d| weight(d) > 0)
        .map(|d| WeightedTarget { cluster: cluster(&d.destination, reading), weight: weight(d) })
        .collect()
}

impl World {
    /// The rule that applies to a host in the mesh: rules are not merged there, the most specific host wins, and
    /// between equals the older rule.
    pub(crate) fn mesh_rule(&self, node: &Node, host: &str) -> Option<&Document<VirtualService>> {
        let candidates = self.virtual_services.iter().filter(|d| d.spec().is_for_mesh() && exported(d, node));
        let ranked = candidates.filter_map(|d| {
            let patterns = d.spec().hosts.iter().filter_map(|h| self.host_pattern(&h.value, d.namespace()));
            let best = patterns.filter(|p| p.matches(host) || p.to_string() == host).map(|p| p.specificity()).max()?;
            Some((best, d))
        });
        let mut best: Option<((u8, usize), &Document<VirtualService>)> = None;
        for (rank, document) in ranked {
            if best.is_none_or(|(known, _)| rank > known) {
                best = Some((rank, document));
            }
        }
        best.map(|(_, document)| document)
    }

    /// A rule's host, completed with its namespace.
    pub(crate) fn host_pattern(&self, host: &str, namespace: &str) -> Option<HostPattern> {
        complete_host(host, namespace, &self.settings.dns_domain).parse().ok()
    }

    /// The HTTP rules of a VirtualService, with those of its delegates in their place.
    pub(crate) fn http_rules(&self, document: &Document<VirtualService>) -> Vec<HttpRoute> {
        let mut rules = Vec::new();
        for rule in &document.spec().http {
            match &rule.delegate {
                Some(delegate) => {
                    let namespace =
                        if delegate.namespace.is_empty() { document.namespace() } else { &delegate.namespace };
                    let found = self.virtual_services.iter().find(|d| {
                        d.spec().is_delegate() && d.namespace() == namespace && d.name() == delegate.name.value
                    });
                    rules.extend(found.into_iter().flat_map(|d| delegated(rule, &d.spec().http)));
                }
                None => rules.push(rule.clone()),
            }
        }
        rules
    }
}

/// The rules of a delegate under the conditions of the rule that delegates. What the delegate leaves open comes from
/// there. A condition of the delegate that names no path takes over the one of the root.
fn delegated(root: &HttpRoute, rules: &[HttpRoute]) -> Vec<HttpRoute> {
    let under = |rule: &HttpRoute| {
        let mut merged = rule.clone();
        merged.match_ = match (&root.match_[..], &rule.match_[..]) {
            ([], own) => own.to_vec(),
            (outer, []) => outer.to_vec(),
            (outer, own) => outer.iter().flat_map(|o| own.iter().filter_map(|i| http_rule::narrowed(o, i))).collect(),
        };
        merged.timeout = merged.timeout.or(root.timeout);
        merged.retries = merged.retries.or_else(|| root.retries.clone());
        merged.fault = merged.fault.or_else(|| root.fault.clone());
        merged.rewrite = merged.rewrite.or_else(|| root.rewrite.clone());
        merged.headers = merged.headers.or_else(|| root.headers.clone());
        merged.cors_policy = merged.cors_policy.or_else(|| root.cors_policy.clone());
        merged.mirror = merged.mirror.or_else(|| root.mirror.clone());
        (!merged.match_.is_empty() || (root.match_.is_empty() && rule.match_.is_empty())).then_some(merged)
    };
    rules.iter().filter_map(under).collect()
}

/// May `node` see the rule?
pub fn exported(document: &Document<VirtualService>, node: &Node) -> bool {
    let export_to = document.spec().export_to.iter().map(|to| to.value.as_str());
    Visibility::read(export_to, document.namespace()).includes(&node.namespace)
}

/// Moves routes that take everything behind the others: rules of several documents may meet at one host.
pub fn catch_all_last(routes: &mut [Route]) {
    routes.sort_by_key(|route| takes_all(&route.matches));
}

/// A host's routes under a name, for a gateway.
pub fn gateway_host(name: Arc<str>, domain: String, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name, domains: vec![domain], routes, ..VirtualHost::default() }
}
