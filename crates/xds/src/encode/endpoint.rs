//! Endpoints.

use std::collections::BTreeMap;

use model::endpoint::{Health, Spread};
use model::{Endpoint, EndpointSet, Locality, LocalityEndpoints, WorkloadRef};
use prost::Message;
use proto::envoy::config::core::v3::{self as core, HealthStatus};
use proto::envoy::config::endpoint::v3 as wire;
use proto::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use proto::google::protobuf::Any;

use super::ordered::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, Metadata, Struct};
use super::{address, number, packed};

/// All endpoints of a cluster.
pub fn endpoints(set: &EndpointSet) -> Any {
    packed::<wire::ClusterLoadAssignment>(load_assignment(set).encode_to_vec())
}

pub(super) fn load_assignment(set: &EndpointSet) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: set.name.to_string(),
        endpoints: set.localities.iter().map(locality_endpoints).collect(),
        policy: policy(set.spread),
    }
}

fn policy(spread: Spread) -> Option<Policy> {
    (spread != Spread::default()).then(|| Policy {
        overprovisioning_factor: number(spread.overprovisioning),
        weighted_priority_health: spread.weighted,
        ..Policy::default()
    })
}

fn locality_endpoints(group: &LocalityEndpoints) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        // Without any, Envoy does not heed the weight.
        locality: locality(&group.locality).or(group.weight.map(|_| core::Locality::default())),
        lb_endpoints: group.endpoints.iter().map(lb_endpoint).collect(),
        load_balancing_weight: group.weight.and_then(number),
        priority: group.priority,
    }
}

fn locality(locality: &Locality) -> Option<core::Locality> {
    (*locality != Locality::default()).then(|| core::Locality {
        region: locality.region.clone(),
        zone: locality.zone.clone(),
        sub_zone: locality.sub_zone.clone(),
    })
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let health = match endpoint.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Unhealthy => HealthStatus::Unhealthy,
        Health::Draining => HealthStatus::Draining,
        Health::Degraded => HealthStatus::Degraded,
    };
    LbEndpoint {
        endpoint: Some(wire::Endpoint { address: address(&endpoint.address), ..wire::Endpoint::default() }),
        health_status: health as i32,
        metadata: metadata(endpoint),
        load_balancing_weight: if endpoint.weight == 1 { None } else { number(endpoint.weight) },
    }
}

fn metadata(endpoint: &Endpoint) -> Option<Metadata> {
    let mut filter_metadata = BTreeMap::new();
    if endpoint.mesh_tls {
        filter_metadata.insert("envoy.transport_socket_match".to_owned(), Struct::of_texts([("tlsMode", "istio")]));
    }
    if let Some(workload) = &endpoint.workload {
        filter_metadata.insert("istio".to_owned(), Struct::of_texts([("workload", workload_text(workload).as_str())]));
    }
    (!filter_metadata.is_empty()).then_some(Metadata { filter_metadata })
}

/// Istio's form. None of the parts can have a semicolon: they are names and label values.
fn workload_text(workload: &WorkloadRef) -> String {
    let WorkloadRef { name, namespace, service, version, cluster } = workload;
    format!("{name};{namespace};{service};{version};{cluster}")
}
