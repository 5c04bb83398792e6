//! Raw TCP to clusters, as listeners of every kind have it.

use std::sync::Arc;

use model::TcpProxy;
use model::tcp_proxy::WeightedTarget;

use crate::clusters::hashes_source;
use crate::names;
use crate::node::Node;
use crate::outbound::logs;
use crate::policy::Pool;
use crate::world::World;

/// Connections to these clusters. How long they may be silent, and last, the policy for the first of them says, since
/// that belongs to the listener (Istio's rule).
pub fn to_clusters(world: &World, node: &Node, stat_prefix: Arc<str>, clusters: Vec<WeightedTarget>) -> TcpProxy {
    let pool = clusters.first().and_then(|first| pool_of(world, node, &first.cluster));
    let base = TcpProxy::to(stat_prefix);
    TcpProxy {
        idle_timeout: pool.as_ref().map_or(base.idle_timeout, |pool| pool.tcp_idle_timeout),
        max_duration: pool.and_then(|pool| pool.connections.max_duration),
        hash_source: hashes_source(world, node, &clusters),
        clusters,
        access_logs: logs(world),
        ..base
    }
}

/// What the policy for a cluster says of connections.
fn pool_of(world: &World, node: &Node, cluster: &str) -> Option<Pool> {
    let (port, subset, host) = names::parts(cluster)?;
    let service = world.service_named(host)?;
    let port = service.port(port)?;
    let policies = world.policies(service, node);
    let subset = policies.subsets.iter().find(|s| s.name.as_str() == subset);
    Some(subset.map_or_else(|| policies.of_port(port), |subset| policies.of_subset(subset, port)).pool)
}
