//! Hosts that requests and connections name.

use std::time::Duration;

use ipnet::IpNet;
use model::DnsCache;
use model::dynamic_forward::{AddressFamily, ServerNameForward};
use proto::envoy::config::cluster::v3::cluster::{CustomClusterType, DnsLookupFamily};
use proto::envoy::extensions::clusters::dynamic_forward_proxy::v3::{ClusterConfig, cluster_config};
use proto::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as http;
use proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as network;
use proto::envoy::r#type::matcher::v3::AddressMatcher;
use proto::google::protobuf::{self, Any};
use proto::xds::core::v3::CidrRange;

use super::{At, Decoded, duration, each, port, required, take, type_name, unpack};

/// The types of the settings of the filters.
pub(super) const HTTP_FILTER: &str = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig";
pub(super) const NETWORK_FILTER: &str = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig";
const CLUSTER: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";

/// Clusters for each host are asked for by `sub_clusters_config`, which is another thing.
const ONE_CACHE: &str = "`dns_cache_config`";

/// The type of a cluster.
pub(super) fn cluster_type(value: CustomClusterType, at: &At<'_>) -> Decoded<DnsCache> {
    let at_config = at.field("typed_config");
    let any = value.typed_config.filter(|any| type_name(&any.type_url) == CLUSTER);
    let any = any.ok_or_else(|| at.error(format!("is `{}`", value.name), "`type`, or a dynamic forward proxy"))?;
    // Connections of HTTP/2 are for one host; where TLS does not check whom it speaks to, nothing else would either.
    take!(unpack::<ClusterConfig>(&any, &at_config)?, at_config, ClusterConfig {
        used { cluster_implementation_specifier }
        harmless { allow_insecure_cluster_options, allow_coalesced_connections }
        refused {}
    });
    match cluster_implementation_specifier {
        Some(cluster_config::ClusterImplementationSpecifier::DnsCacheConfig(cache)) => {
            dns_cache(cache, &at_config.field("dns_cache_config"))
        }
        _ => Err(at_config.unsupported(ONE_CACHE)),
    }
}

/// The HTTP filter.
pub(super) fn http_filter(any: &Any, at: &At<'_>) -> Decoded<DnsCache> {
    // The upstream's address is told by the log as it is.
    take!(unpack::<http::FilterConfig>(any, at)?, at, http::FilterConfig {
        used { implementation_specifier }
        harmless { save_upstream_address }
        refused { allow_dynamic_host_from_filter_state }
    });
    match implementation_specifier {
        Some(http::filter_config::ImplementationSpecifier::DnsCacheConfig(cache)) => {
            dns_cache(cache, &at.field("dns_cache_config"))
        }
        _ => Err(at.unsupported(ONE_CACHE)),
    }
}

/// The network filter that stands before TCP.
pub(super) fn by_server_name(any: &Any, at: &At<'_>) -> Decoded<ServerNameForward> {
    take!(unpack::<network::FilterConfig>(any, at)?, at, network::FilterConfig {
        used { dns_cache_config, port_specifier }
        harmless { save_upstream_address }
        refused {}
    });
    let at_cache = at.field("dns_cache_config");
    let at_port = at.field("port_value");
    let number = port_specifier.map_or(443, |network::filter_config::PortSpecifier::PortValue(number)| number);
    Ok(ServerNameForward {
        cache: dns_cache(required(dns_cache_config, &at_cache)?, &at_cache)?,
        port: port(number, &at_port)?,
    })
}

#[allow(deprecated)]
fn dns_cache(value: DnsCacheConfig, at: &At<'_>) -> Decoded<DnsCache> {
    // The system's resolver tells no time to live, so there is none that could be too short. After a failure it is asked
    // again soon.
    take!(value, at, DnsCacheConfig {
        used {
            name, dns_lookup_family, dns_refresh_rate, host_ttl, max_hosts, dns_query_timeout, resolved_address_filter,
        }
        harmless {
            dns_min_refresh_rate, dns_failure_refresh_rate, use_tcp_for_dns_lookups, disable_dns_refresh_on_failure,
        }
        refused {
            dns_cache_circuit_breaker, dns_resolution_config, typed_dns_resolver_config, preresolve_hostnames,
            key_value_config,
        }
    });
    if name.is_empty() {
        return Err(at.field("name").error("is missing", "a name"));
    }
    let at_filter = at.field("resolved_address_filter");
    take!(resolved_address_filter.unwrap_or_default(), at_filter, AddressMatcher {
        used { ranges }
        harmless {}
        refused { invert_match }
    });
    let default = DnsCache::new(name);
    let most = max_hosts.map_or(default.max_hosts, |most| most.value);
    if most == 0 {
        return Err(at.field("max_hosts").error("is 0", "1 or more"));
    }
    Ok(DnsCache {
        family: match DnsLookupFamily::try_from(dns_lookup_family) {
            Ok(DnsLookupFamily::V4Only) => AddressFamily::V4,
            Ok(DnsLookupFamily::V6Only) => AddressFamily::V6,
            Ok(_) => AddressFamily::Any,
            Err(_) => return Err(at.field("dns_lookup_family").error("is not known", "a family of addresses")),
        },
        refresh: time(dns_refresh_rate, default.refresh, &at.field("dns_refresh_rate"))?,
        idle: time(host_ttl, default.idle, &at.field("host_ttl"))?,
        timeout: time(dns_query_timeout, default.timeout, &at.field("dns_query_timeout"))?,
        max_hosts: most,
        refused: each(ranges, &at_filter.field("ranges"), block)?,
        ..default
    })
}

fn time(value: Option<protobuf::Duration>, default: Duration, at: &At<'_>) -> Decoded<Duration> {
    match value.map_or(Ok(default), |value| duration(value, at))? {
        time if time < Duration::from_millis(1) => Err(at.error(format!("is {time:?}"), "a millisecond or more")),
        time => Ok(time),
    }
}

fn block(value: CidrRange, at: &At<'_>) -> Decoded<IpNet> {
    let length = value.prefix_len.map_or(0, |length| length.value);
    let net = value.address_prefix.parse().ok().zip(u8::try_from(length).ok());
    net.and_then(|(ip, length)| IpNet::new(ip, length).ok())
        .ok_or_else(|| at.error(format!("is {}/{length}", value.address_prefix), "an IP address and a prefix length"))
}
