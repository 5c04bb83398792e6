//! Sidecars: egress proxies that lead nowhere, listeners for which several services would be, TLS that does not count.

use std::collections::BTreeMap;

use api::istio::{Destination, EgressListener, Sidecar};
use api::{Code, Problem};

use super::references::{Sent, check_destination};
use crate::names::complete_host;
use crate::outbound::gathered::candidates;
use crate::peer_authentication::Mode;
use crate::scope::{Gathering, Place, Way, reached, reached_by_number, way};
use crate::world::{Document, World};

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for sidecar in world.sidecars.iter() {
        let spec = sidecar.spec();
        if let Some(proxy) = spec.outbound_traffic_policy.as_ref().and_then(|policy| policy.egress_proxy.as_ref()) {
            check_proxy(world, sidecar, proxy, problems);
        }
        for (i, entry) in spec.egress.iter().enumerate() {
            match Gathering::of(entry) {
                Some(gathering) => check_gathering(world, sidecar, (i, entry), gathering, problems),
                None => check_entry(world, sidecar, (i, entry), problems),
            }
        }
        check_tls(world, sidecar, problems);
    }
}

const PROXY: &str = "spec.outboundTrafficPolicy.egressProxy";

fn check_proxy(world: &World, sidecar: &Document<Sidecar>, proxy: &Destination, problems: &mut Vec<Problem>) {
    let before = problems.len();
    check_destination(world, sidecar.namespace(), (Sent::Unknown, proxy), PROXY, &mut |problem, at| {
        problems.push(sidecar.resource.problem(problem, at.span));
    });
    let host = complete_host(&proxy.host.value, sidecar.namespace(), &world.settings.dns_domain);
    let (Some(service), Some(port)) = (world.service(&host), &proxy.port) else { return };
    if problems.len() > before || sidecar.spec().egress.is_empty() {
        return;
    }
    let seen = reached(sidecar.spec(), sidecar.namespace(), service);
    if seen.is_none_or(|seen| seen.port(port.number.value as u16).is_none()) {
        let message = format!("`egress` does not reach `{}`, port {}", service.host, port.number);
        let problem = Problem::warning(message)
            .code(Code::ReferencedResourceNotFound)
            .path(format!("{PROXY}.host"))
            .expected(format!("`{}/{}` among the hosts", service.namespace, service.host))
            .hint(format!("until it does, {}", Sent::Unknown.fate()));
        problems.push(sidecar.resource.problem(problem, proxy.host.span));
    }
}

/// A listener of its own address cannot tell services apart that do not speak HTTP.
fn check_entry(
    world: &World,
    sidecar: &Document<Sidecar>,
    (i, entry): (usize, &EgressListener),
    problems: &mut Vec<Problem>,
) {
    let own = |port: u16| match way(sidecar.spec(), port) {
        Way::Usual => None,
        Way::Captured(addr) | Way::Opened(addr) => Some(addr),
    };
    let number = entry.port.as_ref().map(|port| port.number.value as u16);
    let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for service in world.services().filter(|service| service.visible.includes(sidecar.namespace())) {
        let Some(seen) = reached_by_number(sidecar.spec(), sidecar.namespace(), service) else { continue };
        let of_entry = |port: u16| match number {
            Some(number) => number == port,
            None => !sidecar
                .spec()
                .egress
                .iter()
                .any(|e| e.port.as_ref().is_some_and(|p| p.number.value == u32::from(port))),
        };
        let raw = seen.ports.iter().filter(|port| !port.protocol.is_http() && of_entry(port.number));
        for port in raw.filter(|port| own(port.number).is_some()) {
            by_port.entry(port.number).or_default().push(format!("`{}`", service.host));
        }
    }
    for (port, hosts) in by_port.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
        let Some(addr) = own(port) else { continue };
        let message = format!("{} would share {addr}, where nothing tells them apart", hosts.join(" and "));
        let problem = Problem::warning(message)
            .path(format!("spec.egress[{i}].hosts"))
            .expected("one service of each port that does not speak HTTP")
            .hint(format!("connections go to {}", hosts[0]));
        problems.push(sidecar.resource.problem(problem, entry.hosts.first().map(|host| host.span).unwrap_or_default()));
    }
}

/// A Unix socket cannot tell services apart that do not speak HTTP.
fn check_gathering(
    world: &World,
    sidecar: &Document<Sidecar>,
    (i, entry): (usize, &EgressListener),
    gathering: Gathering<'_>,
    problems: &mut Vec<Problem>,
) {
    let span = entry.hosts.first().map(|host| host.span).unwrap_or_default();
    let exported = world.services().filter(|service| service.visible.includes(sidecar.namespace()));
    let services: Vec<_> = exported.filter(|service| gathering.reaches(sidecar.namespace(), service)).collect();
    let raw: Vec<_> = candidates(services.iter().copied())
        .map(|(service, port)| format!("`{}:{}`", service.host, port.number))
        .collect();
    if let Place::Pipe(path) = gathering.place()
        && !gathering.protocol().is_http()
        && raw.len() > 1
    {
        let message = format!("{} would share the socket {path}, where nothing tells them apart", raw.join(" and "));
        let problem = Problem::warning(message)
            .path(format!("spec.egress[{i}].hosts"))
            .expected("one service with one port, unless HTTP is spoken there")
            .hint(format!("connections go to {}", raw[0]));
        problems.push(sidecar.resource.problem(problem, span));
    }
}

/// Where the mesh's mutual TLS is taken, TLS of a port's own would contradict it.
fn check_tls(world: &World, sidecar: &Document<Sidecar>, problems: &mut Vec<Problem>) {
    let labels = sidecar.spec().workload_selector.as_ref().map(|selector| selector.labels.clone()).unwrap_or_default();
    for (i, entry) in sidecar.spec().ingress.iter().enumerate() {
        let (Some(port), Some(_)) = (&entry.port, &entry.tls) else { continue };
        let mode = match world.mutual_tls_of(sidecar.namespace(), &labels, port.number.value as u16) {
            Mode::Disable => continue,
            Mode::Permissive => "PERMISSIVE",
            Mode::Strict => "STRICT",
        };
        let message =
            format!("port {} takes the mesh's mutual TLS (mode {mode}), so `tls` does not count", port.number);
        let problem = Problem::warning(message)
            .path(format!("spec.ingress[{i}].tls"))
            .expected("a PeerAuthentication with the mode DISABLE for this port")
            .hint("the port takes connections as if `tls` were not there");
        problems.push(sidecar.resource.problem(problem, port.number.span));
    }
}
