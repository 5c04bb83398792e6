//! The HTTP filter of a chain.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::edge::ClientCertDetails;
use model::http_proxy::{Codec, ForwardClientCert, RouteSource};
use model::{Edge, HttpLimits, HttpProxy, TargetRules};
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, InternalAddressConfig, RouteSpecifier, SetCurrentClientCertDetails,
    UpgradeConfig,
};

use super::access_log::access_logs;
use super::listener::range;
use super::{At, Decoded, ads, duration, each, flag, limit, off, route, take};

mod filters;
mod limits;

/// Envoy's defaults.
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DRAIN: Duration = Duration::from_secs(5);

#[allow(deprecated)]
pub(super) fn http_proxy(value: wire::HttpConnectionManager, at: &At<'_>) -> Decoded<HttpProxy> {
    // Harmless is how closing and flushing is timed, what concerns HTTP/3 and an overload manager, which are not here,
    // and how connections end that break the protocol, which is the codec's to say.
    take!(value, at, wire::HttpConnectionManager {
        used {
            codec_type, stat_prefix, http_filters, add_user_agent, tracing, common_http_protocol_options,
            http_protocol_options, http2_protocol_options, max_request_headers_kb, server_name,
            server_header_transformation, stream_idle_timeout, request_timeout, request_headers_timeout,
            drain_timeout, access_log, use_remote_address, generate_request_id, forward_client_cert_details,
            set_current_client_cert_details, upgrade_configs, normalize_path, merge_slashes,
            path_with_escaped_slashes_action, strip_matching_host_port, strip_port_mode, strip_trailing_host_dot,
            xff_num_trusted_hops, skip_xff_append, internal_address_config, append_x_forwarded_port, via,
            preserve_external_request_id, always_set_request_id_in_response, route_specifier,
        }
        harmless {
            http1_safe_max_connection_duration, http3_protocol_options, stream_flush_timeout, drain_timeout_jitter,
            delayed_close_timeout, stream_error_on_invalid_http_message, append_local_overload,
            add_proxy_protocol_connection_state,
        }
        refused {
            scheme_header_transformation, access_log_flush_interval, flush_access_log_on_new_request,
            access_log_options, original_ip_detection_extensions, early_header_mutation_extensions,
            forward_client_cert_matcher, proxy_100_continue, represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            request_id_extension, local_reply_config, path_normalization_options, proxy_status_config,
            typed_header_validation_config, forward_proto_config,
        }
    });
    off(add_user_agent, &at.field("add_user_agent"))?;
    let at_drain = at.field("drain_timeout");
    let filters = filters::filters(http_filters, &at.field("http_filters"))?;
    let mut limits = HttpLimits {
        max_head_kib: limits::max_head(max_request_headers_kb, &at.field("max_request_headers_kb"))?,
        request_timeout: limit(request_timeout, None, &at.field("request_timeout"))?,
        ..HttpLimits::default()
    };
    limits::http1(http_protocol_options, &mut limits, &at.field("http_protocol_options"))?;
    limits::http2(http2_protocol_options, &mut limits, &at.field("http2_protocol_options"))?;
    let at_common = at.field("common_http_protocol_options");
    let idle_timeout = limits::common(common_http_protocol_options, &mut limits, &at_common)?;
    let at_slashes = at.field("path_with_escaped_slashes_action");
    Ok(HttpProxy {
        stat_prefix: stat_prefix.into(),
        codec: codec(codec_type, &at.field("codec_type"))?,
        routes: routes(route_specifier, at)?,
        filters: filters.list,
        access_logs: access_logs(access_log, &at.field("access_log"))?,
        idle_timeout,
        stream_idle_timeout: limit(stream_idle_timeout, Some(STREAM_IDLE), &at.field("stream_idle_timeout"))?,
        headers_timeout: limit(request_headers_timeout, None, &at.field("request_headers_timeout"))?,
        drain_timeout: drain_timeout.map_or(Ok(DRAIN), |value| duration(value, &at_drain))?,
        upgrades: upgrades(upgrade_configs, &at.field("upgrade_configs"))?,
        use_remote_address: flag(use_remote_address),
        forward_client_cert: client_cert(forward_client_cert_details, &at.field("forward_client_cert_details"))?,
        edge: Edge {
            trusted_hops: xff_num_trusted_hops,
            skip_forwarded_for: skip_xff_append,
            internal: internal_addresses(internal_address_config, &at.field("internal_address_config"))?,
            forwarded_port: append_x_forwarded_port,
            via: (!via.is_empty()).then(|| limits::header_value(via, &at.field("via"))).transpose()?,
            preserve_request_id: preserve_external_request_id,
            suppress_own_headers: filters.suppress_own_headers,
            request_id_in_response: always_set_request_id_in_response,
            client_cert: own_client_cert(
                set_current_client_cert_details,
                &at.field("set_current_client_cert_details"),
            )?,
        },
        target: TargetRules {
            escaped_slashes: limits::escaped_slashes(path_with_escaped_slashes_action, &at_slashes)?,
            normalize: flag(normalize_path),
            merge_slashes,
            strip_port: limits::strip_port(strip_matching_host_port, strip_port_mode, at)?,
            strip_dot: strip_trailing_host_dot,
        },
        limits,
        server: limits::server(server_name, server_header_transformation, at)?,
        generate_request_id: generate_request_id.is_none_or(|generate| generate.value),
        tracing: tracing.map(|value| super::tracing::tracing(value, &at.field("tracing"))).transpose()?.map(Arc::new),
    })
}

fn codec(value: i32, at: &At<'_>) -> Decoded<Codec> {
    match CodecType::try_from(value) {
        Ok(CodecType::Auto) => Ok(Codec::Auto),
        Ok(CodecType::Http1) => Ok(Codec::Http1),
        Ok(CodecType::Http2) => Ok(Codec::Http2),
        _ => Err(at.error(format!("is {value}"), "AUTO, HTTP1 or HTTP2")),
    }
}

fn routes(value: Option<RouteSpecifier>, at: &At<'_>) -> Decoded<RouteSource> {
    match value {
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            ads(rds.config_source, &at.field("config_source"))?;
            Ok(RouteSource::Rds(rds.route_config_name.into()))
        }
        Some(RouteSpecifier::RouteConfig(table)) => {
            let at = at.field("route_config");
            let table = route::route_configuration(table, &at)?;
            if table.on_demand {
                return Err(at.field("vhds").unsupported("`vhds` in a route configuration of its own, named in `rds`"));
            }
            Ok(RouteSource::Inline(table.into()))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(at.field("scoped_routes").unsupported("`rds` or `route_config`")),
        None => Err(at.error("has no routes", "`rds` or `route_config`")),
    }
}

/// Since Envoy 1.33 nobody is internal who is not named.
fn internal_addresses(value: Option<InternalAddressConfig>, at: &At<'_>) -> Decoded<Vec<IpNet>> {
    // Sockets with a path are not listened at.
    take!(value.unwrap_or_default(), at, InternalAddressConfig {
        used { cidr_ranges }
        harmless { unix_sockets }
        refused {}
    });
    each(cidr_ranges, &at.field("cidr_ranges"), range)
}

/// The upgrades that are let through. Each may be said once, however it is written.
fn upgrades(list: Vec<UpgradeConfig>, at: &At<'_>) -> Decoded<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(list.len());
    for (index, config) in list.iter().enumerate() {
        let name = config.upgrade_type.to_lowercase();
        if names.contains(&name) {
            let at = at.index(index);
            let problem = format!("is `{}` a second time", config.upgrade_type);
            return Err(at.field("upgrade_type").error(problem, "each upgrade once"));
        }
        names.push(name);
    }
    Ok(each(list, at, upgrade)?.into_iter().flatten().collect())
}

/// An upgrade that is let through; one that is switched off is none.
fn upgrade(value: UpgradeConfig, at: &At<'_>) -> Decoded<Option<String>> {
    take!(value, at, UpgradeConfig {
        used { upgrade_type, enabled }
        harmless {}
        refused { filters }
    });
    Ok(enabled.is_none_or(|enabled| enabled.value).then_some(upgrade_type))
}

fn client_cert(value: i32, at: &At<'_>) -> Decoded<ForwardClientCert> {
    Ok(match ForwardClientCertDetails::try_from(value) {
        Ok(ForwardClientCertDetails::Sanitize) => ForwardClientCert::Sanitize,
        Ok(ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        Ok(ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        Ok(ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        Ok(ForwardClientCertDetails::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        Err(_) => return Err(at.error(format!("is {value}"), "what to do with the client's certificate")),
    })
}

/// What is not said is not told, beside `By` and `Hash`.
fn own_client_cert(value: Option<SetCurrentClientCertDetails>, at: &At<'_>) -> Decoded<ClientCertDetails> {
    take!(value.unwrap_or_default(), at, SetCurrentClientCertDetails {
        used { subject, cert, chain, dns, uri }
        harmless {}
        refused { issuer, format }
    });
    Ok(ClientCertDetails { cert, chain, subject: flag(subject), uri, dns })
}
