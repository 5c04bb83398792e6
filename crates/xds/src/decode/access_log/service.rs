//! Logs that a service of gRPC takes (`envoy.service.accesslog.v3`).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use model::GrpcService;
use model::access_log::{LogEntries, LogTarget, ServiceLog};
use proto::envoy::config::core::v3::ApiVersion;
use proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};

use crate::decode::{At, Decoded, duration, each, grpc_service, headers, required, take};

/// Of requests.
pub(super) const HTTP: &str = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
/// Of connections.
pub(super) const TCP: &str = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";

pub(super) fn http(value: HttpGrpcAccessLogConfig, at: &At<'_>) -> Decoded<LogTarget> {
    take!(value, at, HttpGrpcAccessLogConfig {
        used { common_config, additional_request_headers_to_log, additional_response_headers_to_log }
        harmless {}
        refused { additional_response_trailers_to_log }
    });
    let entries = LogEntries::Http {
        request_headers: names(additional_request_headers_to_log, &at.field("additional_request_headers_to_log"))?,
        response_headers: names(additional_response_headers_to_log, &at.field("additional_response_headers_to_log"))?,
    };
    log(entries, common_config, at)
}

pub(super) fn tcp(value: TcpGrpcAccessLogConfig, at: &At<'_>) -> Decoded<LogTarget> {
    log(LogEntries::Tcp, value.common_config, at)
}

fn names(list: Vec<String>, at: &At<'_>) -> Decoded<Vec<HeaderName>> {
    each(list, at, |name, at| headers::name(&name, at))
}

fn log(entries: LogEntries, config: Option<CommonGrpcAccessLogConfig>, at: &At<'_>) -> Decoded<LogTarget> {
    let Common { name, service, flush_interval, buffer_bytes } = common(config, &at.field("common_config"))?;
    Ok(LogTarget::Service(Arc::new(ServiceLog { entries, name, service, flush_interval, buffer_bytes })))
}

/// What is said of each log that a service of gRPC takes.
pub(super) struct Common {
    pub(super) name: Arc<str>,
    pub(super) service: GrpcService,
    pub(super) flush_interval: Duration,
    pub(super) buffer_bytes: u32,
}

pub(super) fn common(value: Option<CommonGrpcAccessLogConfig>, at: &At<'_>) -> Decoded<Common> {
    // A call that fails is not made again, so how often it would be is of no matter.
    take!(required(value, at)?, at, CommonGrpcAccessLogConfig {
        used { log_name, grpc_service, transport_api_version, buffer_flush_interval, buffer_size_bytes }
        harmless { grpc_stream_retry_policy }
        refused { filter_state_objects_to_log, custom_tags }
    });
    if ![ApiVersion::V3 as i32, ApiVersion::Auto as i32].contains(&transport_api_version) {
        return Err(at.field("transport_api_version").error("is not V3", "V3, or nothing"));
    }
    if log_name.is_empty() {
        return Err(at.field("log_name").error("is empty", "a name by which the service knows the log"));
    }
    let at_interval = at.field("buffer_flush_interval");
    let flush_interval = buffer_flush_interval.map(|value| duration(value, &at_interval)).transpose()?;
    if flush_interval.is_some_and(|interval| interval.is_zero()) {
        return Err(at_interval.error("is zero", "a time above zero"));
    }
    let at_service = at.field("grpc_service");
    // Its timeout is of calls with an answer, and this one is a stream that stays open.
    let (service, _) = grpc_service::grpc_service(required(grpc_service, &at_service)?, &at_service)?;
    Ok(Common {
        name: log_name.into(),
        service,
        flush_interval: flush_interval.unwrap_or(ServiceLog::FLUSH_INTERVAL),
        buffer_bytes: buffer_size_bytes.map_or(ServiceLog::BUFFER_BYTES, |bytes| bytes.value),
    })
}
