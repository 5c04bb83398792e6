//! The HTTP filter of a chain and the HTTP filters within it.

use std::time::Duration;

use model::fault::{Abort, AbortAnswer, Delay};
use model::http_proxy::{Codec, ForwardClientCert, HttpFilter, RouteSource};
use model::{Fault, HttpProxy};
use proto::envoy::config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions};
use proto::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, RouteSpecifier, ServerHeaderTransformation, SetCurrentClientCertDetails,
    Tracing, UpgradeConfig,
};
use proto::google::protobuf::{Any, BoolValue};

use super::{access_log::access_logs, ads, duration, flag, limit, matcher, pack, route};

/// The name under which the fault filter stands in chains, and under which routes speak to it.
pub(super) const FAULT_FILTER: &str = "envoy.filters.http.fault";

/// Envoy's defaults.
const IDLE: Duration = Duration::from_secs(3600);
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DRAIN: Duration = Duration::from_secs(5);

pub(super) fn http_proxy(http: &HttpProxy) -> Any {
    let transformation = match http.server_name {
        Some(_) => ServerHeaderTransformation::Overwrite,
        None => ServerHeaderTransformation::PassThrough,
    };
    let (forward_cert, set_cert) = client_cert(http.forward_client_cert);
    pack(&wire::HttpConnectionManager {
        stat_prefix: http.stat_prefix.to_string(),
        codec_type: match http.codec {
            Codec::Auto => CodecType::Auto,
            Codec::Http1 => CodecType::Http1,
            Codec::Http2 => CodecType::Http2,
        } as i32,
        route_specifier: Some(match &http.routes {
            RouteSource::Rds(name) => {
                RouteSpecifier::Rds(wire::Rds { config_source: ads(), route_config_name: name.to_string() })
            }
            RouteSource::Inline(table) => RouteSpecifier::RouteConfig(route::route_configuration(table)),
        }),
        http_filters: filters(&http.filters),
        access_log: access_logs(&http.access_logs),
        common_http_protocol_options: limit(http.idle_timeout, Some(IDLE))
            .map(|idle| HttpProtocolOptions { idle_timeout: Some(idle), ..HttpProtocolOptions::default() }),
        // HTTP/2 upgrades by extended CONNECT (RFC 8441), which must be allowed apart.
        http2_protocol_options: (!http.upgrades.is_empty())
            .then(|| Http2ProtocolOptions { allow_connect: true, ..Http2ProtocolOptions::default() }),
        stream_idle_timeout: limit(http.stream_idle_timeout, Some(STREAM_IDLE)),
        request_headers_timeout: limit(http.headers_timeout, None),
        drain_timeout: limit(Some(http.drain_timeout), Some(DRAIN)),
        upgrade_configs: http.upgrades.iter().map(|kind| upgrade(kind)).collect(),
        use_remote_address: flag(http.use_remote_address),
        forward_client_cert_details: forward_cert as i32,
        set_current_client_cert_details: set_cert,
        server_name: http.server_name.clone().unwrap_or_default(),
        server_header_transformation: transformation as i32,
        generate_request_id: (!http.generate_request_id).then_some(BoolValue { value: false }),
        tracing: http.tracing.then(Tracing::default),
        ..wire::HttpConnectionManager::default()
    })
}

/// The filters, and the router after them.
fn filters(filters: &[HttpFilter]) -> Vec<wire::HttpFilter> {
    let named = |name: &str, config: Any| wire::HttpFilter {
        name: name.to_owned(),
        config_type: Some(wire::http_filter::ConfigType::TypedConfig(config)),
        ..wire::HttpFilter::default()
    };
    let ours = filters.iter().map(|filter| match filter {
        HttpFilter::Fault(fault) => named(FAULT_FILTER, pack(&fault.as_ref().map(http_fault).unwrap_or_default())),
    });
    ours.chain([named("envoy.filters.http.router", pack(&Router::default()))]).collect()
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

/// Where our own part is written, it has the fields that Istio writes.
fn client_cert(rule: ForwardClientCert) -> (ForwardClientCertDetails, Option<SetCurrentClientCertDetails>) {
    let ours = SetCurrentClientCertDetails {
        subject: Some(BoolValue { value: true }),
        dns: true,
        uri: true,
        ..SetCurrentClientCertDetails::default()
    };
    match rule {
        ForwardClientCert::Sanitize => (ForwardClientCertDetails::Sanitize, None),
        ForwardClientCert::ForwardOnly => (ForwardClientCertDetails::ForwardOnly, None),
        ForwardClientCert::AppendForward => (ForwardClientCertDetails::AppendForward, Some(ours)),
        ForwardClientCert::SanitizeSet => (ForwardClientCertDetails::SanitizeSet, Some(ours)),
        ForwardClientCert::AlwaysForwardOnly => (ForwardClientCertDetails::AlwaysForwardOnly, None),
    }
}
