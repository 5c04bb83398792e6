//! The cluster that a proxy is itself an endpoint of: all instances of the workload that it stands beside. It tells the proxy
//! which part of the calls come from its own zone, where zones come first.

use std::net::SocketAddr;
use std::sync::Arc;

use model::cluster::{Discovery, LOCAL_CLUSTER};
use model::endpoint::Health;
use model::{Cluster, Config, Endpoint, EndpointSet};

use crate::locality::{Near, Placed};
use crate::node::{Node, Role};
use crate::workload::Workload;
use crate::world::World;

/// The port that stands in the addresses of endpoints: nobody dials them, and the proxies themselves listen there.
const READINESS: u16 = 15021;

/// Adds the node's own cluster, if anything depends on it. Gateways are registered nowhere, so they have none.
pub fn add(config: &mut Config, world: &World, node: &Node) {
    if !world.pairs.zones || !matches!(node.role, Role::Sidecar { .. }) {
        return;
    }
    let name: Arc<str> = LOCAL_CLUSTER.into();
    let placed = world.kin(node).map(|workload| Placed {
        locality: &workload.locality,
        endpoint: endpoint(world, workload),
        labels: &workload.labels,
    });
    let set = EndpointSet::new(name.clone(), Near::Alike.arrange(placed, node));
    config.clusters.insert(name.clone(), Arc::new(Cluster::new(name.clone(), Discovery::Eds(name.clone()))));
    config.endpoints.insert(name, Arc::new(set));
}

/// Who is not ready sends nothing yet.
fn endpoint(world: &World, workload: &Workload) -> Endpoint {
    let at = SocketAddr::new(workload.address, READINESS);
    let health = if world.withholds(&at) { Health::Unhealthy } else { Health::Healthy };
    Endpoint { weight: workload.weight, health, workload: Some(workload.reference.clone()), ..Endpoint::plain(at) }
}
