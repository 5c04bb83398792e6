//! Active health checks.

use std::time::Duration;

use data_encoding::HEXLOWER;
use http::Method;
use model::HealthCheck;
use model::health_check::{HttpProbe, Probe};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::RequestMethod;
use proto::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload,
};
use proto::envoy::r#type::v3::{CodecClientType, Int64Range};
use proto::google::protobuf::{self, BoolValue};

use crate::encode::headers::{removals, writes};
use crate::encode::matcher::string;
use crate::encode::{duration, number};

pub(super) fn health_check(check: &HealthCheck) -> core::HealthCheck {
    let some = |value: Duration| Some(duration(value));
    let jitter = |value: Duration| -> Option<protobuf::Duration> { (!value.is_zero()).then(|| duration(value)) };
    core::HealthCheck {
        timeout: some(check.timeout),
        interval: some(check.interval),
        initial_jitter: jitter(check.initial_jitter),
        interval_jitter: jitter(check.interval_jitter),
        interval_jitter_percent: check.interval_jitter_percent,
        unhealthy_threshold: number(check.unhealthy_threshold),
        healthy_threshold: number(check.healthy_threshold),
        reuse_connection: Some(BoolValue { value: check.reuse_connection }),
        no_traffic_interval: some(check.no_traffic_interval),
        no_traffic_healthy_interval: check.no_traffic_healthy_interval.and_then(some),
        unhealthy_interval: check.unhealthy_interval.and_then(some),
        unhealthy_edge_interval: check.unhealthy_edge_interval.and_then(some),
        healthy_edge_interval: check.healthy_edge_interval.and_then(some),
        health_checker: Some(probe(&check.probe)),
        ..core::HealthCheck::default()
    }
}

fn probe(probe: &Probe) -> HealthChecker {
    match probe {
        Probe::Http(probe) => HealthChecker::HttpHealthCheck(http_probe(probe)),
        Probe::Tcp { send, receive } => HealthChecker::TcpHealthCheck(TcpHealthCheck {
            send: (!send.is_empty()).then(|| bytes(send)),
            receive: receive.iter().map(|block| bytes(block)).collect(),
            ..TcpHealthCheck::default()
        }),
        Probe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone(),
            authority: authority.clone(),
            ..GrpcHealthCheck::default()
        }),
    }
}

fn http_probe(probe: &HttpProbe) -> HttpHealthCheck {
    let range = |(start, end): &(u16, u16)| Int64Range { start: i64::from(*start), end: i64::from(*end) };
    let client = if probe.http2 { CodecClientType::Http2 } else { CodecClientType::Http1 };
    HttpHealthCheck {
        host: probe.host.clone(),
        path: probe.path.clone(),
        request_headers_to_add: writes(&probe.headers),
        request_headers_to_remove: removals(&probe.headers),
        expected_statuses: probe.expected.iter().map(range).collect(),
        retriable_statuses: probe.retriable.iter().map(range).collect(),
        codec_client_type: client as i32,
        service_name_matcher: probe.service.as_ref().map(string),
        method: method(&probe.method) as i32,
        ..HttpHealthCheck::default()
    }
}

/// The wire has a list of them; what is not on it the model does not ask by.
fn method(method: &Method) -> RequestMethod {
    match *method {
        Method::HEAD => RequestMethod::Head,
        Method::POST => RequestMethod::Post,
        Method::PUT => RequestMethod::Put,
        Method::DELETE => RequestMethod::Delete,
        Method::OPTIONS => RequestMethod::Options,
        Method::TRACE => RequestMethod::Trace,
        Method::PATCH => RequestMethod::Patch,
        _ => RequestMethod::Get,
    }
}

/// Hexadecimal: the binary form is newer than some who read this.
fn bytes(block: &[u8]) -> Payload {
    let text = HEXLOWER.encode(block);
    Payload { payload: Some(payload::Payload::Text(text)) }
}
