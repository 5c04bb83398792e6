//! Virtual hosts: which rules apply to a host, and the routes they become.

mod cors;
mod headers;
mod http_rule;
mod retries;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::Spanned;
use api::istio::{
    Delegate, HttpRoute, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService,
};
use ipnet::IpNet;
use model::tcp_proxy::WeightedTarget;
use model::{Route, VirtualHost};

use crate::clusters::hash_key;
use crate::egress;
use crate::names::{self, complete_host, short_forms, without_dot};
use crate::node::Node;
use crate::protocol::Protocol;
use crate::service::{Backing, Service, ServicePort, Visibility, selected};
use crate::world::{Document, World};

pub use http_rule::pattern;
pub use http_rule::{
    NotMeant, Reading, cluster, concern, condition_route, default_route, names_gateway, routes, takes_all,
};
pub use retries::inbound_retry;

/// The virtual host of a service in the mesh, on one port: its forms and addresses, and the rules for it.
pub fn mesh_host(world: &World, node: &Node, service: &Service, port: u16) -> VirtualHost {
    let mut domains = short_forms(&service.host, &node.namespace, &world.settings.dns_domain);
    if service.headless.is_some() {
        // Its workloads have names below it.
        let below: Vec<String> = domains.iter().map(|form| format!("*.{form}")).collect();
        domains.extend(below);
    }
    domains.extend(service.addresses.iter().map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    let routes = match world.mesh_rule(node, &service.host) {
        Some(rule) if !rule.spec().http.is_empty() => {
            let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port };
            routes(&world.http_rules(rule), reading)
        }
        _ => {
            let cluster = names::outbound(port, "", &service.host);
            let hash = hash_key(world, node, &cluster);
            vec![default_route(world, Some(service), cluster, hash)]
        }
    };
    let name = format!("{}:{port}", service.host).into();
    let mut host = VirtualHost { name, domains, routes, ..VirtualHost::default() };
    if let Some(egress) = world.egress(node).filter(|_| service.external && service.backing == Backing::Named) {
        egress::guard_port(&egress, port, &mut host);
    }
    host
}

/// What is known of the address that a client dialled, when listeners are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// It is in this block, which may be a single address.
    In(IpNet),
    /// It is a socket of the proxy's own, of which rules do not speak: they take any address there (Istio's behaviour).
    Own,
}

impl At {
    /// Is all of it in one of these blocks? None are all.
    fn is_within(self, subnets: &[String]) -> bool {
        let covers = |block: IpNet| move |subnet: &String| read_block(subnet).is_some_and(|it| it.contains(&block));
        match self {
            Self::In(block) => subnets.is_empty() || subnets.iter().any(covers(block)),
            Self::Own => true,
        }
    }
}

/// Reads a block of addresses, or a single one.
pub fn read_block(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|block| block.trunc()).or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The blocks of addresses to which rules for connections to a port of a service are narrowed.
pub fn narrowed(world: &World, node: &Node, service: &Service, port: &ServicePort) -> BTreeSet<IpNet> {
    let Some(rule) = world.mesh_rule(node, &service.host) else { return BTreeSet::new() };
    let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port: port.number };
    let by_name = matches!(port.protocol, Protocol::Tls | Protocol::Https);
    let tcp = rule.spec().tcp.iter().flat_map(|tcp| &tcp.match_).filter(|m| is_meant(m, reading));
    let tls = rule.spec().tls.iter().filter(|_| by_name).flat_map(|tls| &tls.match_);
    let tls = tls.filter(|m| is_meant_tls(m, reading));
    let subnets = tcp.flat_map(|m| &m.destination_subnets).chain(tls.flat_map(|m| &m.destination_subnets));
    subnets.filter_map(|subnet| read_block(subnet)).collect()
}

/// Where raw connections to a port of a service go: as a TCP rule says, else to the service.
pub fn raw_targets(world: &World, node: &Node, service: &Service, port: u16, at: At) -> Vec<WeightedTarget> {
    let rule = world.mesh_rule(node, &service.host);
    let ruled = rule.and_then(|rule| {
        let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port };
        Some(weighted(&tcp_rule(rule.spec(), reading, at)?.route, reading))
    });
    ruled
        .filter(|targets| !targets.is_empty())
        .unwrap_or_else(|| vec![WeightedTarget { cluster: names::outbound(port, "", &service.host), weight: 1 }])
}

/// Where TLS connections to a port of a service go, by server name; those without a rule go as raw ones do.
pub fn tls_targets(
    world: &World,
    node: &Node,
    service: &Service,
    port: u16,
    at: At,
) -> Vec<(Vec<String>, Vec<WeightedTarget>)> {
    let Some(rule) = world.mesh_rule(node, &service.host) else { return Vec::new() };
    let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port };
    tls_rules(rule.spec(), reading, at).collect()
}

/// The first TCP rule that is meant for this caller, gateway, port and address.
pub fn tcp_rule<'a>(rule: &'a VirtualService, reading: Reading<'_>, at: At) -> Option<&'a TcpRoute> {
    let meant = |m: &L4MatchAttributes| is_meant(m, reading) && at.is_within(&m.destination_subnets);
    rule.tcp.iter().find(|tcp| tcp.match_.is_empty() || tcp.match_.iter().any(meant))
}

/// The TLS rules that are meant for this caller, gateway, port and address: their server names in lower case, and where
/// connections go.
pub fn tls_rules<'a>(
    rule: &'a VirtualService,
    reading: Reading<'a>,
    at: At,
) -> impl Iterator<Item = (Vec<String>, Vec<WeightedTarget>)> {
    let meant = move |m: &&TlsMatchAttributes| is_meant_tls(m, reading) && at.is_within(&m.destination_subnets);
    let read = move |tls: &TlsRoute| {
        let hosts = tls.match_.iter().filter(meant).flat_map(|m| &m.sni_hosts);
        let server_names: Vec<String> = hosts.map(|sni| without_dot(&sni.value).to_ascii_lowercase()).collect();
        (server_names, weighted(&tls.route, reading))
    };
    rule.tls.iter().map(read).filter(|(names, targets)| !names.is_empty() && !targets.is_empty())
}

fn is_meant(m: &L4MatchAttributes, reading: Reading<'_>) -> bool {
    concerns_connections(m.port.as_ref(), &m.source_labels, &m.source_namespace, &m.gateways, reading)
}

fn is_meant_tls(m: &TlsMatchAttributes, reading: Reading<'_>) -> bool {
    concerns_connections(m.port.as_ref(), &m.source_labels, &m.source_namespace, &m.gateways, reading)
}

/// Is a condition on connections meant for this caller, gateway and port? A gateway is nobody's workload: there only its
/// name and the port count (Istio's behaviour).
fn concerns_connections(
    port: Option<&Spanned<u32>>,
    source_labels: &BTreeMap<String, String>,
    source_namespace: &str,
    gateways: &[Spanned<String>],
    reading: Reading<'_>,
) -> bool {
    let node = reading.node;
    let by_caller = reading.gateway.is_some()
        || selected(source_labels, &node.labels) && (source_namespace.is_empty() || source_namespace == node.namespace);
    let by_gateway = gateways.is_empty() || gateways.iter().any(|g| names_gateway(&g.value, reading));
    by_caller && by_gateway && port.is_none_or(|p| p.value == u32::from(reading.port))
}

/// The clusters of a rule for raw connections. The weight of a lone destination has no meaning.
pub fn weighted(destinations: &[RouteDestination], reading: Reading<'_>) -> Vec<WeightedTarget> {
    let lone = destinations.len() == 1;
    let weight = |d: &RouteDestination| if lone { 1 } else { d.weight.as_ref().map_or(0, |w| w.value) };
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
        let candidates = self.rules_for(host).filter(|d| d.spec().is_for_mesh() && exported(self, d, node));
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

    /// The HTTP rules of a VirtualService, with those of its delegates in their place.
    pub(crate) fn http_rules(&self, document: &Document<VirtualService>) -> Vec<HttpRoute> {
        self.http_rules_of(document).into_iter().map(|(_, rule)| rule).collect()
    }

    /// The same, each with the document that it stands in: a delegate's is its own.
    pub(crate) fn http_rules_of<'a>(
        &'a self,
        document: &'a Document<VirtualService>,
    ) -> Vec<(&'a Document<VirtualService>, HttpRoute)> {
        let mut rules = Vec::new();
        for rule in &document.spec().http {
            match &rule.delegate {
                Some(delegate) => {
                    let found = self.delegate(document, delegate).into_iter();
                    let under = |d| delegated(rule, &self.with_whole_hosts(d)).into_iter().map(move |rule| (d, rule));
                    rules.extend(found.flat_map(under));
                }
                None => rules.push((document, rule.clone())),
            }
        }
        rules
    }

    /// The VirtualService that a rule of `document` delegates to, if its `exportTo` lets it be seen there.
    pub(crate) fn delegate(
        &self,
        document: &Document<VirtualService>,
        delegate: &Delegate,
    ) -> Option<&Document<VirtualService>> {
        let own = document.namespace();
        let namespace = if delegate.namespace.is_empty() { own } else { &delegate.namespace };
        self.virtual_services.iter().find(|d| {
            let named = d.namespace() == namespace && d.name() == delegate.name.value;
            named && d.spec().is_delegate() && exported_to(self, d, own)
        })
    }

    /// The HTTP rules of a delegate. A short host means a service of its namespace, not of the root's.
    fn with_whole_hosts(&self, document: &Document<VirtualService>) -> Vec<HttpRoute> {
        let mut rules = document.spec().http.clone();
        for rule in &mut rules {
            let routes = rule.route.iter_mut().map(|to| &mut to.destination);
            let mirrors = rule.mirror.iter_mut().chain(rule.mirrors.iter_mut().map(|m| &mut m.destination));
            for to in routes.chain(mirrors) {
                to.host.value = complete_host(&to.host.value, document.namespace(), &self.settings.dns_domain);
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
        if merged.mirror.is_none() && merged.mirrors.is_empty() {
            merged.mirror.clone_from(&root.mirror);
            merged.mirrors.clone_from(&root.mirrors);
            merged.mirror_percent = root.mirror_percent;
            merged.mirror_percentage.clone_from(&root.mirror_percentage);
        }
        (!merged.match_.is_empty() || (root.match_.is_empty() && rule.match_.is_empty())).then_some(merged)
    };
    rules.iter().filter_map(under).collect()
}

/// May `node` see the rule?
pub fn exported(world: &World, document: &Document<VirtualService>, node: &Node) -> bool {
    exported_to(world, document, &node.namespace)
}

fn exported_to(world: &World, document: &Document<VirtualService>, namespace: &str) -> bool {
    let export_to = document.spec().export_to.iter().map(|to| to.value.as_str());
    let mesh = &world.settings.export_to.virtual_services;
    Visibility::read_or(export_to, mesh, document.namespace()).includes(namespace)
}

/// Moves routes that take everything behind the others: rules of several documents may meet at one host.
pub fn catch_all_last(routes: &mut [Route]) {
    routes.sort_by_key(|route| takes_all(&route.matches));
}

/// A host's routes under a name, for a gateway.
pub fn gateway_host(name: Arc<str>, domain: String, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name, domains: vec![domain], routes, ..VirtualHost::default() }
}
