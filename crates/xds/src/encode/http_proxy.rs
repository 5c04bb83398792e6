//! The HTTP filter of a chain and the HTTP filters within it.

use std::sync::Arc;
use std::time::Duration;

use model::edge::ClientCertDetails;
use model::fault::{Abort, AbortAnswer, Delay};
use model::http_proxy::{Codec, ForwardClientCert, HttpFilter, RouteSource};
use model::rate_limit::OWN_FILTERS;
use model::target::StripPort;
use model::{Fault, HttpProxy};
use proto::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use proto::envoy::extensions::filters::http::cors::v3::Cors;
use proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use proto::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, InternalAddressConfig, RouteSpecifier, SetCurrentClientCertDetails,
    StripPortMode, UpgradeConfig,
};
use proto::google::protobuf::{Any, BoolValue};

use super::filter_rules::CORS_FILTER;
use super::listener::range;
use super::ordered::{HttpTail, joined};
use super::rate_limit::{GLOBAL_FILTER, LOCAL_FILTER, global, local};
use super::{
    access, access_log::access_logs, ads, buffer, compressor, concurrency, duration, dynamic_forward, ext_authz,
    extension, flag, geo, jwt, limit, limits, matcher, mutation, number, oauth2, pack, packed, route,
};

/// The name under which the fault filter stands in chains, and under which routes speak to it.
pub(super) const FAULT_FILTER: &str = "envoy.filters.http.fault";

/// Envoy's defaults.
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DRAIN: Duration = Duration::from_secs(5);

pub(super) fn http_proxy(http: &HttpProxy) -> Any {
    let (server_name, transformation) = limits::server(&http.server);
    let (edge, target) = (&http.edge, &http.target);
    let (rds, inline) = match &http.routes {
        RouteSource::Rds(name) => (Some(wire::Rds { config_source: ads(), route_config_name: name.to_string() }), None),
        RouteSource::Inline(table) => (None, Some(route::route_configuration(table))),
    };
    let head = wire::HttpConnectionManager {
        stat_prefix: http.stat_prefix.to_string(),
        codec_type: match http.codec {
            Codec::Auto => CodecType::Auto,
            Codec::Http1 => CodecType::Http1,
            Codec::Http2 => CodecType::Http2,
        } as i32,
        route_specifier: rds.map(RouteSpecifier::Rds),
        http_filters: filters(&http.filters, edge.suppress_own_headers),
        access_log: access_logs(&http.access_logs),
        common_http_protocol_options: limits::common(http),
        http_protocol_options: limits::http1(&http.limits),
        http2_protocol_options: limits::http2(http),
        max_request_headers_kb: http.limits.max_head_kib.and_then(number),
        request_timeout: http.limits.request_timeout.map(duration),
        stream_idle_timeout: limit(http.stream_idle_timeout, Some(STREAM_IDLE)),
        request_headers_timeout: limit(http.headers_timeout, None),
        drain_timeout: limit(Some(http.drain_timeout), Some(DRAIN)),
        upgrade_configs: http.upgrades.iter().map(|kind| upgrade(kind)).collect(),
        use_remote_address: flag(http.use_remote_address),
        forward_client_cert_details: client_cert(http.forward_client_cert) as i32,
        set_current_client_cert_details: own_client_cert(edge.client_cert),
        xff_num_trusted_hops: edge.trusted_hops,
        skip_xff_append: edge.skip_forwarded_for,
        internal_address_config: (!edge.internal.is_empty()).then(|| InternalAddressConfig {
            unix_sockets: false,
            cidr_ranges: edge.internal.iter().map(range).collect(),
        }),
        append_x_forwarded_port: edge.forwarded_port,
        via: edge.via.as_ref().map(|via| String::from_utf8_lossy(via.as_bytes()).into_owned()).unwrap_or_default(),
        preserve_external_request_id: edge.preserve_request_id,
        always_set_request_id_in_response: edge.request_id_in_response,
        path_with_escaped_slashes_action: limits::escaped_slashes(target.escaped_slashes) as i32,
        normalize_path: flag(target.normalize),
        merge_slashes: target.merge_slashes,
        strip_matching_host_port: target.strip_port == StripPort::Matching,
        strip_port_mode: (target.strip_port == StripPort::Any).then_some(StripPortMode::StripAnyHostPort(true)),
        strip_trailing_host_dot: target.strip_dot,
        server_name,
        server_header_transformation: transformation as i32,
        generate_request_id: (!http.generate_request_id).then_some(BoolValue { value: false }),
        tracing: http.tracing.as_deref().map(super::tracing::tracing),
        ..wire::HttpConnectionManager::default()
    };
    packed::<wire::HttpConnectionManager>(joined(&head, &HttpTail { route_config: inline }))
}

/// The filters, and the router after them.
fn filters(filters: &[HttpFilter], suppress_envoy_headers: bool) -> Vec<wire::HttpFilter> {
    let named = |name: &str, config: Any| wire::HttpFilter {
        name: name.to_owned(),
        config_type: Some(wire::http_filter::ConfigType::TypedConfig(config)),
        ..wire::HttpFilter::default()
    };
    let ours = filters.iter().map(|filter| match filter {
        HttpFilter::Fault(fault) => named(FAULT_FILTER, pack(&fault.as_ref().map(http_fault).unwrap_or_default())),
        HttpFilter::Cors => named(CORS_FILTER, pack(&Cors {})),
        HttpFilter::LocalRateLimit(limits) => named(&limit_name(&limits.policy, LOCAL_FILTER), local(limits)),
        HttpFilter::GlobalRateLimit(limits) => named(&limit_name(&limits.policy, GLOBAL_FILTER), global(limits)),
        HttpFilter::Geo(settings) => named("envoy.filters.http.geoip", geo::geo(settings)),
        HttpFilter::Compressor(it) => named(&it.name, pack(&compressor::compressor(it))),
        HttpFilter::DynamicForward(cache) => {
            named("envoy.filters.http.dynamic_forward_proxy", dynamic_forward::http_filter(cache))
        }
        HttpFilter::GrpcWeb => named("envoy.filters.http.grpc_web", pack(&GrpcWeb {})),
        HttpFilter::HeaderMutation(it) => named(&it.name, pack(&mutation::header_mutation(it))),
        HttpFilter::Access(it) => named(&it.name, access::access(it)),
        HttpFilter::Buffer(it) => named(&it.name, pack(&buffer::buffer(it))),
        HttpFilter::Jwt(it) => named(&it.name, jwt::jwt(it)),
        HttpFilter::ExtAuthz(it) => named(&it.name, ext_authz::ext_authz(it)),
        HttpFilter::OAuth2(it) => named(&it.name, oauth2::oauth2(it)),
        HttpFilter::Lua(it) => named(&it.name, extension::lua(it)),
        HttpFilter::Wasm(it) => named(&it.name, extension::wasm(it)),
        HttpFilter::AdaptiveConcurrency(it) => {
            named("envoy.filters.http.adaptive_concurrency", pack(&concurrency::adaptive_concurrency(it)))
        }
    });
    let router = Router { suppress_envoy_headers, ..Router::default() };
    ours.chain([named("envoy.filters.http.router", pack(&router))]).collect()
}

/// A limit of ours is known by its filter's name, which Envoy takes whatever it is.
fn limit_name(policy: &Option<Arc<str>>, otherwise: &str) -> String {
    policy.as_ref().map_or_else(|| otherwise.to_owned(), |name| format!("{OWN_FILTERS}{name}"))
}

pub(super) fn http_fault(fault: &Fault) -> HttpFault {
    HttpFault {
        delay: fault.delay.as_ref().map(|Delay { duration: long, share }| FaultDelay {
            percentage: Some(matcher::percent(*share)),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(*long))),
        }),
        abort: fault.abort.as_ref().map(|Abort { answer, share }| FaultAbort {
            percentage: Some(matcher::percent(*share)),
            error_type: Some(match answer {
                AbortAnswer::Http(status) => ErrorType::HttpStatus((*status).into()),
                AbortAnswer::Grpc(status) => ErrorType::GrpcStatus(*status),
            }),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

fn upgrade(kind: &str) -> UpgradeConfig {
    UpgradeConfig { upgrade_type: kind.to_owned(), ..UpgradeConfig::default() }
}

fn client_cert(rule: ForwardClientCert) -> ForwardClientCertDetails {
    match rule {
        ForwardClientCert::Sanitize => ForwardClientCertDetails::Sanitize,
        ForwardClientCert::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        ForwardClientCert::AppendForward => ForwardClientCertDetails::AppendForward,
        ForwardClientCert::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        ForwardClientCert::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    }
}

fn own_client_cert(details: ClientCertDetails) -> Option<SetCurrentClientCertDetails> {
    let ClientCertDetails { cert, chain, subject, uri, dns } = details;
    (details != ClientCertDetails::NONE).then(|| SetCurrentClientCertDetails {
        subject: flag(subject),
        cert,
        chain,
        dns,
        uri,
        ..SetCurrentClientCertDetails::default()
    })
}
