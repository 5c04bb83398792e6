//! The HTTP filter of a chain.

use std::time::Duration;

use model::HttpProxy;
use model::http_proxy::{Codec, ForwardClientCert, RouteSource};
use proto::envoy::config::core::v3::HttpProtocolOptions;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
    SetCurrentClientCertDetails, Tracing, UpgradeConfig,
};
use proto::envoy::r#type::v3::Percent;

use super::access_log::access_logs;
use super::{At, Decoded, ads, duration, each, flag, limit, off, route, take};

mod filters;

/// Envoy's defaults.
const IDLE: Duration = Duration::from_secs(3600);
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DRAIN: Duration = Duration::from_secs(5);
const SERVER: &str = "envoy";

#[allow(deprecated)]
pub(super) fn http_proxy(value: wire::HttpConnectionManager, at: &At<'_>) -> Decoded<HttpProxy> {
    // Harmless are limits and tuning of codecs, which are ours to say, and how closing and flushing is timed.
    take!(value, at, wire::HttpConnectionManager {
        used {
            codec_type, stat_prefix, http_filters, add_user_agent, tracing, common_http_protocol_options, server_name,
            server_header_transformation, stream_idle_timeout, request_timeout, request_headers_timeout,
            drain_timeout, access_log, use_remote_address, generate_request_id, forward_client_cert_details,
            set_current_client_cert_details, upgrade_configs, normalize_path, path_with_escaped_slashes_action,
            route_specifier,
        }
        harmless {
            http1_safe_max_connection_duration, http_protocol_options, http2_protocol_options,
            http3_protocol_options, max_request_headers_kb, stream_flush_timeout, drain_timeout_jitter,
            delayed_close_timeout, internal_address_config, stream_error_on_invalid_http_message,
            append_local_overload, add_proxy_protocol_connection_state,
        }
        refused {
            scheme_header_transformation, access_log_flush_interval, flush_access_log_on_new_request,
            access_log_options, xff_num_trusted_hops, original_ip_detection_extensions,
            early_header_mutation_extensions, skip_xff_append, via, preserve_external_request_id,
            always_set_request_id_in_response, forward_client_cert_matcher, proxy_100_continue,
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6, merge_slashes, request_id_extension,
            local_reply_config, strip_matching_host_port, path_normalization_options, strip_trailing_host_dot,
            proxy_status_config, typed_header_validation_config, append_x_forwarded_port, forward_proto_config,
            strip_port_mode,
        }
    });
    off(add_user_agent, &at.field("add_user_agent"))?;
    off(normalize_path, &at.field("normalize_path"))?;
    escaped_slashes(path_with_escaped_slashes_action, &at.field("path_with_escaped_slashes_action"))?;
    if limit(request_timeout, None, &at.field("request_timeout"))?.is_some() {
        return Err(at.field("request_timeout").unsupported("0 or none"));
    }
    own_client_cert(set_current_client_cert_details, &at.field("set_current_client_cert_details"))?;
    let at_drain = at.field("drain_timeout");
    Ok(HttpProxy {
        stat_prefix: stat_prefix.into(),
        codec: codec(codec_type, &at.field("codec_type"))?,
        routes: routes(route_specifier, at)?,
        filters: filters::filters(http_filters, &at.field("http_filters"))?,
        access_logs: access_logs(access_log, &at.field("access_log"))?,
        idle_timeout: idle_timeout(common_http_protocol_options, &at.field("common_http_protocol_options"))?,
        stream_idle_timeout: limit(stream_idle_timeout, Some(STREAM_IDLE), &at.field("stream_idle_timeout"))?,
        headers_timeout: limit(request_headers_timeout, None, &at.field("request_headers_timeout"))?,
        drain_timeout: drain_timeout.map_or(Ok(DRAIN), |value| duration(value, &at_drain))?,
        upgrades: each(upgrade_configs, &at.field("upgrade_configs"), upgrade)?.into_iter().flatten().collect(),
        use_remote_address: flag(use_remote_address),
        forward_client_cert: client_cert(forward_client_cert_details, &at.field("forward_client_cert_details"))?,
        server_name: server(server_name, server_header_transformation, at)?,
        generate_request_id: generate_request_id.is_none_or(|generate| generate.value),
        tracing: tracing.map(|value| sampled(value, &at.field("tracing"))).transpose()?.is_some(),
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

fn idle_timeout(value: Option<HttpProtocolOptions>, at: &At<'_>) -> Decoded<Option<Duration>> {
    // Limits on headers are ours; the jitter belongs to a duration that is refused.
    take!(value.unwrap_or_default(), at, HttpProtocolOptions {
        used { idle_timeout }
        harmless { max_connection_duration_jitter, max_headers_count, max_response_headers_kb }
        refused {
            max_connection_duration, max_stream_duration, headers_with_underscores_action,
            max_requests_per_connection,
        }
    });
    limit(idle_timeout, Some(IDLE), &at.field("idle_timeout"))
}

fn escaped_slashes(value: i32, at: &At<'_>) -> Decoded<()> {
    match PathWithEscapedSlashesAction::try_from(value) {
        Ok(
            PathWithEscapedSlashesAction::ImplementationSpecificDefault | PathWithEscapedSlashesAction::KeepUnchanged,
        ) => Ok(()),
        _ => Err(at.unsupported("KEEP_UNCHANGED or none")),
    }
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

/// Our own part always has the same fields: hash, subject, and names.
fn own_client_cert(value: Option<SetCurrentClientCertDetails>, at: &At<'_>) -> Decoded<()> {
    let Some(value) = value else { return Ok(()) };
    take!(value, at, SetCurrentClientCertDetails {
        used {}
        harmless { subject, dns, uri }
        refused { cert, chain, issuer, format }
    });
    Ok(())
}

fn server(name: String, transformation: i32, at: &At<'_>) -> Decoded<Option<String>> {
    match ServerHeaderTransformation::try_from(transformation) {
        Ok(ServerHeaderTransformation::PassThrough) => Ok(None),
        Ok(ServerHeaderTransformation::Overwrite) if name.is_empty() => Ok(Some(SERVER.to_owned())),
        Ok(ServerHeaderTransformation::Overwrite) => Ok(Some(name)),
        _ => Err(at.field("server_header_transformation").unsupported("OVERWRITE or PASS_THROUGH")),
    }
}

/// Which requests are sampled is said elsewhere; here all of them must be let through.
fn sampled(value: Tracing, at: &At<'_>) -> Decoded<()> {
    take!(value, at, Tracing {
        used { client_sampling, random_sampling, overall_sampling }
        harmless { verbose, max_path_tag_length }
        refused { custom_tags, provider, spawn_upstream_span, operation, upstream_operation, no_context_propagation }
    });
    for (name, share) in [
        ("client_sampling", client_sampling),
        ("random_sampling", random_sampling),
        ("overall_sampling", overall_sampling),
    ] {
        if share.is_some_and(|share| share != Percent { value: 100.0 }) {
            return Err(at.field(name).unsupported("100 or none"));
        }
    }
    Ok(())
}
