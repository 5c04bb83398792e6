//! Which documents decide on something, for those who ask why.

use std::sync::Arc;

use api::Resource;

use crate::access::Subject;
use crate::node::Node;
use crate::tokens;
use crate::world::World;

/// Those that say how tokens are checked at a proxy.
pub fn on_tokens(world: &World, node: &Node) -> Vec<Arc<Resource>> {
    tokens::documents(world, node).map(|document| document.resource.clone()).collect()
}

/// The rate limits at a proxy.
pub fn on_rates(world: &World, node: &Node) -> Vec<Arc<Resource>> {
    world.rate_limits(Subject::of(node)).map(|document| document.resource.clone()).collect()
}

/// The rules by which requests to a host find their way.
pub fn on_routes(world: &World, host: &str) -> Vec<Arc<Resource>> {
    world.rules_for(host).map(|document| document.resource.clone()).collect()
}

/// The policies for what is sent to a host: circuit breakers, outlier detection, TLS.
pub fn on_connections(world: &World, host: &str) -> Vec<Arc<Resource>> {
    world.policies_for(host).map(|document| document.resource.clone()).collect()
}
