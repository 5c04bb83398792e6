//! Raw TCP to clusters, as listeners of every kind have it.

use std::sync::Arc;

use model::tcp_proxy::WeightedTarget;
use model::{Direction, TcpProxy};

use crate::clusters::{hashes_source, policy_of};
use crate::named;
use crate::names;
use crate::node::Node;
use crate::reports;
use crate::world::World;

/// Connections to these clusters. How long they may be silent, and last, and through which tunnel they go, the policy for
/// the first of them says, since that belongs to the listener; of several, a subset's own tunnel does not count (Istio's
/// rules).
pub fn to_clusters(world: &World, node: &Node, stat_prefix: Arc<str>, clusters: Vec<WeightedTarget>) -> TcpProxy {
    let policy = clusters.first().and_then(|first| policy_of(world, node, &first.cluster));
    let whole = || {
        let (port, _, host) = names::parts(&clusters.first()?.cluster)?;
        policy_of(world, node, &names::outbound(port, "", host))
    };
    let tunnel = match &clusters[..] {
        [_] => policy.as_ref().and_then(|policy| policy.tunnel.clone()),
        _ => whole().and_then(|policy| policy.tunnel),
    };
    let pool = policy.map(|policy| policy.pool);
    let base = TcpProxy::to(stat_prefix);
    TcpProxy {
        idle_timeout: pool.as_ref().map_or(base.idle_timeout, |pool| pool.tcp_idle_timeout),
        tunnel: tunnel.map(Box::new),
        max_duration: pool.and_then(|pool| pool.connections.max_duration),
        server_name_forward: named::by_server_name(world, node, &clusters),
        hash_source: hashes_source(world, node, &clusters),
        clusters,
        access_logs: reports::of_connections(world, node, Direction::Outbound),
        ..base
    }
}
