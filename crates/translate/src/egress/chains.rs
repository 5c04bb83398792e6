//! Chains of listeners for places that are known by their addresses, and for IPv6, where there are no listeners for HTTP
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::chain::ChainMatch;
use model::route::{Action, Forward, PathMatch};
use model::{
    Config, Direction, FilterChain, Listener, NetworkFilter, Route, RouteConfiguration, TcpProxy, VirtualHost,
};

use super::Egress;
use crate::names::PASSTHROUGH;
use crate::node::Node;
use crate::outbound::{self, FOUND_HTTP};
use crate::reports;
use crate::service::Service;
use crate::world::World;

/// Adds what only rules know: listeners for HTTP by IPv6, and chains for blocks of addresses. `table` makes the routes of a
/// port for what lies in such a block.
pub fn add(
    config: &mut Config,
    (world, node): (&World, &Node),
    egress: &Egress<'_>,
    visible: &[Arc<Service>],
    table: impl Fn(u16, VirtualHost) -> RouteConfiguration,
) {
    let outside = visible.iter().filter(|service| service.external).flat_map(|service| &service.ports);
    let http: BTreeSet<u16> = outside.filter(|port| port.protocol.is_http()).map(|port| port.number).collect();
    for port in &http {
        let at = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port);
        let mut listener = outbound::any_listener(config, world, node, at);
        outbound::look_for_http(world, &mut listener);
        listener.chains.push(chain(
            format!("egress {at}"),
            found(),
            outbound::to_routes(world, node, port.to_string().into()),
        ));
        config.listeners.insert(listener.name.clone(), Arc::new(listener));
    }
    let blocks = egress.blocks();
    if blocks.is_empty() {
        return;
    }
    let mut numbers: BTreeSet<u16> = blocks.values().flatten().copied().collect();
    if blocks.values().any(BTreeSet::is_empty) {
        numbers.extend(any_ports(config));
    }
    for number in numbers {
        add_port(config, (world, node), &blocks, number, &table);
    }
}

/// The ports that have listeners for any address.
fn any_ports(config: &Config) -> Vec<u16> {
    let of = |listener: &Arc<Listener>| Some((listener.address.socket_addr()?, listener.bind));
    let all = config.listeners.values().filter_map(of);
    all.filter(|(at, bind)| at.ip().is_unspecified() && !bind).map(|(at, _)| at.port()).collect()
}

/// Chains for the blocks that a port of is allowed.
fn add_port(
    config: &mut Config,
    (world, node): (&World, &Node),
    blocks: &BTreeMap<IpNet, BTreeSet<u16>>,
    number: u16,
    table: impl Fn(u16, VirtualHost) -> RouteConfiguration,
) {
    let anywhere: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for any in anywhere {
        let allows = |(block, ports): &(&IpNet, &BTreeSet<u16>)| {
            block.addr().is_ipv4() == any.is_ipv4() && (ports.is_empty() || ports.contains(&number))
        };
        let near: Vec<IpNet> = blocks.iter().filter(allows).map(|(block, _)| *block).collect();
        if near.is_empty() {
            continue;
        }
        let mut listener = outbound::any_listener(config, world, node, SocketAddr::new(any, number));
        let reads_http = listener.chains.iter().any(|chain| matches!(chain.filter, NetworkFilter::Http(_)));
        if reads_http {
            let routes = table(number, as_dialled());
            let filter = outbound::to_routes(world, node, routes.name.clone());
            let matches = ChainMatch { destination_ranges: near.clone(), ..found() };
            listener.chains.push(chain("egress blocks found".to_owned(), matches, filter));
            outbound::add_table(config, node, routes);
        }
        listener.chains.push(to_blocks((world, node), near));
        config.listeners.insert(listener.name.clone(), Arc::new(listener));
    }
}

/// Adds chains to a socket that all connections are redirected to, for blocks of which every port is allowed.
pub fn add_to_capture((world, node): (&World, &Node), egress: &Egress<'_>, listener: &mut Listener) {
    let is_ipv4 = listener.address.socket_addr().is_none_or(|at| at.is_ipv4());
    let whole = egress.blocks().into_iter().filter(|(_, ports)| ports.is_empty()).map(|(block, _)| block);
    let near: Vec<IpNet> = whole.filter(|block| block.addr().is_ipv4() == is_ipv4).collect();
    if !near.is_empty() {
        listener.chains.push(to_blocks((world, node), near));
    }
}

impl Egress<'_> {
    /// The blocks of addresses that may be called, and on which ports; no port means all.
    pub fn blocks(&self) -> BTreeMap<IpNet, BTreeSet<u16>> {
        let mut all: BTreeMap<IpNet, Option<BTreeSet<u16>>> = BTreeMap::new();
        for (_, rule) in self.rules() {
            let ports: BTreeSet<u16> = rule.ports.iter().map(|port| port.number.value as u16).collect();
            for block in rule.blocks() {
                let known = all.entry(block).or_insert_with(|| Some(BTreeSet::new()));
                match known {
                    Some(known) if !ports.is_empty() => known.extend(&ports),
                    _ => *known = None,
                }
            }
        }
        all.into_iter().map(|(block, ports)| (block, ports.unwrap_or_default())).collect()
    }
}

fn to_blocks((world, node): (&World, &Node), destination_ranges: Vec<IpNet>) -> FilterChain {
    let to = TcpProxy {
        access_logs: reports::of_connections(world, node, Direction::Outbound),
        ..TcpProxy::to(PASSTHROUGH)
    };
    let matches = ChainMatch { destination_ranges, ..ChainMatch::default() };
    chain("egress blocks".to_owned(), matches, NetworkFilter::Tcp(to))
}

/// Whatever host is asked for: its address is one that may be called.
fn as_dialled() -> VirtualHost {
    let action = Action::Forward(Box::new(Forward::to(PASSTHROUGH)));
    VirtualHost {
        name: "egress_allowed".into(),
        domains: vec!["*".into()],
        routes: vec![Route { name: "egress_allowed".into(), ..Route::new(PathMatch::Prefix("/".into()), action) }],
        ..VirtualHost::default()
    }
}

fn found() -> ChainMatch {
    ChainMatch { application_protocols: FOUND_HTTP.map(str::to_owned).to_vec(), ..ChainMatch::default() }
}

fn chain(name: String, matches: ChainMatch, filter: NetworkFilter) -> FilterChain {
    FilterChain { matches, ..FilterChain::new(name, filter) }
}
