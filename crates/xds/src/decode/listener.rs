//! Listeners and filter chains.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::chain::{ChainMatch, TransportKind};
use model::listener::{ExpectHeader, Inspect};
use model::{ApiListener, Direction, FilterChain, Guard, Listener, NetworkFilter, ResourceKind};
use proto::envoy::config::core::v3::{CidrRange, TrafficDirection, transport_socket};
use proto::envoy::config::listener::v3 as wire;
use proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use proto::google::protobuf::Any;

use super::access_log::access_logs;
use super::{
    At, DecodeError, Decoded, access, dynamic_forward, each, ext_authz, flag, http_proxy, limit, metrics, off, open,
    port, required, take, tcp_proxy, tls, type_name, unpack,
};

/// Envoy's default for the first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(15);

/// A listener.
pub fn listener(any: &Any) -> Result<Listener, DecodeError> {
    let value: wire::Listener = open(ResourceKind::Listener, any)?;
    let name = value.name.clone();
    read(value, &At::resource(&name))
}

/// A listener of a program. Proxies have none: [`super::resource`] refuses it.
#[allow(deprecated)]
pub fn api_listener(any: &Any) -> Result<ApiListener, DecodeError> {
    let value: wire::Listener = open(ResourceKind::Listener, any)?;
    let at = At::resource(&value.name);
    let api = value.api_listener.and_then(|api| api.api_listener);
    let at_outer = at.field("api_listener");
    let at_api = at_outer.field("api_listener");
    let http = http_proxy::http_proxy(unpack(&required(api, &at_api)?, &at_api)?, &at_api)?;
    Ok(ApiListener { name: value.name.as_str().into(), http: Box::new(http) })
}

#[allow(deprecated)]
fn read(value: wire::Listener, at: &At<'_>) -> Decoded<Listener> {
    // Harmless are statistics, backlogs and keep-alive of sockets, how accepting is spread over threads, and what takes a
    // listener out of measures against overload that are not there.
    take!(value, at, wire::Listener {
        used {
            name, address, filter_chains, use_original_dst, default_filter_chain, listener_filters,
            listener_filters_timeout, continue_on_listener_filters_timeout, transparent, freebind, traffic_direction,
            access_log, bind_to_port, per_connection_buffer_limit_bytes, ignore_global_conn_limit,
        }
        harmless {
            stat_prefix, stats_matcher, per_connection_buffer_high_watermark_timeout, metadata, drain_type, tcp_fast_open_queue_length,
            connection_balance_config, reuse_port, enable_reuse_port, tcp_backlog_size,
            max_connections_to_accept_per_socket_event, bypass_overload_manager, tcp_keepalive,
        }
        refused {
            additional_addresses, fcds_config, filter_chain_matcher, deprecated_v1, socket_options,
            udp_listener_config, api_listener, enable_mptcp, listener_specifier,
        }
    });
    if name.is_empty() {
        return Err(at.field("name").error("is missing", "a name"));
    }
    off(transparent, &at.field("transparent"))?;
    off(freebind, &at.field("freebind"))?;
    let mut inspect = inspect(listener_filters, &at.field("listener_filters"))?;
    inspect.timeout = limit(listener_filters_timeout, Some(FIRST_BYTES), &at.field("listener_filters_timeout"))?;
    inspect.continue_on_timeout = continue_on_listener_filters_timeout;
    let at_default = at.field("default_filter_chain");
    Ok(Listener {
        name: name.into(),
        address: super::address(address, &at.field("address"))?,
        bind: bind_to_port.is_none_or(|bind| bind.value),
        use_original_destination: flag(use_original_dst),
        direction: direction(traffic_direction, &at.field("traffic_direction"))?,
        inspect,
        chains: each(filter_chains, &at.field("filter_chains"), filter_chain)?,
        default_chain: default_filter_chain.map(|chain| filter_chain(chain, &at_default)).transpose()?,
        access_logs: access_logs(access_log, &at.field("access_log"))?,
        buffer_limit: per_connection_buffer_limit_bytes.map(|limit| limit.value),
        ignores_common_limit: ignore_global_conn_limit,
    })
}

fn direction(value: i32, at: &At<'_>) -> Decoded<Direction> {
    match TrafficDirection::try_from(value) {
        Ok(TrafficDirection::Unspecified) => Ok(Direction::Unspecified),
        Ok(TrafficDirection::Inbound) => Ok(Direction::Inbound),
        Ok(TrafficDirection::Outbound) => Ok(Direction::Outbound),
        Err(_) => Err(at.error(format!("is {value}"), "INBOUND, OUTBOUND or UNSPECIFIED")),
    }
}

/// What is looked at. The order in which it is written does not matter: looking changes nothing.
fn inspect(filters: Vec<wire::ListenerFilter>, at: &At<'_>) -> Decoded<Inspect> {
    let mut inspect = Inspect::default();
    for (index, filter) in filters.into_iter().enumerate() {
        let at = at.index(index);
        take!(filter, at, wire::ListenerFilter {
            used { config_type }
            harmless { name }
            refused { filter_disabled }
        });
        let Some(wire::listener_filter::ConfigType::TypedConfig(any)) = config_type else {
            return Err(at.field("typed_config").error("is missing", "the filter's settings"));
        };
        match type_name(&any.type_url) {
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst" => inspect.original_destination = true,
            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" => {
                inspect.proxy_header =
                    proxy_header(unpack(&any, &at.field("typed_config"))?, &at.field("typed_config"))?;
            }
            // Fingerprints and the sizes of its buffers change nothing for a connection.
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" => inspect.tls = true,
            "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector" => inspect.http = true,
            _ => {
                let problem = format!("is of type `{}`", any.type_url);
                return Err(at
                    .field("typed_config")
                    .error(problem, "original_dst, tls_inspector, http_inspector or proxy_protocol"));
            }
        }
    }
    Ok(inspect)
}

fn proxy_header(value: ProxyProtocol, at: &At<'_>) -> Decoded<ExpectHeader> {
    take!(value, at, ProxyProtocol {
        used { allow_requests_without_proxy_protocol }
        harmless { stat_prefix }
        refused { rules, pass_through_tlvs, disallowed_versions, tlv_location }
    });
    Ok(if allow_requests_without_proxy_protocol { ExpectHeader::Optional } else { ExpectHeader::Required })
}

#[allow(deprecated)]
fn filter_chain(value: wire::FilterChain, at: &At<'_>) -> Decoded<FilterChain> {
    // How long a handshake may take is ours to say.
    take!(value, at, wire::FilterChain {
        used { filter_chain_match, filters, use_proxy_proto, transport_socket, name, metadata }
        harmless { transport_socket_connect_timeout }
        refused {}
    });
    off(use_proxy_proto, &at.field("use_proxy_proto"))?;
    let at_tls = at.field("transport_socket");
    let (access, filter) = network_filters(filters, &at.field("filters"))?;
    Ok(FilterChain {
        name: name.into(),
        matches: filter_chain_match
            .map_or(Ok(ChainMatch::default()), |value| chain_match(value, &at.field("filter_chain_match")))?,
        tls: match transport_socket {
            None => None,
            Some(socket) => transport(socket, &at_tls)?,
        },
        access,
        metrics: metadata.map_or(Ok(None), |metadata| metrics::rules(metadata, &at.field("metadata")))?,
        filter,
    })
}

fn transport(
    socket: proto::envoy::config::core::v3::TransportSocket,
    at: &At<'_>,
) -> Decoded<Option<model::tls::DownstreamTls>> {
    let at = at.field("typed_config");
    let transport_socket::ConfigType::TypedConfig(any) = required(socket.config_type, &at)?;
    match type_name(&any.type_url) {
        tls::RAW_BUFFER => Ok(None),
        tls::DOWNSTREAM => Ok(Some(tls::downstream(unpack(&any, &at)?, &at)?)),
        _ => Err(at.error(format!("is of type `{}`", any.type_url), "TLS towards downstream, or plain text")),
    }
}

fn chain_match(value: wire::FilterChainMatch, at: &At<'_>) -> Decoded<ChainMatch> {
    take!(value, at, wire::FilterChainMatch {
        used {
            destination_port, prefix_ranges, source_prefix_ranges, server_names, transport_protocol,
            application_protocols,
        }
        harmless {}
        refused { address_suffix, suffix_len, direct_source_prefix_ranges, source_type, source_ports }
    });
    let at_port = at.field("destination_port");
    Ok(ChainMatch {
        destination_port: destination_port.map(|value| port(value.value, &at_port)).transpose()?,
        destination_ranges: each(prefix_ranges, &at.field("prefix_ranges"), range)?,
        source_ranges: each(source_prefix_ranges, &at.field("source_prefix_ranges"), range)?,
        server_names,
        transport: match &*transport_protocol {
            "" => None,
            "raw_buffer" => Some(TransportKind::Plain),
            "tls" => Some(TransportKind::Tls),
            other => {
                return Err(at.field("transport_protocol").error(format!("is {other:?}"), "`raw_buffer` or `tls`"));
            }
        },
        application_protocols,
    })
}

pub(super) fn range(value: CidrRange, at: &At<'_>) -> Decoded<IpNet> {
    let length = value.prefix_len.map_or(0, |length| length.value);
    let net = value.address_prefix.parse::<IpAddr>().ok().zip(u8::try_from(length).ok());
    net.and_then(|(ip, length)| IpNet::new(ip, length).ok())
        .ok_or_else(|| at.error(format!("is {}/{length}", value.address_prefix), "an IP address and a prefix length"))
}

/// Who says whether connections may stand, and one filter, before which a connection to a host that it names may say so.
fn network_filters(filters: Vec<wire::Filter>, at: &At<'_>) -> Decoded<(Vec<Guard>, NetworkFilter)> {
    const EXPECTED: &str = "one of http_connection_manager and tcp_proxy, after any number of rbac and ext_authz";
    let mut filters = filters.into_iter().enumerate().peekable();
    let mut access = Vec::new();
    let guards = [access::NETWORK_ACCESS, ext_authz::NETWORK_EXT_AUTHZ];
    while let Some((index, guard)) = filters.next_if(|(_, filter)| guards.contains(&type_of(filter))) {
        let at = at.index(index);
        let at = at.field("typed_config");
        let any = settings(guard, &at, EXPECTED)?;
        access.push(match type_name(&any.type_url) {
            access::NETWORK_ACCESS => Guard::Rules(access::of_connections(unpack(&any, &at)?, &at)?),
            _ => Guard::Service(Box::new(ext_authz::of_connections(unpack(&any, &at)?, &at)?)),
        });
    }
    let by_name = filters.peek().is_some_and(|(_, first)| type_of(first) == dynamic_forward::NETWORK_FILTER);
    let first = if by_name { filters.next() } else { None };
    let (index, last) = match (filters.next(), filters.len()) {
        (Some(only), 0) => only,
        (only, more) => {
            let count = usize::from(only.is_some()) + more;
            return Err(at.error(format!("has {count} filters"), EXPECTED));
        }
    };
    let at_last = at.index(index);
    let at_last = at_last.field("typed_config");
    let any = settings(last, &at_last, EXPECTED)?;
    let mut filter = match type_name(&any.type_url) {
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
            NetworkFilter::Http(Box::new(http_proxy::http_proxy(unpack(&any, &at_last)?, &at_last)?))
        }
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" => {
            NetworkFilter::Tcp(tcp_proxy::tcp_proxy(unpack(&any, &at_last)?, &at_last)?)
        }
        _ => return Err(at_last.error(format!("is of type `{}`", any.type_url), EXPECTED)),
    };
    if let Some((index, first)) = first {
        let at = at.index(index);
        let at = at.field("typed_config");
        let NetworkFilter::Tcp(tcp) = &mut filter else {
            return Err(at.unsupported("such a filter before tcp_proxy"));
        };
        let any = settings(first, &at, EXPECTED)?;
        tcp.server_name_forward = Some(Box::new(dynamic_forward::by_server_name(&any, &at)?));
    }
    Ok((access, filter))
}

fn settings(filter: wire::Filter, at: &At<'_>, expected: &str) -> Decoded<Any> {
    match filter.config_type {
        Some(wire::filter::ConfigType::TypedConfig(any)) => Ok(any),
        _ => Err(at.error("is missing", expected)),
    }
}

fn type_of(filter: &wire::Filter) -> &str {
    match &filter.config_type {
        Some(wire::filter::ConfigType::TypedConfig(any)) => type_name(&any.type_url),
        _ => "",
    }
}
