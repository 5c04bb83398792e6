//! Entries for services, in Envoy's words (`envoy.data.accesslog.v3`).

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{HeaderMap, HeaderName, Version};
use filter::wire_address;
use model::access_log::LogEntries;
use proto::envoy::config::core::v3 as core;
use proto::envoy::data::accesslog::v3::http_access_log_entry::HttpVersion;
use proto::envoy::data::accesslog::v3::response_flags::{Unauthorized, unauthorized::Reason};
use proto::envoy::data::accesslog::v3::tls_properties::CertificateProperties;
use proto::envoy::data::accesslog::v3::tls_properties::certificate_properties::{
    SubjectAltName, subject_alt_name::San,
};
use proto::envoy::data::accesslog::v3::{
    AccessLogCommon, AccessLogType, ConnectionProperties, HttpAccessLogEntry, HttpRequestProperties,
    HttpResponseProperties, ResponseFlags as WireFlags, TcpAccessLogEntry, TlsProperties,
};
use proto::google::protobuf::{self, UInt32Value, value::Kind};
use telemetry::ResponseFlags;

use super::service::{Message, Sink};
use super::{Denied, Raw, Unseen};
use crate::connection::Downstream;
use crate::edge;
use crate::reason;
use crate::record::Summary;

/// What Envoy keeps of a path that a route rewrote.
const ORIGINAL_PATH: &str = "x-envoy-original-path";

/// Of a request.
pub(super) fn exchange(summary: &Summary<'_>, sink: &Sink) -> Message {
    let facts = summary.facts;
    let downstream = &summary.conn.downstream;
    let mut common = AccessLogCommon {
        duration: Some(duration(summary.duration)),
        upstream_remote_address: facts.endpoint.as_ref().and_then(|endpoint| parsed(&endpoint.to_string())),
        upstream_cluster: facts.cluster.as_deref().unwrap_or_default().to_owned(),
        response_flags: flags(facts.flags),
        metadata: facts.reason.as_deref().map(metadata),
        upstream_transport_failure_reason: facts.transport_failure.to_string(),
        route_name: facts.route.as_deref().unwrap_or_default().to_owned(),
        upstream_request_attempt_count: facts.attempts,
        time_to_first_upstream_rx_byte: facts.upstream_time.map(duration),
        ..of_connection(downstream, summary.begun_at)
    };
    if let Some(headers) = &facts.request_headers {
        let client = edge::client_address(headers, &summary.conn.plan().proxy, &summary.conn.caller);
        if client != downstream.source.ip() {
            common.downstream_remote_address = Some(wire_address(SocketAddr::new(client, 0)));
        }
    }
    Message::Http(Box::new(HttpAccessLogEntry {
        common_properties: Some(common),
        protocol_version: version(summary.version) as i32,
        request: Some(request(summary, &sink.settings.entries)),
        response: Some(response(summary, &sink.settings.entries)),
    }))
}

fn request(summary: &Summary<'_>, entries: &LogEntries) -> HttpRequestProperties {
    let facts = summary.facts;
    let none = HeaderMap::new();
    let headers = facts.request_headers.as_ref().unwrap_or(&none);
    let of = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let wanted = match entries {
        LogEntries::Http { request_headers, .. } => chosen(headers, request_headers),
        LogEntries::Tcp => Default::default(),
    };
    HttpRequestProperties {
        request_method: method(summary.method) as i32,
        scheme: facts.request_headers.as_ref().map(|headers| edge::scheme(headers).to_owned()).unwrap_or_default(),
        authority: facts.authority.as_ref().map(text).unwrap_or_default(),
        path: facts.target.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        user_agent: of("user-agent"),
        referer: of("referer"),
        forwarded_for: of("x-forwarded-for"),
        request_id: of("x-request-id"),
        original_path: of(ORIGINAL_PATH),
        request_body_bytes: summary.request_bytes,
        request_headers: wanted,
        ..HttpRequestProperties::default()
    }
}

fn response(summary: &Summary<'_>, entries: &LogEntries) -> HttpResponseProperties {
    let facts = summary.facts;
    let wanted = match (entries, &facts.response_headers) {
        (LogEntries::Http { response_headers, .. }, Some(headers)) => chosen(headers, response_headers),
        _ => Default::default(),
    };
    HttpResponseProperties {
        response_code: facts.status.map(|status| UInt32Value { value: status.as_u16().into() }),
        response_body_bytes: summary.response_bytes,
        response_headers: wanted,
        response_code_details: facts.details.to_string(),
        ..HttpResponseProperties::default()
    }
}

/// Of a connection whose bytes were carried.
pub(super) fn connection(raw: &Raw<'_>) -> Message {
    let Raw { record, end } = raw;
    let endpoint = record.exchange.as_ref().and_then(|exchange| parsed(&exchange.endpoint().to_string()));
    let counters = record.counters;
    let common = AccessLogCommon {
        duration: Some(duration(record.duration())),
        upstream_remote_address: endpoint,
        upstream_cluster: record.cluster.as_deref().unwrap_or_default().to_owned(),
        response_flags: flags(end.flags),
        upstream_transport_failure_reason: end.reason.clone(),
        connection_termination_details: end.details.to_owned(),
        ..of_connection(record.downstream, record.begun_at)
    };
    tcp(common, ConnectionProperties { received_bytes: counters.to_upstream(), sent_bytes: counters.to_downstream() })
}

/// Of a connection that rules or a service refused.
pub(super) fn denied(denied: &Denied<'_>) -> Message {
    let common = AccessLogCommon {
        response_flags: flags(denied.flags),
        metadata: denied.reason.map(metadata),
        connection_termination_details: denied.details.to_owned(),
        ..of_connection(denied.downstream, denied.begun_at)
    };
    tcp(common, ConnectionProperties::default())
}

/// Of a connection that no filter saw.
pub(super) fn unseen(unseen: &Unseen<'_>) -> Message {
    let (of, details, reason) = unseen.why.facts();
    let seen = unseen.seen;
    let common = AccessLogCommon {
        downstream_remote_address: Some(wire_address(seen.source)),
        downstream_direct_remote_address: Some(wire_address(seen.source)),
        downstream_local_address: Some(wire_address(seen.destination)),
        tls_properties: seen
            .server_name
            .as_ref()
            .map(|name| TlsProperties { tls_sni_hostname: name.clone(), ..TlsProperties::default() }),
        start_time: Some(timestamp(unseen.at)),
        response_flags: flags(of),
        downstream_transport_failure_reason: reason.to_owned(),
        connection_termination_details: details.to_owned(),
        route_name: unseen.plan.config.name.to_string(),
        access_log_type: AccessLogType::TcpConnectionEnd as i32,
        ..AccessLogCommon::default()
    };
    tcp(common, ConnectionProperties::default())
}

fn tcp(common: AccessLogCommon, connection: ConnectionProperties) -> Message {
    let common = AccessLogCommon { access_log_type: AccessLogType::TcpConnectionEnd as i32, ..common };
    Message::Tcp(Box::new(TcpAccessLogEntry {
        common_properties: Some(common),
        connection_properties: Some(connection),
    }))
}

fn of_connection(downstream: &Downstream, begun_at: SystemTime) -> AccessLogCommon {
    AccessLogCommon {
        downstream_remote_address: Some(wire_address(downstream.source)),
        downstream_direct_remote_address: Some(wire_address(downstream.source)),
        downstream_local_address: Some(wire_address(downstream.destination)),
        tls_properties: tls(downstream),
        start_time: Some(timestamp(begun_at)),
        access_log_type: AccessLogType::DownstreamEnd as i32,
        ..AccessLogCommon::default()
    }
}

fn tls(downstream: &Downstream) -> Option<TlsProperties> {
    if downstream.tls.is_none() && downstream.server_name.is_none() {
        return None;
    }
    let certificate = |identity: Option<&str>| {
        let san = SubjectAltName { san: Some(San::Uri(identity?.to_owned())) };
        Some(CertificateProperties { subject_alt_name: vec![san], ..CertificateProperties::default() })
    };
    Some(TlsProperties {
        tls_sni_hostname: downstream.server_name.clone().unwrap_or_default(),
        local_certificate_properties: certificate(downstream.local_principal.as_deref()),
        peer_certificate_properties: certificate(downstream.principal.as_deref()),
        ..TlsProperties::default()
    })
}

/// The reason, where logs in files find it too.
fn metadata(reason: &str) -> core::Metadata {
    let value = protobuf::Value { kind: Some(Kind::StringValue(reason.to_owned())) };
    let fields = [(reason::METADATA.1.to_owned(), value)].into_iter().collect();
    let said = [(reason::METADATA.0.to_owned(), protobuf::Struct { fields })];
    core::Metadata { filter_metadata: said.into_iter().collect(), ..core::Metadata::default() }
}

fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> std::collections::HashMap<String, String> {
    names.iter().filter_map(|name| Some((name.to_string(), text(headers.get(name)?)))).collect()
}

fn text(value: &::http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn parsed(text: &str) -> Option<core::Address> {
    text.parse().ok().map(wire_address)
}

fn timestamp(at: SystemTime) -> protobuf::Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    protobuf::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

fn duration(time: Duration) -> protobuf::Duration {
    protobuf::Duration { seconds: time.as_secs() as i64, nanos: time.subsec_nanos() as i32 }
}

fn version(version: Version) -> HttpVersion {
    match version {
        Version::HTTP_10 => HttpVersion::Http10,
        Version::HTTP_11 => HttpVersion::Http11,
        Version::HTTP_2 => HttpVersion::Http2,
        _ => HttpVersion::ProtocolUnspecified,
    }
}

fn method(method: &::http::Method) -> core::RequestMethod {
    core::RequestMethod::from_str_name(method.as_str()).unwrap_or(core::RequestMethod::MethodUnspecified)
}

/// None if no flag is set.
fn flags(of: ResponseFlags) -> Option<WireFlags> {
    if of.is_empty() {
        return None;
    }
    let has = |flag| of.contains(flag);
    Some(WireFlags {
        failed_local_healthcheck: has(ResponseFlags::FAILED_LOCAL_HEALTH_CHECK),
        no_healthy_upstream: has(ResponseFlags::NO_HEALTHY_UPSTREAM),
        upstream_request_timeout: has(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT),
        local_reset: has(ResponseFlags::LOCAL_RESET),
        upstream_remote_reset: has(ResponseFlags::UPSTREAM_REMOTE_RESET),
        upstream_connection_failure: has(ResponseFlags::UPSTREAM_CONNECTION_FAILURE),
        upstream_connection_termination: has(ResponseFlags::UPSTREAM_CONNECTION_TERMINATION),
        upstream_overflow: has(ResponseFlags::UPSTREAM_OVERFLOW),
        no_route_found: has(ResponseFlags::NO_ROUTE),
        delay_injected: has(ResponseFlags::DELAY_INJECTED),
        fault_injected: has(ResponseFlags::FAULT_INJECTED),
        rate_limited: has(ResponseFlags::RATE_LIMITED),
        unauthorized_details: has(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE)
            .then_some(Unauthorized { reason: Reason::ExternalService as i32 }),
        rate_limit_service_error: has(ResponseFlags::RATE_LIMIT_SERVICE_ERROR),
        downstream_connection_termination: has(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION),
        upstream_retry_limit_exceeded: has(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED),
        stream_idle_timeout: has(ResponseFlags::STREAM_IDLE_TIMEOUT),
        invalid_envoy_request_headers: has(ResponseFlags::INVALID_ENVOY_REQUEST_HEADERS),
        downstream_protocol_error: has(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        upstream_max_stream_duration_reached: has(ResponseFlags::UPSTREAM_MAX_STREAM_DURATION),
        response_from_cache_filter: has(ResponseFlags::RESPONSE_FROM_CACHE),
        no_filter_config_found: has(ResponseFlags::NO_FILTER_CONFIG),
        duration_timeout: has(ResponseFlags::DURATION_TIMEOUT),
        upstream_protocol_error: has(ResponseFlags::UPSTREAM_PROTOCOL_ERROR),
        no_cluster_found: has(ResponseFlags::NO_CLUSTER),
        overload_manager: has(ResponseFlags::OVERLOAD_MANAGER),
        dns_resolution_failure: has(ResponseFlags::DNS_RESOLUTION_FAILED),
        downstream_remote_reset: has(ResponseFlags::DOWNSTREAM_REMOTE_RESET),
    })
}
