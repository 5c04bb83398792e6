//! What a program is sent that reads xDS itself (proxyless gRPC, as far as gRPC's proposals A27, A28, A29, A32, A42 and
//! A44 go): a listener for each name by which a target can be asked for, and routes, clusters and endpoints in the forms
//! that gRPC's libraries take. What they do not know they pass over or refuse, so it is left out here.
//!
//! Programs are sent nothing of the mesh's TLS: their calls are plain text, which a workload in STRICT mode refuses.

use std::sync::Arc;

use model::cluster::{Balancing, Discovery, Localities, Transport};
use model::http_proxy::{HttpFilter, RouteSource};
use model::{ApiListener, Cluster, Config, EndpointSet, HttpProxy, RouteConfiguration};

use crate::names::{self, short_forms};
use crate::node::Node;
use crate::routes::mesh_host;
use crate::service::{Service, ServicePort};
use crate::world::World;

/// Adds listeners and routes to the clusters of services, and gives these the form that programs take.
pub fn adapt(config: &mut Config, world: &World, node: &Node, visible: &[Arc<Service>]) {
    let clusters = std::mem::take(&mut config.clusters).into_iter();
    config.clusters = clusters.filter_map(|(name, of)| Some((name, Arc::new(understood(&of)?)))).collect();
    for set in config.endpoints.values_mut() {
        weigh(Arc::make_mut(set));
    }
    for service in visible {
        for port in service.ports.iter().filter(|port| port.protocol.may_be_http()) {
            add_target(config, world, node, service, port);
        }
    }
}

/// Localities without a weight get no calls from programs: each has the weight of its endpoints.
pub fn weigh(set: &mut EndpointSet) {
    for group in &mut set.localities {
        let whole = group.endpoints.iter().map(|endpoint| endpoint.weight).fold(0, u32::saturating_add);
        group.weight.get_or_insert(whole.max(1));
    }
}

fn add_target(config: &mut Config, world: &World, node: &Node, service: &Service, port: &ServicePort) {
    let routes = names::outbound(port.number, "", &service.host);
    for form in short_forms(&service.host, &node.namespace, &world.settings.dns_domain) {
        let name: Arc<str> = format!("{form}:{}", port.number).into();
        let http = HttpProxy {
            filters: vec![HttpFilter::Fault(None)],
            ..HttpProxy::new(routes.clone(), RouteSource::Rds(routes.clone()))
        };
        let listener = ApiListener { name: name.clone(), http: Box::new(http) };
        config.api_listeners.insert(name, Arc::new(listener));
    }
    let mut host = mesh_host(world, node, service, port.number);
    // The target is chosen already, whatever authority the calls name.
    host.domains = vec!["*".into()];
    // Rules for filters that programs do not have are refused by them.
    host.filters = None;
    host.routes.iter_mut().for_each(|route| route.filters = None);
    config.routes.insert(routes.clone(), Arc::new(RouteConfiguration::new(routes, vec![host])));
}

/// A cluster as programs take it; none if they cannot use it.
fn understood(cluster: &Cluster) -> Option<Cluster> {
    let discovery = match &cluster.discovery {
        discovery @ (Discovery::Eds(_) | Discovery::LogicalDns(_)) => discovery.clone(),
        // A name is looked up as one target, whose addresses are all used.
        Discovery::StrictDns(set) if set.iter().count() == 1 => Discovery::LogicalDns(set.clone()),
        Discovery::StrictDns(_)
        | Discovery::Static(_)
        | Discovery::OriginalDestination
        | Discovery::DynamicForward(_) => return None,
    };
    let balancing = match &cluster.balancing {
        ring @ Balancing::RingHash { .. } => ring.clone(),
        _ => Balancing::RoundRobin,
    };
    Some(Cluster {
        discovery,
        balancing,
        localities: Localities::Weighted,
        transport: Transport::Plain,
        health_check: None,
        slow_start: None,
        ..cluster.clone()
    })
}
