//! Documents that ask for the same: servers of gateways for a port and host, Sidecars for a namespace, services for a host
//! or an address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Code, Kind, Problem, Resource, Spec};
use ipnet::IpNet;

use crate::servers::{self, Clash, Open, Over, host_part};
use crate::service::{Service, selected};
use crate::world::World;

/// Every contradiction. Of servers that ask for the same, the one that loses is told of it; `both`: the one that counts too,
/// which only who asks for an analysis wants to hear.
pub fn check(world: &World, both: bool, problems: &mut Vec<Problem>) {
    let clashes = clashes(world);
    problems.extend(clashes.iter().map(second));
    problems.extend(clashes.iter().filter(|_| both).map(first));
    check_sidecars(world, problems);
    check_definitions(world, problems);
    check_addresses(world, problems);
}

/// Servers that ask for the same port and host. A workload that one `Gateway` selects is selected by every other whose
/// selector asks for no more; which workloads there are is not known here.
fn clashes(world: &World) -> Vec<Clash<'_>> {
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    let all = servers::openers(world);
    for gateway in &all {
        let together = all.iter().copied().filter(|other| selected(other.selector, gateway.selector));
        for clash in servers::open(together, None).1 {
            // Every Ingress opens all hosts for plain HTTP; that their rules are joined is what they are for.
            let ingress = clash.first.gateway.is_ingress() || clash.second.gateway.is_ingress();
            if ingress && matches!(clash.over, Over::HttpHost(_)) {
                continue;
            }
            let id = |open: &Open<'_>| (open.gateway.resource.key().to_string(), open.index);
            if told.insert((id(&clash.first), id(&clash.second))) {
                found.push(clash);
            }
        }
    }
    found
}

fn second(clash: &Clash<'_>) -> Problem {
    let effect = match clash.over {
        Over::TlsHost(_) => "this server is left out, with all its hosts",
        Over::HttpHost(_) => "the rules of both are joined",
        Over::Port => "this server is left out",
    };
    let message = format!("the {} opens {} already ({})", name(&clash.first), what(clash), place(&clash.first, clash));
    at(Problem::warning(message).expected("each host of a port in one server").hint(effect), &clash.second, clash)
}

fn first(clash: &Clash<'_>) -> Problem {
    let effect = match clash.over {
        Over::HttpHost(_) => "the rules of both are joined",
        Over::TlsHost(_) | Over::Port => "this one counts, since its Gateway is older, and the other is left out",
    };
    let message = format!("the {} opens {} too ({})", name(&clash.second), what(clash), place(&clash.second, clash));
    at(Problem::warning(message).expected("each host of a port in one server").hint(effect), &clash.first, clash)
}

fn what(clash: &Clash<'_>) -> String {
    match clash.over {
        Over::TlsHost(host) | Over::HttpHost(host) => format!("the host `{host}` on port {}", door(&clash.second)),
        Over::Port => format!("port {} for another protocol", door(&clash.second)),
    }
}

/// `443`, or `443 of 10.0.0.1`.
fn door(open: &Open<'_>) -> String {
    open.bind.map_or_else(|| open.port.to_string(), |bind| format!("{} of {bind}", open.port))
}

fn name(open: &Open<'_>) -> String {
    format!("{} `{}`", open.gateway.resource.kind, open.gateway.full_name())
}

/// `spec.servers[0].hosts[1], edge.yaml:12`
fn place(open: &Open<'_>, clash: &Clash<'_>) -> String {
    let there = at(Problem::warning(""), open, clash);
    match there.line {
        0 => there.path,
        line => format!("{}, {}:{line}", there.path, there.file),
    }
}

/// A problem of a clash, at what one of the two asks for.
fn at(problem: Problem, open: &Open<'_>, clash: &Clash<'_>) -> Problem {
    let wanted = match clash.over {
        Over::TlsHost(host) | Over::HttpHost(host) => Some(host),
        Over::Port => None,
    };
    let is_it = |host: &str| wanted.is_some_and(|wanted| host_part(host).eq_ignore_ascii_case(wanted));
    let (path, span) = match (open.server.hosts.iter().position(|h| is_it(&h.value)), &open.server.port) {
        (Some(i), _) => (format!(".hosts[{i}]"), open.server.hosts[i].span),
        (None, Some(port)) => (".port.number".to_owned(), port.number.span),
        (None, None) => (String::new(), Default::default()),
    };
    let place = match &open.gateway.resource.spec {
        Spec::Ingress(ingress) => {
            ingress.tls_of_server(open.index).map_or("spec".to_owned(), |i| format!("spec.tls[{i}]{path}"))
        }
        _ => format!("spec.servers[{}]{path}", open.index),
    };
    let problem = problem.code(Code::ConflictingGateways).path(place);
    open.gateway.resource.problem(problem, span)
}

/// Of several Sidecars of a namespace without a selector the oldest counts.
fn check_sidecars(world: &World, problems: &mut Vec<Problem>) {
    let for_all = |labels: Option<&BTreeMap<String, String>>| labels.is_none_or(BTreeMap::is_empty);
    let mut by_namespace: BTreeMap<&str, Vec<&Arc<Resource>>> = BTreeMap::new();
    for sidecar in world.sidecars.iter() {
        if for_all(sidecar.spec().workload_selector.as_ref().map(|selector| &selector.labels)) {
            by_namespace.entry(sidecar.namespace()).or_default().push(&sidecar.resource);
        }
    }
    for (namespace, several) in by_namespace.iter().filter(|(_, several)| several.len() > 1) {
        for resource in several {
            let others = several.iter().filter(|other| other.key() != resource.key());
            let others: Vec<String> = others.map(|other| format!("`{}` ({})", other.key(), other.origin)).collect();
            let message =
                format!("the namespace `{namespace}` has other Sidecars without a selector: {}", others.join(", "));
            let hint =
                format!("only `{}` counts, being the oldest; give the others a `workloadSelector`", several[0].key());
            let problem = Problem::warning(message).code(Code::MultipleSidecarsWithoutWorkloadSelectors).hint(hint);
            problems.push(resource.problem(problem, Default::default()));
        }
    }
}

/// Of several documents that define a service of one host, one counts.
fn check_definitions(world: &World, problems: &mut Vec<Problem>) {
    for resource in world.definitions() {
        for host in world.hosts_of(resource) {
            let Some(counts) = world.service_named(&host).and_then(|service| service.defined_by.as_ref()) else {
                continue;
            };
            if *counts != resource.key() {
                let message = format!("`{counts}` defines a service of the host `{host}` already");
                let hint = match (counts.kind, resource.kind) {
                    (Kind::Service, Kind::ServiceEntry) => {
                        "a Service counts more than a ServiceEntry: this host is left out"
                    }
                    _ => "between equals the first by namespace and name counts: this host is left out",
                };
                let problem = Problem::warning(message).code(Code::HostDefinedTwice).hint(hint);
                problems.push(resource.problem(problem, Default::default()));
            }
        }
    }
}

/// A connection to an address and port that two services claim goes to one of them.
fn check_addresses(world: &World, problems: &mut Vec<Problem>) {
    let mut claimed: BTreeMap<(IpNet, u16), &Arc<Service>> = BTreeMap::new();
    for service in world.services() {
        let blocks = service.addresses.iter().map(|ip| IpNet::from(*ip)).chain(service.blocks.iter().copied());
        for place in blocks.flat_map(|block| service.ports.iter().map(move |port| (block, port.number))) {
            let Some(first) = claimed.get(&place).filter(|first| first.host != service.host) else {
                claimed.insert(place, service);
                continue;
            };
            let resource = service.defined_by.as_ref().and_then(|key| world.definitions().find(|r| r.key() == *key));
            if let Some(resource) = resource.filter(|_| service.defined_by != first.defined_by) {
                let what = match place.0.prefix_len() == place.0.max_prefix_len() {
                    true => format!("address {}", place.0.addr()),
                    false => format!("block {}", place.0),
                };
                let message = format!("the {what}, port {}, is that of `{}` too", place.1, first.host);
                let hint =
                    "connections to it that are not HTTP go to one of the two; give each service an address of its own";
                let problem = Problem::warning(message).code(Code::AddressClaimedTwice).hint(hint);
                problems.push(resource.problem(problem, Default::default()));
            }
        }
    }
}
