//! Hosts that requests and connections name.

use ipnet::IpNet;
use model::DnsCache;
use model::dynamic_forward::{AddressFamily, ServerNameForward};
use proto::envoy::config::cluster::v3::cluster::{CustomClusterType, DnsLookupFamily};
use proto::envoy::extensions::clusters::dynamic_forward_proxy::v3::{ClusterConfig, cluster_config};
use proto::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as http;
use proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as network;
use proto::envoy::r#type::matcher::v3::AddressMatcher;
use proto::google::protobuf::Any;
use proto::xds::core::v3::CidrRange;

use super::{duration, number, pack};

pub(super) const CLUSTER: &str = "envoy.clusters.dynamic_forward_proxy";

/// The type of a cluster.
pub(super) fn cluster_type(cache: &DnsCache) -> CustomClusterType {
    let settings = cluster_config::ClusterImplementationSpecifier::DnsCacheConfig(dns_cache(cache));
    let config = ClusterConfig { cluster_implementation_specifier: Some(settings), ..ClusterConfig::default() };
    CustomClusterType { name: CLUSTER.to_owned(), typed_config: Some(pack(&config)) }
}

/// The HTTP filter.
pub(super) fn http_filter(cache: &DnsCache) -> Any {
    let settings = http::filter_config::ImplementationSpecifier::DnsCacheConfig(dns_cache(cache));
    pack(&http::FilterConfig { implementation_specifier: Some(settings), ..http::FilterConfig::default() })
}

/// The network filter that stands before TCP.
pub(super) fn by_server_name(forward: &ServerNameForward) -> Any {
    pack(&network::FilterConfig {
        dns_cache_config: Some(dns_cache(&forward.cache)),
        port_specifier: Some(network::filter_config::PortSpecifier::PortValue(forward.port.into())),
        ..network::FilterConfig::default()
    })
}

/// What is Envoy's default is left out.
fn dns_cache(cache: &DnsCache) -> DnsCacheConfig {
    let default = DnsCache::new("");
    let unless = |time, default| (time != default).then(|| duration(time));
    DnsCacheConfig {
        name: cache.name.to_string(),
        dns_lookup_family: match cache.family {
            AddressFamily::Any => DnsLookupFamily::V4Preferred,
            AddressFamily::V4 => DnsLookupFamily::V4Only,
            AddressFamily::V6 => DnsLookupFamily::V6Only,
        } as i32,
        dns_refresh_rate: unless(cache.refresh, default.refresh),
        host_ttl: unless(cache.idle, default.idle),
        dns_query_timeout: unless(cache.timeout, default.timeout),
        max_hosts: number(cache.max_hosts).filter(|_| cache.max_hosts != default.max_hosts),
        resolved_address_filter: (!cache.refused.is_empty())
            .then(|| AddressMatcher { ranges: cache.refused.iter().map(block).collect(), ..AddressMatcher::default() }),
        ..DnsCacheConfig::default()
    }
}

fn block(block: &IpNet) -> CidrRange {
    CidrRange { address_prefix: block.addr().to_string(), prefix_len: number(block.prefix_len().into()) }
}
