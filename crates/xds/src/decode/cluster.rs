//! Clusters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::cluster::{Balancing, DNS_REFRESH, Discovery, Localities, UpstreamProtocol};
use model::limits::ConnectionOptions;
use model::{Cluster, DestinationService, EndpointSet, OutlierDetection, ResourceKind};
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, ZoneAwareLbConfig,
};
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use proto::envoy::config::core::v3::{self as core, Metadata};
use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::google::protobuf::{Any, Value, value::Kind};

use super::endpoint::load_assignment;
use super::{At, DecodeError, Decoded, ads, duration, dynamic_forward, each, open, required, take, text};

use crate::metadata::{DIALLED, OURS, PREFERRED, WORKLOADS};

mod balancing;
mod hashing;
mod health_check;
mod http_options;
mod limits;
mod outlier;
mod slow_start;
mod transport;

pub(crate) use balancing::PEAK_EWMA;

/// Envoy's default to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// A cluster.
pub fn cluster(any: &Any) -> Result<Cluster, DecodeError> {
    let value: wire::Cluster = open(ResourceKind::Cluster, any)?;
    let name = value.name.clone();
    read(value, &At::resource(&name))
}

#[allow(deprecated)]
fn read(value: wire::Cluster, at: &At<'_>) -> Decoded<Cluster> {
    // Harmless are names and choice of statistics, how names are resolved and how often after a failure, buffers, when old endpoints are
    // forgotten, warming of connections, and what becomes of connections to endpoints that fail a health check.
    take!(value, at, wire::Cluster {
        used {
            transport_socket_matches, name, eds_cluster_config, connect_timeout, lb_policy, load_assignment,
            max_requests_per_connection, circuit_breakers, typed_extension_protocol_options, dns_lookup_family,
            common_lb_config, transport_socket, metadata, load_balancing_policy, cluster_discovery_type, lb_config,
            upstream_connection_options, outlier_detection, health_checks, http2_protocol_options, dns_refresh_rate,
        }
        harmless {
            alt_stat_name, stats_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, dns_jitter, dns_failure_refresh_rate,
            respect_dns_ttl, use_tcp_for_dns_lookups, wait_for_warm_on_init, cleanup_interval,
            close_connections_on_host_health_failure, ignore_health_on_host_removal,
            lrs_server, lrs_report_endpoint_metrics, track_timeout_budgets, track_cluster_stats, preconnect_policy,
        }
        refused {
            transport_socket_matcher, upstream_http_protocol_options, common_http_protocol_options,
            http_protocol_options, dns_resolvers, dns_resolution_config,
            typed_dns_resolver_config, upstream_bind_config, lb_subset_config, protocol_selection,
            filters, upstream_config, connection_pool_per_downstream_connection, queuing_policies,
        }
    });
    if name.is_empty() {
        return Err(at.field("name").error("is missing", "a name"));
    }
    lookup_family(dns_lookup_family, &at.field("dns_lookup_family"))?;
    let circuit_breakers = limits::circuit_breakers(circuit_breakers, &at.field("circuit_breakers"))?;
    let (of_cluster, panic_percent) = locality_balancing(common_lb_config, &at.field("common_lb_config"))?;
    let name: Arc<str> = name.into();
    let discovery = discovery(cluster_discovery_type, &name, eds_cluster_config, load_assignment, at)?;
    let by_itself = discovery.is_by_itself();
    let slow_start = slow_start::slow_start(lb_config.as_ref(), load_balancing_policy.as_ref(), at)?;
    let (balancing, of_policy) = balancing::balancing(lb_policy, lb_config, load_balancing_policy, at)?;
    let grows = matches!(
        balancing,
        Balancing::RoundRobin | Balancing::LeastRequest { .. } | Balancing::BiasedLeastRequest { .. }
    );
    let of_named_hosts = matches!(discovery, Discovery::DynamicForward(_));
    let http =
        http_options::http_options(typed_extension_protocol_options, http2_protocol_options, of_named_hosts, at)?;
    let (transport, proxy_header) = transport::transport(transport_socket, transport_socket_matches, at)?;
    let tcp_keepalive = limits::tcp_keepalive(upstream_connection_options);
    let connections = ConnectionOptions { tcp_keepalive, proxy_header, ..http.connections };
    let outlier = outlier_detection.map(|value| outlier::outlier_detection(value, &at.field("outlier_detection")));
    let outlier = outlier.transpose()?.map(|found| OutlierDetection { error_statuses: http.error_statuses, ..found });
    let at_checks = at.field("health_checks");
    let mut health_checks = each(health_checks, &at_checks, health_check::health_check)?;
    if health_checks.len() > 1 {
        return Err(at_checks.unsupported("one health check at most"));
    }
    Ok(Cluster {
        name,
        discovery,
        balancing: if by_itself { Balancing::Provided } else { balancing },
        localities: of_policy.unwrap_or(of_cluster),
        connect_timeout: connect(connect_timeout, &at.field("connect_timeout"))?,
        protocol: http.protocol,
        transport,
        idle_timeout: http.idle_timeout,
        max_requests_per_connection: http
            .max_requests_per_connection
            .or(max_requests_per_connection.map(|limit| limit.value))
            .filter(|limit| *limit > 0),
        connections: (connections != ConnectionOptions::default()).then(|| Box::new(connections)),
        circuit_breakers,
        outlier_detection: outlier.map(Box::new),
        health_check: health_checks.pop().map(Box::new),
        slow_start: slow_start.filter(|_| grows && !by_itself).map(Box::new),
        panic_percent,
        dns_refresh: dns_refresh(dns_refresh_rate, &at.field("dns_refresh_rate"))?,
        prefers_dialled: prefers_dialled(metadata.as_ref(), &at.field("metadata"))?,
        workloads: workloads(metadata.as_ref(), &at.field("metadata"))?,
        service: metadata.as_ref().and_then(service),
    })
}

/// Our own word, which others read past: the endpoint that the downstream dialled comes first.
fn prefers_dialled(metadata: Option<&Metadata>, at: &At<'_>) -> Decoded<bool> {
    match metadata.and_then(|it| it.filter_metadata.get(OURS)).and_then(|ours| text(ours, DIALLED)) {
        None => Ok(false),
        Some(PREFERRED) => Ok(true),
        Some(other) => Err(at.field(OURS).field(DIALLED).error(format!("is `{other}`"), format!("`{PREFERRED}`"))),
    }
}

fn connect(value: Option<proto::google::protobuf::Duration>, at: &At<'_>) -> Decoded<Duration> {
    match value.map_or(Ok(CONNECT), |value| duration(value, at))? {
        Duration::ZERO => Err(at.error("is zero", "more than zero")),
        limit => Ok(limit),
    }
}

/// How often names are looked up. What a record says of its life (`respect_dns_ttl`) the system's resolver does not tell.
fn dns_refresh(value: Option<proto::google::protobuf::Duration>, at: &At<'_>) -> Decoded<Duration> {
    match value.map_or(Ok(DNS_REFRESH), |value| duration(value, at))? {
        rate if rate <= Duration::from_millis(1) => Err(at.error(format!("is {rate:?}"), "more than a millisecond")),
        rate => Ok(rate),
    }
}

fn discovery(
    kind: Option<ClusterDiscoveryType>,
    name: &Arc<str>,
    eds: Option<EdsClusterConfig>,
    assignment: Option<ClusterLoadAssignment>,
    at: &At<'_>,
) -> Decoded<Discovery> {
    let at_given = at.field("load_assignment");
    // Without one there is nobody, as in Envoy.
    let given = |assignment: Option<ClusterLoadAssignment>| -> Decoded<EndpointSet> {
        let nobody = || ClusterLoadAssignment { cluster_name: name.to_string(), ..ClusterLoadAssignment::default() };
        load_assignment(assignment.unwrap_or_else(nobody), &at_given)
    };
    let kind = match kind {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(value)) => DiscoveryType::try_from(value)
            .map_err(|_| at.field("type").error(format!("is {value}"), "a way of discovery"))?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return dynamic_forward::cluster_type(custom, &at.field("cluster_type"))
                .map(|cache| Discovery::DynamicForward(cache.into()));
        }
    };
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(given(assignment)?),
        DiscoveryType::StrictDns => Discovery::StrictDns(given(assignment)?),
        DiscoveryType::LogicalDns => Discovery::LogicalDns(given(Some(required(assignment, &at_given)?))?),
        DiscoveryType::OriginalDst => Discovery::OriginalDestination,
        DiscoveryType::Eds => {
            let at = at.field("eds_cluster_config");
            let eds = required(eds, &at)?;
            ads(eds.eds_config, &at.field("eds_config"))?;
            // Mostly they are the same: then there is one of them.
            let same = eds.service_name.is_empty() || *eds.service_name == **name;
            Discovery::Eds(if same { name.clone() } else { eds.service_name.into() })
        }
    })
}

/// Which of a host's addresses comes first is left to the resolver, but not which are left out.
fn lookup_family(value: i32, at: &At<'_>) -> Decoded<()> {
    match DnsLookupFamily::try_from(value) {
        Ok(DnsLookupFamily::Auto | DnsLookupFamily::V4Preferred | DnsLookupFamily::All) => Ok(()),
        _ => Err(at.unsupported("AUTO, V4_PREFERRED or ALL")),
    }
}

/// What localities have to do with the choice, and below which share a priority panics. Some of the rest concern policies
/// that are refused, and when an endpoint counts before its first health check.
fn locality_balancing(value: Option<CommonLbConfig>, at: &At<'_>) -> Decoded<(Localities, u8)> {
    take!(value.unwrap_or_default(), at, CommonLbConfig {
        used { healthy_panic_threshold, consistent_hashing_lb_config, locality_config_specifier }
        harmless { update_merge_window, ignore_new_hosts_until_first_hc, override_host_status }
        refused { close_connections_on_host_set_change }
    });
    let at_hashing = at.field("consistent_hashing_lb_config");
    take!(consistent_hashing_lb_config.unwrap_or_default(), at_hashing, ConsistentHashingLbConfig {
        used {}
        harmless {}
        refused { use_hostname_for_hashing, hash_balance_factor }
    });
    let localities = match locality_config_specifier {
        None => Localities::Alike,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => Localities::Weighted,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => {
            let at = at.field("zone_aware_lb_config");
            take!(zones, at, ZoneAwareLbConfig {
                used { routing_enabled, min_cluster_size, fail_traffic_on_panic }
                harmless {}
                refused {}
            });
            Localities::Zones(balancing::zones(routing_enabled, min_cluster_size, fail_traffic_on_panic, &at)?)
        }
    };
    Ok((localities, limits::panic_percent(healthy_panic_threshold, &at.field("healthy_panic_threshold"))?))
}

/// Our own word, which others read past: where a workload that is dialled has a cluster of its own.
fn workloads(metadata: Option<&Metadata>, at: &At<'_>) -> Decoded<Box<[IpNet]>> {
    let written = metadata.and_then(|it| it.filter_metadata.get(OURS)).and_then(|ours| ours.fields.get(WORKLOADS));
    let at = at.field(OURS);
    let at = at.field(WORKLOADS);
    let Some(Kind::ListValue(list)) = written.and_then(|value| value.kind.as_ref()) else { return Ok(Box::default()) };
    let block = |value: Value, at: &At<'_>| match value.kind {
        Some(Kind::StringValue(text)) => {
            text.parse().map_err(|_| at.error(format!("is `{text}`"), "a block of addresses such as `10.0.0.0/8`"))
        }
        _ => Err(at.error("is no text", "a block of addresses such as `10.0.0.0/8`")),
    };
    Ok(each(list.values.clone(), &at, block)?.into())
}

/// Istio's form: a list of services, of which the first counts.
fn service(metadata: &Metadata) -> Option<DestinationService> {
    let Kind::ListValue(services) = metadata.filter_metadata.get("istio")?.fields.get("services")?.kind.as_ref()?
    else {
        return None;
    };
    let Kind::StructValue(service) = services.values.first()?.kind.as_ref()? else { return None };
    let part = |key| text(service, key).unwrap_or_default().into();
    Some(DestinationService { host: part("host"), name: part("name"), namespace: part("namespace") })
}

/// What the options of HTTP say.
struct HttpOptions {
    protocol: UpstreamProtocol,
    idle_timeout: Option<Duration>,
    max_requests_per_connection: Option<u32>,
    /// Without the options of TCP.
    connections: ConnectionOptions,
    /// Statuses that outlier detection takes for errors; none: 5xx.
    error_statuses: Vec<u16>,
}

/// The extension that holds the options of HTTP, by its key and its type.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

type ExtensionOptions = HashMap<String, Any>;
type CommonHttp = core::HttpProtocolOptions;
