//! Listeners at addresses that a `Sidecar` names: one for all services of a port. HTTP goes by host; of services that speak
//! anything else the first has the listener.

use std::sync::Arc;

use model::chain::ChainMatch;
use model::listener::Inspect;
use model::{Address, Config, FilterChain, NetworkFilter};

use super::{FOUND_HTTP, Members, chains, inspect, listener, route_table, to_routes};
use crate::names;
use crate::node::Node;
use crate::protocol::Protocol;
use crate::raw;
use crate::routes::{At, raw_targets};
use crate::world::World;

/// Adds the listener of a port, and the routes that nothing else adds.
pub fn add(
    config: &mut Config,
    world: &World,
    node: &Node,
    (address, bind): (Address, bool),
    port: u16,
    members: &Members<'_>,
) {
    let Some(addr) = address.socket_addr() else { return };
    let name: Arc<str> = format!("{}_{}", addr.ip(), addr.port()).into();
    let chain = |name: &str, matches, filter| FilterChain { matches, ..FilterChain::new(name, filter) };
    let http = |matches| chain("http", matches, to_routes(world, node, port.to_string().into()));
    let (inspect, (chains, default_chain)) = match (members.http.is_empty(), members.raw.first()) {
        (true, Some((service, raw))) => {
            let routes: Arc<str> = format!("{}:{port}", service.host).into();
            if raw.protocol == Protocol::Auto {
                super::add_routes(config, route_table(world, node, routes.clone(), port, &[(service, raw)], true));
            }
            (inspect(world, raw.protocol), chains(world, node, service, raw, &routes, At::Own))
        }
        (false, Some((service, _))) => {
            let found =
                ChainMatch { application_protocols: FOUND_HTTP.map(str::to_owned).to_vec(), ..ChainMatch::default() };
            let to = names::outbound(port, "", &service.host);
            let filter = raw::to_clusters(world, node, to, raw_targets(world, node, service, port, At::Own));
            let raw = chain("tcp", ChainMatch::default(), NetworkFilter::Tcp(filter));
            (inspect(world, Protocol::Auto), (vec![http(found)], Some(raw)))
        }
        (_, None) => (Inspect::default(), (vec![http(ChainMatch::default())], None)),
    };
    super::add(config, listener((world, node), name, (address, bind), inspect, chains, default_chain));
}
