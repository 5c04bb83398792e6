//! The outgoing side of a sidecar: where captured connections go.
//!
//! Captured connections all reach one socket, and are handed on by their original destination (Istio's layout): to
//! `0.0.0.0_<port>` for HTTP, where the route table of that port decides by host; to `<address>_<port>` for the rest.

mod blocks;
pub(crate) mod gathered;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::chain::ChainMatch;
use model::http_proxy::{HttpFilter, RouteSource};
use model::listener::Inspect;
use model::route::{Action, DirectResponse, Forward, PathMatch};
use model::tcp_proxy::WeightedTarget;
use model::{
    Address, Config, Direction, FilterChain, HttpLimits, HttpProxy, Listener, NetworkFilter, Route, RouteConfiguration,
    TcpProxy, VirtualHost,
};

use crate::egress::{self, Egress};
use crate::headless::dialled_addresses;
use crate::named;
use crate::names::{self, BLACK_HOLE, PASSTHROUGH};
use crate::node::{LocalUpstream, Node};
use crate::protocol::Protocol;
use crate::raw;
use crate::reports;
use crate::routes::{At, mesh_host, raw_targets, tls_targets};
use crate::scope::Way;
use crate::service::{Service, ServicePort};
use crate::tracing::tracing;
use crate::vips;
use crate::world::World;

/// The protocols that looking at the first bytes can find.
pub(crate) const FOUND_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Adds listeners and routes for captured connections.
pub fn add_captured(
    config: &mut Config,
    world: &World,
    node: &Node,
    visible: &[Arc<Service>],
    netns: &Arc<str>,
    at: &[SocketAddr],
) {
    let visible = &*world.by_number(node, visible);
    for (port, members) in &by_port(visible) {
        match world.way(node, *port).told(Some(netns)) {
            Some((address, bind)) => told::add(config, world, node, (address, bind), *port, members),
            None => {
                for (service, port) in &members.raw {
                    add_by_address(config, world, node, service, port);
                }
                if !members.http.is_empty() {
                    add(config, http_listener(world, node, *port));
                }
            }
        }
        if !members.http.is_empty() {
            let table = route_table(world, node, port.to_string().into(), *port, &members.http, true);
            add_table(config, node, table);
        }
    }
    blocks::add(config, world, node, visible);
    if let Some(egress) = world.egress(node) {
        add_outside(config, world, node, &egress, visible);
    }
    gathered::add(config, world, node, Some(netns));
    add_captures(config, world, node, netns, at);
}

/// Adds what policies allow and no service stands for.
fn add_outside(config: &mut Config, world: &World, node: &Node, egress: &Egress<'_>, visible: &[Arc<Service>]) {
    let ports = by_port(visible);
    egress::add(config, (world, node), egress, visible, |port, rest| {
        let none = Members::default();
        let members = ports.get(&port).unwrap_or(&none);
        let mut table = route_table(world, node, format!("egress_{port}").into(), port, &members.http, false);
        table.hosts.push(rest);
        table
    });
}

/// Adds a table, whole or to be asked for host by host.
pub(crate) fn add_table(config: &mut Config, node: &Node, table: RouteConfiguration) {
    if node.on_demand { add_on_demand(config, table) } else { add_routes(config, table) }
}

/// The ports of services that share a number.
#[derive(Default)]
struct Members<'a> {
    http: Vec<(&'a Service, &'a ServicePort)>,
    raw: Vec<(&'a Service, &'a ServicePort)>,
}

fn by_port(visible: &[Arc<Service>]) -> BTreeMap<u16, Members<'_>> {
    let mut all = BTreeMap::<u16, Members<'_>>::new();
    let ports = visible.iter().flat_map(|service| service.ports.iter().map(move |port| (&**service, port)));
    for (service, port) in ports.filter(|(_, port)| port.protocol != Protocol::Udp) {
        let members = all.entry(port.number).or_default();
        if port.protocol.is_http() { members.http.push((service, port)) } else { members.raw.push((service, port)) }
    }
    all
}

/// Adds the listeners that the program's `Sidecar` has opened for it, where no connection is captured.
pub fn add_opened(config: &mut Config, world: &World, node: &Node, visible: &[Arc<Service>]) {
    for (port, members) in &by_port(&world.by_number(node, visible)) {
        let way = world.way(node, *port);
        let Some((address, bind)) = way.told(None).filter(|_| matches!(way, Way::Opened(_))) else { continue };
        told::add(config, world, node, (address, bind), *port, members);
        if !members.http.is_empty() {
            add_routes(config, route_table(world, node, port.to_string().into(), *port, &members.http, true));
        }
    }
    gathered::add(config, world, node, None);
}

/// Adds the sockets that connections are redirected to.
pub fn add_captures(config: &mut Config, world: &World, node: &Node, netns: &Arc<str>, at: &[SocketAddr]) {
    for at in at {
        add(config, capture(world, node, netns, *at));
    }
}

/// Adds a listener for each upstream that the program uses under a local address.
pub fn add_upstreams(
    config: &mut Config,
    world: &World,
    node: &Node,
    visible: &[Arc<Service>],
    upstreams: &[LocalUpstream],
) {
    for upstream in upstreams {
        let host = names::complete_host(&upstream.host, &node.namespace, &world.settings.dns_domain);
        let found = visible.iter().find(|s| *s.host == *host).and_then(|s| Some((&**s, s.port(upstream.port)?)));
        let Some((service, port)) = found else { continue };
        let name: Arc<str> = format!("{}_{}", upstream.bind.ip(), upstream.bind.port()).into();
        let routes: Arc<str> = format!("{}:{}", service.host, port.number).into();
        let inspect = inspect(world, port.protocol);
        let (chains, default_chain) = chains(world, node, service, port, &routes, At::Own);
        let bind = (Address::socket(upstream.bind), true);
        add(config, listener((world, node), name, bind, inspect, chains, default_chain));
        if port.protocol.may_be_http() {
            let mut table = route_table(world, node, routes, port.number, &[(service, port)], false);
            // The program dials a local address, so whatever host it names is this service's.
            table.hosts[0].domains = vec!["*".into()];
            add_routes(config, table);
        }
    }
}

fn add(config: &mut Config, listener: Listener) {
    config.listeners.insert(listener.name.clone(), Arc::new(listener));
}

fn add_routes(config: &mut Config, table: RouteConfiguration) {
    config.routes.insert(table.name.clone(), Arc::new(table));
}

/// Adds a table whose virtual hosts are found one by one. What is for any host stays in it: it is for those who find none.
fn add_on_demand(config: &mut Config, mut table: RouteConfiguration) {
    let is_for_any = |host: &VirtualHost| host.domains.iter().any(|domain| domain == "*");
    let (for_any, hosts): (Vec<_>, Vec<_>) = table.hosts.into_iter().partition(is_for_any);
    let named = hosts.into_iter().map(|host| (format!("{}/{}", table.name, host.name).into(), Arc::new(host)));
    config.virtual_hosts.extend(named);
    table.hosts = for_any;
    table.on_demand = true;
    add_routes(config, table);
}

/// The socket that every connection is redirected to. What no other listener stands for is unknown.
fn capture(world: &World, node: &Node, netns: &Arc<str>, at: SocketAddr) -> Listener {
    let mut listener = Listener {
        use_original_destination: true,
        inspect: Inspect { original_destination: true, ..Inspect::default() },
        address: Address::Socket { addr: at, netns: Some(netns.clone()) },
        ..listener(
            (world, node),
            if at.is_ipv4() { "virtualOutbound".into() } else { "virtualOutbound_ipv6".into() },
            (Address::socket(at), true),
            Inspect::default(),
            Vec::new(),
            Some(unknown_chain(world, node)),
        )
    };
    if let Some(egress) = world.egress(node) {
        egress::add_to_capture((world, node), &egress, &mut listener);
    }
    listener
}

/// The listener for a port of any address, as it is, or a new one where everything is unknown.
pub(crate) fn any_listener(config: &Config, world: &World, node: &Node, at: SocketAddr) -> Listener {
    let name: Arc<str> = match at {
        SocketAddr::V4(_) => format!("0.0.0.0_{}", at.port()).into(),
        SocketAddr::V6(_) => format!("[::]_{}", at.port()).into(),
    };
    match config.listeners.get(&name) {
        Some(known) => Listener::clone(known),
        None => {
            let unknown = Some(unknown_chain(world, node));
            listener((world, node), name, (Address::socket(at), false), Inspect::default(), Vec::new(), unknown)
        }
    }
}

/// Has a listener find out whether HTTP is spoken.
pub(crate) fn look_for_http(world: &World, listener: &mut Listener) {
    blocks::look(&mut listener.inspect, &inspect(world, Protocol::Auto));
}

fn listener(
    (world, node): (&World, &Node),
    name: Arc<str>,
    (address, bind): (Address, bool),
    inspect: Inspect,
    chains: Vec<FilterChain>,
    default_chain: Option<FilterChain>,
) -> Listener {
    Listener {
        name,
        address,
        bind,
        use_original_destination: false,
        direction: Direction::Outbound,
        inspect,
        chains,
        default_chain,
        access_logs: reports::of_connections(world, node, Direction::Outbound),
        buffer_limit: None,
        ignores_common_limit: false,
    }
}

/// All HTTP of one port, whatever the address: the host decides. Connections to the mesh's own addresses are HTTP by
/// declaration; others on this port only if they look like it.
fn http_listener(world: &World, node: &Node, port: u16) -> Listener {
    let routes: Arc<str> = port.to_string().into();
    let http = || to_routes(world, node, routes.clone());
    let declared = ChainMatch { destination_ranges: vec![IpNet::V4(vips::RANGE)], ..ChainMatch::default() };
    let found = ChainMatch { application_protocols: FOUND_HTTP.map(str::to_owned).to_vec(), ..ChainMatch::default() };
    let chains = vec![
        FilterChain { matches: declared, ..FilterChain::new("declared", http()) },
        FilterChain { matches: found, ..FilterChain::new("found", http()) },
    ];
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let inspect = Inspect {
        tls: true,
        http: true,
        timeout: world.settings.detection,
        continue_on_timeout: true,
        ..Inspect::default()
    };
    let name = format!("0.0.0.0_{port}").into();
    listener((world, node), name, (Address::socket(any), false), inspect, chains, Some(unknown_chain(world, node)))
}

/// A port of a service that is known by its address alone, or those of its workloads.
fn add_by_address(config: &mut Config, world: &World, node: &Node, service: &Service, port: &ServicePort) {
    let routes: Arc<str> = format!("{}:{}", service.host, port.number).into();
    for address in dialled_addresses(world, service) {
        let name: Arc<str> = format!("{address}_{}", port.number).into();
        let (chains, default_chain) = chains(world, node, service, port, &routes, At::In(address.into()));
        let default_chain =
            default_chain.or_else(|| asks_name(world, node, service, port).then(|| unknown_chain(world, node)));
        let at = Address::socket(SocketAddr::new(address, port.number));
        add(config, listener((world, node), name, (at, false), inspect(world, port.protocol), chains, default_chain));
    }
    if port.protocol == Protocol::Auto {
        add_routes(config, route_table(world, node, routes, port.number, &[(service, port)], true));
    }
}

/// Does only a server name lead to this port, whatever address was dialled?
fn asks_name(world: &World, node: &Node, service: &Service, port: &ServicePort) -> bool {
    named::is_named(service, port) || egress::is_by_name(service, port) && world.egress(node).is_some()
}

fn inspect(world: &World, protocol: Protocol) -> Inspect {
    match protocol {
        Protocol::Auto => Inspect {
            tls: true,
            http: true,
            timeout: world.settings.detection,
            continue_on_timeout: true,
            ..Inspect::default()
        },
        Protocol::Tls | Protocol::Https => Inspect { tls: true, ..Inspect::default() },
        _ => Inspect::default(),
    }
}

/// The chains towards one port of a service, for connections to an address: HTTP, raw, or both if that is found out per
/// connection.
fn chains(
    world: &World,
    node: &Node,
    service: &Service,
    port: &ServicePort,
    routes: &Arc<str>,
    at: At,
) -> (Vec<FilterChain>, Option<FilterChain>) {
    let chain = |name: &str, matches, filter| FilterChain { matches, ..FilterChain::new(name, filter) };
    let http = || to_routes(world, node, routes.clone());
    let to_service = || {
        let clusters = raw_targets(world, node, service, port.number, at);
        let name = names::outbound(port.number, "", &service.host);
        NetworkFilter::Tcp(raw::to_clusters(world, node, name, clusters))
    };
    match port.protocol {
        p if p.is_http() => (vec![chain("http", ChainMatch::default(), http())], None),
        Protocol::Auto => {
            let application_protocols = FOUND_HTTP.map(str::to_owned).to_vec();
            let found = ChainMatch { application_protocols, ..ChainMatch::default() };
            (vec![chain("http", found, http())], Some(chain("tcp", ChainMatch::default(), to_service())))
        }
        Protocol::Tls | Protocol::Https => {
            let by_name =
                tls_targets(world, node, service, port.number, at).into_iter().map(|(server_names, clusters)| {
                    let to = clusters[0].cluster.clone();
                    let filter = NetworkFilter::Tcp(raw::to_clusters(world, node, to, clusters));
                    chain("tls", ChainMatch { server_names, ..ChainMatch::default() }, filter)
                });
            let asks_name = egress::is_by_name(service, port) && world.egress(node).is_some();
            let server_names = if asks_name { vec![service.host.to_string()] } else { Vec::new() };
            let rest = chain("tcp", ChainMatch { server_names, ..ChainMatch::default() }, to_service());
            (by_name.chain([rest]).collect(), None)
        }
        _ => (vec![chain("tcp", ChainMatch::default(), to_service())], None),
    }
}

fn unknown_chain(world: &World, node: &Node) -> FilterChain {
    let nowhere = || world.egress(node).map_or(BLACK_HOLE.into(), |egress| egress.denied());
    let filter = match world.unknown_cluster(node) {
        Some(proxy) if *proxy != *PASSTHROUGH => {
            raw::to_clusters(world, node, proxy.clone(), vec![WeightedTarget { cluster: proxy, weight: 1 }])
        }
        cluster => TcpProxy {
            access_logs: reports::of_connections(world, node, Direction::Outbound),
            ..TcpProxy::to(cluster.unwrap_or_else(nowhere))
        },
    };
    let matches = ChainMatch::default();
    FilterChain { matches, ..FilterChain::new("unknown", NetworkFilter::Tcp(filter)) }
}

pub(crate) fn to_routes(world: &World, node: &Node, routes: Arc<str>) -> NetworkFilter {
    let mut http = http_proxy(world, node, RouteSource::Rds(routes));
    if world.egress(node).is_some() {
        http.filters.insert(0, egress::filter());
    }
    world.settings.proxy.for_sidecar(&mut http, false);
    NetworkFilter::Http(Box::new(http))
}

/// HTTP towards upstreams: faults may be injected, upgrades pass, traces go on.
pub fn http_proxy(world: &World, node: &Node, routes: RouteSource) -> HttpProxy {
    let prefix: Arc<str> = match &routes {
        RouteSource::Rds(name) => format!("outbound_{name}").into(),
        RouteSource::Inline(table) => table.name.clone(),
    };
    // It says why a host has no address, and stock Envoys learn from it where that is.
    let by_name = world.has_named_hosts().then(|| HttpFilter::DynamicForward(named::cache(world)));
    HttpProxy {
        filters: [HttpFilter::Fault(None), HttpFilter::Cors].into_iter().chain(by_name).collect(),
        access_logs: reports::of_requests(world, node, Direction::Outbound),
        upgrades: vec!["websocket".into()],
        tracing: tracing(world, node, Direction::Outbound),
        target: world.settings.target,
        limits: HttpLimits { http10: true, ..HttpLimits::default() },
        ..HttpProxy::new(prefix, routes)
    }
}

/// The route table of one port: a virtual host for each service, and one for what nobody knows.
fn route_table(
    world: &World,
    node: &Node,
    name: Arc<str>,
    port: u16,
    members: &[(&Service, &ServicePort)],
    with_unknown: bool,
) -> RouteConfiguration {
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    for (service, _) in members {
        let mut host = mesh_host(world, node, service, port);
        host.domains.retain(|domain| taken.insert(domain.clone()));
        if !host.domains.is_empty() {
            hosts.push(host);
        }
    }
    if with_unknown && !taken.contains("*") {
        hosts.push(unknown_host(world, node));
    }
    RouteConfiguration::new(name, hosts)
}

fn unknown_host(world: &World, node: &Node) -> VirtualHost {
    if let Some(egress) = world.egress(node) {
        return egress::host(&egress);
    }
    let (name, action) = match world.unknown_cluster(node) {
        Some(cluster) => ("allow_any", Action::Forward(Box::new(Forward::to(cluster)))),
        None => ("block_all", Action::Respond(DirectResponse { status: 502, body: "".into() })),
    };
    VirtualHost {
        name: name.into(),
        domains: vec!["*".into()],
        routes: vec![Route { name: name.into(), ..Route::new(PathMatch::Prefix("/".into()), action) }],
        ..VirtualHost::default()
    }
}
