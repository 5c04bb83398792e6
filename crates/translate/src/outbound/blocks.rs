//! Services that are known by blocks of addresses, or by the names alone that TLS asks for: chains of the listener that stands
//! for a port of any address. The narrowest block that holds what was dialled decides, then the name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use model::chain::ChainMatch;
use model::listener::Inspect;
use model::{Config, FilterChain};

use super::{any_listener, asks_name, chains, inspect};
use crate::node::Node;
use crate::protocol::Protocol;
use crate::routes::{At, narrowed};
use crate::service::{Service, ServicePort};
use crate::vips;
use crate::world::World;

/// Adds the chains of all blocks, to listeners that are there for the port, or to new ones.
pub fn add(config: &mut Config, world: &World, node: &Node, visible: &[Arc<Service>]) {
    let mut listeners: BTreeMap<SocketAddr, (Inspect, Vec<FilterChain>)> = BTreeMap::new();
    for service in visible {
        // HTTP goes by its host, whatever was dialled.
        let raw = |port: &&ServicePort| !port.protocol.is_http() && port.protocol != Protocol::Udp;
        for port in service.ports.iter().filter(raw) {
            for block in blocks(world, node, service, port) {
                let any: IpAddr = match block {
                    IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let (looks, all) = listeners.entry(SocketAddr::new(any, port.number)).or_default();
                look(looks, &inspect(world, port.protocol));
                for chain in of_block(world, node, service, port, block) {
                    // Of services that claim the same the first by host counts.
                    if !all.iter().any(|other| other.matches == chain.matches) {
                        all.push(chain);
                    }
                }
            }
            if asks_name(world, node, service, port) {
                let anywhere: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
                for any in anywhere {
                    let (looks, all) = listeners.entry(SocketAddr::new(any, port.number)).or_default();
                    // Whoever else dials this port may wait for the server to speak.
                    look(looks, &Inspect { http: false, ..inspect(world, Protocol::Auto) });
                    all.extend(of_names(world, node, service, port));
                }
            }
        }
    }
    for (at, (looks, chains)) in listeners {
        let mut listener = any_listener(config, world, node, at);
        look(&mut listener.inspect, &looks);
        listener.chains.extend(chains);
        config.listeners.insert(listener.name.clone(), Arc::new(listener));
    }
}

/// The blocks of a port: those of the service, and within them, or where it has no address at all, those that its rules name.
fn blocks(world: &World, node: &Node, service: &Service, port: &ServicePort) -> BTreeSet<IpNet> {
    let is_own = |address: &IpAddr| !matches!(address, IpAddr::V4(ip) if vips::RANGE.contains(ip));
    let has_none = service.blocks.is_empty() && service.headless.is_none() && !service.addresses.iter().any(is_own);
    let mut all: BTreeSet<IpNet> = service.blocks.iter().copied().collect();
    let ruled = narrowed(world, node, service, port);
    all.extend(ruled.into_iter().filter(|part| has_none || service.blocks.iter().any(|block| block.contains(part))));
    all
}

/// The chains towards a service by the server name: those of its rules, and one for all of its hosts.
fn of_names(world: &World, node: &Node, service: &Service, port: &ServicePort) -> Vec<FilterChain> {
    let routes: Arc<str> = format!("{}:{}", service.host, port.number).into();
    let (chains, default_chain) = chains(world, node, service, port, &routes, At::Own);
    let named = |mut chain: FilterChain| {
        if chain.matches.server_names.is_empty() {
            chain.matches.server_names = vec![service.host.to_string()];
        }
        FilterChain { name: format!("{} {}", chain.name, service.host).into(), ..chain }
    };
    chains.into_iter().chain(default_chain).map(named).collect()
}

/// The chains towards a service for one block. Within a block nothing falls back to a wider one, so the chain for what fits
/// no other is there too.
fn of_block(world: &World, node: &Node, service: &Service, port: &ServicePort, block: IpNet) -> Vec<FilterChain> {
    let routes: Arc<str> = format!("{}:{}", service.host, port.number).into();
    let (chains, default_chain) = chains(world, node, service, port, &routes, At::In(block));
    let narrow = |chain: FilterChain| FilterChain {
        name: format!("{} {block}", chain.name).into(),
        matches: ChainMatch { destination_ranges: vec![block], ..chain.matches },
        ..chain
    };
    chains.into_iter().chain(default_chain).map(narrow).collect()
}

/// Looks at what another wants to be looked at too.
pub fn look(own: &mut Inspect, other: &Inspect) {
    if !other.tls && !other.http {
        return;
    }
    if !own.tls && !own.http {
        *own = other.clone();
    }
    own.tls |= other.tls;
    own.http |= other.http;
    // Who waits for a server to speak must not be closed.
    if other.continue_on_timeout && !own.continue_on_timeout {
        (own.timeout, own.continue_on_timeout) = (other.timeout, true);
    }
}
