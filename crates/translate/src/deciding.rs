//! Which documents decide on something, for those who ask why.

use std::sync::Arc;

use api::Resource;
use api::istio::VirtualService;

use crate::access::Subject;
use crate::names::complete_host;
use crate::node::Node;
use crate::tokens;
use crate::world::World;

/// What a rule calls the sidecars among its gateways.
const MESH: &str = "mesh";

/// Those that say how tokens are checked at a proxy.
pub fn on_tokens(world: &World, node: &Node) -> Vec<Arc<Resource>> {
    tokens::documents(world, &node.namespace, &node.labels).map(|document| document.resource.clone()).collect()
}

/// The rate limits at a proxy.
pub fn on_rates(world: &World, node: &Node) -> Vec<Arc<Resource>> {
    world.rate_limits(Subject::of(node)).map(|document| document.resource.clone()).collect()
}

/// The rules by which requests of a namespace to a host, short or whole, find their way through sidecars or gateways.
pub fn on_routes(world: &World, namespace: &str, host: &str, at_gateway: bool) -> Vec<Arc<Resource>> {
    let whole = complete_host(host, namespace, &world.settings.dns_domain);
    let is_there = |gateway: &str| (gateway == MESH) != at_gateway;
    let concerns = |rule: &VirtualService| match rule.gateways.as_slice() {
        [] => !at_gateway,
        gateways => gateways.iter().any(|gateway| is_there(&gateway.value)),
    };
    let rules = world.rules_for(&whole).filter(|document| concerns(document.spec()));
    rules.map(|document| document.resource.clone()).collect()
}

/// The policies for what is sent to a host: circuit breakers, outlier detection, TLS.
pub fn on_connections(world: &World, host: &str) -> Vec<Arc<Resource>> {
    world.policies_for(host).map(|document| document.resource.clone()).collect()
}
