//! Endpoints.

use std::sync::Arc;

use model::endpoint::{Health, Spread};
use model::{Address, Endpoint, EndpointSet, Locality, LocalityEndpoints, ResourceKind, WorkloadRef};
use proto::envoy::config::core::v3::{self as core, HealthStatus, Metadata};
use proto::envoy::config::endpoint::v3 as wire;
use proto::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use proto::google::protobuf::{Any, UInt32Value};

use super::{At, DecodeError, Decoded, each, open, required, take, text};

/// All endpoints of a cluster.
pub fn endpoints(any: &Any) -> Result<EndpointSet, DecodeError> {
    let value: wire::ClusterLoadAssignment = open(ResourceKind::Endpoints, any)?;
    let name = value.cluster_name.clone();
    load_assignment(value, &At::resource(&name))
}

pub(super) fn load_assignment(value: wire::ClusterLoadAssignment, at: &At<'_>) -> Decoded<EndpointSet> {
    take!(value, at, wire::ClusterLoadAssignment {
        used { cluster_name, endpoints, policy }
        harmless {}
        refused { named_endpoints }
    });
    Ok(EndpointSet {
        name: cluster_name.into(),
        localities: each(endpoints, &at.field("endpoints"), group)?,
        spread: spread(policy, &at.field("policy"))?,
    })
}

fn spread(value: Option<Policy>, at: &At<'_>) -> Decoded<Spread> {
    let Some(value) = value else { return Ok(Spread::default()) };
    take!(value, at, Policy {
        used { overprovisioning_factor, weighted_priority_health }
        harmless {}
        refused { drop_overloads, endpoint_stale_after }
    });
    let overprovisioning = match overprovisioning_factor {
        None => Spread::default().overprovisioning,
        Some(UInt32Value { value: 0 }) => {
            return Err(at.field("overprovisioning_factor").error("is 0", "1 or more"));
        }
        Some(factor) => factor.value,
    };
    Ok(Spread { overprovisioning, weighted: weighted_priority_health })
}

fn group(value: wire::LocalityLbEndpoints, at: &At<'_>) -> Decoded<LocalityEndpoints> {
    // Envoy does not use proximity.
    take!(value, at, wire::LocalityLbEndpoints {
        used { locality, metadata, lb_endpoints, load_balancing_weight, priority }
        harmless { proximity }
        refused { lb_config }
    });
    // Other metadata serves subsets, which clusters cannot ask for.
    if metadata.is_some_and(|metadata| metadata.filter_metadata.contains_key(SOCKET_MATCH)) {
        return Err(at.field("metadata").key(SOCKET_MATCH).unsupported("it at the endpoints"));
    }
    let weight = load_balancing_weight.map(|weight| above_zero(weight, at)).transpose()?;
    Ok(LocalityEndpoints {
        priority,
        // Envoy does not heed the weight of a group that says nothing of its locality.
        weight: weight.filter(|_| locality.is_some()),
        locality: locality.map(place).unwrap_or_default(),
        endpoints: each(lb_endpoints, &at.field("lb_endpoints"), endpoint)?,
    })
}

fn place(value: core::Locality) -> Locality {
    Locality { region: value.region, zone: value.zone, sub_zone: value.sub_zone }
}

fn above_zero(weight: UInt32Value, at: &At<'_>) -> Decoded<u32> {
    match weight.value {
        0 => Err(at.field("load_balancing_weight").error("is 0", "1 or more")),
        value => Ok(value),
    }
}

const SOCKET_MATCH: &str = "envoy.transport_socket_match";

fn endpoint(value: wire::LbEndpoint, at: &At<'_>) -> Decoded<Endpoint> {
    take!(value, at, wire::LbEndpoint {
        used { health_status, metadata, load_balancing_weight, host_identifier }
        harmless {}
        refused {}
    });
    let at_endpoint = at.field("endpoint");
    let host = match required(host_identifier, &at_endpoint)? {
        HostIdentifier::Endpoint(host) => host,
        HostIdentifier::EndpointName(_) => return Err(at.field("endpoint_name").unsupported("`endpoint`")),
    };
    let metadata = metadata.unwrap_or_default();
    if metadata.filter_metadata.get("envoy.lb").is_some_and(|fields| fields.fields.contains_key("hash_key")) {
        let at = at.field("metadata");
        return Err(at.key("envoy.lb").field("hash_key").unsupported("none: the address is what is hashed"));
    }
    Ok(Endpoint {
        address: host_address(host, &at_endpoint)?,
        weight: load_balancing_weight.map_or(Ok(1), |weight| above_zero(weight, at))?,
        health: health(health_status, &at.field("health_status"))?,
        mesh_tls: metadata.filter_metadata.get(SOCKET_MATCH).and_then(|fields| text(fields, "tlsMode"))
            == Some("istio"),
        workload: workload(&metadata),
    })
}

fn host_address(value: wire::Endpoint, at: &At<'_>) -> Decoded<Address> {
    take!(value, at, wire::Endpoint {
        used { address, hostname }
        harmless { observability_name }
        refused { additional_addresses, health_check_config }
    });
    let address = super::address(address, &at.field("address"))?;
    let same = matches!(&address, Address::Host { host, .. } if **host == *hostname);
    if !hostname.is_empty() && !same {
        return Err(at.field("hostname").unsupported("none, or the host name of the address"));
    }
    Ok(address)
}

fn health(value: i32, at: &At<'_>) -> Decoded<Health> {
    Ok(match HealthStatus::try_from(value) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Health::Unhealthy,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Err(_) => return Err(at.error(format!("is {value}"), "a health status")),
    })
}

/// Istio's form: `name;namespace;service;version;cluster`, of which the last may be missing.
fn workload(metadata: &Metadata) -> Option<Arc<WorkloadRef>> {
    let mut parts = text(metadata.filter_metadata.get("istio")?, "workload")?.splitn(5, ';');
    let mut next = || Arc::<str>::from(parts.next().unwrap_or_default());
    Some(Arc::new(WorkloadRef { name: next(), namespace: next(), service: next(), version: next(), cluster: next() }))
}
