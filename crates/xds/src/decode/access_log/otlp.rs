//! Logs that a service takes by OTLP.

use std::sync::Arc;

use model::access_log::{LogTarget, OtlpLog};
use proto::envoy::config::core::v3::ApiVersion;
use proto::envoy::extensions::access_loggers::grpc::v3::CommonGrpcAccessLogConfig;
use proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use proto::envoy_otlp::common::v1::any_value::Value;
use proto::envoy_otlp::common::v1::{AnyValue, KeyValue, KeyValueList};

use super::service::{self, Common};
use crate::decode::{At, Decoded, each, take};

/// The type.
pub(super) const OTLP: &str = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig";

#[allow(deprecated)]
pub(super) fn otlp(value: OpenTelemetryAccessLogConfig, at: &At<'_>) -> Decoded<LogTarget> {
    take!(value, at, OpenTelemetryAccessLogConfig {
        used {
            common_config, grpc_service, log_name, buffer_flush_interval, buffer_size_bytes, body, attributes,
            disable_builtin_labels,
        }
        // It names statistics.
        harmless { stat_prefix }
        refused {
            http_service, resource_attributes, resource_detectors, formatters, filter_state_objects_to_log, custom_tags,
        }
    });
    let Common { name, service, flush_interval, buffer_bytes } = match common_config {
        Some(common) => service::common(Some(common), &at.field("common_config"))?,
        // The newer words stand beside.
        None => {
            let transport_api_version = ApiVersion::V3 as i32;
            let common = CommonGrpcAccessLogConfig {
                log_name,
                grpc_service,
                transport_api_version,
                buffer_flush_interval,
                buffer_size_bytes,
                ..CommonGrpcAccessLogConfig::default()
            };
            service::common(Some(common), at)?
        }
    };
    let body = body.map(|body| text(Some(body), &at.field("body"))).transpose()?;
    let KeyValueList { values } = attributes.unwrap_or_default();
    let attribute = |KeyValue { key, value, .. }, at: &At<'_>| Ok((key, text(value, &at.field("value"))?));
    let attributes = each(values, &at.field("attributes").field("values"), attribute)?;
    let is_named = !disable_builtin_labels;
    Ok(LogTarget::Otlp(Arc::new(OtlpLog { name, service, body, attributes, is_named, flush_interval, buffer_bytes })))
}

/// A text with operators.
fn text(value: Option<AnyValue>, at: &At<'_>) -> Decoded<String> {
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Ok(text),
        _ => Err(at.unsupported("a text (`string_value`)")),
    }
}
