//! Listeners and filter chains.

use std::time::Duration;

use ipnet::IpNet;
use model::chain::{ChainMatch, TransportKind};
use model::listener::{ExpectHeader, Inspect};
use model::{ApiListener, Direction, FilterChain, Guard, Listener, NetworkFilter};
use proto::envoy::config::core::v3::{CidrRange, TrafficDirection};
use proto::envoy::config::listener::v3 as wire;
use proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use proto::google::protobuf::{Any, BoolValue};

use super::{
    access, access_log::access_logs, address, dynamic_forward, ext_authz, flag, http_proxy, limit, metrics, number,
    pack, tcp_proxy, tls,
};

/// Envoy's default for the first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(15);

/// A listener.
pub fn listener(listener: &Listener) -> Any {
    pack(&wire::Listener {
        name: listener.name.to_string(),
        address: address(&listener.address),
        bind_to_port: (!listener.bind).then_some(BoolValue { value: false }),
        use_original_dst: flag(listener.use_original_destination),
        traffic_direction: match listener.direction {
            Direction::Unspecified => TrafficDirection::Unspecified,
            Direction::Inbound => TrafficDirection::Inbound,
            Direction::Outbound => TrafficDirection::Outbound,
        } as i32,
        listener_filters: listener_filters(&listener.inspect),
        listener_filters_timeout: limit(listener.inspect.timeout, Some(FIRST_BYTES)),
        continue_on_listener_filters_timeout: listener.inspect.continue_on_timeout,
        filter_chains: listener.chains.iter().map(filter_chain).collect(),
        default_filter_chain: listener.default_chain.as_ref().map(filter_chain),
        access_log: access_logs(&listener.access_logs),
        per_connection_buffer_limit_bytes: listener.buffer_limit.and_then(number),
        ignore_global_conn_limit: listener.ignores_common_limit,
        ..wire::Listener::default()
    })
}

/// A listener of a program.
pub fn api_listener(listener: &ApiListener) -> Any {
    pack(&wire::Listener {
        name: listener.name.to_string(),
        api_listener: Some(wire::ApiListener { api_listener: Some(http_proxy::http_proxy(&listener.http)) }),
        ..wire::Listener::default()
    })
}

/// The header first, since it comes first; then the destination, on which the others may depend.
fn listener_filters(inspect: &Inspect) -> Vec<wire::ListenerFilter> {
    let header = || {
        let allow_requests_without_proxy_protocol = inspect.proxy_header == ExpectHeader::Optional;
        pack(&ProxyProtocol { allow_requests_without_proxy_protocol, ..ProxyProtocol::default() })
    };
    let filter = |on: bool, name: &str, config: &dyn Fn() -> Any| {
        on.then(|| wire::ListenerFilter {
            name: name.to_owned(),
            filter_disabled: None,
            config_type: Some(wire::listener_filter::ConfigType::TypedConfig(config())),
        })
    };
    let expects = inspect.proxy_header != ExpectHeader::No;
    [
        filter(expects, "envoy.filters.listener.proxy_protocol", &header),
        filter(inspect.original_destination, "envoy.filters.listener.original_dst", &|| pack(&OriginalDst {})),
        filter(inspect.tls, "envoy.filters.listener.tls_inspector", &|| pack(&TlsInspector::default())),
        filter(inspect.http, "envoy.filters.listener.http_inspector", &|| pack(&HttpInspector {})),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn filter_chain(chain: &FilterChain) -> wire::FilterChain {
    let access = chain.access.iter().map(|guard| match guard {
        Guard::Rules(rules) => ("envoy.filters.network.rbac", access::of_connections(rules)),
        Guard::Service(asks) => ("envoy.filters.network.ext_authz", ext_authz::of_connections(asks)),
    });
    let mut filters: Vec<_> = access.collect();
    match &chain.filter {
        NetworkFilter::Http(http) => {
            filters.push(("envoy.filters.network.http_connection_manager", http_proxy::http_proxy(http)));
        }
        NetworkFilter::Tcp(tcp) => {
            let by_name = tcp.server_name_forward.as_deref().map(dynamic_forward::by_server_name);
            filters.extend(by_name.map(|config| ("envoy.filters.network.sni_dynamic_forward_proxy", config)));
            filters.push(("envoy.filters.network.tcp_proxy", tcp_proxy::tcp_proxy(tcp)));
        }
    }
    let filter = |(name, config): (&str, Any)| wire::Filter {
        name: name.to_owned(),
        config_type: Some(wire::filter::ConfigType::TypedConfig(config)),
    };
    wire::FilterChain {
        name: chain.name.to_string(),
        filter_chain_match: (chain.matches != ChainMatch::default()).then(|| chain_match(&chain.matches)),
        transport_socket: chain.tls.as_ref().map(tls::downstream),
        filters: filters.into_iter().map(filter).collect(),
        metadata: chain.metrics.as_deref().map(metrics::rules),
        ..wire::FilterChain::default()
    }
}

fn chain_match(matches: &ChainMatch) -> wire::FilterChainMatch {
    wire::FilterChainMatch {
        destination_port: matches.destination_port.and_then(|port| number(port.into())),
        prefix_ranges: matches.destination_ranges.iter().map(range).collect(),
        source_prefix_ranges: matches.source_ranges.iter().map(range).collect(),
        server_names: matches.server_names.clone(),
        transport_protocol: match matches.transport {
            None => "",
            Some(TransportKind::Plain) => "raw_buffer",
            Some(TransportKind::Tls) => "tls",
        }
        .to_owned(),
        application_protocols: matches.application_protocols.clone(),
        ..wire::FilterChainMatch::default()
    }
}

pub(super) fn range(net: &IpNet) -> CidrRange {
    CidrRange { address_prefix: net.addr().to_string(), prefix_len: number(net.prefix_len().into()) }
}
