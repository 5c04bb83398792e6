//! Services whose hosts nobody lists (`resolution: DYNAMIC_DNS`): the proxy looks up the host that each request names.

use model::DnsCache;
use model::dynamic_forward::ServerNameForward;
use model::tcp_proxy::WeightedTarget;

use crate::names;
use crate::node::Node;
use crate::protocol::Protocol;
use crate::service::{Backing, Service, ServicePort};
use crate::world::World;

/// Addresses that lead a proxy to its own machine. Whoever names hosts must not reach what only listens for that.
const OWN: [&str; 4] = ["0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"];

/// The cache of names: one for all services of a proxy, which its filters share with its clusters.
pub fn cache(world: &World) -> DnsCache {
    let refused = OWN.iter().filter_map(|block| block.parse().ok()).collect();
    DnsCache { refresh: world.settings.dns_refresh, refused, ..DnsCache::new("named_hosts") }
}

/// Is the host named on this port: by a request, or by the handshake of TLS?
pub fn is_named(service: &Service, port: &ServicePort) -> bool {
    let by_name = port.protocol.is_http() || matches!(port.protocol, Protocol::Tls | Protocol::Https);
    service.backing == Backing::Named && by_name
}

/// What tells raw connections to these clusters where they go, if one of them is a port of such a service.
pub fn by_server_name(world: &World, node: &Node, clusters: &[WeightedTarget]) -> Option<Box<ServerNameForward>> {
    let egress = world.egress(node);
    let port = clusters.iter().find_map(|target| {
        let (number, _, host) = names::parts(&target.cluster)?;
        // Policies have the proxy look up names that others would believe a program about.
        if let Some(allowed) = egress.as_ref().and_then(|egress| egress.named(host, number)) {
            return Some(allowed.target);
        }
        let service = world.service_named(host)?;
        let port = service.port(number)?;
        is_named(service, port).then_some(number)
    });
    port.map(|port| Box::new(ServerNameForward { cache: cache(world), port }))
}
