//! Clusters.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::cluster::{DNS_REFRESH, Discovery, Localities, PANIC_PERCENT, Transport, UpstreamProtocol};
use model::{Cluster, DestinationService};
use prost::Message;
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::upstreams::http::v3 as http;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options as options;
use proto::google::protobuf::Any;

use super::ordered::{ClusterTail, Kind, List, Metadata, Struct as OrderedStruct, Value as OrderedValue};
use super::{ads, balancing, duration, dynamic_forward, endpoint, limit, number, pack, packed};

use crate::metadata::{DIALLED, OURS, PREFERRED, WORKLOADS};

mod health_check;
mod limits;
mod outlier;
mod transport;

/// Envoy's default for idle upstream connections.
const IDLE: Duration = Duration::from_secs(3600);

/// A cluster. How often names are looked up stands where Istio writes it, in a field that Envoy calls deprecated and heeds.
#[allow(deprecated)]
pub fn cluster(cluster: &Cluster) -> Any {
    let (kind, endpoints) = match &cluster.discovery {
        Discovery::Eds(_) => (DiscoveryType::Eds, None),
        Discovery::Static(set) => (DiscoveryType::Static, Some(set)),
        Discovery::StrictDns(set) => (DiscoveryType::StrictDns, Some(set)),
        Discovery::LogicalDns(set) => (DiscoveryType::LogicalDns, Some(set)),
        Discovery::OriginalDestination | Discovery::DynamicForward(_) => (DiscoveryType::OriginalDst, None),
    };
    let by_name = matches!(kind, DiscoveryType::StrictDns | DiscoveryType::LogicalDns);
    let (lb_policy, lb_config) = balancing::balancing(cluster);
    let (transport_socket, transport_socket_matches) = transport::transport(cluster);
    let head = wire::Cluster {
        name: cluster.name.to_string(),
        cluster_discovery_type: Some(match &cluster.discovery {
            Discovery::DynamicForward(cache) => ClusterDiscoveryType::ClusterType(dynamic_forward::cluster_type(cache)),
            _ => ClusterDiscoveryType::Type(kind as i32),
        }),
        eds_cluster_config: eds_config(cluster),
        connect_timeout: Some(duration(cluster.connect_timeout)),
        lb_policy: lb_policy as i32,
        lb_config,
        load_balancing_policy: balancing::typed(cluster),
        common_lb_config: common_balancing(cluster),
        // A host with addresses of both families is asked by the family that is more often routed.
        dns_lookup_family: if by_name { DnsLookupFamily::V4Preferred as i32 } else { 0 },
        dns_refresh_rate: (cluster.dns_refresh != DNS_REFRESH).then(|| duration(cluster.dns_refresh)),
        circuit_breakers: Some(limits::circuit_breakers(cluster.circuit_breakers.as_deref())),
        upstream_connection_options: limits::tcp_keepalive(cluster.connections.as_deref()),
        outlier_detection: cluster.outlier_detection.as_deref().map(outlier::outlier_detection),
        health_checks: cluster.health_check.iter().map(|check| health_check::health_check(check)).collect(),
        typed_extension_protocol_options: http_options(cluster),
        transport_socket,
        transport_socket_matches,
        ..wire::Cluster::default()
    };
    let tail = ClusterTail { metadata: metadata(cluster), load_assignment: endpoints.map(endpoint::load_assignment) };
    let mut bytes = head.encode_to_vec();
    tail.encode(&mut bytes).expect("a vector takes everything");
    packed::<wire::Cluster>(bytes)
}

fn eds_config(cluster: &Cluster) -> Option<EdsClusterConfig> {
    let Discovery::Eds(name) = &cluster.discovery else { return None };
    let service_name = if *name == cluster.name { String::new() } else { name.to_string() };
    Some(EdsClusterConfig { eds_config: ads(), service_name })
}

/// When all endpoints of a priority are used, and that the weights of localities count.
fn common_balancing(cluster: &Cluster) -> Option<CommonLbConfig> {
    let chooses = !cluster.discovery.is_by_itself();
    let localities = match &cluster.localities {
        Localities::Alike => None,
        Localities::Weighted => Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})),
        Localities::Zones(zones) => Some(LocalityConfigSpecifier::ZoneAwareLbConfig(balancing::zones(zones))),
    };
    let config = CommonLbConfig {
        locality_config_specifier: localities.filter(|_| chooses),
        healthy_panic_threshold: match cluster.panic_percent {
            PANIC_PERCENT => None,
            percent => limits::percent(percent.into()),
        },
        ..CommonLbConfig::default()
    };
    (config != CommonLbConfig::default()).then_some(config)
}

/// The options of HTTP, unless they are all Envoy's defaults.
fn http_options(cluster: &Cluster) -> HashMap<String, Any> {
    let connections = cluster.connections.as_deref();
    let outlier_detection = outlier::error_statuses(cluster.outlier_detection.as_deref());
    let http1_trailers = connections.is_some_and(|c| c.http1_trailers);
    let max_connection_duration = connections.and_then(|c| c.max_duration).map(duration);
    let default = cluster.protocol == UpstreamProtocol::Http1
        && cluster.idle_timeout == Some(IDLE)
        && cluster.max_requests_per_connection.is_none()
        && max_connection_duration.is_none()
        && !http1_trailers
        && outlier_detection.is_none()
        && !by_host(cluster);
    if default {
        return HashMap::new();
    }
    let common = core::HttpProtocolOptions {
        idle_timeout: limit(cluster.idle_timeout, Some(IDLE)),
        max_requests_per_connection: cluster.max_requests_per_connection.and_then(number),
        max_connection_duration,
        ..core::HttpProtocolOptions::default()
    };
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: (common != core::HttpProtocolOptions::default()).then_some(common),
        upstream_protocol_options: Some(protocol(cluster.protocol, http1_trailers, limits::http2(connections))),
        outlier_detection,
        upstream_http_protocol_options: by_host(cluster).then(|| core::UpstreamHttpProtocolOptions {
            auto_sni: true,
            auto_san_validation: true,
            ..core::UpstreamHttpProtocolOptions::default()
        }),
        ..http::HttpProtocolOptions::default()
    };
    [("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), pack(&options))].into()
}

/// Does TLS ask for the host that a request names, and check for it? Envoy wants that said of clusters of named hosts.
fn by_host(cluster: &Cluster) -> bool {
    matches!((&cluster.discovery, &cluster.transport), (Discovery::DynamicForward(_), Transport::Tls(_)))
}

fn protocol(
    protocol: UpstreamProtocol,
    enable_trailers: bool,
    http2: core::Http2ProtocolOptions,
) -> options::UpstreamProtocolOptions {
    use options::explicit_http_config::ProtocolConfig;
    let http1 = || core::Http1ProtocolOptions { enable_trailers, ..core::Http1ProtocolOptions::default() };
    let explicit = |config| {
        options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
            protocol_config: Some(config),
        })
    };
    match protocol {
        UpstreamProtocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(http1())),
        UpstreamProtocol::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
        UpstreamProtocol::Auto => options::UpstreamProtocolOptions::AutoConfig(options::AutoHttpConfig {
            http_protocol_options: Some(http1()),
            http2_protocol_options: Some(http2),
            ..options::AutoHttpConfig::default()
        }),
        UpstreamProtocol::SameAsDownstream => {
            options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options::UseDownstreamHttpConfig {
                http_protocol_options: Some(http1()),
                http2_protocol_options: Some(http2),
                ..options::UseDownstreamHttpConfig::default()
            })
        }
    }
}

fn metadata(cluster: &Cluster) -> Option<Metadata> {
    let mut filter_metadata = BTreeMap::new();
    if let Some(service) = &cluster.service {
        filter_metadata.insert("istio".to_owned(), service_metadata(service));
    }
    let mut ours = BTreeMap::new();
    if cluster.prefers_dialled {
        ours.insert(DIALLED.to_owned(), OrderedValue::text(PREFERRED));
    }
    if !cluster.workloads.is_empty() {
        let values = cluster.workloads.iter().map(|block| OrderedValue::text(block.to_string())).collect();
        ours.insert(WORKLOADS.to_owned(), OrderedValue { kind: Some(Kind::List(List { values })) });
    }
    if !ours.is_empty() {
        filter_metadata.insert(OURS.to_owned(), OrderedStruct { fields: ours });
    }
    (!filter_metadata.is_empty()).then_some(Metadata { filter_metadata })
}

/// Istio's form: a list of services, of which the first counts.
fn service_metadata(service: &DestinationService) -> OrderedStruct {
    let texts = [("host", &*service.host), ("name", &*service.name), ("namespace", &*service.namespace)];
    let service = OrderedValue { kind: Some(Kind::Struct(OrderedStruct::of_texts(texts))) };
    let services = OrderedValue { kind: Some(Kind::List(List { values: vec![service] })) };
    OrderedStruct { fields: BTreeMap::from([("services".to_owned(), services)]) }
}
