//! Access logs: to standard output, a file, or a service.

mod filter;

use std::time::Duration;

use model::access_log::{FileLog, LogEntries, LogFormat, LogTarget, OtlpLog, ServiceLog};
use model::{AccessLog, GrpcService};
use prost::Message;
use proto::envoy::config::accesslog::v3::{self as wire, access_log::ConfigType};
use proto::envoy::config::core::v3::substitution_format_string::Format;
use proto::envoy::config::core::v3::{ApiVersion, DataSource, SubstitutionFormatString, data_source::Specifier};
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use proto::envoy::extensions::access_loggers::stream::v3::{StdoutAccessLog, stdout_access_log};
use proto::envoy_otlp::common::v1::any_value::Value;
use proto::envoy_otlp::common::v1::{AnyValue, KeyValue, KeyValueList};
use proto::google::protobuf::{Any, UInt32Value};

use super::grpc_service::grpc_service;
use super::ordered::{FileJsonLog, JsonFormat, StdoutJsonLog, Struct};
use super::{duration, pack, packed};

pub(super) fn access_logs(logs: &[AccessLog]) -> Vec<wire::AccessLog> {
    logs.iter().map(access_log).collect()
}

fn access_log(log: &AccessLog) -> wire::AccessLog {
    let (name, config) = match &log.to {
        LogTarget::File(FileLog { path, format }) if path == "/dev/stdout" => {
            ("envoy.access_loggers.stdout", to_stdout(format))
        }
        LogTarget::File(FileLog { path, format }) => ("envoy.access_loggers.file", to_file(path, format)),
        LogTarget::Service(log) => to_service(log),
        LogTarget::Otlp(log) => ("envoy.access_loggers.open_telemetry", pack(&to_otlp(log))),
    };
    wire::AccessLog {
        name: name.into(),
        filter: log.filter.as_deref().map(filter::filter),
        config_type: Some(ConfigType::TypedConfig(config)),
    }
}

fn common(name: &str, service: &GrpcService, interval: Duration, bytes: u32) -> CommonGrpcAccessLogConfig {
    CommonGrpcAccessLogConfig {
        log_name: name.to_owned(),
        grpc_service: Some(grpc_service(service)),
        transport_api_version: ApiVersion::V3 as i32,
        buffer_flush_interval: (interval != ServiceLog::FLUSH_INTERVAL).then(|| duration(interval)),
        buffer_size_bytes: (bytes != ServiceLog::BUFFER_BYTES).then_some(UInt32Value { value: bytes }),
        ..CommonGrpcAccessLogConfig::default()
    }
}

/// In the older words, which every Envoy knows.
#[allow(deprecated)]
fn to_otlp(log: &OtlpLog) -> OpenTelemetryAccessLogConfig {
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let attribute = |(key, value): &(String, String)| KeyValue {
        key: key.clone(),
        value: Some(text(value)),
        ..KeyValue::default()
    };
    let values: Vec<KeyValue> = log.attributes.iter().map(attribute).collect();
    OpenTelemetryAccessLogConfig {
        common_config: Some(common(&log.name, &log.service, log.flush_interval, log.buffer_bytes)),
        body: log.body.as_deref().map(text),
        attributes: (!values.is_empty()).then_some(KeyValueList { values }),
        disable_builtin_labels: !log.is_named,
        ..OpenTelemetryAccessLogConfig::default()
    }
}

fn to_service(log: &ServiceLog) -> (&'static str, Any) {
    let common = common(&log.name, &log.service, log.flush_interval, log.buffer_bytes);
    match &log.entries {
        LogEntries::Http { request_headers, response_headers } => {
            let config = HttpGrpcAccessLogConfig {
                common_config: Some(common),
                additional_request_headers_to_log: request_headers.iter().map(ToString::to_string).collect(),
                additional_response_headers_to_log: response_headers.iter().map(ToString::to_string).collect(),
                additional_response_trailers_to_log: Vec::new(),
            };
            ("envoy.access_loggers.http_grpc", pack(&config))
        }
        LogEntries::Tcp => {
            ("envoy.access_loggers.tcp_grpc", pack(&TcpGrpcAccessLogConfig { common_config: Some(common) }))
        }
    }
}

fn to_stdout(format: &LogFormat) -> Any {
    match format {
        LogFormat::Default => pack(&StdoutAccessLog::default()),
        LogFormat::Text(text) => pack(&StdoutAccessLog {
            access_log_format: Some(stdout_access_log::AccessLogFormat::LogFormat(text_format(text))),
        }),
        LogFormat::Json(fields) => {
            packed::<StdoutAccessLog>(StdoutJsonLog { log_format: Some(json_format(fields)) }.encode_to_vec())
        }
    }
}

fn to_file(path: &str, format: &LogFormat) -> Any {
    let path = path.to_owned();
    match format {
        LogFormat::Default => pack(&FileAccessLog { path, access_log_format: None }),
        LogFormat::Text(text) => pack(&FileAccessLog {
            path,
            access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(text_format(text))),
        }),
        LogFormat::Json(fields) => {
            packed::<FileAccessLog>(FileJsonLog { path, log_format: Some(json_format(fields)) }.encode_to_vec())
        }
    }
}

fn text_format(text: &str) -> SubstitutionFormatString {
    let source = DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), watched_directory: None };
    SubstitutionFormatString { format: Some(Format::TextFormatSource(source)), ..SubstitutionFormatString::default() }
}

fn json_format(fields: &[(String, String)]) -> JsonFormat {
    JsonFormat { json_format: Some(Struct::of_texts(fields.iter().map(|(key, text)| (key.as_str(), text.as_str())))) }
}
