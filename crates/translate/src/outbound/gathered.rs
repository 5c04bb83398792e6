//! Listeners of a `Sidecar` that lead to ports of any number: HTTP proxies, and Unix sockets. HTTP goes by the host and the port
//! that a request names; of services that speak anything else the first has the socket (Istio's rules).

use std::collections::BTreeSet;
use std::sync::Arc;

use model::listener::Inspect;
use model::{Address, Config, FilterChain, Listener, RouteConfiguration};

use super::{chains, http_listener, inspect, listener, to_routes, unknown_host};
use crate::node::Node;
use crate::protocol::Protocol;
use crate::routes::{At, mesh_host};
use crate::scope::{Gathering, Place, Way};
use crate::service::{Service, ServicePort};
use crate::world::World;

/// The port of requests that name none (RFC 9110, section 4.2.1).
const HTTP: u16 = 80;

/// Adds them all. Without capture (`netns` is none) those are left out that take only captured connections.
pub fn add(config: &mut Config, world: &World, node: &Node, netns: Option<&Arc<str>>) {
    for (gathering, services) in world.gatherings(node) {
        if services.is_empty() {
            continue;
        }
        let (name, listener) = match gathering.place() {
            Place::Port(_, Way::Usual | Way::Captured(_)) if netns.is_none() => continue,
            Place::Port(port, Way::Usual) => (port.to_string(), http_listener(world, node, port)),
            Place::Port(port, way) => {
                let Some((address, bind)) = way.told(netns) else { continue };
                let Some(addr) = address.socket_addr() else { continue };
                let at = (format!("{}_{}", addr.ip(), addr.port()), address, bind);
                (port.to_string(), http_only(world, node, port.to_string(), at))
            }
            Place::Pipe(path) => {
                let name = format!("unix://{path}");
                let at = (format!("{name}_0"), Address::pipe_in(path, netns), true);
                let Some(listener) = at_pipe(world, node, gathering, &services, (&name, at)) else { continue };
                (name, listener)
            }
        };
        if gathering.protocol().may_be_http() {
            super::add_routes(config, route_table(world, node, name, &services, gathering));
        }
        super::add(config, listener);
    }
}

type Named = (String, Address, bool);

fn http_only(world: &World, node: &Node, routes: String, (name, address, bind): Named) -> Listener {
    let filter = to_routes(world, node, routes.into());
    let chain = FilterChain::new("http", filter);
    listener((world, node), name.into(), (address, bind), Inspect::default(), vec![chain], None)
}

fn at_pipe(
    world: &World,
    node: &Node,
    gathering: Gathering<'_>,
    services: &[Arc<Service>],
    (routes, at): (&str, Named),
) -> Option<Listener> {
    let protocol = gathering.protocol();
    if protocol.is_http() {
        return Some(http_only(world, node, routes.to_owned(), at));
    }
    let (service, port) = candidates(services).next()?;
    let spoken = ServicePort { protocol, ..port.clone() };
    let (chains, default_chain) = chains(world, node, service, &spoken, &routes.into(), At::Own);
    let (name, address, bind) = at;
    Some(listener((world, node), name.into(), (address, bind), inspect(world, protocol), chains, default_chain))
}

/// The ports to which a socket could lead that cannot tell services apart; it leads to the first.
pub(crate) fn candidates<'a>(
    services: impl IntoIterator<Item = &'a Arc<Service>>,
) -> impl Iterator<Item = (&'a Service, &'a ServicePort)> {
    let ports = |service: &'a Arc<Service>| service.ports.iter().map(move |port| (&**service, port));
    services.into_iter().flat_map(ports).filter(|(_, port)| port.protocol != Protocol::Udp)
}

/// The hosts by their names with a port; by their names alone for what is asked for at port 80, and at a Unix socket, whose
/// clients often name no port, where the service has but one.
fn route_table(
    world: &World,
    node: &Node,
    name: String,
    services: &[Arc<Service>],
    gathering: Gathering<'_>,
) -> RouteConfiguration {
    let is_pipe = matches!(gathering.place(), Place::Pipe(_));
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    for service in services {
        let http: Vec<&ServicePort> = service.ports.iter().filter(|port| port.protocol.may_be_http()).collect();
        for port in &http {
            let mut host = mesh_host(world, node, service, port.number);
            let bare = port.number == HTTP || is_pipe && http.len() == 1;
            let forms = std::mem::take(&mut host.domains);
            let with_port = forms.iter().map(|form| format!("{form}:{}", port.number)).collect::<Vec<_>>();
            let all = with_port.into_iter().chain(forms.into_iter().filter(|_| bare));
            host.domains = all.filter(|domain| taken.insert(domain.clone())).collect();
            if !host.domains.is_empty() {
                hosts.push(host);
            }
        }
    }
    if !taken.contains("*") {
        hosts.push(unknown_host(world, node));
    }
    RouteConfiguration { ignore_port: false, ..RouteConfiguration::new(name, hosts) }
}
