//! Active health checks.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use http::Method;
use model::HealthCheck;
use model::health_check::{HttpProbe, Probe};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::RequestMethod;
use proto::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload,
};
use proto::envoy::r#type::v3::{CodecClientType, Int64Range};
use proto::google::protobuf;

use crate::decode::headers::{REQUEST, changes};
use crate::decode::matcher::string;
use crate::decode::{At, Decoded, duration, each, required, take};

pub(super) fn health_check(value: core::HealthCheck, at: &At<'_>) -> Decoded<HealthCheck> {
    // Envoy knows no other port either. Events are logged by us in our own way.
    take!(value, at, core::HealthCheck {
        used {
            timeout, interval, initial_jitter, interval_jitter, interval_jitter_percent, unhealthy_threshold,
            healthy_threshold, reuse_connection, no_traffic_interval, no_traffic_healthy_interval, unhealthy_interval,
            unhealthy_edge_interval, healthy_edge_interval, health_checker,
        }
        harmless {
            alt_port, event_log_path, event_logger, event_service, always_log_health_check_failures,
            always_log_health_check_success,
        }
        refused { tls_options, transport_socket_match_criteria }
    });
    let needed = |value, name| {
        let at = at.field(name);
        positive(required(value, &at)?, &at)
    };
    let maybe = |value: Option<protobuf::Duration>, name| value.map(|v| positive(v, &at.field(name))).transpose();
    let jitter = |value: Option<protobuf::Duration>, name| {
        value.map_or(Ok(Duration::ZERO), |value| duration(value, &at.field(name)))
    };
    let threshold = |value: Option<protobuf::UInt32Value>, name| Ok(required(value, &at.field(name))?.value.max(1));
    let thresholds =
        (threshold(unhealthy_threshold, "unhealthy_threshold")?, threshold(healthy_threshold, "healthy_threshold")?);
    let probe = probe(required(health_checker, &at.field("health_checker"))?, at)?;
    let base = HealthCheck::new(needed(timeout, "timeout")?, needed(interval, "interval")?, thresholds, probe);
    Ok(HealthCheck {
        initial_jitter: jitter(initial_jitter, "initial_jitter")?,
        interval_jitter: jitter(interval_jitter, "interval_jitter")?,
        interval_jitter_percent,
        no_traffic_interval: maybe(no_traffic_interval, "no_traffic_interval")?.unwrap_or(base.no_traffic_interval),
        no_traffic_healthy_interval: maybe(no_traffic_healthy_interval, "no_traffic_healthy_interval")?,
        unhealthy_interval: maybe(unhealthy_interval, "unhealthy_interval")?,
        unhealthy_edge_interval: maybe(unhealthy_edge_interval, "unhealthy_edge_interval")?,
        healthy_edge_interval: maybe(healthy_edge_interval, "healthy_edge_interval")?,
        reuse_connection: reuse_connection.is_none_or(|value| value.value),
        ..base
    })
}

fn positive(value: protobuf::Duration, at: &At<'_>) -> Decoded<Duration> {
    match duration(value, at)? {
        Duration::ZERO => Err(at.error("is zero", "more than zero")),
        value => Ok(value),
    }
}

fn probe(value: HealthChecker, at: &At<'_>) -> Decoded<Probe> {
    match value {
        HealthChecker::HttpHealthCheck(value) => {
            http_probe(value, &at.field("http_health_check")).map(|probe| Probe::Http(Box::new(probe)))
        }
        HealthChecker::TcpHealthCheck(value) => tcp_probe(value, &at.field("tcp_health_check")),
        HealthChecker::GrpcHealthCheck(value) => {
            let at = at.field("grpc_health_check");
            take!(value, at, GrpcHealthCheck {
                used { service_name, authority }
                harmless {}
                refused { initial_metadata }
            });
            Ok(Probe::Grpc { service: service_name, authority })
        }
        HealthChecker::CustomHealthCheck(_) => {
            Err(at.field("custom_health_check").unsupported("a check by HTTP, TCP or gRPC"))
        }
    }
}

fn http_probe(value: HttpHealthCheck, at: &At<'_>) -> Decoded<HttpProbe> {
    take!(value, at, HttpHealthCheck {
        used {
            host, path, request_headers_to_add, request_headers_to_remove, expected_statuses, retriable_statuses,
            codec_client_type, service_name_matcher, method,
        }
        harmless {}
        refused { send, receive, response_buffer_size }
    });
    if path.is_empty() {
        return Err(at.field("path").error("is missing", "a path"));
    }
    let http2 = match CodecClientType::try_from(codec_client_type) {
        Ok(CodecClientType::Http1) => false,
        Ok(CodecClientType::Http2) => true,
        _ => return Err(at.field("codec_client_type").unsupported("HTTP1 or HTTP2")),
    };
    Ok(HttpProbe {
        host,
        path,
        method: read_method(method, &at.field("method"))?,
        headers: changes(request_headers_to_add, request_headers_to_remove, at, REQUEST)?,
        expected: each(expected_statuses, &at.field("expected_statuses"), statuses)?,
        retriable: each(retriable_statuses, &at.field("retriable_statuses"), statuses)?,
        http2,
        service: service_name_matcher.map(|m| string(m, &at.field("service_name_matcher"))).transpose()?,
    })
}

fn read_method(value: i32, at: &At<'_>) -> Decoded<Method> {
    Ok(match RequestMethod::try_from(value) {
        Ok(RequestMethod::MethodUnspecified | RequestMethod::Get) => Method::GET,
        Ok(RequestMethod::Head) => Method::HEAD,
        Ok(RequestMethod::Post) => Method::POST,
        Ok(RequestMethod::Put) => Method::PUT,
        Ok(RequestMethod::Delete) => Method::DELETE,
        Ok(RequestMethod::Options) => Method::OPTIONS,
        Ok(RequestMethod::Trace) => Method::TRACE,
        Ok(RequestMethod::Patch) => Method::PATCH,
        Ok(RequestMethod::Connect) | Err(_) => return Err(at.error(format!("is {value}"), "a method, but not CONNECT")),
    })
}

fn statuses(value: Int64Range, at: &At<'_>) -> Decoded<(u16, u16)> {
    match (u16::try_from(value.start), u16::try_from(value.end)) {
        (Ok(start @ 100..), Ok(end @ ..=600)) if start < end => Ok((start, end)),
        _ => Err(at.error(format!("is from {} to {}", value.start, value.end), "a range within 100 to 600")),
    }
}

fn tcp_probe(value: TcpHealthCheck, at: &At<'_>) -> Decoded<Probe> {
    take!(value, at, TcpHealthCheck {
        used { send, receive }
        harmless {}
        refused { proxy_protocol_config }
    });
    let send = send.map_or(Ok(Vec::new()), |value| bytes(value, &at.field("send")))?;
    Ok(Probe::Tcp { send, receive: each(receive, &at.field("receive"), bytes)? })
}

/// Text is hexadecimal.
fn bytes(value: Payload, at: &At<'_>) -> Decoded<Vec<u8>> {
    match required(value.payload, at)? {
        payload::Payload::Binary(bytes) => Ok(bytes),
        payload::Payload::Text(text) => {
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
            bytes.map_err(|_| at.field("text").error(format!("is {text:?}"), "hexadecimal digits in pairs"))
        }
    }
}
